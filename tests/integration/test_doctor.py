"""`banyan-hp doctor` against good and bad backends and directories: what it prints; it writes nothing."""

from __future__ import annotations

import json
import os
import re
import ssl
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from banyan_hp.cli.main import main
from banyan_hp.destinations.huggingplace import HuggingPlaceDestination
from tests.conftest import MakeLogger
from tests.support.backend import Backend
from tests.support.raw import AUTHORITY, TLS_FILES, Peer, RawServer, answering
from tests.support.scripted import ScriptedServer
from tests.support.scripted_answers import Redirect, Reply, batching

KEY = "psk_very_secret_key"
OTHER_KEY = "psk_another_one"
OF_THE_MACHINE = ("free space", "file system", "Python", "packages", "orjson")


def accepted() -> bytes:
    """A response that accepts whatever was asked, with the time of this machine."""
    head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 14\r\n"
    return f'{head}Date: {formatdate(usegmt=True)}\r\n\r\n{{"accepted":0}}'.encode()


class Doctor:
    """Runs the command with an environment of its own, and keeps what it printed."""

    def __init__(self, capsys: pytest.CaptureFixture[str], directory: Path) -> None:
        self._capsys = capsys
        self._directory = directory
        self.code = -1

    def text(self, *arguments: str) -> str:
        self._capsys.readouterr()
        self.code = main(["doctor", *arguments])
        said = self._capsys.readouterr()
        assert said.err == ""
        assert KEY not in said.out
        return said.out

    def lines(self, *arguments: str) -> list[str]:
        """Without what differs between machines, ports and moments."""
        text = self.text(*arguments).replace(str(self._directory), "TMP")
        text = re.sub(r"(127\.0\.0\.1|localhost):\d+", r"\1:PORT", text)
        text = re.sub(r"[\d.]+ ms", "MS", text)
        text = re.sub(r"localhost is [\d.:, ]+", "localhost is 127.0.0.1", text)  # and perhaps ::1
        return [
            line
            for line in text.splitlines()
            if not line[2:].startswith(tuple(f"{t}:" for t in OF_THE_MACHINE))
        ]

    def checks(self, *arguments: str) -> dict[str, dict[str, str]]:
        """By topic, from the JSON; of a repeated topic the last."""
        found: dict[str, Any] = json.loads(self.text(*arguments, "--json"))
        assert found["ok"] == (self.code == 0)
        return {check["topic"]: check for check in found["checks"]}


@pytest.fixture
def doctor(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Doctor:
    monkeypatch.setenv("BANYAN_API_KEY", KEY)
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    return Doctor(capsys, tmp_path)


@pytest.fixture(scope="module")
def backend() -> Iterator[Backend]:
    with Backend(api_keys=(KEY,)) as running:
        yield running
        assert running.count() == 0
        assert running.interactions_count() == 0


@pytest.fixture
def dead_url() -> str:
    with ScriptedServer() as gone:
        return gone.url


def settings(variable: str = "--base-url", base_url: str = "http://127.0.0.1:PORT") -> list[str]:
    return [
        "✓ client: banyan (default; --client chooses)",
        "✓ api_key: psk_***, 19 characters, fingerprint a126325787964f6b (environment: BANYAN_API_KEY)",
        f"✓ base_url: {base_url} ({variable})",
        "✓ project_id: none (default)",
    ]


REACHED = [
    "✓ proxy: none",
    "✓ name resolution: 127.0.0.1 is 127.0.0.1",
    "✓ connection: 127.0.0.1:PORT in MS",
    "✓ TLS: not used (http:// on this machine)",
]
NO_WAY = "not checked: there is no way to the backend"
GOOD_SPOOL = [
    "✓ spool: TMP/state can be written to (environment: BANYAN_HP_SPOOL_DIR)",
    "✓ backlog: nothing waits to be sent",
]


# -- the backend ---------------------------------------------------------------------------------------------


def test_a_good_backend(doctor: Doctor, backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is well: exit code 0, and the environment is named as the source."""
    monkeypatch.setenv("BANYAN_BASE_URL", backend.url)
    assert doctor.lines() == [
        *settings("environment: BANYAN_BASE_URL"),
        *REACHED,
        "✓ key: accepted",
        "✓ batches: yes, compressed",
        "✓ clock: within 5 s of the backend's",
        *GOOD_SPOOL,
        "nothing is wrong",
    ]
    assert doctor.code == 0


def test_a_good_backend_of_huggingplace(
    doctor: Doctor, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chosen by its key; an empty batch says that the key is accepted."""
    monkeypatch.delenv("BANYAN_API_KEY")
    monkeypatch.setenv("HUGGINGPLACE_API_KEY", KEY)
    monkeypatch.setenv("HUGGINGPLACE_ORG_ID", "acme")
    lines = doctor.lines("--base-url", backend.url)
    assert lines[0] == "✓ client: huggingplace (HUGGINGPLACE_API_KEY is set; --client chooses)"
    assert lines[3:5] == ["✓ org_id: acme (environment: HUGGINGPLACE_ORG_ID)", "✓ mode: prod (default)"]
    assert lines[9:12] == [
        "✓ key: accepted",
        "✓ batches: yes, compressed",
        "✓ clock: within 5 s of the backend's",
    ]
    assert doctor.code == 0


def test_a_dead_port(doctor: Doctor, dead_url: str) -> None:
    """What lies behind the connection is not checked, and that is no further fault."""
    assert doctor.lines("--base-url", dead_url) == [
        *settings(),
        *REACHED[:2],
        "✗ connection: 127.0.0.1:PORT: Connection refused. Does it run there, and are host and port in "
        "base_url right? Records wait on disk meanwhile.",
        *(f"- {topic}: {NO_WAY}" for topic in ("TLS", "key", "batches", "clock")),
        *GOOD_SPOOL,
        "1 thing is wrong",
    ]
    assert doctor.code == 1


def test_a_wrong_path(doctor: Doctor, backend: Backend) -> None:
    """The whole URL that was asked for and the status show where the mistake is."""
    assert doctor.lines("--base-url", f"{backend.url}/v1") == [
        *settings(base_url="http://127.0.0.1:PORT/v1"),
        *REACHED,
        "✗ key: this is not the API: GET http://127.0.0.1:PORT/v1/api/auth/validate: 404 Not Found: GET "
        "/v1/api/auth/validate. base_url must be the backend's root, without a path of its API; or a proxy "
        "is in the way.",
        "- batches: not checked: needs a key that is accepted",
        "✓ clock: within 5 s of the backend's",
        *GOOD_SPOOL,
        "1 thing is wrong",
    ]
    assert doctor.code == 1


def test_a_refused_key(doctor: Doctor) -> None:
    """A backend that repeats the key is not repeated; the variable that has the key is named."""
    with ScriptedServer(lambda _request: Reply(401, {"error": f"no such key: {KEY}"})) as server:
        lines = doctor.lines("--base-url", server.url)
    assert lines == [
        *settings(),
        *REACHED,
        "✗ key: refused: GET http://127.0.0.1:PORT/api/auth/validate: 401 no such key: [secret]. "
        "BANYAN_API_KEY must be a key of the backend at http://127.0.0.1:PORT. "
        "Records wait on disk meanwhile.",
        "- batches: not checked: needs a key that is accepted",
        "- clock: not checked: the backend's responses have no Date",
        *GOOD_SPOOL,
        "1 thing is wrong",
    ]
    assert doctor.code == 1


def self_signed(peer: Peer) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(TLS_FILES / "self-signed.pem")
    peer.sock = context.wrap_socket(peer.sock, server_side=True)
    peer.read_request()


def test_a_self_signed_certificate(doctor: Doctor) -> None:
    """OpenSSL's own words, and how to trust it."""
    with RawServer(self_signed) as server:
        lines = doctor.lines("--base-url", f"https://localhost:{server.port}")
    assert lines == [
        *settings(base_url="https://localhost:PORT"),
        "✓ ca_bundle: the system's certificates (default)",
        "✓ proxy: none",
        "✓ name resolution: localhost is 127.0.0.1",
        "✓ connection: localhost:PORT in MS",
        "✗ TLS: self-signed certificate. If it is your own authority's, pass "
        "ca_bundle='its-certificate.pem' or set REQUESTS_CA_BUNDLE.",
        *(f"- {topic}: {NO_WAY}" for topic in ("key", "batches", "clock")),
        *GOOD_SPOOL,
        "1 thing is wrong",
    ]
    assert doctor.code == 1


def test_a_trusted_certificate(doctor: Doctor) -> None:
    """With its authority's certificate all is well; the end of its validity is shown."""
    with RawServer(answering(accepted()), tls=True) as server:
        url = server.url.replace("127.0.0.1", "localhost")
        checks = doctor.checks("--base-url", url, "--ca-bundle", str(AUTHORITY))
    assert re.fullmatch(
        r"TLSv1\.\d, the certificate is trusted and valid until 2126-\d\d-\d\d", checks["TLS"]["found"]
    )
    assert checks["ca_bundle"]["found"] == f"{AUTHORITY} (--ca-bundle)"
    assert {checks[topic]["state"] for topic in ("TLS", "key", "batches", "clock")} == {"good"}


def without_tls(peer: Peer) -> None:
    peer.sock.recv(1)
    peer.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    peer.wait_for_end()


def test_an_unknown_authority_and_a_port_without_tls(doctor: Doctor) -> None:
    """Two more ways in which TLS fails, each with its own advice."""
    with RawServer(answering(accepted()), tls=True) as server:
        unknown = doctor.checks("--base-url", server.url)["TLS"]
    assert "issuer" in unknown["found"]
    assert "REQUESTS_CA_BUNDLE" in unknown["advice"]
    with RawServer(without_tls) as plain:
        spoken = doctor.checks("--base-url", plain.url.replace("http:", "https:"))["TLS"]
    assert spoken["state"] == "wrong"
    assert spoken["advice"] == "The port does not speak TLS: is it an http:// URL?"


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (Reply(503, {"error": "maintenance"}), "the backend is unwell: "),
        (Redirect("https://elsewhere.example/"), "this is not the API: "),
        (Reply(200, b"<html>sign in</html>", {"Content-Type": "text/html"}), "this is not the API: "),
        (Reply(403, {"error": "not this project"}), "refused: "),
    ],
)
def test_other_responses_to_the_key_check(doctor: Doctor, answer: Reply | Redirect, found: str) -> None:
    """As delivery would take them: unwell, in the way, refused."""
    with ScriptedServer(lambda _request: answer) as server:
        check = doctor.checks("--base-url", server.url)["key"]
    assert check["state"] == "wrong"
    assert check["found"].startswith(found)


def test_only_the_key_check_and_an_empty_batch_are_sent(doctor: Doctor) -> None:
    """No request carries a record."""
    with ScriptedServer(batching()) as server:
        doctor.text("--base-url", server.url)
        doctor.text("--base-url", server.url, "--client", "huggingplace", "--api-key", KEY, "--org-id", "o")
    sent = [(request.method, request.route, request.body) for request in server.requests]
    assert all(body in (b"", b'{"records":[]}') for _, _, body in sent)
    assert [method for method, _, _ in sent] == ["GET", "POST", "POST", "POST"]


def test_a_backend_of_huggingplace_s_kind_without_batches(doctor: Doctor) -> None:
    """Its key can't be checked, and it is no fault; a wrong path would look the same, which is said."""
    arguments = ("--client", "huggingplace", "--api-key", KEY, "--org-id", "o")
    with ScriptedServer(lambda _request: Reply(404, {"error": "no such path"})) as server:
        checks = doctor.checks("--base-url", server.url, *arguments)
    assert checks["key"]["state"] == "note"
    assert checks["key"]["found"].startswith(
        "not checked, no call checks a key without writing a record here"
    )
    assert checks["key"]["advice"] == "If nothing arrives, look at the path in base_url first."
    assert doctor.code == 0


def test_a_hosted_service_gets_no_batch_and_its_key_is_not_checked_by_a_record(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HuggingPlace's hosted backend has no call for that: it is asked for a page, without a key."""
    monkeypatch.setattr(HuggingPlaceDestination, "hosted", frozenset({"127.0.0.1"}))
    arguments = ("--client", "huggingplace", "--api-key", KEY, "--org-id", "o")
    with ScriptedServer(lambda _request: Reply(404, b"", {"Date": formatdate(usegmt=True)})) as server:
        checks = doctor.checks("--base-url", server.url, *arguments)
    (request,) = server.requests
    assert (request.method, request.route) == ("HEAD", "/")
    assert KEY not in repr(dict(request.headers))
    assert checks["key"]["state"] == "not checked"
    assert checks["clock"]["state"] == "good"
    assert doctor.code == 0


@pytest.mark.parametrize(("seconds", "way"), [(-300, "ahead of"), (300, "behind")])
def test_a_clock_that_is_wrong(doctor: Doctor, seconds: int, way: str) -> None:
    """By the backend's Date."""
    date = formatdate(time.time() + seconds, usegmt=True)
    with ScriptedServer(lambda _request: Reply(200, {"accepted": 0}, {"Date": date})) as server:
        check = doctor.checks("--base-url", server.url)["clock"]
    assert check["state"] == "wrong"
    assert re.fullmatch(rf"this machine's clock is (299|30\d) s {way} the backend's", check["found"])


def test_a_name_that_nobody_knows(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    """The host is named; the system's words say why."""

    def getaddrinfo(*_arguments: object, **_options: object) -> list[object]:
        raise OSError(-2, "Name or service not known")

    monkeypatch.setattr("socket.getaddrinfo", getaddrinfo)
    check = doctor.checks("--base-url", "http://backend.invalid")["name resolution"]
    assert check["found"] == "backend.invalid: Name or service not known"


def test_a_resolver_that_does_not_answer(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has a deadline, which the system does not offer."""
    monkeypatch.setattr("socket.getaddrinfo", lambda *_a, **_o: time.sleep(1.0))
    check = doctor.checks("--base-url", "http://backend.invalid", "--timeout", "0.05")["name resolution"]
    assert check["found"] == "backend.invalid: no answer within 0.05 s"


# -- proxies -------------------------------------------------------------------------------------------------


def test_a_proxy_is_named_with_its_variable_and_without_its_password(
    doctor: Doctor, dead_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what is connected to is the proxy."""
    monkeypatch.setenv("HTTP_PROXY", dead_url.replace("http://", "http://ada:pass-word-1@"))
    text = doctor.text("--base-url", "http://backend.example")
    assert "pass-word-1" not in text
    assert f"@{dead_url.partition('//')[2]} (environment: HTTP_PROXY)" in text
    assert "host and port in the proxy's URL right?" in text


def test_a_proxy_that_refuses_the_way(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tunnel to an https:// backend: the proxy's status is shown."""
    refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
    with RawServer(answering(refusal)) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        check = doctor.checks("--base-url", "https://backend.example")["TLS"]
    assert check["state"] == "wrong"
    assert check["found"].startswith("the proxy refuses the way: ")
    assert "407" in check["found"]


def test_a_proxy_that_cant_be_used(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scheme that nobody speaks."""
    monkeypatch.setenv("HTTP_PROXY", "gopher://127.0.0.1:70")
    check = doctor.checks("--base-url", "http://backend.example")["proxy"]
    assert check["state"] == "wrong"
    assert "gopher" in check["found"]


# -- settings ------------------------------------------------------------------------------------------------


def test_a_missing_key_is_named_and_the_rest_is_still_checked(
    doctor: Doctor, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The way to the backend is as good without it."""
    monkeypatch.delenv("BANYAN_API_KEY")
    checks = doctor.checks("--base-url", backend.url)
    assert checks["api_key"]["advice"] == "Set BANYAN_API_KEY, or pass api_key= in your code."
    assert checks["key"] == {
        "topic": "key",
        "state": "not checked",
        "found": "not checked: no key is set",
        "advice": "",
    }
    assert checks["connection"]["state"] == "good"


@pytest.mark.parametrize("where", ["BANYAN_BASE_URL", "BANYAN_PROJECT_ID"])
def test_a_key_in_the_wrong_variable_is_not_shown(
    where: str, doctor: Doctor, dead_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The most likely mistake with two variables."""
    monkeypatch.setenv("BANYAN_BASE_URL", dead_url)
    monkeypatch.setenv(where, KEY)
    monkeypatch.setenv("BANYAN_API_KEY", "something-else")
    text = doctor.text()  # which looks for the key
    assert doctor.code == 1
    assert "! api_key: ***, 14 characters" in text or "✗ settings: base_url" in text


def test_settings_that_cant_be_used_are_said_in_the_library_s_words(doctor: Doctor) -> None:
    """The network is not checked then, the disk is."""
    checks = doctor.checks("--base-url", "backend.example")
    assert checks["settings"]["found"].startswith("base_url must be")
    assert checks["network"]["state"] == "not checked"
    assert checks["spool"]["state"] == "good"


def test_a_misspelt_variable_and_one_that_switches_logging_off(
    doctor: Doctor, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first is worth knowing, the second is why nothing arrives."""
    monkeypatch.setenv("BANYAN_PROJEKT_ID", "p")
    monkeypatch.setenv("BANYAN_HP_DISABLED", "1")
    lines = doctor.lines("--base-url", backend.url)
    assert lines[1] == "! environment: nothing reads BANYAN_PROJEKT_ID. Did you mean BANYAN_PROJECT_ID?"
    assert lines[2].startswith("✗ enabled: BANYAN_HP_DISABLED switches logging off")


# -- the disk ------------------------------------------------------------------------------------------------


def test_an_unwritable_spool(
    doctor: Doctor, backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file is in the way, which stops root, too."""
    monkeypatch.setenv("BANYAN_BASE_URL", backend.url)
    (tmp_path / "state").mkdir(mode=0o700)
    (tmp_path / "state" / "spool").touch()
    assert doctor.lines()[11:] == [
        "✗ spool: TMP/state (environment: BANYAN_HP_SPOOL_DIR): TMP/state/spool is not a directory of its "
        "own (a symbolic link?). Without it, records are kept in memory only: make it writable, or name "
        "another directory with BANYAN_HP_SPOOL_DIR or spool_dir=.",
        "✗ backlog: TMP/state/spool can't be listed: Not a directory",
        "2 things are wrong",
    ]
    assert doctor.code == 1


AS_NOBODY = """
import os, sys
from banyan_hp.cli.main import main
os.environ["BANYAN_HP_SPOOL_DIR"] = sys.argv[2]
main(["doctor", "--base-url", sys.argv[1]])  # imports what it needs, while everything can be read
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
os.environ["BANYAN_HP_SPOOL_DIR"] = sys.argv[3]
print("as nobody")
sys.exit(main(["doctor", "--base-url", sys.argv[1]]))
"""


def test_a_spool_without_the_right_to_write(dead_url: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """As another user than root, whom nothing stops."""
    base = tmp_path_factory.mktemp("spool")
    locked = base / "locked"
    locked.mkdir()
    locked.chmod(0o555)
    for parent in [base, *base.parents][:3]:
        parent.chmod(parent.stat().st_mode | stat.S_IXOTH | stat.S_IXGRP)
    arguments = [sys.executable, "-c", AS_NOBODY, dead_url, str(base / "mine"), str(locked)]
    ran = subprocess.run(
        arguments, env={**os.environ, "BANYAN_API_KEY": KEY}, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 1, ran.stderr
    said = ran.stdout.partition("as nobody\n")[2]
    assert f"✗ spool: {locked} (environment: BANYAN_HP_SPOOL_DIR): Permission denied. " in said


def test_a_read_only_spool(doctor: Doctor, dead_url: str, tmp_path: Path) -> None:
    """A mount that can't be written to: the system's words."""
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    script = 'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && shift && exec "$@"'
    doctor_there = [
        sys.executable,
        "-m",
        "banyan_hp",
        "doctor",
        "--base-url",
        dead_url,
        "--dir",
        str(mounted),
    ]
    command = ["unshare", "--mount", "sh", "-c", script, "sh", str(mounted), *doctor_there]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("needs unshare")
    if not ran.stdout:
        pytest.skip(f"needs the right to mount: {ran.stderr}")
    assert f"✗ spool: {mounted} (--dir): Read-only file system. " in ran.stdout


def test_what_waits_is_said_by_destination(
    doctor: Doctor, dead_url: str, make_logger: MakeLogger, tmp_path: Path
) -> None:
    """Ours is sent by the next process; that of a key nobody uses is wrong; another backend's is its own."""
    for key, url in ((KEY, dead_url), (OTHER_KEY, dead_url), (KEY, "http://127.0.0.1:9")):
        logger = make_logger(url, api_key=key, max_retries=0)
        for number in range(3):
            logger.log_prompt(input=f"private {number}", output="x")
        logger.shutdown(timeout=5)
    text = doctor.text("--base-url", dead_url)
    assert "private" not in text
    backlogs = sorted(re.sub(r"[0-9a-f]{16}-", "", line) for line in text.splitlines() if "backlog" in line)
    ours, another, unused = backlogs
    assert "3 records in 1 segment" in ours
    assert ours.endswith("0s old. The next process sends it, or `banyan-hp spool replay`.")
    assert another.endswith("Another destination: its own application sends it.")
    assert unused.startswith("✗ ")
    assert "nobody uses this key. Pass the old key in previous_keys= " in unused
    assert "`banyan-hp spool replay --from-key " in unused
    logger = make_logger(dead_url, api_key=OTHER_KEY, max_retries=0)
    logger.log_prompt(input="again", output="x")
    logger.flush(timeout=5)  # a running application holds its segment
    held = [line for line in doctor.text("--base-url", dead_url).splitlines() if "running" in line]
    assert len(held) == 1
    assert held[0].startswith("✓ backlog: ")


def test_other_destinations_are_one_line(doctor: Doctor, dead_url: str, make_logger: MakeLogger) -> None:
    """On a machine with many applications; `--all` has one for each."""
    for port in (9, 10, 11):
        logger = make_logger(f"http://127.0.0.1:{port}", api_key=KEY, max_retries=0)
        logger.log_prompt(input="q", output="x")
        logger.shutdown(timeout=5)
    (line,) = [each for each in doctor.text("--base-url", dead_url).splitlines() if "backlog" in each]
    assert line == (
        "! backlog: 3 other destinations have records waiting or in quarantine. "
        "Their own applications send them; --all shows each."
    )
    every = doctor.text("--base-url", dead_url, "--all")
    assert every.count("Another destination: its own application sends it.") == 3


def test_it_leaves_nothing_on_the_disk(doctor: Doctor, dead_url: str, tmp_path: Path) -> None:
    """Not even the directories that delivery would make."""
    doctor.text("--base-url", dead_url)
    assert not list(tmp_path.iterdir())


# -- how it is shown -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_signs_that_the_terminal_has(encoding: str, dead_url: str) -> None:
    """Words where stdout can't encode the signs."""
    ran = subprocess.run(
        [sys.executable, "-m", "banyan_hp", "doctor", "--base-url", dead_url],
        env={**os.environ, "PYTHONIOENCODING": encoding}, capture_output=True, check=False,
    )  # fmt: skip
    assert (ran.returncode, ran.stderr) == (1, b"")
    lines = ran.stdout.decode(encoding).splitlines()
    good, bad = ("✓ ", "✗ ") if encoding == "utf-8" else ("ok    ", "WRONG ")
    assert any(line.startswith(f"{good}client: ") for line in lines)
    assert any(line.startswith(f"{bad}connection: ") for line in lines)


def test_the_machine_s_lines(doctor: Doctor, dead_url: str) -> None:
    """Versions, orjson, space, file system."""
    checks = doctor.checks("--base-url", dead_url)
    assert checks["Python"]["found"].endswith(f"{sys.version.split()[0]}, {sys.platform}")
    assert re.search(r"requests \d", checks["packages"]["found"])
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", checks["orjson"]["found"])
    assert "spool_max_bytes" in checks["free space"]["found"]
    assert checks["file system"]["found"]


def test_the_guide_shows_what_it_prints(
    doctor: Doctor, dead_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page's example, but for what differs between machines."""
    page = (Path(__file__).parents[2] / "banyan_hp" / "guide" / "cli.md").read_text("utf-8")
    example = page.partition("$ banyan-hp doctor\n")[2].partition("```")[0].splitlines()
    monkeypatch.setenv("BANYAN_API_KEY", "psk_local")
    monkeypatch.setenv("BANYAN_BASE_URL", dead_url)
    monkeypatch.delenv("BANYAN_HP_SPOOL_DIR")
    monkeypatch.setattr("platformdirs.user_state_path", lambda name: tmp_path / name)
    lines = doctor.lines()
    shown = [line.replace(":8787", ":PORT").replace("/home/ada/.local/state", "TMP") for line in example]
    assert [line for line in shown if not line[2:].startswith(OF_THE_MACHINE)] == lines
    assert len(shown) == len(lines) + len(OF_THE_MACHINE)


def test_a_reader_that_has_seen_enough_ends_it_quietly(dead_url: str) -> None:
    """`banyan-hp doctor | head -1` prints no traceback."""
    command = '"$0" -m banyan_hp doctor --base-url "$1" | head -n 1; exit "${PIPESTATUS[0]}"'
    ran = subprocess.run(
        ["bash", "-c", command, sys.executable, dead_url], capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")


def test_it_needs_no_extra(dead_url: str) -> None:
    """Nor orjson, whose absence is worth knowing and no fault."""
    program = """
import sys
for module in ("starlette", "uvicorn", "orjson"):
    sys.modules[module] = None
from banyan_hp.cli.main import main
sys.exit(main(["doctor", "--base-url", sys.argv[1]]))
"""
    ran = subprocess.run(
        [sys.executable, "-c", program, dead_url], capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stderr) == (1, "")
    assert "! orjson: not installed; the standard library encodes" in ran.stdout
