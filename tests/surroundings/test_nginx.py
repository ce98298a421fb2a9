"""The real nginx between the client and its backend: its limits, its reloads, its own answers."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.conftest import MakeLogger
from tests.support.backend import Backend
from tests.support.patience import eventually
from tests.support.proxies import nginx
from tests.support.raw import AUTHORITY, TLS_FILES
from tests.support.scripted import ScriptedServer
from tests.support.scripted_answers import batching
from tests.support.servers import Arrivals, free_port
from tests.surroundings.conftest import Deliver, Stream, log

BATCHED_OR_NOT = pytest.mark.parametrize("batches", ["auto", "never"])
CLIENT_CERT = TLS_FILES / "client.pem"  # signed by itself
WANTS_CERTIFICATE = f"ssl_client_certificate {CLIENT_CERT}; ssl_verify_client on;"


@BATCHED_OR_NOT
def test_through_nginx(backend: Backend, deliver: Deliver, tmp_path: Path, batches: str) -> None:
    """Each record arrives once, in compressed batches and in single requests."""
    with nginx(tmp_path, backend.port) as proxy:
        stats = deliver(proxy.url, 100, batching=batches, compression="always")
    assert stats["attempts_failed"] == 0


def test_tls_ended_by_nginx(backend: Backend, deliver: Deliver, tmp_path: Path) -> None:
    """Behind nginx's TLS, with a client certificate that it asks for, each record arrives once."""
    with nginx(tmp_path, backend.port, WANTS_CERTIFICATE, tls=True) as proxy:
        url = f"https://127.0.0.1:{proxy.port}"
        deliver(url, 20, ca_bundle=AUTHORITY, client_cert=CLIENT_CERT)


@BATCHED_OR_NOT
def test_reload_under_load(
    backend: Backend, arrivals: Arrivals, make_logger: MakeLogger, tmp_path: Path, batches: str
) -> None:
    """`nginx -s reload` while records are under way loses none, repeats none, and counts as no failure."""
    with nginx(tmp_path, backend.port) as proxy:
        logger = make_logger(proxy.url, batching=batches, flush_interval=0.01)
        with Stream(logger, arrivals) as stream:
            for _ in range(4):
                proxy.reload()
        assert logger.flush(timeout=10)
    arrivals.expect(range(stream.logged))
    assert logger.get_stats()["attempts_failed"] == 0


@BATCHED_OR_NOT
@pytest.mark.parametrize("setting", ["keepalive_requests 3;", "keepalive_timeout 0;"])
def test_recycled_connections(
    backend: Backend,
    deliver: Deliver,
    tmp_path: Path,
    setting: str,
    batches: str,
) -> None:
    """Connections that nginx closes after a few requests, or after each, cost no record and no failure."""
    with nginx(tmp_path, backend.port, setting) as proxy:
        stats = deliver(proxy.url, 200, batching=batches, batch_size=10)
    assert stats["attempts_failed"] == 0


def test_connections_closed_while_idle(
    backend: Backend, arrivals: Arrivals, make_logger: MakeLogger, tmp_path: Path
) -> None:
    """Connections that nginx closes at about the moment of the next request cost no record and no failure."""
    with nginx(tmp_path, backend.port, "keepalive_timeout 50ms;") as proxy:
        logger = make_logger(proxy.url)
        for number in range(20):
            log(logger, arrivals, [number])
            assert logger.flush(timeout=10)
            time.sleep(0.05)  # a race is meant: nginx is closing now, or has closed, or not yet
    arrivals.expect(range(20))
    assert logger.get_stats()["attempts_failed"] == 0


def test_small_client_max_body_size(backend: Backend, deliver: Deliver, tmp_path: Path) -> None:
    """A batch that nginx refuses as too large (413) is halved until it passes."""
    with nginx(tmp_path, backend.port, "client_max_body_size 8k;") as proxy:
        deliver(proxy.url, 100)


def test_backend_down_behind_nginx(arrivals: Arrivals, make_logger: MakeLogger, tmp_path: Path) -> None:
    """While nginx answers 502 for a backend that is down records wait; they arrive once it is up."""
    port = free_port()
    with nginx(tmp_path, port) as proxy:
        logger = make_logger(proxy.url)
        log(logger, arrivals, range(20))
        eventually(lambda: "502" in str(logger.get_stats()["last_error"]), "the error of nginx")
        with ScriptedServer(batching(), port=port) as node:
            eventually(lambda: logger.flush(timeout=2), "the delivery")
            assert len(set(node.ids())) == 20
    assert logger.get_stats()["logs_quarantined"] == 0


@pytest.mark.parametrize(
    ("scheme", "settings", "words"),
    [("http", "", "plain HTTP request"), ("https", WANTS_CERTIFICATE, "SSL certificate")],
    ids=["http to a TLS port", "no client certificate"],
)
def test_pages_of_nginx(
    backend: Backend,
    arrivals: Arrivals,
    make_logger: MakeLogger,
    tmp_path: Path,
    scheme: str,
    settings: str,
    words: str,
) -> None:
    """A 400 with nginx's own page refuses no record: all stay, and the error says what came."""
    with nginx(tmp_path, backend.port, settings, tls=True) as proxy:
        logger = make_logger(f"{scheme}://127.0.0.1:{proxy.port}", ca_bundle=AUTHORITY)
        log(logger, arrivals, range(3))
        assert not logger.flush(timeout=2)
        stats = logger.get_stats()
    assert stats["logs_quarantined"] == 0
    assert stats["state"] == "misconfigured"
    assert "400" in str(stats["last_error"])
    assert words in str(stats["last_error"])


@pytest.mark.parametrize("status", [400, 403, 415])
def test_compressed_bodies_refused(backend: Backend, deliver: Deliver, tmp_path: Path, status: int) -> None:
    """Where nginx refuses compressed bodies records go uncompressed."""
    refusal = f'if ($http_content_encoding = "gzip") {{ return {status}; }}'
    with nginx(tmp_path, backend.port, refusal) as proxy:
        deliver(proxy.url, 20, compression="always")
