"""What a model's client received, kept as it came, for our threads to read later.

Keeping costs the caller a copy of the containers, or only a reference to bytes. Reading (parsing the JSON or
the events, putting pieces together) is done once, when the record is prepared or the application uses
`answer`.
"""

from __future__ import annotations

import json
import re
import sys
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ...foreign import is_deliberate
from .chunks import DONE, Chunks
from .fields import copied, is_model
from .responses import NOTHING, Reading, read_response

BROKEN_OFF = "broken off"
MOST_SEARCHED = 256 * 1024  # bytes
_MOST_COMPRESSION = 8  # of texts, about
_ERROR = r'"errors?"\s*+(?!:\s*+(?:null|\[\s*+\]))'  # a field or value; within a text, quotes are escaped
_ERROR_IN_TEXT, _ERROR_IN_BYTES = re.compile(_ERROR), re.compile(_ERROR.encode())


class Received(ABC):
    """A response, still unread.

    Attributes:
        size: about how many bytes of memory it holds.
    """

    __slots__ = ("_reading", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self._reading: Reading | None = None

    def read(self) -> Reading:
        """What it says. Two threads may read it at once; both get the same."""
        reading = self._reading
        if reading is None:
            reading = self._reading = self._read()
        return reading

    @abstractmethod
    def _read(self) -> Reading: ...

    def may_have_failed(self) -> bool:
        """Whether it may say that the call failed. False is certain; costs a search, not a reading."""
        if self._reading is not None:
            return self._reading.error is not None
        return self.size > MOST_SEARCHED or self._mentions_an_error()

    def _mentions_an_error(self) -> bool:
        return self.read().error is not None

    def ending(self, how: str | None) -> str | None:
        """How it ended, for records; `how` is what happened to it, None for its natural end."""
        return how


def snapshot(value: Any) -> Received:
    """An object of a provider's package as it is now: models as JSON, by pydantic's own encoder."""
    if is_model(value):
        try:
            return Encoded(value.model_dump_json(exclude_unset=True, warnings=False))
        except Exception as error:
            if is_deliberate(error):
                raise
    return Copy(value)


class Encoded(Received):
    """A value as JSON text."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._reading = None
        self._text = text
        self.size = len(text)

    def _read(self) -> Reading:
        return read_response(json.loads(self._text))

    def _mentions_an_error(self) -> bool:
        return _ERROR_IN_TEXT.search(self._text) is not None


class Copy(Received):
    """A copy of a value, with texts shared."""

    __slots__ = ("_value",)

    def __init__(self, value: object) -> None:
        self._value, size = copied(value)
        super().__init__(size)

    def _read(self) -> Reading:
        return read_response(self._value)


class Body(Received):
    """The bytes of a response: JSON, or server-sent events.

    Args:
        pieces: as they came. Nobody changes them from now on.
        encoding: the `Content-Encoding`.
        gap: the number of pieces behind which others were left out, for they were too many.
        streamed: whether events were asked for, so that their end counts.
    """

    __slots__ = ("_complete", "_encoding", "_gap", "_pieces", "_streamed")

    def __init__(
        self,
        pieces: Sequence[bytes],
        encoding: str = "",
        *,
        gap: int | None = None,
        streamed: bool = False,
    ) -> None:
        super().__init__(sum(map(len, pieces)) + 33 * len(pieces))
        self._pieces: Sequence[bytes] = pieces
        self._encoding = encoding
        self._gap = gap
        self._streamed = streamed
        self._complete = not streamed

    def ending(self, how: str | None) -> str | None:
        if not self._streamed:
            return how
        if self.read().error is not None or self._complete:
            return None
        return BROKEN_OFF if how is None else how

    def _read(self) -> Reading:
        head, tail = self._contents()
        if not head and not tail:
            return NOTHING
        if not tail and not self._looks_like_events(head):
            return self._read_json(head)
        chunks = Chunks()
        for event in events_in(head):
            chunks.add(event)
        if tail:
            chunks.leave_out()
            for event in events_in(tail.replace(b"\r\n", b"\n").partition(b"\n\n")[2]):
                chunks.add(event)
        self._complete = chunks.complete or not self._streamed
        return chunks.reading()

    def _mentions_an_error(self) -> bool:
        if self._encoding and self.size > MOST_SEARCHED // _MOST_COMPRESSION:
            return True
        return any(_ERROR_IN_BYTES.search(part) is not None for part in self._contents())

    def _contents(self) -> tuple[bytes, bytes]:
        if self._gap is None:
            return decoded(b"".join(self._pieces), self._encoding), b""
        head = decoded(b"".join(self._pieces[: self._gap]), self._encoding)
        compressed = self._encoding not in ("", "identity")
        return head, b"" if compressed else b"".join(self._pieces[self._gap :])

    def _looks_like_events(self, content: bytes) -> bool:
        return content.lstrip()[:1] not in (b"{", b"[", b'"')

    def _read_json(self, content: bytes) -> Reading:
        self._complete = True
        try:
            return read_response(json.loads(content))
        except (ValueError, RecursionError):
            self._complete = False  # cut short, or not JSON
            return NOTHING


def events_in(content: bytes) -> Iterator[Any]:
    """The data of server-sent events: JSON objects, and `DONE` for `[DONE]`; what is neither is left out.

    Lines end by LF, CR or both; an event's lines of data are joined by LF. The last event counts without its
    blank line, too.
    """
    lines: list[bytes] = []
    for line in content.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n"):
        if line.startswith(b"data:"):
            lines.append(line[5:].removeprefix(b" "))
        elif not line and lines:
            yield from _event(lines)
            lines = []
    if lines:
        yield from _event(lines)


def _event(lines: list[bytes]) -> Iterator[Any]:
    data = b"\n".join(lines)
    if data.startswith(b"[DONE]"):
        yield DONE
        return
    try:
        event = json.loads(data)
    except (ValueError, RecursionError):
        return
    if isinstance(event, dict):
        yield event


def decoded(content: bytes, encoding: str) -> bytes:
    """The content without its `Content-Encoding`, as far as it goes; empty for one that is not known here."""
    for each in reversed([name.strip().lower() for name in encoding.split(",")]):
        if each in ("", "identity"):
            continue
        unpack = _UNPACKING.get(each)
        content = b"" if unpack is None else unpack(content)
    return content


def _unbrotlied(content: bytes) -> bytes:
    """By the package that the application's HTTP client has loaded to do the same; none, if it has not."""
    for name in ("brotli", "brotlicffi"):
        if (package := sys.modules.get(name)) is not None:
            decompressor = package.Decompressor()
            more = getattr(decompressor, "process", None) or decompressor.decompress
            return bytes(more(content))
    return b""


def _unzstandard(content: bytes) -> bytes:
    """Likewise."""
    if (package := sys.modules.get("zstandard")) is not None:
        return bytes(package.ZstdDecompressor().decompressobj().decompress(content))
    for name in ("compression.zstd", "backports.zstd"):
        if (package := sys.modules.get(name)) is not None:
            return bytes(package.ZstdDecompressor().decompress(content))
    return b""


def _inflated(content: bytes) -> bytes:
    for bits in (47, -15):  # gzip or zlib, by its head; deflate without any
        inflating = zlib.decompressobj(bits)
        try:
            return inflating.decompress(content)
        except zlib.error:
            continue
    return b""


_UNPACKING: dict[str, Callable[[bytes], bytes]] = {
    "gzip": _inflated,
    "x-gzip": _inflated,
    "deflate": _inflated,
    "br": _unbrotlied,
    "zstd": _unzstandard,
}
