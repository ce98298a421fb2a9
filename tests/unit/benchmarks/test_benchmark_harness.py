"""The benchmarks' harness counts right; nothing here looks at the clock."""

from __future__ import annotations

import gzip
import json
import os
import socket
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import urllib3

from tests.benchmarks import __main__ as program
from tests.benchmarks import application as app
from tests.benchmarks import breakdown, loopback, process, report
from tests.benchmarks.adapters import BATCH, FLOOR, System
from tests.benchmarks.calls import CallError, call
from tests.benchmarks.catalogue import ALL, QUICK
from tests.benchmarks.floor import Floor
from tests.benchmarks.measure import percentile
from tests.benchmarks.measurements import application, burst
from tests.benchmarks.peers import PEERS
from tests.benchmarks.plan import Case, Measurement, Row, Target
from tests.benchmarks.runner import Backends, Run, run
from tests.benchmarks.sink import Mode, Sink
from tests.benchmarks.workload import Record, make_records, stream_records

BATCH_PATH = "/api/logs/prompt-usage/batch"
SINGLE_PATH = "/api/logs/prompt-usage"
BURST = "tests.benchmarks.measure:burst"

WRK_REPORT = """Running 5s test @ http://127.0.0.1:8000/
  1 threads and 2 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     3.92ms    1.02ms  22.10ms   95.01%
  Latency Distribution
     50%    3.84ms
     75%    4.10ms
     90%  950.00us
     99%    1.20s\x20
  2635 requests in 5.00s, 420.02KB read
Requests/sec:    527.00
Transfer/sec:     84.00KB
"""


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


def numbers(url: str, *, value: float) -> dict[str, float]:
    """A measurement that is already known."""
    return {"value": value}


def serve_three(url: str, counts: str) -> dict[str, float]:
    """The application of the load test, asked three times without gunicorn."""
    settings = {"url": url, "factory": FLOOR.factory, "options": {}, "units": 10, "counts": counts}
    os.environ[app.ENVIRONMENT] = json.dumps(settings)
    client = app.create().test_client()
    answers = [client.get("/").status_code for _ in range(3)]
    app.worker_exit(None, None)
    return {"answered": answers.count(200)}


def travel(url: str) -> dict[str, float]:
    """A measurement that wants to leave the machine, and hides that it could not."""
    with socket.socket() as abroad:
        abroad.connect_ex(("127.0.0.1", 9))
        with pytest.raises(ConnectionRefusedError):
            abroad.connect(("192.0.2.1", 80))
    return {}


def post(sink: Sink, path: str, body: bytes, headers: dict[str, str] | None = None) -> tuple[int, Any]:
    with closing(urllib3.HTTPConnectionPool("127.0.0.1", sink.port, retries=False, timeout=10)) as pool:
        response = pool.request("POST", path, body=body, headers=headers or {})
        return response.status, json.loads(response.data or b"null")


def envelope(*wanted: int) -> bytes:
    return json.dumps({"records": [{"id": str(n), "body": single(n)} for n in wanted]}).encode()


def single(number: int) -> dict[str, str]:
    return {"input": f'Question {number}: "id":', "output": f"Answer {number}: x"}


def runs(**by_case: list[float]) -> list[Run]:
    return [
        Run(case, turn, {"value": value}, None)
        for case, values in by_case.items()
        for turn, value in enumerate(values)
    ]


def measurement(*targets: Target) -> Measurement:
    cases = tuple(Case(name, f"{__name__}:numbers", {"value": 1.0}) for name in ("first", "second"))
    return Measurement("fake", "a fake", cases, (Row("value", "value"),), targets, seeded=False)


def test_workload_is_deterministic_distinct_and_of_the_stated_size() -> None:
    """The same seed gives the same records, no two of them alike, of about 1.5 KB."""
    records = make_records(500, seed=7)
    assert records == make_records(500, seed=7)
    encoded = {json.dumps(record) for record in records}
    assert len(encoded) == 500
    assert all(1_300 < len(text) < 1_900 for text in encoded)


def test_workload_can_be_of_any_size_and_streamed() -> None:
    """Records of another size have the same keys; a stream can begin at any number."""
    (large,) = make_records(1, characters=99_000)
    (usual,) = stream_records(1, first=41)
    assert 99_000 < len(large["output"]) < 99_100
    assert large.keys() == usual.keys()
    assert usual["input"].startswith("Question 41: ")


def test_floor_delivers_every_record() -> None:
    """What the floor logs is what the sink counts."""
    with Sink() as sink, closing(Floor(sink.url)) as floor:
        for record in make_records(500):
            floor.log(record)
        floor.flush()
        stats = sink.stats()
    assert (stats.requests, stats.records, stats.distinct) == (5, 500, 500)


def test_sink_counts_distinct_records() -> None:
    """A repeated record is not a distinct one, compressed or not, batch or single; reset forgets."""
    with Sink(Mode(gzip=True)) as sink:
        assert post(sink, BATCH_PATH, envelope()) == (200, {"accepted": 0, "gzip": True})
        assert post(sink, BATCH_PATH, envelope(1, 2)) == (200, {"accepted": 2})
        packed = gzip.compress(envelope(2, 3))
        assert post(sink, BATCH_PATH, packed, {"Content-Encoding": "gzip"}) == (200, {"accepted": 2})
        for _ in range(2):
            assert post(sink, SINGLE_PATH, json.dumps(single(4)).encode()) == (201, {})
        stats = sink.stats()
        assert (stats.requests, stats.records, stats.distinct) == (5, 6, 4)
        sink.reset()
        assert sink.stats().records == 0


def test_half_a_record_is_no_record() -> None:
    """A record whose output did not arrive is missing, on whatever wire it came."""
    with Sink() as sink:
        post(sink, "/v1/logs", b"\x0a\x07Question 1: \x0a\x05Answer 1: ")
        post(sink, "/v1/logs", b"\x0a\x07Question 2: ")
        assert sink.stats().distinct == 1


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/1/batch/bench", (200, [{"status": 202}, {"status": 202}])),
        ("/v1/logs", (200, None)),
        ("/api/public/otel/v1/traces", (200, None)),
        ("/runs/multipart", (202, {})),
        ("/batch/", (200, {})),
    ],
)
def test_sink_answers_each_peer_as_its_own_backend_does(path: str, answer: tuple[int, Any]) -> None:
    """A peer that was answered wrongly would retry, or report failures."""
    events = [{"samplerate": 1, "data": single(n)} for n in (1, 2)]
    with Sink() as sink:
        assert post(sink, path, json.dumps(events).encode()) == answer
        assert sink.stats().distinct == 2


def test_sink_without_batches_answers_404() -> None:
    """Started with --one-by-one, the sink has no batch endpoint and takes single records."""
    with Sink(Mode(one_by_one=True, latency_ms=1)) as sink:
        assert post(sink, BATCH_PATH, envelope(1))[0] == 404
        assert post(sink, SINGLE_PATH, json.dumps(single(1)).encode())[0] == 201
        stats = sink.stats()
    assert (stats.requests, stats.records, stats.distinct) == (2, 1, 1)


def test_a_hanging_sink_takes_everything_and_answers_nothing() -> None:
    """Started with --hang, the sink answers nobody but its owner."""
    with Sink(Mode(hang=True)) as sink, socket.create_connection(("127.0.0.1", sink.port), 5) as client:
        client.sendall(b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}")
        while sink.stats().requests == 0:
            pass
        client.settimeout(0.05)
        with pytest.raises(TimeoutError):
            client.recv(1)


def test_percentile_is_the_nearest_rank() -> None:
    """Half of the values are at or below the median, 99 of 100 at or below the 99th."""
    values = list(range(100, 0, -1))
    assert [percentile(values, share) for share in (0.5, 0.99, 1.0)] == [50, 99, 100]


def test_a_burst_is_measured_in_a_process_of_its_own() -> None:
    """A run reports its metrics and nothing missing, from several threads, too."""
    plan = Measurement(
        "few",
        "a few",
        (Case.of(FLOOR, BURST, records=200), Case.of(BATCH, BURST, records=200, threads=3)),
        (Row("records_per_s", "records/s"),),
    )
    with Backends() as available:
        results = run(plan, available, repetitions=1)
    assert [one.failure for one in results] == [None, None]
    assert {name for one in results for name in one.metrics} >= {
        "caller_p50_us",
        "records_per_s",
        "sink_busy",
    }
    assert report.failures(plan, results) == []


def test_a_missing_record_fails_the_run() -> None:
    """A system that loses records is reported as failed, its figures are not shown, no target is met."""
    lossy = System("lossy", f"{__name__}:Forgetful")
    target = Target("fast", "lossy", "records_per_s", least=1)
    plan = Measurement(
        "lossy", "l", (Case.of(lossy, BURST, records=10),), (Row("records_per_s", "r"),), (target,)
    )
    with Backends() as available:
        results = run(plan, available, repetitions=1)
    assert results[0].failure == "10 of 10 records missing (0 refused by log)"
    assert report.values(results, "lossy", "records_per_s") == []
    assert [(verdict.value, verdict.met) for verdict in report.judge(plan, results)] == [(None, False)]
    assert "FAILED lossy: lossy, turn 1: 10 of 10" in report.table(plan, results)


def test_nothing_leaves_the_machine() -> None:
    """A function that reaches for another machine can't, and fails even if it hides that."""
    with pytest.raises(CallError, match=r"reached for another machine: 192\.0\.2\.1"):
        call(f"{__name__}:travel", {"url": ""})


@pytest.mark.parametrize(
    ("host", "local"),
    [("127.0.0.1", True), ("localhost", True), ("::1", True), ("example.com", False), ("10.0.0.1", False)],
)
def test_loopback_is_told_from_elsewhere(host: str, local: bool) -> None:
    """Names and numbers of this machine pass."""
    assert loopback.is_local(host) is local
    assert loopback.is_local(host.encode()) is local


def test_a_call_that_fails_says_why() -> None:
    """The last line of the child's traceback is the message."""
    with pytest.raises(CallError, match="No module named 'nowhere'"):
        call("nowhere:nothing", {})


def test_modules_can_be_hidden_from_a_call() -> None:
    """What is to be measured without a module can't import it."""
    with pytest.raises(CallError, match=r"import of http\.client halted"):
        call("tests.benchmarks.floor:Floor", {"url": ""}, hide=["http.client"])


@pytest.mark.parametrize(
    ("target", "value", "met"),
    [
        (Target("t", "second", "value", most=2), 2.0, True),
        (Target("t", "second", "value", least=2.1), 2.0, False),
        (Target("t", "second", "value", most=0.5, ratio_to="first"), 0.5, True),
        (Target("t", "second", "value", most=-3, beyond="first"), -2.0, False),
        (Target("t", "second", "value", most=1, ratio_to="third"), None, False),
        (Target("t", "second", "other", most=1), None, False),
    ],
)
def test_targets_are_judged_by_medians(target: Target, value: float | None, met: bool) -> None:
    """A bound holds for the median, its ratio or its distance; what was not measured is not met."""
    made = runs(first=[4.0, 4.0, 90.0], second=[1.0, 2.0, 3.0])
    (verdict,) = report.judge(measurement(target), made)
    assert (verdict.value, verdict.met) == (value, met)


def test_each_turn_begins_with_another_case() -> None:
    """No case is always the first, or always the last."""
    with Backends() as available:
        made = run(measurement(), available, repetitions=3)
    assert [one.case for one in made] == ["first", "second", "second", "first", "first", "second"]


def test_a_table_shows_medians_spread_and_ratios() -> None:
    """The first case is what the others are compared with."""
    text = report.table(measurement(), runs(first=[1.0, 2.0, 3.0], second=[10.0, 12.0, 14.0]))
    assert "|        | value               | x first |" in text
    assert "| first  | 2.000 (1.000–3.000) | 1.00    |" in text
    assert "| second | 12.0 (10.0–14.0)    | 6.00    |" in text


def test_the_program_prints_and_writes_what_it_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A missed target is told and fails nothing; the JSON has every run, verdict and version."""
    target = Target("impossible", "first", "value", most=0)
    monkeypatch.setattr(program, "ALL", (measurement(target),))
    monkeypatch.setattr(program, "OTHERS", ())
    written = tmp_path / "bench.json"
    assert program.main(["--json", str(written), "--repetitions", "1"]) == 0
    assert "- MISSED: impossible [first; <= 0]: is 1" in capsys.readouterr().out
    value = json.loads(written.read_text(encoding="utf-8"))
    assert [one["metrics"] for one in value["measurements"][0]["runs"]] == [{"value": 1.0}] * 2
    assert value["measurements"][0]["targets"][0]["met"] is False
    assert "orjson" in value["machine"]["versions"]


def test_the_program_fails_when_a_record_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 1, and the reason at the end."""
    lossy = Case.of(System("lossy", f"{__name__}:Forgetful"), BURST, records=3)
    monkeypatch.setattr(program, "ALL", (Measurement("m", "m", (lossy,), ()),))
    monkeypatch.setattr(program, "OTHERS", ())
    assert program.main(["--repetitions", "1"]) == 1
    assert capsys.readouterr().out.rstrip().endswith("3 of 3 records missing (0 refused by log)")


def test_targets_name_what_is_measured() -> None:
    """Each target's cases exist, and names are unique: a misspelt one would be missed for ever."""
    for one in (*ALL, *QUICK):
        cases = [case.name for case in one.cases]
        assert len(set(cases)) == len(cases), one.name
        for target in one.targets:
            assert {target.case, target.ratio_to, target.beyond} - {None} <= set(cases), target
            assert (target.most is None) != (target.least is None), target
    assert len({one.name for one in ALL}) == len(ALL)


def test_every_peer_is_in_the_comparison() -> None:
    """All peers take the paced measurement; those that batch take the burst."""
    cases = {case.name for case in burst.MEASUREMENT.cases}
    assert {peer.name for peer in PEERS} - cases == {"banyan-sdk"}


def test_the_application_logs_once_a_request_and_says_how_often(tmp_path: Path) -> None:
    """Its count is what the sink must have, and the sink has it."""
    with Sink() as sink:
        metrics = call(f"{__name__}:serve_three", {"url": sink.url, "counts": str(tmp_path)})
        assert metrics == {"answered": 3}
        (reported,) = (json.loads(path.read_text(encoding="ascii")) for path in tmp_path.iterdir())
        assert reported["logged"] == 3
        assert reported["cpu_s"] > 0
        assert sink.stats().distinct == 3


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="one cProfile a process there, not one a thread")
def test_time_is_broken_down_by_function_on_both_sides() -> None:
    """The caller's side has the call, the library's own threads have the encoding; shares add up to 100 %."""
    records = make_records(50)
    with Sink(Mode(gzip=True)) as sink:
        caller, worker = breakdown.caller(records, sink.url), breakdown.worker(records, sink.url)
    assert [share.calls for share in caller if share.function.endswith(" log_prompt")] == [50]
    assert not any(share.function.endswith(" log_prompt") for share in worker)
    assert any(share.function.endswith(" exchange") for share in worker)
    text = breakdown.table("caller", caller, len(records), most=len(caller))
    assert text.endswith("| all others | 0% | |")


def test_wrk_is_understood() -> None:
    """Requests a second and percentiles in milliseconds, from whatever unit."""
    assert application.parse(WRK_REPORT) == {"requests_per_s": 527.0, "p50_ms": 3.84, "p99_ms": 1_200.0}
    with pytest.raises(ValueError, match="7 requests were answered with an error"):
        application.parse(WRK_REPORT + "  Non-2xx or 3xx responses: 7\n")


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="Linux only")
def test_the_kernel_is_asked_for_memory_and_wake_ups() -> None:
    """Peak memory is at least what is resident; a process has threads."""
    process.forget_peak()
    ballast = bytearray(30_000_000)
    assert process.peak_bytes() >= process.resident_bytes() > len(ballast)
    assert process.thread_count() >= 1
    assert process.wake_ups() >= 0
