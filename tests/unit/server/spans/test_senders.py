"""Each recorded sender gives the calls that were made, with the tokens that the model's server reported."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest

from banyan_hp.server.deriving import rule_of
from banyan_hp.server.prices import bundled
from banyan_hp.server.store.calls import Call
from banyan_hp.server.store.spans import Derived
from tests.support.senders import NAMES, neighbourhood_of, stored_of

RULE = rule_of(bundled())
# input, cached, cache write, output, reasoning: what the server reported.
REPORTED: dict[str, tuple[int | None, ...]] = {
    "chat": (31, 16, None, 17, 9),
    "responses": (33, 16, 4, 19, 9),
    "embeddings": (7, None, None, None, None),
    "vectors": (None, None, None, None, None),  # embeddings whose tokens a sender leaves out
    "anthropic": (135, 100, 10, 12, None),
    "gemini": (31, 16, None, 17, 9),
    "silent": (None, None, None, None, None),  # a stream without usage: no sender has tokens
    "failed": (None, None, None, None, None),
    "recounted": (7, None, None, 7, None),  # a stream whose tokens the sender counts, whatever was reported
}
NUMBERS = ("input_tokens", "cached_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens")
CHATS = ["chat"] * 4 + ["silent", "failed", "failed", "embeddings"]
OPENAI = [*CHATS, "responses", "responses"]
AGAIN = [*["chat"] * 4, "silent", "failed", "embeddings", "responses"]
ANTHROPIC = ["anthropic"] * 5 + ["failed"] * 2
GEMINI = ["gemini"] * 3 + ["failed"]
LANGCHAIN = ["chat", "chat", "failed", "chat", "chat"]
ALL = {"cached_tokens", "cache_write_tokens", "reasoning_tokens"}

# The calls of each sender in their order, and which details it tells of any.
EXPECTED: dict[str, tuple[list[str], set[str]]] = {
    "agent-framework-1.23.0": (["chat"] * 4 + ["failed"], ALL - {"cache_write_tokens"}),
    "genai-agents-span-1.3b0": ([], set()),
    "genai-anthropic-span-1.3b0": (ANTHROPIC, ALL - {"reasoning_tokens"}),
    "genai-openai-default-1.3b0": (OPENAI, ALL),
    "genai-openai-event-1.3b0": (OPENAI, ALL),
    "genai-openai-span-1.3b0": (OPENAI, ALL),
    "google-adk-2.13.0": (["gemini"] * 4 + ["failed"], ALL - {"cache_write_tokens"}),
    "google-genai-default-1.3b0": (GEMINI, ALL - {"cache_write_tokens"}),
    "google-genai-latest-both-1.3b0": (GEMINI, ALL - {"cache_write_tokens"}),
    "haystack-3.4.1": (["chat", "chat", "failed", "embeddings"], ALL - {"cache_write_tokens"}),
    "honeyhive-1.7.0": (AGAIN, ALL),
    "langfuse-5.0.4": ([*OPENAI, "chat"], ALL),
    "langfuse-js-5.11.1": ([*["chat"] * 4, "silent", "failed", "vectors", "responses"], ALL),
    "langsmith-otel-0.15.1": (
        [*LANGCHAIN[:4], "chat", "silent", "failed", "failed", "responses", "responses"],
        ALL - {"cache_write_tokens"},
    ),
    "langsmith-otel-only-0.15.1": (
        [*LANGCHAIN[:4], *["chat"] * 4, "silent", "failed", "failed", "responses"],
        ALL - {"cache_write_tokens"},
    ),
    "langtrace-3.8.21": ([*["chat"] * 4, "failed", "embeddings", "responses"], {"cached_tokens"}),
    "langwatch-1.4.0": ([*["chat"] * 4, "silent", "failed", "chat"], {"reasoning_tokens"}),
    "litellm-otel-1.110.2": (["chat"] * 4 + ["failed", "embeddings"], ALL - {"cache_write_tokens"}),
    "lmnr-0.8.2": ([*OPENAI, *ANTHROPIC], ALL),
    "logfire-5.4.0": ([*CHATS, *ANTHROPIC[:6]], ALL),
    "logfire-agents-5.4.0": (["responses"] * 3 + ["failed"], ALL),
    "mlflow-3.17.2": (OPENAI, ALL),
    "monocle-0.8.15": ([*AGAIN[:6], "vectors", "responses"], {"cached_tokens"}),
    "netra-1.2.2": (AGAIN, ALL),
    "oai2-default-2.4b0": (CHATS, set()),
    "oai2-latest-event-2.4b0": (CHATS, set()),
    "oai2-latest-nocontent-2.4b0": (CHATS, set()),
    "oai2-latest-span-2.4b0": (CHATS, set()),
    "oai2-legacy-true-2.4b0": (CHATS, set()),
    "oi-agents-2.6.0": (["responses"] * 3 + ["failed"], ALL),
    "oi-agno-1.0.15": (["chat"] * 3, {"cached_tokens"}),
    "oi-anthropic-3.1.0": (ANTHROPIC, ALL - {"reasoning_tokens"}),
    "oi-langchain-0.1.80": (LANGCHAIN, ALL - {"cache_write_tokens"}),
    "oi-langchain-and-openai-0.1.80": (LANGCHAIN, ALL - {"cache_write_tokens"}),
    "oi-openai-0.1.66": (OPENAI, ALL),
    "oi-openai-js-4.2.7": (
        ["chat", "silent", "chat", "chat", "silent", "vectors", "responses"],
        ALL - {"cache_write_tokens"},
    ),
    "openllmetry-openai-0.62.4": (OPENAI, ALL - {"cache_write_tokens"}),
    "otel-openai-js-0.21.0": (AGAIN, set()),
    "phoenix-register-0.17.2": (["chat"], ALL - {"cache_write_tokens"}),
    "pydantic-ai-2.68.0": (["chat"] * 4 + ["silent"], ALL - {"cache_write_tokens"}),
    "semantic-kernel-1.45.0": (["chat"] * 2, set()),
    "smolagents-1.26.0": (["chat"] * 2, set()),
    "strands-1.62.0": (["chat"] * 2 + ["failed"], {"cached_tokens"}),
    "traceai-0.1.10": (AGAIN, {"cached_tokens", "reasoning_tokens"}),
    "traceloop-0.62.4": ([*OPENAI, *ANTHROPIC], ALL),
    "traceloop-js-0.27.0": (["chat", "recounted", "chat", "chat", "recounted", "responses"], set()),
    "traceloop-langchain-0.62.4": (LANGCHAIN, {"cached_tokens"}),
    "vercel-ai-6.0.326": ([*["chat"] * 4, "failed", "embeddings", "responses", "chat"], ALL),
}


def calls_of(name: str, seed: int | None = None) -> list[Derived]:
    stored = stored_of(name)
    if seed is not None:
        random.Random(seed).shuffle(stored)
    return list(RULE(neighbourhood_of(stored)))


def numbers(call: Call) -> tuple[Any, ...]:
    metadata = call.body["metadata"]
    return tuple(metadata.get(name) for name in NUMBERS)


def plain(found: Sequence[Derived]) -> list[Any]:
    return [(each.call, sorted(each.spans)) for each in found]


@pytest.mark.parametrize("name", NAMES)
def test_each_call_has_the_tokens_that_the_server_reported(name: str) -> None:
    """Each once, whatever instrumentations, agents and wrappers tell of it; Anthropic's with its cache."""
    kinds, told = EXPECTED[name]
    found = [each.call for each in calls_of(name)]
    assert [call.body["metadata"]["operation"] == "embeddings" for call in found] == [
        kind in ("embeddings", "vectors") for kind in kinds
    ]
    for call, kind in zip(found, kinds, strict=True):
        assert (call.error is not None) is (kind == "failed"), (call, kind)
        for number, reported, what in zip(numbers(call), REPORTED[kind], NUMBERS, strict=True):
            if what in ALL:
                assert number in (reported, None) or (not reported and not number), (kind, what)
            else:
                assert number == reported or (not reported and not number), (kind, what, call)
        assert (call.input_tokens, call.output_tokens) == (numbers(call)[0], numbers(call)[3])
        assert "possible_duplicates" not in call.body["metadata"]
    assert {what for what in ALL for call in found if call.body["metadata"].get(what)} == told


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_spans_means_nothing(name: str, seed: int) -> None:
    """The calls follow from the set of spans."""
    assert plain(calls_of(name, seed)) == plain(calls_of(name))


def test_every_recorded_sender_is_expected() -> None:
    """A new fixture needs its line."""
    assert set(EXPECTED) == set(NAMES)


def answered(name: str) -> list[Call]:
    return [each.call for each in calls_of(name) if each.call.output_tokens and each.call.error is None]


WITHOUT_CONTENT = {
    "genai-openai-default-1.3b0",
    "google-genai-default-1.3b0",
    "oai2-default-2.4b0",
    "oai2-latest-nocontent-2.4b0",
    "oai2-legacy-true-2.4b0",
}


@pytest.mark.parametrize("name", [name for name in NAMES if EXPECTED[name][0]])
def test_what_was_said_is_read_in_every_form(name: str) -> None:
    """JSON texts, structures, spread attributes, whole requests, events of spans, log events."""
    questions = {"What is the capital of France?", "What is the weather in Paris?"}
    answers = (
        "Paris is the capital of France.",
        "It is 18 degrees in Paris.",
        "[tool call]",
        "I look it up.",
    )
    found = [call for call in answered(name) if call.body["metadata"]["operation"] != "embeddings"]
    assert found
    for call in found:
        if name in WITHOUT_CONTENT:
            assert not call.body["input"]
            assert call.body["output"] == ""
            continue
        asked = [
            each["content"].removeprefix("New task:\n")
            for each in call.body["input"]
            if each["role"] == "user"
        ]
        assert questions & set(asked), call.body
        assert call.body["output"].startswith(answers), call.body
        assert "Traceback" not in (call.error or "")


@pytest.mark.parametrize(
    ("name", "session", "user"),
    [
        ("google-adk-2.13.0", "s1", None),
        ("langfuse-5.0.4", "session-7", "user-7"),
        ("langwatch-1.4.0", "th1", "u1"),  # in the metadata of the trace's root
        ("oi-agno-1.0.15", "s1", "u1"),  # on the agent's span
        ("langfuse-js-5.11.1", "s1", "u1"),
        ("lmnr-0.8.2", "session-7", "user-7"),
        ("oi-openai-0.1.66", "session-7", "user-7"),
        ("strands-1.62.0", "session-7", "user-7"),
        ("traceloop-0.62.4", "session-7", "user-7"),
        ("traceloop-js-0.27.0", "s1", "u1"),
        ("vercel-ai-6.0.326", "s1", "u1"),
        ("logfire-agents-5.4.0", None, None),  # it replaces the session by "[Scrubbed due to 'session']"
        ("openllmetry-openai-0.62.4", None, "user-7"),
        ("litellm-otel-1.110.2", None, "user-7"),
        ("mlflow-3.17.2", None, "user-7"),
    ],
)
def test_sessions_and_users_are_found(name: str, session: str | None, user: str | None) -> None:
    """Under any of their names."""
    first = calls_of(name)[0].call
    assert (first.session, first.user) == (session, user)


@pytest.mark.parametrize("name", NAMES)
def test_costs_are_those_of_the_tokens(name: str) -> None:
    """What senders reckon themselves agrees with the table of prices; the cache is cheaper."""
    prices = {31: 1.365e-05, 33: 1.515e-05, 135: 0.0003225}
    for call in answered(name):
        metadata = call.body["metadata"]
        if metadata.get("cached_tokens") and call.model is not None and "gemini" not in call.model:
            assert call.cost == pytest.approx(prices[call.input_tokens or 0])
