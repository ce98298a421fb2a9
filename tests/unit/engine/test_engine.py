"""The engine's decisions, step by step: fake clock, fake backend, no threads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from banyan_hp.engine.http.response import Response
from banyan_hp.engine.http.transport import NoResponse, Request
from banyan_hp.engine.records.ledger import Term
from banyan_hp.engine.records.record import Record
from banyan_hp.engine.sync import WakeUp
from tests.support.clock import FakeClock
from tests.support.stepped import FakeBackend, SteppedEngine, down, failing, json_answer


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def backend() -> FakeBackend:
    return FakeBackend()


# -- batches -------------------------------------------------------------------------------------------------


def test_a_batch_goes_when_it_is_full(backend: FakeBackend, clock: FakeClock) -> None:
    """With `batch_size` records waiting, nothing lingers."""
    engine = SteppedEngine(backend, clock, batch_size=10, flush_interval=60.0)
    for _ in range(25):
        engine.log()
    engine.run()
    assert [request.body.count(b'"id"') for request in backend.usage()] == [10, 10]
    assert engine.ledger.own[Term.QUEUED] == 5


def test_a_part_of_a_batch_lingers_no_longer_than_the_flush_interval(
    backend: FakeBackend, clock: FakeClock
) -> None:
    """A lonely record waits for company, `flush_interval` seconds at most."""
    engine = SteppedEngine(backend, clock, flush_interval=2.0)
    engine.log()
    engine.run()
    assert backend.usage() == []
    clock.advance(1.9)
    engine.run()
    assert backend.usage() == []
    clock.advance(0.2)
    engine.run()
    assert engine.ledger.own[Term.DELIVERED] == 1


def test_a_flush_is_woken_once_not_by_each_record(backend: FakeBackend, clock: FakeClock) -> None:
    """A wake-up for each record would double what a record costs where they go one by one."""
    engine = SteppedEngine(backend, clock, batching="never")
    for _ in range(50):
        engine.log()
    engine.parts.epochs.close()
    rings: list[int] = []

    class Flusher(WakeUp):
        def wake(self) -> None:
            rings.append(engine.ledger.own[Term.DELIVERED])

    engine.parts.settlement.watch(Flusher())
    engine.log()
    engine.run(60)
    assert engine.ledger.own[Term.DELIVERED] == 51
    assert rings == [50, 51]


def test_a_flush_that_waits_for_the_disk_hears_of_records_of_later_epochs(
    backend: FakeBackend, clock: FakeClock, tmp_path: Path
) -> None:
    """What is on disk, when all in memory is delivered, may be younger than the flush."""
    engine = SteppedEngine(backend, clock, tmp_path, batching="never", durability="disk")
    engine.step()  # the first look at the disk
    engine.log()
    mark = engine.waiting.mark()
    engine.log()
    wake_up = WakeUp()
    engine.parts.settlement.watch(wake_up)
    while engine.waiting.on_disk(mark):
        assert not wake_up.wait(0)
        engine.step()
    assert wake_up.wait(0)
    assert engine.parts.epochs.current.in_memory == 1


def test_a_caller_who_is_done_leaves_a_retry_to_another_one(backend: FakeBackend, clock: FakeClock) -> None:
    """Two callers, no thread: one sends both's records in one batch, and only its own is delivered."""
    engine = SteppedEngine(backend, clock, batching="always", retry_delay=1)
    mine, other = engine.log({"n": 1}), engine.log({"n": 2})
    assert mine is not None
    assert other is not None
    wake_up = WakeUp()

    def one_of_two(_request: Request) -> Response:
        engine.add_sleeper(wake_up)  # whoever waits for `other`, while it is in our hands
        results = [{"id": mine.id, "status": 201}, {"id": other.id, "status": 503}]
        return json_answer(200, {"results": results})

    backend.behaviour = one_of_two
    assert engine.wait_for(mine)
    assert not other.settled
    assert wake_up.wait(0)


def test_a_wait_that_is_interrupted_leaves_no_bell_behind(
    backend: FakeBackend, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in a caller, a greenlet that is killed: else a ring goes to it, and the others sleep on."""
    engine = SteppedEngine(backend, clock)
    scheduler = engine.scheduler

    def interrupted(*_: object) -> NoReturn:
        assert len(scheduler.sleepers.idle) == 1
        raise KeyboardInterrupt

    monkeypatch.setattr(clock, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        engine.step()
    assert scheduler.sleepers.idle == []


def test_asking_again_and_again_for_a_record_leaves_nothing_behind(
    backend: FakeBackend, clock: FakeClock
) -> None:
    """`receipt.result(timeout=…)` in a loop: waiters nested in waiters are too deep to be told."""
    engine = SteppedEngine(backend, clock, batching="never")
    record = engine.log()
    assert record is not None
    backend.behaviour = down
    assert not engine.wait_for(record, 0.0)
    engine.waiting.add_waiter(record, loop := Loop())
    for _ in range(2000):
        assert not engine.wait_for(record, 0.0)
        engine.waiting.add_waiter(record, loop)
    backend.behaviour = backend.well
    assert engine.wait_for(record, 60.0)
    assert loop.reported == [record]


class Loop(WakeUp):
    """Waits without a thread."""

    __slots__ = ("reported",)

    def __init__(self) -> None:
        super().__init__()
        self.reported: list[Record] = []

    def settled(self, record: Record) -> None:
        self.reported.append(record)


def test_an_idle_worker_sleeps_until_it_is_woken(backend: FakeBackend, clock: FakeClock) -> None:
    """Nothing to do and no interval to keep: one endless wait, no polling."""
    engine = SteppedEngine(backend, clock)
    engine.step(longest_wait=10.0)
    assert clock.waits == [10.0]


def test_a_flush_does_not_linger(backend: FakeBackend, clock: FakeClock) -> None:
    """What a flush waits for goes at once."""
    engine = SteppedEngine(backend, clock, flush_interval=60.0)
    engine.log()
    began = clock.monotonic()
    assert engine.flush(30)
    assert clock.monotonic() == began


# -- retries -------------------------------------------------------------------------------------------------


def test_back_off_doubles_and_the_attempts_are_counted(
    backend: FakeBackend, clock: FakeClock, tmp_path: Path
) -> None:
    """One attempt and `max_retries` more; then the records are on disk and the breaker is open."""
    engine = SteppedEngine(backend, clock, tmp_path, max_retries=3, retry_delay=1.0, batching="always")
    engine.log()
    backend.behaviour = failing(503)
    began = clock.monotonic()
    assert not engine.flush(3600)
    assert len(backend.usage()) == 4
    assert clock.monotonic() - began <= 1 + 2 + 4
    assert engine.breaker.state == "offline"
    assert engine.ledger.own[Term.SPOOLED] == 1
    counters = engine.ledger.counters
    assert (counters.attempts_failed, counters.retries_attempted) == (4, 3)


def test_an_open_breaker_lets_one_record_through_as_a_probe(
    backend: FakeBackend, clock: FakeClock, tmp_path: Path
) -> None:
    """While the backend is down each probe is one request with one record, ever more seldom."""
    engine = SteppedEngine(backend, clock, tmp_path, max_retries=0, batching="always")
    backend.behaviour = down
    for _ in range(10):
        engine.log()
    engine.flush(10)
    before = len(backend.usage())
    for _ in range(200):
        engine.step(longest_wait=600.0)
    probes = backend.usage()[before:]
    assert len(probes) >= 2
    assert {request.body.count(b'"id"') for request in probes} == {1}
    assert clock.monotonic() - 1000.0 >= 15.0 * (len(probes) - 6)


def test_the_backlog_is_delivered_when_the_backend_is_back(
    backend: FakeBackend, clock: FakeClock, tmp_path: Path
) -> None:
    """A probe that succeeds closes the breaker; the backlog follows in order, each record once."""
    engine = SteppedEngine(backend, clock, tmp_path, max_retries=0, batching="always", batch_size=10)
    backend.behaviour = down
    ids = [record.id for record in (engine.log() for _ in range(55)) if record is not None]
    engine.flush(10)
    assert engine.ledger.own[Term.SPOOLED] == 55
    backend.behaviour = backend.well
    assert engine.flush(60)
    assert sorted(backend.order) == sorted(ids)
    assert max(backend.taken.values()) == 1


def test_fresh_records_and_the_backlog_take_turns(
    backend: FakeBackend, clock: FakeClock, tmp_path: Path
) -> None:
    """While both wait, every other request carries fresh records: neither holds up the other."""
    old = SteppedEngine(backend, clock, tmp_path, batching="always", batch_size=10, max_retries=0)
    backend.behaviour = down
    stale = {record.id for record in (old.log() for _ in range(100)) if record is not None}
    old.shutdown(1)
    backend.behaviour = backend.well
    engine = SteppedEngine(backend, clock, tmp_path, batching="always", batch_size=10)
    for _ in range(100):
        engine.log()
    engine.run(40)
    kinds = [ident in stale for ident in backend.order][::10]
    assert kinds[:6] in ([False, True] * 3, [True, False] * 3)
    assert engine.ledger.adopted[Term.DELIVERED] == engine.ledger.own[Term.DELIVERED] == 100


def test_retry_after_is_waited_for(backend: FakeBackend, clock: FakeClock) -> None:
    """`Retry-After: 90` keeps the engine quiet for 90 seconds, however short the back-off is."""
    engine = SteppedEngine(backend, clock, batching="always", retry_delay=0.1)
    engine.log()
    backend.behaviour = failing(429, **{"retry-after": "90"})
    engine.flush(1)
    assert len(backend.usage()) == 1
    backend.behaviour = backend.well
    engine.flush(88)
    assert len(backend.usage()) == 1
    assert engine.flush(5)


def test_shutdown_does_not_wait_for_a_retry_after_it_cannot_keep(
    backend: FakeBackend, clock: FakeClock, tmp_path: Path
) -> None:
    """Told to wait a minute and given a second: to disk at once, without another request."""
    engine = SteppedEngine(backend, clock, tmp_path, batching="always")
    engine.log()
    backend.behaviour = failing(429, **{"retry-after": "60"})
    engine.flush(0.5)
    began = clock.monotonic()
    assert not engine.shutdown(1)
    assert clock.monotonic() - began < 0.5
    assert (len(backend.usage()), engine.ledger.own[Term.SPOOLED]) == (1, 1)


def test_shutdown_tries_once_more(backend: FakeBackend, clock: FakeClock, tmp_path: Path) -> None:
    """In the middle of a back-off shutdown makes one attempt at once; if it fails, all is on disk."""
    engine = SteppedEngine(backend, clock, tmp_path, batching="always", retry_delay=30.0, batch_size=5)
    backend.behaviour = down
    for _ in range(20):
        engine.log()
    engine.run(1)
    before = len(backend.usage())
    assert not engine.shutdown(60)
    assert len(backend.usage()) == before + 1
    assert engine.ledger.own[Term.SPOOLED] == 20


def test_without_a_disk_records_wait_in_memory(backend: FakeBackend, clock: FakeClock) -> None:
    """`spool=False`: exhausted retries drop nothing; the records wait, and are sent when it works again."""
    engine = SteppedEngine(backend, clock, batching="always", max_retries=1)
    backend.behaviour = down
    for _ in range(30):
        engine.log()
    assert not engine.flush(60)
    assert engine.ledger.own[Term.DROPPED] == 0
    assert engine.ledger.own[Term.QUEUED] + engine.ledger.own[Term.IN_FLIGHT] == 30
    backend.behaviour = backend.well
    assert engine.flush(60)
    assert engine.ledger.own[Term.DELIVERED] == 30


def test_shutdown_without_a_disk_counts_what_it_loses(backend: FakeBackend, clock: FakeClock) -> None:
    """`spool=False` and the backend down at the end: dropped, with the reason `shutdown`."""
    drops: list[tuple[str, int]] = []
    engine = SteppedEngine(
        backend,
        clock,
        batching="always",
        max_retries=0,
        on_drop=lambda reason, count: drops.append((reason, count)),
    )
    backend.behaviour = down
    for _ in range(7):
        engine.log()
    result = engine.shutdown(5)
    assert (bool(result), result.lost) == (False, 7)
    assert drops == [("shutdown", 7)]
    assert engine.balanced()


# -- verdicts ------------------------------------------------------------------------------------------------


def test_per_record_verdicts_are_acted_on_one_by_one(
    backend: FakeBackend, clock: FakeClock, tmp_path: Path
) -> None:
    """One answer: delivered, refused, unwell, not mentioned. Each record goes its own way."""
    engine = SteppedEngine(backend, clock, tmp_path, batching="always")
    records = [engine.log(name) for name in ("fine", "refused", "unwell", "forgotten")]
    ids = [record.id for record in records if record is not None]

    def mixed(_request: Request) -> Response:
        statuses = zip(ids[:3], (201, 422, 503), strict=True)
        return json_answer(200, {"results": [{"id": ident, "status": status} for ident, status in statuses]})

    backend.behaviour = mixed
    clock.advance(5)
    engine.run(2)
    assert [record.term for record in records if record is not None] == [
        Term.DELIVERED,
        Term.QUARANTINED,
        Term.IN_FLIGHT,
        Term.IN_FLIGHT,
    ]
    backend.behaviour = backend.well
    result = engine.flush(30)
    assert (result.lost, result.pending, bool(result)) == (1, 0, False)
    assert backend.order == ids[2:]
    assert engine.flush(30)  # the refused one has been told of


def test_a_late_answer_is_ignored_after_shutdown_took_the_record(
    backend: FakeBackend, clock: FakeClock, tmp_path: Path
) -> None:
    """A record is settled once: what shutdown has spooled stays spooled, whatever the socket says later."""
    engine = SteppedEngine(backend, clock, tmp_path, batching="always")
    record = engine.log()

    def shut_down_meanwhile(request: Request) -> Response | NoResponse:
        engine.shutdown(0)
        return backend.well(request)

    backend.behaviour = shut_down_meanwhile
    engine.run(1)
    clock.advance(2.0)
    engine.run(1)
    assert record is not None
    assert record.term is Term.SPOOLED
    assert engine.balanced()


def test_refusals_in_a_row_hold_and_a_good_record_ends_the_hold(
    backend: FakeBackend, clock: FakeClock, tmp_path: Path
) -> None:
    """Six bad records look like a broken backend, and none is put aside before a good one is accepted."""
    backend.batches = False
    backend.refuses = lambda body: body["input"] == "bad"
    engine = SteppedEngine(backend, clock, tmp_path, batching="never")
    for _ in range(6):
        engine.log("bad")
    engine.flush(10)
    assert (engine.breaker.state, engine.ledger.own[Term.QUARANTINED]) == ("misconfigured", 0)
    engine.log("good")
    for _ in range(300):
        engine.step(longest_wait=100.0)
    own = engine.ledger.own
    assert (own[Term.DELIVERED], own[Term.QUARANTINED], own[Term.SPOOLED]) == (1, 6, 0)
    assert engine.balanced()


def test_a_discovery_that_meets_an_outage_is_asked_again(backend: FakeBackend, clock: FakeClock) -> None:
    """A 503 to the empty batch means one by one for now; after the recovery it is asked again."""
    engine = SteppedEngine(backend, clock, batch_size=10)
    backend.behaviour = failing(503)
    for _ in range(40):
        engine.log()
    engine.run(3)
    backend.behaviour = backend.well
    assert engine.flush(60)
    assert any(request.body.count(b'"id"') == 10 for request in backend.usage())


# -- spool ---------------------------------------------------------------------------------------------------


def test_an_outage_brings_the_queue_to_disk(backend: FakeBackend, clock: FakeClock, tmp_path: Path) -> None:
    """With the breaker open nothing waits in memory longer than `flush_interval`: a kill would lose it."""
    engine = SteppedEngine(backend, clock, tmp_path, max_retries=0, flush_interval=1.0)
    backend.behaviour = down
    engine.log()
    engine.flush(1)
    for _ in range(20):
        engine.log()
    clock.advance(1.0)
    engine.run(3)
    assert engine.ledger.own[Term.SPOOLED] == 21


def test_the_spool_s_cap_gives_up_the_oldest_and_counts_them(
    backend: FakeBackend, clock: FakeClock, tmp_path: Path
) -> None:
    """Beyond `spool_max_bytes` the oldest records are dropped as `spool_full`, and the sum still holds."""
    engine = SteppedEngine(
        backend, clock, tmp_path, max_retries=0, spool_max_bytes=100_000, batch_size=10, batching="always"
    )
    backend.behaviour = down
    for number in range(300):
        engine.log(f"{number} " + "x" * 1000)
    engine.flush(10)
    own = engine.ledger.own
    assert own.drops["spool_full"] == own[Term.DROPPED] > 150
    assert own[Term.SPOOLED] + own[Term.DROPPED] == 300
    assert sum(path.stat().st_size for path in tmp_path.rglob("*.jsonl")) <= 100_000
    backend.behaviour = backend.well
    engine.flush(60)
    assert own[Term.DELIVERED] == 300 - own[Term.DROPPED]


def test_records_too_old_are_dropped_and_counted(
    backend: FakeBackend, clock: FakeClock, tmp_path: Path
) -> None:
    """What has waited longer than `spool_max_age` is dropped as `spool_expired`."""
    engine = SteppedEngine(backend, clock, tmp_path, max_retries=0, batching="always")
    backend.behaviour = down
    for _ in range(5):
        engine.log()
    engine.shutdown(1)
    clock.advance(8 * 24 * 3600)
    backend.behaviour = backend.well
    later = SteppedEngine(backend, clock, tmp_path, batching="always")
    later.log()
    for _ in range(20):
        later.step()
    assert later.flush(10)
    assert later.ledger.adopted.drops == {"spool_expired": 5}
    assert backend.taken.total() == 1
    assert later.balanced()


@pytest.mark.parametrize("policy", ["drop_oldest", "drop_newest"])
def test_a_durable_record_is_never_dropped_by_a_full_queue(
    backend: FakeBackend, clock: FakeClock, tmp_path: Path, policy: str
) -> None:
    """With `durability="disk"` a record that the queue can't hold is on disk already, and stays there."""
    engine = SteppedEngine(
        backend, clock, tmp_path, durability="disk", queue_size=10, overflow=policy, batching="always"
    )
    for _ in range(50):
        engine.log()
    assert engine.ledger.own[Term.DROPPED] == 0
    assert engine.balanced()
    assert engine.flush(60)
    assert engine.ledger.own[Term.DELIVERED] == 50
    assert max(backend.taken.values()) == 1


def test_fsync_interval_syncs_within_its_interval(
    backend: FakeBackend, clock: FakeClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`fsync="interval"`: the worker syncs about half a second after a write, once."""
    synced: list[float] = []
    monkeypatch.setattr("os.fsync", lambda _fd: synced.append(clock.monotonic()))
    engine = SteppedEngine(backend, clock, tmp_path, durability="disk", fsync="interval", flush_interval=60.0)
    engine.log()
    engine.run(3)
    before = len(synced)
    engine.log()
    engine.run(3)
    assert len(synced) == before
    clock.advance(0.6)
    engine.run(3)
    assert len(synced) == before + 1
    engine.run(5)
    assert len(synced) == before + 1


def test_a_crash_of_the_worker_s_step_keeps_its_records(
    backend: FakeBackend, clock: FakeClock, tmp_path: Path
) -> None:
    """A bug in the middle of a delivery: the records in hand are still there and are sent later."""
    engine = SteppedEngine(backend, clock, tmp_path, batching="always")
    engine.log()

    def bug(_request: Request) -> Response:
        raise RuntimeError("a bug")

    backend.behaviour = bug
    clock.advance(5)
    engine.step()  # looks what is on disk
    with pytest.raises(RuntimeError):
        engine.step()
    assert engine.ledger.own[Term.IN_FLIGHT] == 1
    backend.behaviour = backend.well
    assert engine.flush(10)


# -- what an adversarial review found ------------------------------------------------------------------------


def test_a_delivery_goes_on_as_it_began_when_the_mode_changes_meanwhile(
    backend: FakeBackend, clock: FakeClock, tmp_path: Path
) -> None:
    """Another thread learns that the batch endpoint is gone: a split batch must not go as single records."""
    engine = SteppedEngine(
        backend,
        clock,
        tmp_path,
        batch_size=40,
        max_batch_bytes=8192,
        max_record_bytes=8192,
        flush_interval=9.0,
    )
    engine.log()
    assert engine.flush(5)  # batches are found
    ids = {record.id for record in (engine.log("\x01" * 100) for _ in range(40)) if record is not None}

    def lose_the_endpoint_after_one(request: Request) -> Response | NoResponse:
        engine.parts.policies.batch_support.unlearn(404)
        return backend.well(request)

    backend.behaviour = lose_the_endpoint_after_one
    assert engine.flush(30)
    assert ids <= set(backend.taken)
    assert engine.ledger.own[Term.DELIVERED] == len(backend.taken)


TOO_MUCH: dict[str, Response | NoResponse] = {
    "413": Response(413),
    "502": Response(502, {}, b"bad gateway"),
    "time-out": NoResponse("timeout", "timed out"),
    "reset": NoResponse("bad_answer", "Connection reset by peer"),
    "400, not taken whole": Response(400, took_all=False),
    "400 with a page, not taken whole": Response(400, {"content-type": "text/html"}, b"<h1>", took_all=False),
    "400 with a page": Response(400, {"content-type": "text/html"}, b"<h1>no</h1>"),
}


@pytest.mark.parametrize("kind", TOO_MUCH)
@pytest.mark.parametrize("on_disk", [True, False])
def test_a_limit_of_something_in_between_is_found_without_a_413(
    backend: FakeBackend, clock: FakeClock, tmp_path: Path, kind: str, *, on_disk: bool
) -> None:
    """Batches get small enough for it, all records arrive, and hardly a request is wasted."""

    def limited(request: Request) -> Response | NoResponse:
        return TOO_MUCH[kind] if len(request.body) > 40_000 else backend.well(request)

    backend.behaviour = limited
    engine = SteppedEngine(backend, clock, tmp_path if on_disk else None, batching="always", batch_size=100)
    for _ in range(300):
        engine.log("x" * 1000)
    began = clock.monotonic()
    while sum(backend.taken.values()) < 300 and clock.monotonic() < began + 60:
        engine.step(longest_wait=5.0)
    assert len(backend.taken) == sum(backend.taken.values()) == 300
    assert engine.flush(10)
    before = len(backend.requests)
    for _ in range(20):
        for _ in range(100):
            engine.log("x" * 1000)
        engine.flush(60)
    assert engine.ledger.own[Term.DELIVERED] == 2300
    assert sum(len(request.body) > 40_000 for request in backend.requests[before:]) <= 8
    assert len(backend.requests) - before <= 20 * 5


def test_a_single_record_that_is_not_taken_whole_stays_while_no_other_one_is_accepted(
    backend: FakeBackend, clock: FakeClock, tmp_path: Path
) -> None:
    """Then it is too large, and put aside as that."""
    backend.behaviour = lambda request: (
        Response(400, took_all=False) if len(request.body) > 2000 else backend.well(request)
    )
    engine = SteppedEngine(backend, clock, tmp_path, batching="always")
    engine.log("x" * 2000)
    engine.flush(30)
    assert engine.ledger.own[Term.QUARANTINED] == 0
    for _ in range(3):
        engine.log("small")
        engine.flush(30)
        clock.advance(60)
    assert engine.ledger.own[Term.QUARANTINED] == 1
    (kept,) = tmp_path.rglob("quarantine.v1.jsonl")
    assert '"reason":"too_large","status":400' in kept.read_text()


def refusing_gzip(
    backend: FakeBackend, status: int, *, html: bool
) -> Callable[[Request], Response | NoResponse]:
    """A proxy or firewall that dislikes compressed bodies."""

    def behave(request: Request) -> Response | NoResponse:
        if request.compress and request.body:
            headers, body = (
                ({"content-type": "text/html"}, b"<h1>no</h1>") if html else ({}, b'{"error":"no"}')
            )
            return Response(status, headers, body)
        return backend.well(request)

    return behave


@pytest.mark.parametrize("status", [400, 403, 415])
@pytest.mark.parametrize("html", [True, False])
def test_compression_that_is_refused_on_the_way_is_turned_off_and_said_once(
    backend: FakeBackend, clock: FakeClock, caplog: pytest.LogCaptureFixture, status: int, *, html: bool
) -> None:
    """The batch is accepted in plain text, at once; the next ones are not compressed any more."""
    engine = SteppedEngine(backend, clock, batching="always")
    engine.parts.policies.batch_support.compression.active = True
    backend.behaviour = refusing_gzip(backend, status, html=html)
    engine.log("x" * 2000)
    assert engine.flush(5)
    engine.log("x" * 2000)
    assert engine.flush(5)
    assert [request.compress for request in backend.usage()] == [True, False, False]
    assert max(backend.taken.values()) == 1
    assert engine.ledger.own[Term.DELIVERED] == 2
    lines = [line.getMessage() for line in caplog.records if "compressed" in line.getMessage()]
    assert len(lines) == 1
    assert str(status) in lines[0]


def test_what_is_refused_in_plain_text_too_leaves_compression_as_it_was(
    backend: FakeBackend, clock: FakeClock
) -> None:
    """The verdict is that of the plain request, and the records are kept."""
    engine = SteppedEngine(backend, clock, batching="always")
    engine.parts.policies.batch_support.compression.active = True
    backend.behaviour = failing(415)
    engine.log("x" * 2000)
    assert not engine.flush(5)
    assert [request.compress for request in backend.usage()[:2]] == [True, False]
    assert engine.parts.policies.batch_support.compression.active
    assert (engine.breaker.state, engine.ledger.own[Term.QUARANTINED]) == ("misconfigured", 0)


def test_a_backend_that_unpacks_batches_is_not_asked_twice_about_a_refused_one(
    backend: FakeBackend, clock: FakeClock
) -> None:
    """Its own refusal is one of the content: each half goes once."""
    engine = SteppedEngine(backend, clock, batching="always")
    engine.parts.policies.batch_support.compression.active = True
    engine.log("x" * 2000)
    assert engine.flush(5)
    backend.behaviour = failing(400)
    engine.log("x" * 2000)
    assert not engine.flush(5)
    assert all(request.compress for request in backend.usage())


@pytest.mark.parametrize("state", ["broken", "held", "backing off"])
def test_waiting_without_a_disk_is_waiting(backend: FakeBackend, clock: FakeClock, state: str) -> None:
    """With the gate closed and no spool the worker sleeps until the next attempt is due; it does not spin."""
    engine = SteppedEngine(backend, clock, batching="always", max_retries=3 if state == "backing off" else 0)
    backend.behaviour = failing(401) if state == "held" else down
    for _ in range(5):
        engine.log()
    clock.advance(2)
    began, before = clock.monotonic(), len(clock.waits)
    for _ in range(20):
        engine.step(longest_wait=1000.0)
    waits = [wait for wait in clock.waits[before:] if wait <= 0]
    assert waits == []
    assert clock.monotonic() > began


def test_records_do_not_wake_a_sender_that_waits_for_its_back_off(
    backend: FakeBackend, clock: FakeClock, tmp_path: Path
) -> None:
    """It has nothing to do before the queue fills up; the caller pays for each ring."""
    engine = SteppedEngine(backend, clock, tmp_path, batching="always", batch_size=10, queue_size=1000)
    backend.behaviour = failing(503, **{"retry-after": "60"})
    engine.log()
    clock.advance(2)
    engine.run()
    rings: list[int] = []

    class Sleeper(WakeUp):
        def wake(self) -> None:
            rings.append(len(engine.queue))

    engine.add_sleeper(Sleeper())
    for _ in range(800):
        engine.log()
    assert len(backend.usage()) == 1
    assert [750 <= held <= 751 for held in rings] == [True]


@pytest.mark.parametrize("overflow", ["drop_newest", "drop_oldest"])
def test_a_drop_in_a_caller_is_told_though_the_senders_wait_for_their_back_off(
    backend: FakeBackend, clock: FakeClock, overflow: str
) -> None:
    """Nothing else wakes them: `on_drop` would be called when the back-off is over."""
    drops: list[tuple[str, int]] = []
    options: dict[str, Any] = {"overflow": overflow, "on_drop": lambda *drop: drops.append(drop)}
    engine = SteppedEngine(backend, clock, batching="never", queue_size=2, **options)
    backend.behaviour = failing(503, **{"retry-after": "60"})
    engine.log()
    engine.run()
    sleeper = WakeUp()
    engine.add_sleeper(sleeper)
    engine.log()
    engine.log()
    assert not sleeper.wait(0)
    engine.log()
    assert sleeper.wait(0)
    engine.step()
    assert drops == [("queue_full", 1)]


def test_flushing_in_a_loop_does_not_hammer_a_backend_that_is_down(
    backend: FakeBackend, clock: FakeClock, tmp_path: Path
) -> None:
    """Each flush may hurry a probe, but not more than four a second."""
    engine = SteppedEngine(backend, clock, tmp_path, batching="always", max_retries=0)
    backend.behaviour = down
    began = clock.monotonic()
    for _ in range(100):
        engine.log()
        engine.flush(5)
    assert len(backend.usage()) <= 4 * (clock.monotonic() - began) + 1


def test_shutdown_does_not_wait_for_a_backlog_it_cannot_send(
    backend: FakeBackend, clock: FakeClock, tmp_path: Path
) -> None:
    """Records read back from disk for a probe go back to disk when the last attempt has failed."""
    engine = SteppedEngine(backend, clock, tmp_path, batching="always", max_retries=0)
    backend.behaviour = down
    for _ in range(50):
        engine.log()
    engine.flush(5)
    for _ in range(20):
        engine.step(longest_wait=10.0)
    began = clock.monotonic()
    assert not engine.shutdown(30)
    assert clock.monotonic() - began < 1.0
    assert engine.ledger.own[Term.SPOOLED] == 50


def test_a_flush_after_shutdown_tells_the_truth(
    backend: FakeBackend, clock: FakeClock, tmp_path: Path
) -> None:
    """Records that shutdown left on disk are not delivered, whoever asks."""
    engine = SteppedEngine(backend, clock, tmp_path, batching="always", max_retries=0)
    backend.behaviour = down
    engine.log()
    engine.shutdown(1)
    assert not engine.flush(1)


def test_refusals_beside_acceptances_do_not_hold(
    backend: FakeBackend, clock: FakeClock, tmp_path: Path
) -> None:
    """Ten bad records in a batch whose others are taken: ten in quarantine, and the destination is well."""
    backend.refuses = lambda body: body["input"] == "bad"
    engine = SteppedEngine(backend, clock, tmp_path, batching="always")
    for number in range(100):
        engine.log("bad" if number % 10 == 0 else "good")
    engine.flush(10)
    own = engine.ledger.own
    assert (engine.breaker.state, own[Term.DELIVERED], own[Term.QUARANTINED]) == ("online", 90, 10)


def test_a_record_that_always_gets_500_does_not_hold_up_the_others(
    backend: FakeBackend, clock: FakeClock, tmp_path: Path
) -> None:
    """One by one: it is retried after back-offs of its own while the others are delivered."""
    engine = SteppedEngine(backend, clock, tmp_path, batching="never", retry_delay=1.0)
    poison = engine.log("poison")
    assert poison is not None

    def fail_on_poison(request: Request) -> Response | NoResponse:
        return failing(500)(request) if b"poison" in request.body else backend.well(request)

    backend.behaviour = fail_on_poison
    good = [engine.log() for _ in range(200)]
    began = clock.monotonic()
    while any(record is not None and record.term is not Term.DELIVERED for record in good):
        engine.step(longest_wait=1.0)
        assert clock.monotonic() - began < 30
    attempts = sum(b"poison" in request.body for request in backend.usage())
    assert attempts <= 10


@pytest.mark.parametrize("answer", [NoResponse("timeout", "hangs"), NoResponse("bad_answer", "garbage")])
def test_a_server_that_hangs_up_on_what_it_does_not_know_gets_single_records(
    backend: FakeBackend, clock: FakeClock, answer: NoResponse
) -> None:
    """No answer to the empty batch says nothing about the destination: records go one by one."""

    def no_batches(request: Request) -> Response | NoResponse:
        return answer if request.url.endswith("/batch") else backend.well(request)

    backend.behaviour = no_batches
    engine = SteppedEngine(backend, clock)
    for _ in range(10):
        engine.log()
    assert engine.flush(5)
    assert engine.ledger.counters.attempts_failed == 0


def test_a_write_larger_than_the_room_left_saves_what_fits(
    backend: FakeBackend, clock: FakeClock, tmp_path: Path
) -> None:
    """Near the spool's cap a large batch does not take the whole backlog with it and then fail."""
    engine = SteppedEngine(
        backend, clock, tmp_path, batching="always", max_retries=0, spool_max_bytes=1024 * 1024, batch_size=60
    )
    backend.behaviour = down
    for _ in range(100):
        engine.log("x" * 20_000)
    engine.shutdown(1)
    own = engine.ledger.own
    assert own[Term.SPOOLED] >= 35
    assert own[Term.SPOOLED] + own[Term.DROPPED] == 100


def test_the_cap_forgets_what_others_have_sent(
    backend: FakeBackend, clock: FakeClock, tmp_path: Path
) -> None:
    """Segments of another process that are gone by now no longer count against the cap."""
    options: dict[str, Any] = {"batching": "always", "max_retries": 0, "spool_max_bytes": 200_000}
    other = SteppedEngine(backend, clock, tmp_path, **options)
    backend.behaviour = down
    for _ in range(150):
        other.log("x" * 1000)
    other.flush(5)
    engine = SteppedEngine(backend, clock, tmp_path, **options)
    engine.log()
    engine.run(3)  # has seen the other's segments
    backend.behaviour = backend.well
    clock.advance(100)
    assert other.flush(60)
    other.shutdown(1)
    backend.behaviour = down
    for _ in range(100):
        engine.log("x" * 1000)
    engine.shutdown(1)
    assert engine.ledger.own[Term.DROPPED] == 0


def test_a_failed_write_at_the_end_is_a_counted_loss(
    backend: FakeBackend, clock: FakeClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shutdown finds a record being written; the write fails: it is dropped as `shutdown`, not in limbo."""
    engine = SteppedEngine(backend, clock, tmp_path, batching="always", max_retries=0)
    backend.behaviour = down
    engine.log()

    def shut_down_and_fail(*_args: object, **_options: object) -> None:
        engine.shutdown(0)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("banyan_hp.engine.spool.segment.Segment.write", shut_down_and_fail)
    engine.flush(5)
    assert engine.ledger.own.drops == {"shutdown": 1}
    assert engine.balanced()


def test_a_record_that_comes_after_the_end_is_not_queued(
    backend: FakeBackend, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Accepted before the end, placed after it: counted as dropped, not left in a queue nobody empties."""
    engine = SteppedEngine(backend, clock, queue_size=1, batching="always")
    engine.log()
    overflow = engine.core.intake._overflow

    def end_first(record: Record) -> None:
        engine.shutdown(0)
        overflow(record)

    monkeypatch.setattr(engine.core.intake, "_overflow", end_first)
    engine.log()
    own = engine.ledger.own
    assert own[Term.QUEUED] == own[Term.IN_FLIGHT] == 0
    assert engine.balanced()
