"""How many bytecode instructions a call and a delivery take: a gate for speed that no busy machine disturbs.

    python -m tests.benchmarks.instructions            # the counts here, beside the recorded ones
    python -m tests.benchmarks.instructions --write    # record them for this minor version of Python

One thread, a fake clock and a backend that is an object: no network, no jitter, the same count at each run.
Counted is the library and what it calls, without the backend and the clock. `instructions.json` holds the
counts by minor version; `tests/unit/test_speed_guard.py` compares.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from banyan_hp import PromptStackLogger
from tests.benchmarks.workload import make_records
from tests.support.clock import FakeClock
from tests.support.stepped import URL, FakeBackend, SteppedEngine

RECORDED = Path(__file__).with_suffix(".json")
TOLERANCE = 0.03
BATCH = 500
_TESTS = str(Path(__file__).parents[1])
_BACKEND = FakeBackend.send.__code__
_MOST_STEPS = 20


def opcodes(call: Callable[[], Any]) -> int:
    """How many instructions a call takes on this thread. It is made twice, the second time counts.

    From Python 3.12 on, a function's instructions are seen from its second traced call on.
    """
    traced(call)
    return traced(call)


def traced(call: Callable[[], Any]) -> int:
    """The instructions of one call, whose functions have been traced before; see `opcodes`."""
    count = 0
    in_backend = 0

    def step(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal count
        count += event == "opcode" and not in_backend
        return step

    def backend(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal in_backend
        in_backend -= event == "return"
        return backend

    def called(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal in_backend
        frame.f_trace_lines = False
        if frame.f_code is _BACKEND:
            in_backend += 1
            return backend
        if frame.f_code.co_filename.startswith(_TESTS):
            return None
        frame.f_trace_opcodes = True
        return step

    previous = sys.gettrace()
    sys.settrace(called)
    try:
        call()
    finally:
        sys.settrace(previous)
    return count


def _engine(**options: Any) -> SteppedEngine:
    return SteppedEngine(FakeBackend(), FakeClock(), queue_size=10_000, **options)


def _logger(engine: SteppedEngine) -> PromptStackLogger:
    logger = PromptStackLogger("psk_bench", URL, spool=False, on_sigterm="off")
    logger._engine = engine  # a logger takes no clock and no engine
    return logger


def logger_of_steps() -> PromptStackLogger:
    """One whose records wait for ever."""
    return _logger(_engine())


def _delivering(engine: SteppedEngine, records: int) -> int:
    """Log untraced, then count the steps from the queue to settled records."""
    logger = _logger(engine)
    for record in make_records(records):
        logger.log_prompt(**record)
    count = 0
    for _ in range(_MOST_STEPS):
        count += traced(engine.step)
        stats = engine.stats()
        if stats["logs_sent"] == stats["logs_queued"]:
            return count
    raise RuntimeError(f"not all records were delivered: {engine.stats()}")


def log_prompt() -> int:
    """The caller's side of one record with the fields that most callers give."""
    logger = _logger(_engine())
    (record,) = make_records(1)
    return opcodes(partial(logger.log_prompt, **record))


def batch_of_500() -> int:
    """Take, encode, send and settle 500 records in one request."""
    engine = _engine(batch_size=BATCH, batching="always")
    for _ in range(2):
        _delivering(engine, BATCH)
    return _delivering(engine, BATCH)


def single_delivery() -> int:
    """The same for one record in a request of its own."""
    engine = _engine(batching="never")
    for _ in range(2):
        _delivering(engine, 1)
    return _delivering(engine, 1)


COUNTED = (log_prompt, batch_of_500, single_delivery)


def counts() -> dict[str, int]:
    """All counts, by name."""
    gc.disable()  # a destructor of earlier garbage would be counted
    try:
        return {each.__name__: each() for each in COUNTED}
    finally:
        gc.enable()


def recorded() -> dict[str, dict[str, Any]]:
    """Counts by minor version of Python, and the patch version that they were made with."""
    found: dict[str, dict[str, Any]] = json.loads(RECORDED.read_text(encoding="utf-8"))
    return found


def minor_version() -> str:
    return "{}.{}".format(*sys.version_info)


def _write(found: dict[str, int]) -> None:
    known = recorded() if RECORDED.exists() else {}
    known[minor_version()] = {"python": platform.python_version(), **found}
    ordered = {name: known[name] for name in sorted(known, key=lambda name: int(name.partition(".")[2]))}
    RECORDED.write_text(json.dumps(ordered, indent=2) + "\n", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.instructions")
    parser.add_argument("--write", action="store_true", help="record the counts for this version of Python")
    parser.add_argument("--json", action="store_true", help="nothing but the counts, as JSON")
    options = parser.parse_args(arguments)
    found = counts()
    before = recorded().get(minor_version(), {}) if RECORDED.exists() else {}
    if options.write:
        _write(found)
    if options.json:
        print(json.dumps(found))
        return 0
    for name, count in found.items():
        known = before.get(name)
        beside = f"recorded {known:,} ({count / known - 1:+.1%})" if known else "no number recorded"
        print(f"{name:16} {count:>9,}   {beside}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
