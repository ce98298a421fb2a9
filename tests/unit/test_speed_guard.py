"""A record's cost does not become several times what it is: counted, or CPU beside a known amount of it.

The instructions of a call and of a delivery are counted exactly, by `tests/benchmarks/instructions.py`. The
other bounds are a few times what was measured when they were set, so that only a change of kind breaks them:
a copy of the bytes at the call, an encoding made twice, a request for each record. Figures: `make bench`.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from banyan_hp import HuggingPlace, PromptStackLogger
from banyan_hp.engine.http.transport import Request
from tests.benchmarks import instructions
from tests.benchmarks.adapters import Adapter, BanyanAdapter
from tests.benchmarks.floor import Floor
from tests.benchmarks.instructions import opcodes
from tests.benchmarks.sink import Mode, Sink
from tests.benchmarks.workload import Record, make_records
from tests.benchmarks.wrapping import CASES
from tests.support.stepped import URL, FakeBackend

ROOT = Path(__file__).parents[2]
RECORDS = make_records(1_500)
ATTEMPTS = 5
CALL_OPCODES = 4_500
CALL_TO_DUMPS = 8.0
DELIVERY_TO_FLOOR = 20.0
WRAPPED_OPCODES = 2_650  # close to what was measured, 2,100 to 2,560: the caller of a model waits for it
CHUNK_OPCODES = 120


@pytest.fixture(scope="module")
def counted() -> dict[str, int]:
    """The counts of a fresh process, in which nothing has run before."""
    pytest.importorskip("orjson", reason="the recorded numbers are those with orjson")
    finished = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.instructions", "--json"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    counts: dict[str, int] = json.loads(finished.stdout)
    return counts


@pytest.fixture(scope="module")
def sink() -> Iterator[Sink]:
    with Sink(Mode(gzip=True)) as started:
        yield started


def best_of(ratio: Callable[[], float], bound: float) -> float:
    """The lowest of a few attempts; one that is within the bound ends them."""
    lowest = ratio()
    for _ in range(ATTEMPTS - 1):
        if lowest <= bound:
            break
        lowest = min(lowest, ratio())
    return lowest


def caller_seconds(adapter: Adapter, records: Sequence[Record]) -> float:
    """CPU of this thread alone."""
    before = time.thread_time()
    for record in records:
        adapter.log(record)
    return time.thread_time() - before


def delivery_seconds(adapter: Adapter) -> float:
    """CPU of all threads, until everything is delivered."""
    before = time.process_time()
    for record in RECORDS:
        adapter.log(record)
    adapter.flush()
    return time.process_time() - before


@pytest.mark.parametrize("name", [each.__name__ for each in instructions.COUNTED])
def test_the_instructions_are_the_recorded_ones(counted: dict[str, int], name: str) -> None:
    """A call, a batch and a single delivery take as many instructions as recorded, give or take 3 %.

    Fewer fail, too: the new number is recorded, or the next loss goes unseen. How: the benchmarks' README.
    """
    known = instructions.recorded().get(instructions.minor_version())
    if known is None:
        pytest.skip(f"no number is recorded for Python {instructions.minor_version()}")
    assert counted[name] == pytest.approx(known[name], rel=instructions.TOLERANCE)


def test_the_backends_own_instructions_do_not_count() -> None:
    """What the fake backend does, called by the library or not, adds nothing."""
    request = Request("POST", f"{URL}/single", {"Idempotency-Key": "1"}, b"{}")
    assert instructions.opcodes(partial(FakeBackend().send, request, 1.0)) == 0
    assert instructions.opcodes(partial(json.loads, "{}")) > 0


def test_a_waiting_record_is_few_objects_for_the_garbage_collector() -> None:
    """The record and its body; metadata of texts and numbers can hold no cycle, so Python leaves it out.

    From 3.14 on Python leaves out no dict.
    """
    logger = instructions.logger_of_steps()
    gc.collect()
    before = len(gc.get_objects())
    for record in RECORDS[:1_000]:
        logger.log_prompt(**record)
    gc.collect()
    assert (len(gc.get_objects()) - before) / 1_000 < (2.1 if sys.version_info < (3, 14) else 3.1)


def test_bytes_cost_the_caller_no_instructions(sink: Sink) -> None:
    """A record of 100 KB takes the same path as one of 1 KB."""
    (large,) = make_records(1, characters=99_000)
    with closing(BanyanAdapter(sink.url)) as adapter:
        adapter.log(RECORDS[0])
        small_count, large_count = (
            min(opcodes(partial(adapter.log, record)) for _ in range(5)) for record in (RECORDS[1], large)
        )
    assert large_count <= 1.2 * small_count


@pytest.mark.alone
def test_a_call_costs_the_caller_little_beside_an_encoding(sink: Sink) -> None:
    """The caller's CPU is a small multiple of what `json.dumps` of the record takes."""

    def ratio() -> float:
        with closing(BanyanAdapter(sink.url)) as adapter:
            seconds = caller_seconds(adapter, RECORDS)
        before = time.thread_time()
        for record in RECORDS:
            json.dumps(record)
        return seconds / (time.thread_time() - before)

    assert best_of(ratio, CALL_TO_DUMPS) <= CALL_TO_DUMPS


@pytest.mark.alone
def test_delivery_costs_a_small_multiple_of_the_floor(sink: Sink) -> None:
    """CPU from the call to the acknowledgement, beside the least that a background logger can do."""

    def ratio() -> float:
        with closing(BanyanAdapter(sink.url)) as ours, closing(Floor(sink.url)) as floor:
            return delivery_seconds(ours) / delivery_seconds(floor)

    assert best_of(ratio, DELIVERY_TO_FLOOR) <= DELIVERY_TO_FLOOR


@pytest.mark.parametrize("name", CASES)
def test_a_wrapped_call_takes_few_instructions_more_than_a_plain_one(sink: Sink, name: str) -> None:
    """What the answer says is read by the logger's threads; a chunk of a stream costs a few steps."""
    case = CASES[name]
    with closing(BanyanAdapter(sink.url)) as adapter:
        plain, client = case.make(), case.make()
        wrap = adapter.logger.wrap_anthropic if name.startswith("messages") else adapter.logger.wrap_openai
        wrap(client)
        counts = [min(opcodes(partial(case.call, each)) for _ in range(3)) for each in (plain, client)]
    assert 0 < counts[1] - counts[0] <= WRAPPED_OPCODES + CHUNK_OPCODES * case.chunks


@pytest.mark.parametrize(
    ("options", "share"), [({"sample_rate": 1e-12}, 0.7), ({"sampler": lambda _record: False}, 0.85)]
)
def test_a_call_that_sampling_leaves_out_costs_less_than_one_that_is_logged(
    options: dict[str, Any], share: float, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By both clients: of `log_prompt`, 351 instructions instead of 903, 501 with a sampler."""
    monkeypatch.delitem(sys.modules, "opentelemetry.trace", raising=False)  # loaded by anthropic
    (record,) = make_records(1)
    interaction: Any = {"user_prompt": "q", "response": "a", "session_id": "s", "metadata": {"a": 1}}
    counts = []
    for sampled in ({}, options):
        logger = PromptStackLogger("psk_x", sink.url, flush_interval=60, **sampled)
        client = HuggingPlace("key", "org", base_url=sink.url, flush_interval=60, **sampled)
        calls: list[Any] = [partial(logger.log_prompt, **record), partial(client.log, interaction)]
        counts.append([min(opcodes(call) for _ in range(3)) for call in calls])
        logger.shutdown(5)
        client.shutdown(5)
    assert all(left_out < share * logged for logged, left_out in zip(*counts, strict=True)), counts


@pytest.mark.alone
def test_the_length_of_a_text_in_a_message_costs_the_caller_nothing(sink: Sink) -> None:
    """10 million characters, or a picture of 0.8 MB, cost what 1,000 characters cost, in one run."""
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "Qk0+aB3/" * 100_000}}
    contents: list[Any] = ["x" * 1_000, "x" * 10_000_000, [picture, {"text": "?"}], b"\xff" * 800_000]
    with closing(BanyanAdapter(sink.url)) as adapter:
        adapter.log(RECORDS[0])
        calls = [
            partial(adapter.logger.log_prompt, [{"role": "user", "content": content}], "a")
            for content in contents
        ]
        counts = [min(opcodes(_flushed(adapter, call)) for _ in range(2)) for call in calls]
        seconds = [min(_thread_seconds(_flushed(adapter, call)) for _ in range(5)) for call in calls]
    assert max(counts) <= 2 * CALL_OPCODES
    # A wide bound, for noisy machines: encoding on the caller's thread took 120 ms and 3.5 ms.
    assert max(seconds) <= max(500e-6, 10 * seconds[0])


def _flushed(adapter: Adapter, call: Callable[[], Any]) -> Callable[[], Any]:
    """A call that finds the queue empty: otherwise the fourth text of this length would go to disk."""
    adapter.flush()
    return call


def _thread_seconds(call: Callable[[], Any]) -> float:
    before = time.thread_time()
    call()
    return time.thread_time() - before
