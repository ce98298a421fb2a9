"""`WSGIMiddleware`: bodies to their end, and what a server may do with them."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from banyan_hp import context
from banyan_hp.integrations.wsgi import WSGIMiddleware
from banyan_hp.testing import CapturedRecords, capture
from tests.unit.integrations.web_apps import environ, logs, wsgi


@pytest.fixture
def records() -> Iterator[CapturedRecords]:
    with capture() as captured:
        yield captured


def streaming(parts: Iterable[bytes], **options: Any) -> WSGIMiddleware:
    def app(_environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        return parts

    return WSGIMiddleware(app, **options)


def ids(records: CapturedRecords) -> list[str | None]:
    return [record["metadata"].get("request_id") for record in records]


def no_response(_status: str, _headers: object, _error: object = None) -> Any:
    return None


def test_a_stream_is_covered_to_its_end(records: CapturedRecords) -> None:
    """Each part, what stands behind the last one, and `close()`; not the code in between."""

    class Parts:
        def __iter__(self) -> Iterator[bytes]:
            logs()
            yield b"a"
            with context(inner=1):
                yield b"b"
                logs()
            logs()

        def close(self) -> None:
            logs()

    body = iter(streaming(Parts())(environ(x_request_id="r"), no_response))
    for _ in range(3):
        next(body, None)
        logs("outside")
    body.close()  # type: ignore[attr-defined]
    logs("outside")
    inside = [record for record in records if record["input"] == "q"]
    outside = [record for record in records if record["input"] == "outside"]
    assert [record["metadata"]["request_id"] for record in inside] == ["r"] * 4
    assert [record["metadata"] for record in outside] == [{"own": 1}] * 4


def test_two_streams_of_one_thread_keep_their_own(records: CapturedRecords) -> None:
    """As greenlets or a test client may mix them."""

    def parts() -> Iterator[bytes]:
        while True:
            logs()
            yield b"x"

    one = iter(streaming(parts())(environ(x_request_id="1"), no_response))
    other = iter(streaming(parts())(environ(x_request_id="2"), no_response))
    for _ in range(3):
        next(one)
        next(other)
    assert ids(records) == ["1", "2"] * 3


def test_lists_and_the_server_s_files_are_passed_on_as_they_are(records: CapturedRecords) -> None:
    """A server asks the one for its length, and sends the other without reading it."""

    class Wrapper:
        def __init__(self, file: object) -> None:
            self.file = file

        def __iter__(self) -> Iterator[bytes]:
            return iter([b""])

    for body in ([b"ok"], (b"ok",), Wrapper(None)):
        request = {**environ(), "wsgi.file_wrapper": Wrapper}
        assert streaming(body)(request, no_response) is body


def test_an_exception_in_a_stream_is_on_the_interaction(records: CapturedRecords) -> None:
    """And reaches the server."""

    def parts() -> Iterator[bytes]:
        yield b"a"
        raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        wsgi(streaming(parts(), interaction=True), environ("/s"))
    assert [record["metadata"]["error"] for record in records] == ["OSError: disk"]


def test_a_visitor_who_leaves_early_ends_the_interaction(records: CapturedRecords) -> None:
    """By `close()`, or by a server that forgets it."""
    body: Any = streaming(iter([b"a", b"b"]), interaction=True)(environ("/s"), no_response)
    next(body)
    body.close()
    body = streaming(iter([b"a", b"b"]), interaction=True)(environ("/s"), no_response)
    next(body)
    del body
    gc.collect()
    assert [record["metadata"].get("ended") for record in records] == ["closed early"] * 2


def test_a_path_is_text(records: CapturedRecords) -> None:
    """WSGI has its bytes as characters; what is no UTF-8 costs nothing, and a long one is cut."""

    def parts() -> Iterator[bytes]:
        logs()
        yield b""

    for path in ("/caf\u00c3\u00a9", "/\xff", "/" + "x" * 1000):
        wsgi(streaming(parts()), {**environ(path), "SCRIPT_NAME": "/app"})
    recorded = [record["metadata"]["path"] for record in records]
    assert recorded == ["/app/café", "/app/\ufffd", "/app/" + "x" * 195]
