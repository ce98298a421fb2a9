"""The tokens that a span reports, under any of their names, and inside whole objects of usage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from ... import semconv
from .attributes import Attributes, count, first_count, mapping, parsed

_INPUT = ("input_tokens", "prompt_tokens", "input")
_OUTPUT = ("output_tokens", "completion_tokens", "output")
_GOING_IN = ("prompt_tokens_details", "input_tokens_details", "input_token_details")
_COMING_OUT = ("completion_tokens_details", "output_tokens_details", "output_token_details")
_READ = ("cached_tokens", "cache_read", "cache_read_input_tokens", "input_cached_tokens", "input_cache_read")
_WRITTEN = (
    "cache_write_tokens",
    "cache_creation",
    "cache_creation_input_tokens",
    "input_cache_creation",
    "input_cache_write_tokens",
)
_REASONING = ("reasoning_tokens", "reasoning", "output_reasoning_tokens", "output_reasoning")

OBJECTS = (
    "langfuse.observation.usage_details",
    "mlflow.chat.tokenUsage",
    "langsmith.metadata.usage_metadata",
    "gen_ai.usage.raw",  # logfire
    "langwatch.metrics",
    "metadata.usage_object",  # LiteLLM, as Python shows a dict
)
RESPONSES = ("mlflow.spanOutputs",)
"""Whole responses of a provider, which hold a usage."""


@dataclass(frozen=True, slots=True)
class Usage:
    """The tokens of one call. `input` has the cached and the written ones, `output` those of reasoning.

    None: not reported, which is not 0.
    """

    input: int | None = None
    output: int | None = None
    cached: int | None = None
    written: int | None = None
    reasoning: int | None = None
    total: int | None = None

    @property
    def known(self) -> bool:
        """Whether it says how many there were."""
        return self.input is not None or self.output is not None

    def filled(self, other: Usage) -> Usage:
        """With what another report of the same call knows besides. Details of another input are not ours."""
        if self.known and other.input not in (None, self.input):
            return self
        names = ("input", "output") * (not self.known) + ("cached", "written", "reasoning", "total")
        missing = {name: getattr(other, name) for name in names if getattr(self, name) is None}
        return replace(self, **missing)


def sum_of(usages: Sequence[Usage]) -> Usage:
    """All tokens of several calls; None of a kind that none reports."""
    counts = (
        [count for usage in usages if (count := getattr(usage, field.name)) is not None]
        for field in fields(Usage)
    )
    return Usage(*(sum(each) if each else None for each in counts))


def usage_of(attributes: Attributes) -> Usage:
    """What is written as attributes, filled from objects of usage."""
    usage = Usage(
        first_count(attributes, semconv.INPUT_TOKEN_NAMES),
        first_count(attributes, semconv.OUTPUT_TOKEN_NAMES),
        first_count(attributes, semconv.CACHE_READ_NAMES),
        first_count(attributes, semconv.CACHE_WRITE_NAMES),
        first_count(attributes, semconv.REASONING_NAMES),
        first_count(attributes, semconv.TOTAL_TOKEN_NAMES),
    )
    for name in OBJECTS:
        if name in attributes:
            usage = usage.filled(usage_in(mapping(attributes[name])))
    for name in RESPONSES:
        if name in attributes:
            usage = usage.filled(usage_in(mapping(mapping(attributes[name]).get("usage"))))
    return usage


def usage_in(reported: Attributes) -> Usage:
    """That of an object in the form of a provider, langfuse, mlflow or LangChain.

    Some leave the parts out of what they are parts of, as the total says: langfuse's for JavaScript. Where
    the parts of the input are more than the input, it is Anthropic's, which does so, too.
    """
    going_in = {**reported, **_details(reported, _GOING_IN)}
    coming_out = {**reported, **_details(reported, _COMING_OUT)}
    given, said = first_count(reported, _INPUT), first_count(reported, _OUTPUT)
    read, written = (_count(going_in, names) for names in (_READ, _WRITTEN))
    reasoned = _count(coming_out, _REASONING)
    total = first_count(reported, ("total_tokens", "total"))
    parts = (read or 0) + (written or 0)
    if given is not None and said is not None and total == given + parts + said + (reasoned or 0):
        given, said = given + parts, said + (reasoned or 0)
    elif given is not None and parts > given:
        given += parts
    return Usage(given, said, read, written, reasoned, total)


def _details(reported: Attributes, names: tuple[str, ...]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in names:
        found |= mapping(reported.get(name))
    return found


def _count(holder: Attributes, names: tuple[str, ...]) -> int | None:
    return next((found for name in names if (found := count(parsed(holder.get(name)))) is not None), None)
