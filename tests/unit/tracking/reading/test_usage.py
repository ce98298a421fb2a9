"""Counting tokens: the counters of providers and gateways, and what they come to."""

from __future__ import annotations

from typing import Any

import pytest

from banyan_hp.tracking.reading.usage import Usage, counters_of, larger, read_usage, usage_of

CHAT: dict[str, Any] = {"prompt_tokens": 100, "completion_tokens": 40, "total_tokens": 140}


def usage(**counters: Any) -> Usage:
    return read_usage({"usage": counters})


def test_a_gateway_that_tells_both_forms_does_not_count_the_cache_twice() -> None:
    """Only Anthropic's own form leaves what came from a cache out of the input."""
    both = {**CHAT, "cache_read_input_tokens": 67, "cache_creation_input_tokens": 0}
    assert usage(**both) == Usage(100, 40, 140, 67, 0)
    details = {"prompt_tokens_details": {"cached_tokens": 67}}
    assert usage(**both, **details).input_tokens == 100
    responses = {"input_tokens": 100, "output_tokens": 40, "total_tokens": 140, "cache_read_input_tokens": 67}
    assert usage(**responses).input_tokens == 100
    own = {"input_tokens": 33, "output_tokens": 40, "cache_read_input_tokens": 67}
    assert usage(**own) == Usage(100, 40, None, 67)


@pytest.mark.parametrize("where", ["completion_tokens_details", None])
def test_reasoning_beside_the_output_is_added_where_the_total_says_so(where: str | None) -> None:
    """Else it is part of the output already."""
    reasoning: dict[str, Any] = {"reasoning_tokens": 386}
    reported = {where: reasoning} if where else reasoning
    beside = {"prompt_tokens": 100, "completion_tokens": 1, "total_tokens": 487}
    assert usage(**beside, **reported) == Usage(100, 387, 487, reasoning_tokens=386)
    within = {"prompt_tokens": 100, "completion_tokens": 387, "total_tokens": 487}
    assert usage(**within, **reported) == Usage(100, 387, 487, reasoning_tokens=386)
    unreported = {"prompt_tokens": 100, "completion_tokens": 387}
    assert usage(**unreported, **reported).output_tokens == 387


def test_what_compacting_took_is_added() -> None:
    """Anthropic tells it beside the other counters, which do not include it."""
    compacted = {
        "type": "compaction",
        "input_tokens": 5_000,
        "output_tokens": 300,
        "cache_read_input_tokens": 70,
        "cache_creation_input_tokens": 30,
    }
    message = {"type": "message", "input_tokens": 10, "output_tokens": 20}
    reported = {"input_tokens": 10, "output_tokens": 20, "iterations": [compacted, message]}
    assert usage(**reported) == Usage(5_110, 320, None, 70, 30)


def test_of_counters_told_twice_the_larger_counts() -> None:
    """A stream's last event may tell less than its first; they are added up at the end."""
    start = counters_of({"usage": {"input_tokens": 9_325, "output_tokens": 1, "cache_read_input_tokens": 7}})
    delta = counters_of({"usage": {"input_tokens": 0, "output_tokens": 15}})
    assert usage_of(larger(start, delta)) == Usage(9_332, 15, None, 7)


def test_google_s_two_forms() -> None:
    """Its output leaves out the thoughts, its input the tools' results."""
    rest = {"promptTokenCount": 9, "toolUsePromptTokenCount": 1, "candidatesTokenCount": 20}
    thoughts = {"thoughtsTokenCount": 30, "cachedContentTokenCount": 2, "totalTokenCount": 60}
    expected = Usage(10, 50, 60, 2, None, 30)
    assert read_usage({"usageMetadata": {**rest, **thoughts}}) == expected
    interaction = {
        "total_input_tokens": 9,
        "total_tool_use_tokens": 1,
        "total_output_tokens": 20,
        "total_thought_tokens": 30,
        "total_cached_tokens": 2,
        "total_tokens": 60,
    }
    assert usage(**interaction) == expected
