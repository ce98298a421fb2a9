"""Counting tokens: the counters in providers' responses, and their sums. Pure.

A stream has its counters in several places, some smaller than before: the larger ones are kept, and added up
only at the end. Sources: the published API references, and the packages' own descriptions of their fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from .fields import count, field, first_of, items, text


class Usage(NamedTuple):
    """Tokens of one call; None where the response does not say.

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
        """The total as reported, else the sum of what was reported."""
        if self.total_tokens is not None:
            return self.total_tokens
        return _sum(self.input_tokens, self.output_tokens)

    def plus(self, other: Usage) -> Usage:
        """The sum of both."""
        if self == NO_USAGE or other == NO_USAGE:
            return other if self == NO_USAGE else self
        return Usage(*map(_sum, self, other))._replace(total_tokens=_sum(self.total, other.total))

    def agrees_with(self, other: Usage) -> bool:
        """Whether both may count one call: both report something, and what both report is equal."""
        both = [(self.input_tokens, other.input_tokens), (self.output_tokens, other.output_tokens)]
        known = [pair for pair in (*both, (self.total, other.total)) if None not in pair]
        return bool(known) and all(mine == theirs for mine, theirs in known)

    def updated(self, later: Usage) -> Usage:
        """The numbers of `later` where it has them, else these."""
        if self == NO_USAGE or later == NO_USAGE:
            return later if self == NO_USAGE else self
        return Usage(*(before if now is None else now for before, now in zip(self, later, strict=True)))


NO_USAGE = Usage()


def _sum(first: int | None, second: int | None) -> int | None:
    if first is None or second is None:
        return second if first is None else first
    return first + second


Counters = Mapping[str, int]

_PLAIN = (
    *("prompt_tokens", "completion_tokens", "input_tokens", "output_tokens", "total_tokens"),
    *("cache_read_input_tokens", "cache_creation_input_tokens", "reasoning_tokens", "num_cached_tokens"),
)
_GOOGLE = {  # its package's names, and those of its REST API
    "prompt_token_count": "promptTokenCount",
    "tool_use_prompt_token_count": "toolUsePromptTokenCount",
    "candidates_token_count": "candidatesTokenCount",
    "thoughts_token_count": "thoughtsTokenCount",
    "cached_content_token_count": "cachedContentTokenCount",
    "total_token_count": "totalTokenCount",
}
_GOOGLE_INTERACTIONS = (
    *("total_input_tokens", "total_tool_use_tokens", "total_output_tokens"),
    *("total_thought_tokens", "total_cached_tokens"),
)
_GOING_IN = ("prompt_tokens_details", "input_tokens_details", "input_token_details")
_COMING_OUT = ("completion_tokens_details", "output_tokens_details", "output_token_details")
_COMPACTED = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")


def read_usage(response: object) -> Usage:
    """The tokens that a response reports."""
    counters = counters_of(response)
    return usage_of(counters) if counters else NO_USAGE


def counters_of(response: object) -> dict[str, int]:
    """The counters of a response, or of a stream's chunk; empty if it has none."""
    usage = first_of(response, "usage", "usage_metadata", "usageMetadata")
    if usage is None:  # messages of LangChain that have none of their own have the provider's
        usage = first_of(field(response, "response_metadata"), "token_usage", "usage")
    if usage is None:
        return {}
    reported: dict[str, Any] = {name: field(usage, name) for name in (*_PLAIN, *_GOOGLE_INTERACTIONS)}
    reported.update((name, first_of(usage, name, camel)) for name, camel in _GOOGLE.items())
    going_in, coming_out = first_of(usage, *_GOING_IN), first_of(usage, *_COMING_OUT)
    reported["cached"] = first_of(going_in, "cached_tokens", "cache_read")
    reported["written"] = first_of(going_in, "cache_write_tokens", "cache_creation")
    reported["reasoning"] = first_of(coming_out, "reasoning_tokens", "thinking_tokens", "reasoning")
    if reported["cached"] is not None:
        reported["detailed"] = 1
    counters = {name: number for name, value in reported.items() if (number := count(value)) is not None}
    return {**counters, **_compacted(usage)}


def _compacted(usage: object) -> dict[str, int]:
    """Anthropic: what compacting the context took, which is not in the other counters."""
    sums: dict[str, int] = {}
    for each in items(field(usage, "iterations")):
        if text(field(each, "type")) == "compaction":
            for name in _COMPACTED:
                sums[f"compacted {name}"] = sums.get(f"compacted {name}", 0) + (count(field(each, name)) or 0)
    return sums


def larger(before: Counters, now: Counters) -> dict[str, int]:
    """Of each counter the larger value."""
    return {name: max(before.get(name, 0), now.get(name, 0)) for name in {**before, **now}}


def usage_of(counters: Counters) -> Usage:
    """The usage that the counters add up to."""
    if "prompt_token_count" in counters:
        return _google(counters, *_GOOGLE)
    if "total_input_tokens" in counters:
        return _google(counters, *_GOOGLE_INTERACTIONS, "total_tokens")
    return _plus_compacted(_usage(counters), counters)


def _usage(reported: Counters) -> Usage:
    """OpenAI's two forms, those of gateways, and Anthropic's."""
    get = reported.get
    read, written = get("cache_read_input_tokens"), get("cache_creation_input_tokens")
    going_in = get("prompt_tokens", get("input_tokens"))
    if going_in is not None and _leaves_the_cache_out(reported):
        going_in += (read or 0) + (written or 0)
    cached = _largest(read, get("cached"), get("num_cached_tokens"))
    reasoning = _largest(get("reasoning"), get("reasoning_tokens"))
    total = get("total_tokens")
    return Usage(
        input_tokens=going_in,
        output_tokens=_with_reasoning(
            get("completion_tokens", get("output_tokens")), reasoning, going_in, total
        ),
        total_tokens=total,
        cached_tokens=cached,
        cache_write_tokens=_largest(written, get("written")),
        reasoning_tokens=reasoning,
    )


def _leaves_the_cache_out(reported: Counters) -> bool:
    """Whether the input is reported without what came from a cache: only Anthropic does that."""
    return not {"prompt_tokens", "total_tokens", "detailed"} & reported.keys()


def _with_reasoning(
    output: int | None, reasoning: int | None, going_in: int | None, total: int | None
) -> int | None:
    """Some report reasoning beside the output instead of within it; the total shows which."""
    if output is None or not reasoning or going_in is None or total is None:
        return output
    return output + reasoning if going_in + output + reasoning == total else output


def _google(
    reported: Counters, prompt: str, tools: str, answer: str, thoughts: str, cached: str, total: str
) -> Usage:
    """Google's two forms, whose output leaves out the thoughts."""
    coming_out = [reported[name] for name in (answer, thoughts) if name in reported]
    return Usage(
        input_tokens=reported[prompt] + reported.get(tools, 0),
        output_tokens=sum(coming_out) if coming_out else None,
        total_tokens=reported.get(total),
        cached_tokens=reported.get(cached),
        reasoning_tokens=reported.get(thoughts),
    )


def _plus_compacted(usage: Usage, reported: Counters) -> Usage:
    going_in, coming_out, read, written = (reported.get(f"compacted {name}", 0) for name in _COMPACTED)
    if not going_in and not coming_out:
        return usage
    total = usage.total_tokens
    return usage._replace(
        input_tokens=(usage.input_tokens or 0) + going_in + read + written,
        output_tokens=(usage.output_tokens or 0) + coming_out,
        total_tokens=None if total is None else total + going_in + coming_out + read + written,
        cached_tokens=(usage.cached_tokens or 0) + read,
        cache_write_tokens=(usage.cache_write_tokens or 0) + written,
    )


def _largest(*numbers: int | None) -> int | None:
    return max((number for number in numbers if number is not None), default=None)
