"""What is read of a response is what the standard library reads of the same bytes, however they arrive."""

from __future__ import annotations

import errno
import gzip
import http.client
import io
import socket
import tracemalloc
import zlib
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

import pytest
import urllib3
from hypothesis import example, given, settings
from hypothesis import strategies as st
from urllib3.exceptions import DecodeError, HTTPError, ProtocolError

from banyan_hp.engine.http.exchange import Message, exchange
from banyan_hp.engine.http.response import MAX_RESPONSE_BYTES, Received

QUICK = settings(max_examples=300, deadline=None)
THOROUGH = settings(max_examples=1000, deadline=None)
MAPPED = (HTTPError, http.client.HTTPException, OSError, ValueError)
TOKEN = st.text("abcXYZ019-_!#$%&'*+.^`|~", min_size=1, max_size=12)
VALUE = st.text(
    st.characters(min_codepoint=0x21, max_codepoint=0xFF, exclude_characters="\x7f\x85\xa0"), max_size=20
)
BLANK = st.sampled_from(["", " ", "\t", "  \t "])
FRAMINGS = ["length", "chunks", "end"]


class Wire:
    """As much of a socket as an exchange uses: segments, then the end of the connection, or nothing.

    Reading on where a real socket would wait for ever fails the test.
    """

    broken: OSError | None = None

    def __init__(self, segments: list[bytes], *, closes: bool, resets: bool = False) -> None:
        self.resets = resets
        self._segments = [segment for segment in segments if segment]
        self._closes = closes

    def settimeout(self, seconds: float) -> None:
        assert seconds > 0

    def sendall(self, content: bytes) -> None:
        assert content
        if self.broken is not None:
            raise self.broken

    def recv(self, most: int) -> bytes:
        if not self._segments:
            assert self._closes, "waits for what will not come"
            if self.resets:
                raise ConnectionResetError("reset")
            return b""
        segment = self._segments.pop(0)
        if len(segment) > most:
            self._segments.insert(0, segment[most:])
        return segment[:most]

    def recv_into(self, buffer: Any) -> int:
        content = self.recv(len(buffer))
        buffer[: len(content)] = content
        return len(content)


class Whole:
    """All of a response at once, as http.client wants it."""

    def __init__(self, content: bytes) -> None:
        self.makefile: Callable[[str], io.BytesIO] = lambda _mode: io.BytesIO(content)


@dataclass(frozen=True)
class Read:
    status: int
    headers: dict[str, str]
    body: bytes


def by_http_client(content: bytes, method: str) -> Read:
    response = http.client.HTTPResponse(cast("socket.socket", Whole(content)), method=method)
    response.begin()
    body = response.read()
    return Read(response.status, {name.lower(): value for name, value in response.getheaders()}, body)


def by_us(segments: list[bytes], method: str = "POST", *, closes: bool = True) -> Received:
    wire = cast("socket.socket", Wire(segments, closes=closes))
    return exchange(wire, Message(method, b"head", b"body"), 3600.0, is_tls=False)


def cut(content: bytes, at: list[int]) -> list[bytes]:
    places = sorted({place % (len(content) + 1) for place in at})
    return [content[a:b] for a, b in zip([0, *places], [*places, len(content)], strict=True)]


def raw_deflate(content: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(content) + packer.flush()


def chunked(body: bytes, at: list[int]) -> bytes:
    chunks = [b"%x\r\n%b\r\n" % (len(part), part) for part in cut(body, at) if part]
    return b"".join([*chunks, b"0\r\n\r\n"])


@st.composite
def responses(draw: st.DrawFn) -> tuple[bytes, str, bool]:
    """A well-formed response, the method of its request, and whether its end is that of the connection."""
    method = draw(st.sampled_from(["POST", "POST", "GET", "HEAD"]))
    status = draw(st.sampled_from([200, 200, 201, 202, 204, 304, 400, 413, 429, 500, 503, 599, 600, 999]))
    version = draw(st.sampled_from(["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0"]))
    bodiless = status in (204, 304)
    framing = draw(st.sampled_from(FRAMINGS[:: 2 if bodiless else 1]))
    body = b"" if bodiless or method == "HEAD" else draw(st.binary(max_size=200))
    lines = draw(st.lists(st.tuples(TOKEN, BLANK, VALUE, BLANK), max_size=6))
    lines = [line for line in lines if line[0].lower() not in ("connection", "keep-alive")]
    content = body
    if framing == "length":
        stated = draw(st.integers(0, 9)) if bodiless or method == "HEAD" else len(body)
        lines.append(("Content-Length", " ", str(stated), ""))
    elif framing == "chunks":
        content = chunked(body, draw(st.lists(st.integers(0, 200), max_size=4))) if method != "HEAD" else b""
        lines.append(("Transfer-Encoding", " ", "chunked", ""))
    lines = draw(st.permutations(lines))
    cased = draw(st.sampled_from(["title", "lower", "upper"]))
    head = "".join(
        f"{getattr(name, cased)()}:{before}{value}{after}\r\n" for name, before, value, after in lines
    )
    interim = draw(
        st.sampled_from(
            ["", "", "HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 100 Go on\r\nContent-Length: 0\r\n\r\n" * 2]
        )
    )
    reason = draw(st.sampled_from([" OK", " ", "", " Not Quite So", " \xe9"]))
    raw = f"{interim}{version} {status}{reason}\r\n{head}\r\n".encode("latin-1") + content
    until_the_end = framing == "end" and not bodiless and method != "HEAD"
    return raw, method, until_the_end


PLACES = st.lists(st.integers(0, 2000), max_size=6)


@THOROUGH
@given(responses(), PLACES)
def test_well_formed_responses_are_read_as_http_client_reads_them(
    response: tuple[bytes, str, bool], places: list[int]
) -> None:
    """Status, headers and body; nothing beyond the response is waited for, and nothing of it is left."""
    raw, method, until_the_end = response
    expected = by_http_client(raw, method)
    got = by_us(cut(raw, places), method, closes=until_the_end)
    assert (got.response.status, got.response.body) == (expected.status, expected.body)
    assert {name: value.strip(" \t") for name, value in got.response.headers.items()} == {
        name: value.strip(" \t") for name, value in expected.headers.items()
    }
    if until_the_end:
        assert not got.ended_clean
    elif b"HTTP/1.0 " not in raw:
        assert got.ended_clean


@QUICK
@given(responses(), PLACES, st.binary(min_size=1, max_size=20))
def test_what_follows_a_response_is_never_taken_for_the_next_one(
    response: tuple[bytes, str, bool], places: list[int], more: bytes
) -> None:
    """Seen at once, the connection is not used again; not seen yet, it is seen before it is."""
    raw, method, until_the_end = response
    if until_the_end:
        return
    segments = cut(raw, places)
    seen = by_us([*segments[:-1], segments[-1] + more], method)
    assert seen.response.status == by_us(segments, method).response.status
    assert not seen.ended_clean or not segments[-1]


@QUICK
@given(responses(), PLACES, st.data())
def test_a_response_that_breaks_off_is_no_response_of_another_body(
    response: tuple[bytes, str, bool], places: list[int], data: st.DataObject
) -> None:
    """At whatever byte: an error, or just what http.client makes of it."""
    raw, method, _ = response
    part = raw[: data.draw(st.integers(0, len(raw) - 1))]
    assert_no_more_lenient(part, method, places)


@THOROUGH
@given(
    responses(),
    PLACES,
    st.lists(
        st.tuples(st.integers(0, 400), st.binary(max_size=3), st.integers(0, 3)), min_size=1, max_size=3
    ),
)
def test_damaged_responses_are_never_read_as_more_than_http_client_reads(
    response: tuple[bytes, str, bool], places: list[int], damage: list[tuple[int, bytes, int]]
) -> None:
    """They fail as failures that are told, or mean what they mean to http.client."""
    raw, method, _ = response
    for place, inserted, lost in damage:
        at = place % (len(raw) + 1)
        raw = raw[:at] + inserted + raw[at + lost :]
    assert_no_more_lenient(raw, method, places)


@QUICK
@given(st.binary(max_size=300), PLACES)
@example(b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", [])
@example(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", [])
@example(b"HTTP/1.1 200 OK\r\nContent-Length: 1_0\r\n\r\n0123456789", [])
@example(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n", [])
@example(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\nContent-Length: 2\r\n\r\nok", [])
@example(b"HTTP/1.1 200 OK\r\nA: b\nContent-Length: 9\r\nContent-Length: 2\r\n\r\nok", [])
@example(b"HTTP/1.1 200 OK\r\nA: b\r\r\nContent-Length: 2\r\n\r\nok", [])
def test_garbage_is_no_response(raw: bytes, places: list[int]) -> None:
    """Nor does it raise what nobody maps."""
    assert_no_more_lenient(raw, "POST", places)
    assert_no_more_lenient(b"HTTP/1.1 200 OK\r\n" + raw, "POST", places)


@QUICK
@given(responses(), PLACES, st.data())
def test_only_before_a_response_begins_a_reset_is_one(
    response: tuple[bytes, str, bool], places: list[int], data: st.DataObject
) -> None:
    """By a `ConnectionError` the transport knows that nothing was heard, and may try again."""
    raw, method, _ = response
    part = raw[: data.draw(st.integers(0, len(raw) - 1))]
    wire = Wire(cut(part, places), closes=True, resets=True)
    with (
        suppress(HTTPError, http.client.HTTPException),
        pytest.raises(ConnectionError) if not part else nullcontext(),
    ):
        exchange(cast("socket.socket", wire), Message(method, b"head", b"body"), 3600.0, is_tls=False)


@pytest.mark.parametrize("error", [BrokenPipeError(), ConnectionResetError(), OSError(errno.EPROTOTYPE, "")])
def test_a_response_to_half_a_request_is_one(error: OSError) -> None:
    """The connection is of no more use, though, whatever the response says of it."""
    wire = Wire([b"HTTP/1.1 413 \r\nContent-Length: 0\r\n\r\n"], closes=False)
    wire.broken = error
    response = exchange(cast("socket.socket", wire), Message("POST", b"head", b"body"), 3600.0, is_tls=False)
    assert (response.response.status, response.ended_clean) == (413, False)


def test_nobody_can_accept_half_a_request() -> None:
    """A server that reads no bodies says 200 to everything: the record would be gone."""
    wire = Wire([b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"], closes=False)
    wire.broken = BrokenPipeError()
    with pytest.raises(ProtocolError, match="a part of the request"):
        exchange(cast("socket.socket", wire), Message("POST", b"head", b"body"), 3600.0, is_tls=False)


@pytest.mark.parametrize("coding", ["gzip", "GZIP"])
@pytest.mark.parametrize("framing", FRAMINGS)
def test_packed_responses_are_unpacked(coding: str, framing: str) -> None:
    """Nobody asked for it, yet some do."""
    body = gzip.compress(b"hello" * 100)
    raw = packed(coding, body, framing)
    assert by_us([raw[:40], raw[40:]], closes=framing == "end").response.body == b"hello" * 100


@pytest.mark.parametrize("framing", FRAMINGS)
def test_what_is_unpacked_is_bounded_whatever_urllib3_does(
    framing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory stays within a small multiple of the largest response; urllib3 has no part in it."""
    body = gzip.compress(bytes(8 * MAX_RESPONSE_BYTES))
    no_decoder = SimpleNamespace(has_unconsumed_tail=False)
    # private: urllib3 has no setting that leaves bodies as they came
    monkeypatch.setattr(urllib3.response, "_get_decoder", lambda _: no_decoder)
    tracemalloc.start()
    try:
        response = by_us([packed("gzip", body, framing)], closes=framing == "end")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert response.response.body == bytes(MAX_RESPONSE_BYTES)
    assert peak < 4 * MAX_RESPONSE_BYTES


@pytest.mark.parametrize(
    ("coding", "body", "content"),
    [
        ("deflate", zlib.compress(b"hello"), b"hello"),
        ("deflate", raw_deflate(b"hello"), b"hello"),
        ("x-gzip", gzip.compress(b"hello"), b"hello"),
        ("identity", b"hello", b"hello"),
        ("br", b"\x0b\x02\x80hello\x03", b""),
        ("gzip, gzip", gzip.compress(gzip.compress(b"hello")), b""),
    ],
)
def test_encodings_that_we_know_are_unpacked_and_no_others(coding: str, body: bytes, content: bytes) -> None:
    """Of any other the status counts, and nothing of the body."""
    response = by_us([packed(coding, body, "length")])
    assert (response.response.status, response.response.body) == (200, content)


@pytest.mark.parametrize("body", [b"no gzip", gzip.compress(b"hello" * 100)[:-9]])
def test_a_damaged_encoding_is_no_response(body: bytes) -> None:
    """Neither rubbish nor a stream that breaks off."""
    with pytest.raises(DecodeError, match="says that it is gzip, and is not"):
        by_us([packed("gzip", body, "length")])


def packed(coding: str, body: bytes, framing: str) -> bytes:
    lines = {
        "length": f"Content-Length: {len(body)}\r\n",
        "chunks": "Transfer-Encoding: chunked\r\n",
        "end": "",
    }
    raw = f"HTTP/1.1 200 OK\r\nContent-Encoding: {coding}\r\n{lines[framing]}\r\n".encode()
    return raw + (chunked(body, [3, 50]) if framing == "chunks" else body)


def assert_no_more_lenient(raw: bytes, method: str, places: list[int]) -> None:
    try:
        got = by_us(cut(raw, places), method)
    except MAPPED:
        return
    if 200 <= got.response.status < 300:
        expected = by_http_client(raw, method)
        assert got.response.status == expected.status
        if "content-encoding" not in got.response.headers:
            assert got.response.body == expected.body
