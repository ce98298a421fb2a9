"""What can be read off a model's answer: plain values, no provider's types."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call; None is "not told".

    `input_tokens` has all that went in, cached ones included (`cached_tokens` of them were read from a
    cache, `cache_write_tokens` written to one), `output_tokens` all that came out, `reasoning_tokens` of
    them unseen.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None

    @property
    def total(self) -> int | None:
        """The total as told, else the sum of what was told."""
        if self.total_tokens is not None:
            return self.total_tokens
        return _sum(self.input_tokens, self.output_tokens)

    def __bool__(self) -> bool:
        return self != NO_USAGE

    def __add__(self, other: Usage) -> Usage:
        if not self or not other:
            return self or other
        sums = {each.name: _sum(getattr(self, each.name), getattr(other, each.name)) for each in fields(self)}
        return Usage(**{**sums, "total_tokens": _sum(self.total, other.total)})

    def updated(self, later: Usage) -> Usage:
        """What `later` tells, and the rest as before."""
        told = {each.name: getattr(later, each.name) for each in fields(later)}
        return replace(self, **{name: value for name, value in told.items() if value is not None})


NO_USAGE = Usage()


@dataclass(frozen=True, slots=True)
class Reading:
    """An answer: `text` is a str, or as it was a dict or list that is no provider's, or None for none."""

    text: Any = None
    model: str | None = None
    usage: Usage = NO_USAGE
    finish_reason: str | None = None


def _sum(first: int | None, second: int | None) -> int | None:
    if first is None or second is None:
        return second if first is None else first
    return first + second
