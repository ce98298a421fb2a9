"""The attributes of a span, by name; and which details of a call have attributes of their own. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeGuard

from .. import semconv
from .messages import plain

Value = str | int | float | bool | list[str]
Attributes = dict[str, Value]
_LARGEST = 2**63


def is_count(value: object) -> TypeGuard[int]:
    """Whether it is an integer that OTLP can carry, 0 or more."""
    return type(value) is int and 0 <= value < _LARGEST


def put_text(attributes: Attributes, keys: tuple[str, ...], value: object) -> None:
    text = value if type(value) is str else plain(value)
    for key in keys:
        attributes[key] = text


Detail = Callable[[Attributes, Any], bool]
"""Adds its attributes. False if the value is not of the kind that it should be: it stays in the metadata."""


def _count(key: str) -> Detail:
    def add(attributes: Attributes, value: Any) -> bool:
        if is_count(value):
            attributes[key] = value
        return key in attributes

    return add


def _words(*keys: str) -> Detail:
    def add(attributes: Attributes, value: Any) -> bool:
        if type(value) is not str and type(value) is not int:
            return False
        put_text(attributes, keys, value)
        return True

    return add


def _first_chunk(attributes: Attributes, milliseconds: Any) -> bool:
    if type(milliseconds) is not float and type(milliseconds) is not int:
        return False
    attributes[semconv.TIME_TO_FIRST_CHUNK] = milliseconds / 1000
    attributes[semconv.REQUEST_STREAM] = True
    return True


def _finish(attributes: Attributes, reason: Any) -> bool:
    if type(reason) is not str:
        return False
    attributes[semconv.FINISH_REASONS] = [reason]
    return True


def _parameters(attributes: Attributes, given: Any) -> bool:
    """Those that have an attribute. All of them stay in the metadata, too."""
    for name, value in given.items() if type(given) is dict else ():
        key = PARAMETERS.get(name)
        if key is not None and type(value) in (int, float) and abs(value) < _LARGEST:
            attributes[key] = value if key in _WHOLE else float(value)
    return False


def _own_mark(attributes: Attributes, mark: Any) -> bool:
    """What the library has put there by itself, see `clients/sampling.py`."""
    rate = mark.get("sample_rate") if type(mark) is dict and len(mark) == 1 else None
    if not isinstance(rate, (int, float)):
        return False
    attributes[semconv.SAMPLE_RATE] = float(rate)
    return True


SESSION = (semconv.SESSION_ID, semconv.CONVERSATION_ID)
TOKENS = {
    "input_tokens": semconv.INPUT_TOKENS,
    "output_tokens": semconv.OUTPUT_TOKENS,
    "cached_tokens": semconv.CACHE_READ_TOKENS,
    "cache_write_tokens": semconv.CACHE_WRITE_TOKENS,
    "reasoning_tokens": semconv.REASONING_TOKENS,
}
PARAMETERS = {
    "temperature": semconv.REQUEST_TEMPERATURE,
    "top_p": semconv.REQUEST_TOP_P,
    "top_k": semconv.REQUEST_TOP_K,
    "max_tokens": semconv.REQUEST_MAX_TOKENS,
    "max_completion_tokens": semconv.REQUEST_MAX_TOKENS,
    "max_output_tokens": semconv.REQUEST_MAX_TOKENS,
    "seed": semconv.REQUEST_SEED,
    "presence_penalty": semconv.REQUEST_PRESENCE_PENALTY,
    "frequency_penalty": semconv.REQUEST_FREQUENCY_PENALTY,
}
"""The parameters of a request, by the providers' names."""
_WHOLE = (semconv.REQUEST_MAX_TOKENS, semconv.REQUEST_SEED)
WORDS = {"session_id": SESSION, "user_id": (semconv.USER_ID,), "error_type": (semconv.ERROR_TYPE,)}
"""Details that are texts, mostly."""
DETAILS: dict[str, Detail] = {
    **{name: _count(key) for name, key in TOKENS.items()},
    "token_count": _count(semconv.TOTAL_TOKENS),
    "time_to_first_chunk_ms": _first_chunk,
    "finish_reason": _finish,
    "provider": _words(semconv.PROVIDER),
    "parameters": _parameters,
    "banyan_hp": _own_mark,
    **{name: _words(*keys) for name, keys in WORDS.items()},
}
