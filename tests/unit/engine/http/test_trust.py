"""Which certificates are trusted, and which one is shown."""

from __future__ import annotations

import shutil
import ssl
from pathlib import Path
from typing import Any

import pytest
import requests

from banyan_hp.engine.http import connections
from banyan_hp.engine.http.transport import NoResponse
from banyan_hp.engine.http.trust import Trust
from tests.support.raw import (
    AUTHORITY,
    AUTHORITY_HASH,
    OK,
    TLS_FILES,
    Peer,
    RawServer,
    answering,
    server_context,
)
from tests.support.transport import (
    CHUNKED,
    FINE,
    MakeTransport,
    ask,
    post,
)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
@pytest.mark.parametrize("directory", [False, True], ids=["file", "directory"])
def test_the_certificates_in_the_environment_are_trusted(
    make: MakeTransport, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, host: str, *, directory: bool
) -> None:
    """A file, or a directory as OpenSSL wants it; and the connection is kept."""
    shutil.copy(AUTHORITY, tmp_path / f"{AUTHORITY_HASH}.0")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path if directory else AUTHORITY))
    with RawServer(answering(OK, CHUNKED, OK), tls=True) as server:
        url = f"https://{host}:{server.port}"
        through = make(url)
        assert [through.send(post(url), 5) for _ in range(3)][::2] == [FINE, FINE]
        assert (server.connections, len(server.heard)) == (1, 3)


@pytest.mark.parametrize("trusted", [False, True])
def test_a_wrong_certificate_is_not_sent_anything(
    make: MakeTransport, monkeypatch: pytest.MonkeyPatch, *, trusted: bool
) -> None:
    """One of an unknown authority, or of another host."""
    if trusted:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(AUTHORITY))
    with RawServer(answering(OK), tls=True, host="127.0.0.2" if trusted else "127.0.0.1") as server:
        response = ask(make(server.url), server)
        assert isinstance(response, NoResponse)
        assert response.reason == "bad_answer"
        assert response.detail.startswith("SSLError: ")
        assert "CERTIFICATE_VERIFY_FAILED" in response.detail
        assert server.heard == []


def test_tls_to_a_server_without_it(make: MakeTransport) -> None:
    """It is said, and nothing is sent."""
    with RawServer(answering(OK)) as server:
        url = f"https://127.0.0.1:{server.port}"
        response = make(url, timeout=1).send(post(url), 5)
        assert isinstance(response, NoResponse)


def test_a_missing_ca_bundle(make: MakeTransport, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It is said at each request: the file may come yet."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "missing.pem"))
    with RawServer(answering(OK), tls=True) as server:
        response = ask(make(server.url), server)
        assert isinstance(response, NoResponse)
        assert response.reason == "bad_answer"
        assert str(tmp_path / "missing.pem") in response.detail


def test_the_setting_wins_over_the_environment(make: MakeTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    """`ca_bundle` is what the code says."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere")
    with RawServer(answering(OK), tls=True) as server:
        assert ask(make(server.url, trust=Trust(ca_bundle=AUTHORITY)), server) == FINE


def test_the_system_s_trust_store_is_used_by_default(
    make: MakeTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the standard library finds it, which looks at SSL_CERT_FILE first."""
    monkeypatch.setenv("SSL_CERT_FILE", str(AUTHORITY))
    with RawServer(answering(OK), tls=True) as server:
        assert ask(make(server.url), server) == FINE


def test_without_a_system_s_store_requests_bundle_is_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A slim container has no certificates of its own."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    monkeypatch.setattr(requests.utils, "DEFAULT_CA_BUNDLE_PATH", str(AUTHORITY))
    (trusted,) = Trust().context().get_ca_certs()
    assert trusted["issuer"]


@pytest.mark.parametrize("pair", [False, True], ids=["one file", "two files"])
def test_a_client_certificate_is_shown(make: MakeTransport, *, pair: bool) -> None:
    """To a backend that accepts nobody without one."""
    context = server_context()
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(TLS_FILES / "client.pem")

    def scene(peer: Peer) -> None:
        peer.sock = context.wrap_socket(peer.sock, server_side=True)
        answering(OK)(peer)

    certificate = TLS_FILES / "client.pem"
    shown = (certificate, certificate) if pair else certificate
    with RawServer(scene) as server:
        url = server.url.replace("http:", "https:")
        refused = make(url, trust=Trust(ca_bundle=AUTHORITY)).send(post(url), 5)
        assert isinstance(refused, NoResponse)
        assert make(url, trust=Trust(AUTHORITY, shown)).send(post(url), 5) == FINE


def test_a_client_certificate_that_can_t_be_read_is_named(make: MakeTransport, tmp_path: Path) -> None:
    """By its path, in the error of each request."""
    (tmp_path / "broken.pem").write_text("not a certificate")
    with RawServer(answering(OK), tls=True) as server:
        response = ask(make(server.url, trust=Trust(AUTHORITY, tmp_path / "broken.pem")), server)
        assert isinstance(response, NoResponse)
        assert "broken.pem" in response.detail


def test_the_trust_store_is_loaded_once(
    make: MakeTransport, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Once a process, whoever connects: loading it costs more than the request."""
    loaded: list[object] = []
    load = ssl.create_default_context

    def loading(**options: Any) -> ssl.SSLContext:
        loaded.append(options)
        return load(**options)

    bundle = shutil.copy(AUTHORITY, tmp_path / "bundle.pem")
    monkeypatch.setattr(ssl, "create_default_context", loading)
    with RawServer(answering(OK), tls=True) as server:
        assert ask(make(server.url, trust=Trust(bundle)), server) == FINE
        through = make(server.url, trust=Trust(bundle))
        assert [ask(through, server) for _ in range(3)] == [FINE] * 3
        assert (server.connections, len(loaded)) == (4, 1)


def test_a_replaced_bundle_is_loaded_without_a_restart(make: MakeTransport, tmp_path: Path) -> None:
    """Certificates are rotated under running processes."""
    bundle = tmp_path / "bundle.pem"
    shutil.copy(TLS_FILES / "client.pem", bundle)
    with RawServer(answering(OK), tls=True) as server:
        through = make(server.url, trust=Trust(bundle))
        assert isinstance(ask(through, server), NoResponse)
        shutil.copy(AUTHORITY, bundle)
        assert ask(through, server) == FINE


def test_the_next_connection_resumes_the_session(make: MakeTransport) -> None:
    """A hand-over of keys is the dearest part of a new connection."""
    context = server_context()
    resumed: list[bool | None] = []

    def scene(peer: Peer) -> None:
        peer.sock = tls = context.wrap_socket(peer.sock, server_side=True)
        resumed.append(tls.session_reused)
        answering(OK)(peer)

    with RawServer(scene) as server:
        url = f"https://localhost:{server.port}"
        through = make(url, trust=Trust(AUTHORITY))
        assert [through.send(post(url), 5) for _ in range(3)] == [FINE] * 3
        assert resumed == [False, True, True]


def test_a_session_is_looked_at_once_a_connection(
    make: MakeTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each look copies it, certificates included, which takes longer than a small request."""
    looks: list[object] = []
    monkeypatch.setattr(connections, "remember_session", looks.append)
    with RawServer(answering(*[OK] * 5), tls=True) as server:
        url = f"https://localhost:{server.port}"
        through = make(url, trust=Trust(AUTHORITY))
        assert [through.send(post(url), 5) for _ in range(5)] == [FINE] * 5
        assert (server.connections, len(looks)) == (1, 1)
