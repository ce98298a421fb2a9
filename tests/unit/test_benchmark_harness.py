"""The benchmarks' harness counts right; nothing here looks at the clock."""

from __future__ import annotations

import gzip
import json
from contextlib import closing
from typing import Any

import urllib3

from tests.benchmarks import measure, quick
from tests.benchmarks.adapters import System
from tests.benchmarks.floor import Floor
from tests.benchmarks.sink import Mode, Sink
from tests.benchmarks.workload import Record, make_records

BATCH = "/api/logs/prompt-usage/batch"
SINGLE = "/api/logs/prompt-usage"


class Forgetful:
    """A fake system that says yes and sends nothing."""

    def __init__(self, url: str) -> None:
        pass

    def log(self, record: Record) -> bool:
        return True

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass


def post(sink: Sink, path: str, body: bytes, headers: dict[str, str] | None = None) -> tuple[int, Any]:
    with closing(urllib3.HTTPConnectionPool("127.0.0.1", sink.port, retries=False, timeout=10)) as pool:
        response = pool.request("POST", path, body=body, headers=headers or {})
        return response.status, json.loads(response.data)


def envelope(*ids: str) -> bytes:
    return json.dumps({"records": [{"id": i, "ts": "", "body": {"input": '"id":'}} for i in ids]}).encode()


def test_workload_is_deterministic_distinct_and_of_the_stated_size() -> None:
    """The same seed gives the same records, no two of them alike, of about 1.5 KB."""
    records = make_records(500, seed=7)
    assert records == make_records(500, seed=7)
    encoded = {json.dumps(record) for record in records}
    assert len(encoded) == 500
    assert all(1_300 < len(text) < 1_900 for text in encoded)


def test_floor_delivers_every_record() -> None:
    """What the floor logs is what the sink counts."""
    with Sink() as sink, closing(Floor(sink.url)) as floor:
        for record in make_records(500):
            floor.log(record)
        floor.flush()
        stats = sink.stats()
    assert (stats.requests, stats.records, stats.distinct) == (5, 500, 500)


def test_sink_counts_distinct_ids() -> None:
    """A repeated id is a record but not a distinct one, compressed or not, batch or single; reset forgets."""
    with Sink(Mode(gzip=True)) as sink:
        assert post(sink, BATCH, envelope()) == (200, {"accepted": 0, "gzip": True})
        assert post(sink, BATCH, envelope("a", "b")) == (200, {"accepted": 2})
        packed = gzip.compress(envelope("b", "c"))
        assert post(sink, BATCH, packed, {"Content-Encoding": "gzip"}) == (200, {"accepted": 2})
        for key in ("d", "d"):
            assert post(sink, SINGLE, b"{}", {"Idempotency-Key": key}) == (201, {})
        stats = sink.stats()
        assert (stats.requests, stats.records, stats.distinct) == (5, 6, 4)
        sink.reset()
        assert sink.stats().records == 0


def test_sink_without_batches_answers_404() -> None:
    """Started with --one-by-one, the sink has no batch endpoint and takes single records."""
    with Sink(Mode(one_by_one=True, latency_ms=1)) as sink:
        assert post(sink, BATCH, envelope("a"))[0] == 404
        assert post(sink, SINGLE, b"{}", {"Idempotency-Key": "k"})[0] == 201
        stats = sink.stats()
    assert (stats.requests, stats.records, stats.distinct) == (2, 1, 1)


def test_percentile_is_the_nearest_rank() -> None:
    """Half of the values are at or below the median, 99 of 100 at or below the 99th."""
    values = list(range(100, 0, -1))
    assert [measure.percentile(values, share) for share in (0.5, 0.99, 1.0)] == [50, 99, 100]


def test_a_burst_is_measured_in_a_child_process() -> None:
    """A run of the floor reports its metrics and nothing missing."""
    floor = System("floor", "tests.benchmarks.floor:Floor", Mode(), burst_records=200)
    plan = quick.Plan(systems=(floor,), repetitions=1, seconds=0.1)
    results = quick.run(plan)
    assert [run.failure for run in results] == [None, None]
    assert {name for run in results for name in run.metrics} >= {"caller_p50_us", "records_per_s", "cpu_s"}
    assert "floor" in quick.report(plan, results, "the command")


def test_a_missing_record_fails_the_run() -> None:
    """A system that loses records is reported as failed, and so is the whole run."""
    lossy = System("lossy", f"{__name__}:Forgetful", Mode(), burst_records=10)
    plan = quick.Plan(systems=(lossy,), repetitions=1, seconds=0.1)
    results = quick.run(plan)
    assert results[-1].failure == "10 of 10 records missing (0 refused by log)"
    assert "FAILED" in quick.report(plan, results, "the command")
