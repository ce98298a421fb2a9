"""Requests whose responses are vectors, images or audio: recorded by what they are, never by their content.

A parsed response is read at once, which costs little, since nothing looks into what is large. Of a body that
was not parsed only the two ends are kept: its text and its tokens are there.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from typing import Any

from .calls import Call
from .reading.fields import as_text, field, is_model, path, text
from .reading.parameters import files_in
from .reading.received import Body, Received
from .reading.responses import Reading, read_response
from .reading.usage import NO_USAGE, Usage, read_usage
from .span import Span
from .taps import tap

MOST_BYTES = 2**17
_EMBEDDINGS = "openai.embeddings"
_SOUND = ("audio/", "application/octet-stream")


def asked_besides(call: Call, options: Any) -> dict[str, Any]:
    """The part of the metadata that only such a request has."""
    files = files_in(field(options, "files"))
    operation = {"operation": "embeddings"} if call.api == _EMBEDDINGS else {}
    return {**operation, **({"files": files} if files else {})}


def question_of(asked: Any) -> Any:
    """The question, where it is not tokens as numbers: of those, how many there are."""
    given = field(asked, "input")
    if not isinstance(given, list) or not given:
        return None
    if isinstance(given[0], int):
        return f"[{len(given)} tokens]"
    return [f"[{len(each)} tokens]" for each in given] if isinstance(given[0], list) else None


def came(span: Span, call: Call, result: Any, response: Any, *, streamed: bool) -> bool:
    """Note what came; True if the span ends later, with the body.

    `result` is what the application gets, `response` the one of `httpx` that it is read from, if any.
    """
    if response is None:
        _parsed(span, result)
        return False
    kind = as_text(path(response, "headers", "content-type")).partition(";")[0].strip()
    sound = kind.startswith(_SOUND)
    if sound:
        length = as_text(path(response, "headers", "content-length"))
        span.metadata.update({"response_bytes": int(length)} if length.isdecimal() else {})
    body = partial(_Sound, kind) if sound else partial(_Ends, image=".images." in call.api)
    if not response.is_stream_consumed:
        return tap(response, span, streamed=streamed, most=0 if sound else MOST_BYTES, body=body)
    span.response = body([] if sound else _ends(response.content), gap=None if sound else 1)
    return False


def _parsed(span: Span, result: Any) -> None:
    said = text(field(result, "text")) if is_model(result) else None
    span.response = read_response(result) if said is None else Reading(said, usage=read_usage(result))
    seconds = field(result, "duration") or path(result, "usage", "seconds")
    if isinstance(seconds, (int, float)):
        span.metadata["audio_seconds"] = seconds


def _ends(content: bytes) -> list[bytes]:
    """The beginning and the end; all of it where that is short."""
    if len(content) <= 2 * MOST_BYTES:
        return [content]
    return [content[:MOST_BYTES], content[-MOST_BYTES:]]


class _Sound(Received):
    """Audio: its type."""

    __slots__ = ("_kind",)

    def __init__(self, kind: str, *_: Any, **__: Any) -> None:
        super().__init__(len(kind))
        self._kind = kind

    def _read(self) -> Reading:
        return Reading(f"[{self._kind}]")


class _Ends(Body):
    """The beginning and the end of a body: JSON, events, or a transcript as text."""

    __slots__ = ("_image",)

    def __init__(self, pieces: Sequence[bytes], encoding: str = "", *, image: bool, **more: Any) -> None:
        super().__init__(pieces, encoding, **more)
        self._image = image

    def _read(self) -> Reading:
        head, tail = self._contents()
        if self._image and self._streamed:
            self._complete = b".completed" in head + tail
            return Reading("[image]", usage=_usage_at_the_end(head + tail))
        if head.lstrip()[:1] == b"{":
            return self._read_json(head) if not tail else Reading(None, usage=_usage_at_the_end(tail))
        if self._streamed:
            return super()._read()
        return Reading(head.decode("utf-8", "replace"))

    def _read_json(self, content: bytes) -> Reading:
        reading = super()._read_json(content)
        said = text(field(reading.text, "text"))
        return reading if said is None else Reading(said, usage=read_usage(reading.text))


def _usage_at_the_end(content: bytes) -> Usage:
    """The last `usage` in JSON that is cut."""
    place = content.rfind(b'"usage"')
    after = content[place:].partition(b":")[2].lstrip().decode("utf-8", "replace")
    try:
        usage, _ = json.JSONDecoder().raw_decode(after) if place >= 0 else ({}, 0)
    except ValueError:
        return NO_USAGE
    return read_usage({"usage": usage})
