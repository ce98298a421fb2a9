"""`get_prompt` when the answer is at hand: warm, routed locally, and banyan-sdk's own cache."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

from tests.benchmarks.adapters import BATCH, construct
from tests.benchmarks.measure import Metrics
from tests.benchmarks.peers import BANYAN_SDK
from tests.benchmarks.plan import Case, Measurement, Row, Target

_ROUNDS = 60
_CALLS = 1_000


def warm(url: str, factory: str) -> Metrics:
    """One prompt, asked for again and again."""
    adapter = construct(factory, url)
    logger = adapter.logger  # type: ignore[attr-defined]  # both clients' adapters have it
    metrics = _timed(lambda _: logger.get_prompt("greeting"), [""])
    adapter.close()
    return metrics


def routed(url: str, factory: str) -> Metrics:
    """The same in an experiment, each call for another user."""
    adapter = construct(factory, url)
    logger = adapter.logger  # type: ignore[attr-defined]  # this library's only
    users = [f"user-{number}" for number in range(10_000)]
    metrics = _timed(lambda user: logger.get_prompt("greeting", sticky_context={"user_id": user}), users)
    versions = logger.get_stats()["experiments"]
    if sum(len(counts) for counts in versions.values()) != 2:
        raise RuntimeError(f"users were not routed to both versions: {versions}")
    adapter.close()
    return metrics


def _timed(ask: Callable[[str], object], values: Sequence[str]) -> Metrics:
    """The median round, by call; the first call, which goes to the backend, is not in it."""
    if ask(values[0]) is None:
        raise RuntimeError("there was no prompt")
    rounds = []
    for number in range(_ROUNDS):
        chosen = [values[(number * _CALLS + call) % len(values)] for call in range(_CALLS)]
        before = time.perf_counter()
        for value in chosen:
            ask(value)
        rounds.append((time.perf_counter() - before) / _CALLS)
    return {"prompt_us": statistics.median(rounds) * 1e6}


MEASUREMENT = Measurement(
    "prompts",
    "get_prompt, the answer at hand",
    (
        Case("banyan-sdk, warm", f"{__name__}:warm", {"factory": BANYAN_SDK.factory}, BATCH.sink),
        Case("banyan_hp, warm", f"{__name__}:warm", {"factory": BATCH.factory}, BATCH.sink),
        Case("banyan_hp, routed", f"{__name__}:routed", {"factory": BATCH.factory}, BATCH.sink),
    ),
    (Row("prompt_us", "a call, µs"),),
    (
        Target("warm: within 2 µs", "banyan_hp, warm", "prompt_us", most=2),
        Target("with local routing: within 5 µs", "banyan_hp, routed", "prompt_us", most=5),
    ),
    seeded=False,
)
