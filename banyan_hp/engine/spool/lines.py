"""The format of a segment's lines, and how whole lines are read from a file.

One JSON object a line:

    {"crc":"89abcdef","n":0,"id":"…","t":1767225600.123456,"body":{…}}

`crc` is the CRC-32 of all that follows its comma, to the closing brace; `n` counts from 0; `t` is the UTC
time of the call in seconds; `body` holds the very bytes for the wire. Where a line has `raw` in place of
`body`, `before_send` has not seen the record: it must before the record leaves. (Versions that don't know
`raw` take the line for damaged, and send nothing of it.)
"""

from __future__ import annotations

import json
import os
import re
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

_CHUNK = 1024 * 1024
_HEAD = re.compile(rb'"n":(\d{1,18}),"id":"([\w.-]{1,256})","t":(\d{1,11}\.\d{6}),"(body|raw)":(?=\{)')
_CONTENT = re.compile(rb',"(body|raw)":(?=\{)')  # no JSON string before it can hold these bytes
_ID = re.compile(r"[!-~](?:[ -~]{0,254}[!-~])?")  # what travels in a header
_END_OF_TIME = 253_402_300_800.0  # the year 10000: dates end there
_ANY_JSON = json.JSONDecoder(parse_int=len, parse_float=len, parse_constant=len)  # numbers are not looked at
_DEEPEST = 900  # levels: CPython 3.11 stops below 1,000, 3.14 at tens of thousands
_PLAIN = re.compile(r"[\w.-]*", re.ASCII)
_OURS = re.compile(r"([0-9a-f]{16})-([0-9a-f]{1,16})-[0-9a-f]{1,16}")  # see `Intake.take`


class Line(NamedTuple):
    """One record as it stands in a segment."""

    number: int
    id: str
    time: float
    body: bytes
    raw: bool = False  # `before_send` has not seen it

    @property
    def call(self) -> tuple[str, int] | None:
        """Which process logged it, and at which of its calls; None if the id is not one of ours."""
        ours = _OURS.fullmatch(self.id)
        return None if ours is None else (ours[1], int(ours[2], 16))


def format_line(number: int, record_id: str, time: float, body: bytes, *, raw: bool = False) -> bytes:
    quoted = f'"{record_id}"' if _PLAIN.fullmatch(record_id) else json.dumps(record_id)
    name = b"raw" if raw else b"body"
    return with_crc(b'"n":%d,"id":%s,"t":%.6f,"%s":%s}' % (number, quoted.encode(), time, name, body))


def with_crc(rest: bytes) -> bytes:
    """A line with its checksum and its line end; `rest` is what follows the checksum's comma."""
    return b'{"crc":"%08x",%s\n' % (zlib.crc32(rest), rest)


def parse_line(line: bytes) -> Line | None:
    """The record in a line without its line end; None if a single bit of it is wrong, or it makes no sense.

    Of the body only the braces are looked at, see `is_body`.
    """
    rest = line[18:]
    if not has_right_crc(line) or not rest.endswith(b"}}"):
        return None
    usual = _HEAD.match(rest)
    if usual is not None:
        body, raw = rest[usual.end() : -1], usual[4] == b"raw"
        return Line(int(usual[1]), usual[2].decode(), float(usual[3]), body, raw)
    return _parse_unusual(rest)


def has_right_crc(line: bytes) -> bool:
    """Whether the checksum of a line is right, whatever else is wrong with it."""
    return line[:8] == b'{"crc":"' and line[16:18] == b'",' and b"%08x" % zlib.crc32(line[18:]) == line[8:16]


def _parse_unusual(rest: bytes) -> Line | None:
    """Where the id is not made of letters and digits, or somebody else has written the line."""
    content = _CONTENT.search(rest)
    if content is None:
        return None
    try:
        fields = json.loads(b"{" + rest[: content.start()] + b"}")
        number, ident, time = fields["n"], fields["id"], fields["t"]
    except (ValueError, KeyError, RecursionError):
        return None
    if not (is_count(number) and is_record_id(ident) and is_time(time)):
        return None
    return Line(number, ident, float(time), rest[content.end() : -1], content[1] == b"raw")


def is_count(number: object) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and 0 <= number < 10**18


def is_record_id(ident: object) -> bool:
    """Whether it can be a record's id: printable ASCII that an HTTP header carries as it is."""
    return isinstance(ident, str) and _ID.fullmatch(ident) is not None


def is_time(seconds: object) -> bool:
    """Whether it is a UTC time that can be written as a date."""
    return isinstance(seconds, (int, float)) and not isinstance(seconds, bool) and 0 <= seconds < _END_OF_TIME


def is_body(raw: bytes) -> bool:
    """Whether it is the body of a record: a JSON object in UTF-8, no deeper than every Python reads."""
    try:
        value = _ANY_JSON.decode(raw.decode("utf-8"))
    except (ValueError, RecursionError):
        return False
    shallow = raw.count(b"{") + raw.count(b"[") <= _DEEPEST or is_within(_DEEPEST, value)
    return isinstance(value, dict) and shallow


def is_within(levels: int, value: Any) -> bool:
    """Whether JSON is nested no deeper: asked here, as Pythons and parsers stop at different depths."""
    level = [value] if isinstance(value, (dict, list)) else []
    for _ in range(levels):
        children = (child for each in level for child in (each.values() if isinstance(each, dict) else each))
        level = [child for child in children if isinstance(child, (dict, list))]
        if not level:
            return True
    return False


class Content:
    """The lines of an open segment: `size` bytes from its start on.

    `lacks_end`: only the line end of the last line is missing; it is read as if it were there, and `size`
    counts it.
    """

    def __init__(self, fd: int, size: int, *, lacks_end: bool = False) -> None:
        self.fd = fd
        self.size = size
        self._lacks_end = lacks_end

    def whole_lines(self, offset: int, about: int) -> bytes:
        """Complete lines from `offset` on, about this many bytes, at least one line; empty at the end."""
        found = b""
        while offset + len(found) < self.size:
            chunk = self.read_at(offset + len(found), min(about, self.size - offset - len(found)))
            if not chunk:
                break
            end = chunk.rfind(b"\n") + 1
            if end:
                return found + chunk[:end]
            found += chunk
        return b""

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """All complete lines, each with the offset behind it. A torn end is left out."""
        pending = b""
        position = 0
        while position < self.size:
            chunk = self.read_at(position, min(_CHUNK, self.size - position))
            if not chunk:
                return
            position += len(chunk)
            start = position - len(chunk) - len(pending)
            *lines, pending = (pending + chunk).split(b"\n")
            for line in lines:
                start += len(line) + 1
                yield start, line

    def read_at(self, offset: int, count: int) -> bytes:
        chunk = os.pread(self.fd, count, offset)
        at_the_end = self._lacks_end and offset + len(chunk) == self.size - 1
        return chunk + b"\n" if at_the_end else chunk
