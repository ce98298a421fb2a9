"""Values as OTLP carries them: `{"key": …, "value": {"stringValue": …}}`; integers are texts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeGuard

from .. import semconv
from .messages import plain

Attribute = dict[str, Any]
_LARGEST = 2**63


def text(key: str, value: object) -> Attribute:
    return {"key": key, "value": {"stringValue": value if type(value) is str else plain(value)}}


def texts(key: str, values: Iterable[object]) -> Attribute:
    return {
        "key": key,
        "value": {"arrayValue": {"values": [{"stringValue": plain(each)} for each in values]}},
    }


def whole(key: str, value: int) -> Attribute:
    return {"key": key, "value": {"intValue": str(value)}}


def double(key: str, value: float) -> Attribute:
    return {"key": key, "value": {"doubleValue": float(value)}}


def boolean(key: str, *, value: bool) -> Attribute:
    return {"key": key, "value": {"boolValue": value}}


def is_count(value: object) -> TypeGuard[int]:
    """Whether it is an integer that OTLP can carry, 0 or more."""
    return type(value) is int and 0 <= value < _LARGEST


# -- details of a call: what stands in a record's metadata, and where it goes --------------------------------

Detail = Callable[[Any], list[Attribute]]
"""Its attributes; none if the value is not of the kind that it should be: then it stays in the metadata."""


def _count(key: str) -> Detail:
    return lambda value: [whole(key, value)] if is_count(value) else []


def _words(*keys: str) -> Detail:
    return lambda value: [text(key, value) for key in keys] if type(value) in (str, int) else []


def _first_chunk(milliseconds: Any) -> list[Attribute]:
    if type(milliseconds) not in (int, float):
        return []
    seconds = double(semconv.TIME_TO_FIRST_CHUNK, milliseconds / 1000)
    return [seconds, boolean(semconv.REQUEST_STREAM, value=True)]


def _finish(reason: Any) -> list[Attribute]:
    return [texts(semconv.FINISH_REASONS, [reason])] if type(reason) is str else []


TOKENS = {
    "input_tokens": semconv.INPUT_TOKENS,
    "output_tokens": semconv.OUTPUT_TOKENS,
    "cached_tokens": semconv.CACHE_READ_TOKENS,
    "cache_write_tokens": semconv.CACHE_WRITE_TOKENS,
    "reasoning_tokens": semconv.REASONING_TOKENS,
}
DETAILS: dict[str, Detail] = {
    **{name: _count(key) for name, key in TOKENS.items()},
    "token_count": _count(semconv.TOTAL_TOKENS),
    "time_to_first_chunk_ms": _first_chunk,
    "finish_reason": _finish,
    "error_type": _words(semconv.ERROR_TYPE),
    "session_id": _words(semconv.SESSION_ID, semconv.CONVERSATION_ID),
    "user_id": _words(semconv.USER_ID),
}
