"""What can be read off a model's answer: plain values, no provider's types.

Named tuples, which are made several times as fast as frozen dataclasses: one of each is made a call.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Usage(NamedTuple):
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

    def plus(self, other: Usage) -> Usage:
        """Both together."""
        if self == NO_USAGE or other == NO_USAGE:
            return other if self == NO_USAGE else self
        return Usage(*map(_sum, self, other))._replace(total_tokens=_sum(self.total, other.total))

    def updated(self, later: Usage) -> Usage:
        """What `later` tells, and the rest as before."""
        if self == NO_USAGE or later == NO_USAGE:
            return later if self == NO_USAGE else self
        return Usage(*(before if now is None else now for before, now in zip(self, later, strict=True)))


NO_USAGE = Usage()


class Reading(NamedTuple):
    """An answer: `text` is a str, or as it was a dict or list that is no provider's, or None for none.

    `error` and `error_type` are the provider's own words for why it failed, in an answer that says so.
    """

    text: Any = None
    model: str | None = None
    usage: Usage = NO_USAGE
    finish_reason: str | None = None
    error: str | None = None
    error_type: str | None = None


NOTHING = Reading()


def _sum(first: int | None, second: int | None) -> int | None:
    if first is None or second is None:
        return second if first is None else first
    return first + second
