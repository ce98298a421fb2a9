"""What peers and files say reaches people through the filter only: log, errors, quarantine, terminal."""

from __future__ import annotations

import json
import logging
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from banyan_hp import DeliveryError, PromptStackLogger
from banyan_hp.cli.main import main
from banyan_hp.engine.spool.layout import segment_name
from banyan_hp.engine.spool.lines import format_line
from banyan_hp.engine.spool.quarantine import QUARANTINE_NAME
from tests.conftest import MakeLogger
from tests.support.raw import Peer, RawServer
from tests.support.servers import wait_until

KEY = "bn_live_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJK"
HOSTILE = "\x1b]0;owned\x07\x1b[2J\r\nCRITICAL root: all is lost\x9b\u2028\u202e"
Scene = Callable[[Peer], None]


def saying(status: int, body: bytes, *headers: str) -> Scene:
    """The same answer to each request."""
    lines = [f"HTTP/1.1 {status} Said", f"Content-Length: {len(body)}", *headers, "", ""]

    def scene(peer: Peer) -> None:
        while peer.read_request():
            peer.send("\r\n".join(lines).encode("latin-1") + body)

    return scene


def echoing_the_head(peer: Peer) -> None:
    """In the place of an answer: its first line is what the request said of the key."""
    head = peer.read_request()
    key_line = next((line for line in head.split(b"\r\n") if KEY.encode() in line), b"none")
    peer.send(key_line + b"\x1b[2J\x00\r\n\r\n")
    peer.sock.close()


def error_at(before: int) -> bytes:
    return json.dumps({"error": "x" * before + KEY + HOSTILE}).encode()


PEERS: dict[str, Scene] = {
    "an error with the key at the start of the cut": saying(422, error_at(300 - len(KEY) + 1)),
    "an error with the key at the end of the cut": saying(422, error_at(299)),
    "an error of a failing server": saying(500, error_at(20)),
    "a refused key": saying(401, error_at(20)),
    "a plain text": saying(422, (HOSTILE + KEY).encode()),
    "a page": saying(404, f"<h1>{KEY}{HOSTILE}</h1>".encode(), "Content-Type: text/html"),
    "a content type": saying(500, b"", f"Content-Type: text/html; {KEY}\x1b[2J\x9b"),
    "no answer but the request's own header": echoing_the_head,
}


def assert_harmless(text: str) -> None:
    assert KEY[:12] not in text
    assert not [char for char in text if not char.isprintable() and char != "\n"], ascii(text)


@pytest.fixture
def errors() -> list[DeliveryError]:
    return []


@pytest.fixture
def log_at(
    make_logger: MakeLogger, errors: list[DeliveryError], monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], PromptStackLogger]:
    """One record, logged at a backend, and one attempt."""
    monkeypatch.setenv("BANYAN_API_KEY", KEY)

    def log(url: str) -> PromptStackLogger:
        logger = make_logger(url, api_key=KEY, max_retries=0, batching="never", on_error=errors.append)
        assert logger.log_prompt("question", "answer")
        return logger

    return log


@pytest.mark.parametrize("peer", PEERS.values(), ids=PEERS)
def test_nothing_that_a_peer_says_brings_the_key_or_control_characters_anywhere(
    peer: Scene,
    log_at: Callable[[str], PromptStackLogger],
    errors: list[DeliveryError],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The log, `last_error`, `health()`, `on_error`, receipts, the quarantine, and the command line."""
    with caplog.at_level(logging.DEBUG, "banyan_hp"), RawServer(peer) as server:
        logger = log_at(server.url)
        wait_until(lambda: bool(errors), 5.0, lambda: "no error was told of")
        said = [
            *map(str, errors),
            *map(repr, errors),
            json.dumps(logger.health()),
            json.dumps(logger.get_stats()),
        ]
        last_error = logger.get_stats()["last_error"]
        assert last_error
        logger.get_prompt("name")
        logger.shutdown(timeout=5)
        for words in (
            ["ls"],
            ["replay", "--timeout", "1"],
            ["show"],
            ["quarantine", "ls"],
            ["quarantine", "show"],
        ):
            main(["spool", *words])
            captured = capsys.readouterr()
            said += [captured.out, captured.err.replace("\r", "\n").replace("\x1b[K", "")]
    assert len(caplog.records) > 1
    for record in caplog.records:
        assert "\n" not in record.getMessage()
        said.append(record.getMessage())
    for path in tmp_path.rglob("*"):
        if path.is_file():
            said.append(path.read_text("utf-8"))
    for text in said:
        assert_harmless(text)
    for error in [last_error, *map(str, errors)]:
        assert "\n" not in error


def test_a_proxy_that_repeats_its_password_does_not_bring_it_into_errors(
    log_at: Callable[[str], PromptStackLogger], errors: list[DeliveryError], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither as its answer nor in the place of one, neither in plain nor as it travels."""

    def scene(peer: Peer) -> None:
        head = peer.read_request().decode("latin-1")
        line = next(line for line in head.split("\r\n") if line.startswith("Proxy-Authorization"))
        body = f"{line} user:hunter2hunter2".encode()
        peer.send(b"HTTP/1.1 502 Bad\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        peer.sock.close()

    with RawServer(scene) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url.replace("http://", "http://user:hunter2hunter2@"))
        log_at("http://backend.test")
        wait_until(lambda: bool(errors), 5.0, lambda: "no error was told of")
    assert "[secret] [secret]" in str(errors[0])
    assert "hunter2" not in str(errors[0])


# -- files ---------------------------------------------------------------------------------------------------


def sealed(rest: str) -> bytes:
    raw = rest.encode()
    return b'{"crc":"%08x",%s\n' % (zlib.crc32(raw), raw)


def entry(**changed: object) -> bytes:
    fields = {
        "at": 1.5, "from": "record", "reason": "refused", "status": 422, "detail": "d",
        "segment": "s", "id": "a-1", "t": 1.5, "body": {},
    }  # fmt: skip
    return sealed(json.dumps({**fields, **changed}, separators=(",", ":"), ensure_ascii=False)[1:])


@pytest.mark.usefixtures("no_collection")
def test_nothing_that_stands_in_files_harms_a_terminal_or_shows_a_traceback(
    log_at: Callable[[str], PromptStackLogger], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ids, reasons, times, bodies and URLs with a right CRC and nonsense inside, for every command."""
    with RawServer() as gone:
        pass
    log_at(gone.url).shutdown(timeout=5)
    (directory,) = (tmp_path / "state" / "spool").iterdir()
    segment = directory / segment_name(1_767_225_600.0, "dead", 0)
    body = json.dumps({"a": "\x9b\u2028\u202e\x7f"}, ensure_ascii=False).encode()
    segment.write_bytes(
        format_line(0, "dead-0", 1.5, body)
        + sealed(f'"n":1,"id":{json.dumps(HOSTILE)},"t":1.500000,"body":{{}}}}')
        + sealed('"n":-2,"id":"a","t":NaN,"body":{}}')
        + sealed('"n":3,"id":"a","t":1e20,"body":\x1b[2J}')
        + b"\xff\x1b[2J\n"
    )
    odd = [
        entry(id=HOSTILE), entry(reason=HOSTILE), entry(detail=HOSTILE), entry(segment=HOSTILE),
        entry(t=1e20), entry(at=-1), entry(status="\x1b"), entry(status=[]), entry(id=["a"]),
        entry(body={"a": "\x9b\u2028"}), sealed('"at":' + "[" * 100_000),
    ]  # fmt: skip
    (directory / QUARANTINE_NAME).write_bytes(b"".join(odd))
    other = directory.with_name("0123456789abcdef-01234567")
    other.mkdir(0o700)
    hostile_address = {"client": ["banyan"], "base_url": HOSTILE, "project": HOSTILE, "key_fingerprint": 7}
    (other / "destination.v1.json").write_text(json.dumps(hostile_address))
    (other / segment.name).write_bytes(format_line(0, "dead-0", 1.5, body))
    commands = [
        "ls",
        "show",
        "replay --timeout 1",
        "quarantine ls",
        "quarantine show",
        "quarantine requeue --all",
    ]
    for command in [*commands, "show", "ls", "quarantine purge --yes", "purge --yes"]:
        for words in (command, f"{command} --json"):
            if "--json" in words and command.split()[-1] not in ("ls", "show"):
                continue
            main(["spool", *words.split()])
            captured = capsys.readouterr()
            assert_harmless(captured.out)
            assert_harmless(captured.err)
            assert "Traceback" not in captured.err
