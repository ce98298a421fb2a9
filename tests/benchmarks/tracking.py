"""What tracking costs beyond the log call: each way to log, beside `log_prompt` with the same values.

python -m tests.benchmarks.tracking [--rounds N] [--json PATH]

Ways take turns, call by call, in one process; shown are medians in microseconds. Nothing is sent meanwhile,
so that the worker does not compete; afterwards everything is, and counted.
Exit status 1 when a record is missing, a fault was counted, or an interaction costs more than `LIMIT_US`
beyond the log call.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from banyan_hp import PromptStackLogger, context
from banyan_hp.tracking.reading.chunks import Chunks
from tests.support import recorded
from tests.support.scripted import ScriptedServer
from tests.support.scripted_answers import batching

LIMIT_US = 30.0
PATIENT: dict[str, Any] = {
    "spool": False,
    "flush_interval": 3600.0,
    "batch_size": 1_000_000,
    "queue_size": 1_000_000,
    "queue_bytes": 2**33,
}
QUESTION = "How many sales were there last month?"
ANSWER = "There were 1,245 sales last month. " * 10
TOLD: dict[str, Any] = {
    "token_count": 29,
    "input_tokens": 19,
    "output_tokens": 10,
    "cached_tokens": 8,
    "reasoning_tokens": 4,
    "finish_reason": "stop",
}
STEP: dict[str, Any] = {
    "id": 1,
    "type": "sql",
    "user_question": QUESTION,
    "prompt_response": ANSWER,
    "token": 0,
    "response_time": 0.5,
}

Way = Callable[[], object]


def ways(logger: PromptStackLogger) -> dict[str, tuple[Way, Way]]:
    """By name: the plain log call of the same values, and the way that is measured."""

    def plain(metadata: dict[str, Any], output: str = ANSWER) -> Way:
        return lambda: logger.log_prompt(QUESTION, output, model="m", metadata=metadata, duration_ms=500.0)

    def interaction() -> None:
        with logger.interaction(QUESTION, model="m") as it:
            it.response = ANSWER

    def provider() -> None:
        with logger.interaction(QUESTION, model="m") as it:
            it.response = recorded.CHAT

    def with_step() -> None:
        with logger.interaction(QUESTION, model="m") as it, it.step("sql") as step:
            step.response = ANSWER

    def in_context() -> None:
        with context(user_id="u1"), logger.interaction(QUESTION, model="m") as it:
            it.response = ANSWER

    @logger.trace(model="m")
    def traced(question: str) -> str:
        return ANSWER

    hello = recorded.CHAT["choices"][0]["message"]["content"]
    return {
        "interaction, text": (plain({}), interaction),
        "interaction, provider's response": (plain(TOLD, hello), provider),
        "interaction, one step": (plain({"step_data": [STEP]}), with_step),
        "interaction, in a context": (plain({"user_id": "u1"}), in_context),
        "traced function": (plain({}), lambda: traced(QUESTION)),
    }


def measured(pairs: dict[str, tuple[Way, Way]], rounds: int) -> dict[str, dict[str, float]]:
    """Medians of the plain call and of the way, and their difference, in microseconds."""
    taken: dict[str, tuple[list[int], list[int]]] = {name: ([], []) for name in pairs}
    for _ in range(rounds):
        for name, pair in pairs.items():
            for way, durations in zip(pair, taken[name], strict=True):
                before = time.perf_counter_ns()
                way()
                durations.append(time.perf_counter_ns() - before)
    medians = {name: [statistics.median(each) / 1_000 for each in both] for name, both in taken.items()}
    return {
        name: {"plain_us": plain, "tracked_us": tracked, "beyond_us": tracked - plain}
        for name, (plain, tracked) in medians.items()
    }


def chunk_us(rounds: int) -> float:
    """What taking down one chunk of a stream costs, at the mean."""
    chunks = recorded.CHAT_CHUNKS * rounds
    together = Chunks()
    before = time.perf_counter_ns()
    for chunk in chunks:
        together.add(chunk)
    return (time.perf_counter_ns() - before) / 1_000 / len(chunks)


def run(rounds: int) -> tuple[dict[str, dict[str, float]], bool]:
    """The figures, and whether every record arrived and nothing went wrong."""
    with ScriptedServer(batching()) as server:
        logger = PromptStackLogger("psk_bench", server.url, **PATIENT)
        figures = measured(ways(logger), rounds)
        whole = bool(logger.flush(60)) and logger.get_stats()["tracking_errors"] == 0
        logger.shutdown(5)
        return figures, whole and len(set(server.ids())) == 2 * rounds * len(figures)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.tracking", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3_000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    figures, whole = run(options.rounds)
    chunk = chunk_us(options.rounds)
    print(f"{'':36}{'log call':>10}{'tracked':>10}{'beyond':>10}   (median, µs)")
    for name, figure in figures.items():
        cells = "".join(f"{figure[key]:10.1f}" for key in ("plain_us", "tracked_us", "beyond_us"))
        print(f"{name:36}{cells}")
    print(f"{'one chunk of a stream':36}{'':20}{chunk:10.1f}   (mean, µs)")
    if options.json is not None:
        options.json.write_text(json.dumps({"ways": figures, "chunk_us": chunk}, indent=2) + "\n")
    dear = figures["interaction, text"]["beyond_us"] > LIMIT_US
    return 0 if whole and not dear else 1


if __name__ == "__main__":
    sys.exit(main())
