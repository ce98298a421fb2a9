"""The spool's lock is free during everything that takes long: whole reads, listings, syncs, others' locks."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from banyan_hp.engine.spool.adoption import Adoption
from banyan_hp.engine.spool.index import Index
from banyan_hp.engine.spool.layout import Directory
from banyan_hp.engine.spool.lines import Content
from banyan_hp.engine.spool.quarantine import QUARANTINE_NAME
from banyan_hp.engine.spool.retention import ROOM_SECONDS
from banyan_hp.engine.spool.segment import Segment
from banyan_hp.engine.spool.spool import Spool
from banyan_hp.engine.sync import Clock, WakeUp
from banyan_hp.files import lock_file, open_file
from tests.support.clock import FakeClock
from tests.support.disk import (
    NOW,
    Disk,
    Ledger,
    abandoned,
    call_id,
    ids,
    in_hand,
    lines,
    read,
    record,
    records,
    spooled,
)
from tests.support.parts import part_of
from tests.support.stepped import FakeBackend, SteppedEngine

PATIENCE = 10.0  # real seconds: what is hoped for comes at once


def is_free(spool: Spool) -> bool:
    """Whether another thread gets the spool's lock at once."""
    lock = spool.locks[0]

    def try_it() -> bool:
        free = lock.acquire(blocking=False)
        if free:
            lock.release()
        return bool(free)

    with ThreadPoolExecutor(1) as other:
        return other.submit(try_it).result(PATIENCE)


class Watch:
    """Looks at the lock whenever one of some functions is called."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, disk: Disk) -> None:
        self._monkeypatch = monkeypatch
        self._disk = disk
        self.free: list[bool] = []

    def look(self) -> None:
        self.free.append(is_free(self._disk.spools[0]))

    def on(self, owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def watched(*args: Any, **kwargs: Any) -> Any:
            self.look()
            return real(*args, **kwargs)

        self._monkeypatch.setattr(owner, name, watched)

    @property
    def always_free(self) -> bool:
        """And looked at."""
        return bool(self.free) and all(self.free)


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch, disk: Disk) -> Watch:
    return Watch(monkeypatch, disk)


class WatchedClock(FakeClock):
    """Looks at the lock whenever somebody waits."""

    def __init__(self, watch: Watch) -> None:
        super().__init__(wall=NOW)
        self._watch = watch

    def wait(self, wake_up: WakeUp, seconds: float) -> bool:
        self._watch.look()
        return super().wait(wake_up, seconds)


@pytest.fixture
def locked_quarantine(disk: Disk) -> Iterator[None]:
    """Another process holds the quarantine's `flock`."""
    disk.directory.mkdir(parents=True)
    fd = open_file(disk.directory / QUARANTINE_NAME, os.O_RDWR | os.O_CREAT)
    lock_file(fd)
    yield
    os.close(fd)


# -- one thread: the lock is free ----------------------------------------------------------------------------


def test_it_is_free_while_a_caller_s_thread_reads_what_is_discarded(disk: Disk, watch: Watch) -> None:
    """With a full spool, an abandoned segment is read whole, so that what is lost can be counted."""
    abandoned(disk, lines(*range(300)))
    ledger = Ledger()
    spool = disk.spool(max_bytes=20_000, observer=ledger)
    watch.on(Segment, "read_index")
    assert spool.append(records(1, size=9_000)) == 1
    assert watch.always_free
    assert ledger.events == [("adopted", 300, 0), ("lost", 300, "spool_full", False)]


def test_it_is_free_while_a_segment_is_adopted_and_read(disk: Disk, watch: Watch) -> None:
    """The first read, and each page."""
    abandoned(disk, lines(1, 2, 3))
    spool = disk.spool()
    watch.on(Segment, "read_index")
    watch.on(Content, "whole_lines")
    assert ids(read(spool)) == [1, 2, 3]
    assert watch.always_free


def test_it_is_free_while_records_out_of_order_are_fetched(disk: Disk, watch: Watch) -> None:
    """They stand elsewhere in the file."""
    spool = disk.spool()
    spool.append([record(3 - call, ident=call_id("aa", call)) for call in (2, 1, 0)])
    spool.close()
    watch.on(Content, "whole_lines")
    disk.spools.clear()
    reader = disk.spool()
    assert [each.line.id for each in read(reader)] == [call_id("aa", call) for call in range(3)]
    assert watch.always_free


@pytest.mark.usefixtures("locked_quarantine")
def test_it_is_free_while_another_process_s_lock_is_waited_for(disk: Disk, watch: Watch) -> None:
    """Damage found at adoption goes to the quarantine, which any process may have locked."""
    disk.clock = WatchedClock(watch)
    abandoned(disk, lines(1) + b"torn\n")
    spool = disk.spool(observer=(ledger := Ledger()))
    assert ids(read(spool)) == [1]
    assert watch.always_free
    assert ledger.events == [("adopted", 2, 0), ("lost", 1, "corrupt", False)]


@pytest.mark.usefixtures("locked_quarantine")
def test_it_is_free_while_damage_since_the_write_is_put_into_the_quarantine(disk: Disk, watch: Watch) -> None:
    """Found when a whole pass brings nothing of what should be there."""
    disk.clock = WatchedClock(watch)
    spool = disk.spool(observer=(ledger := Ledger()))
    spooled(spool, 1)
    (path,) = [disk.directory / name for name in disk.segments()]
    path.write_bytes(b"x" * (path.stat().st_size - 1) + b"\n")
    watch.on(Content, "lines")
    assert read(spool) == []
    assert watch.always_free
    assert ledger.events == [("lost", 1, "corrupt", True)]


def test_it_is_free_while_directories_are_listed(disk: Disk, watch: Watch) -> None:
    """At a look for siblings, and when the cap is reached."""
    spool = disk.spool(max_bytes=20_000)
    spooled(spool, *range(2), size=6_000)
    watch.on(Directory, "listing")
    spool.open()
    disk.clock.advance(2)
    spooled(spool, 3, size=9_000)
    assert len(watch.free) == 2
    assert watch.always_free


@pytest.mark.parametrize("end", [Spool.sync, Spool.close])
def test_it_is_free_while_the_disk_syncs(disk: Disk, watch: Watch, end: Callable[[Spool], None]) -> None:
    """For `fsync="interval"`, now and then and at the end."""
    spool = disk.spool(fsync="interval")
    spooled(spool, 1)
    watch.on(os, "fsync")
    end(spool)
    assert watch.always_free


def test_replay_asks_the_spool_without_the_engine_s_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write that goes on must not stop all callers."""
    engine = SteppedEngine(FakeBackend(), FakeClock(), tmp_path)
    held: list[bool] = []
    emptied: Any = vars(Spool)["emptied"]

    def watched(spool: Spool) -> bool:
        held.append(engine.lock.is_mine())
        return bool(emptied.fget(spool))

    monkeypatch.setattr(Spool, "emptied", property(watched))
    engine.replay(60.0, lambda: None)
    assert set(held) == {False}
    engine.shutdown(1.0)


# -- several threads need room -------------------------------------------------------------------------------


class Reading:
    """Stops whoever reads a segment for the first time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.began, self.go_on = threading.Event(), threading.Event()
        real = Segment.read_index

        def slowly(segment: Segment) -> Index:
            self.began.set()
            assert self.go_on.wait(PATIENCE)
            return real(segment)

        monkeypatch.setattr(Segment, "read_index", slowly)


@pytest.fixture
def reading(monkeypatch: pytest.MonkeyPatch) -> Reading:
    return Reading(monkeypatch)


class WaitingClock(Clock):
    """The real clock; notes who waits."""

    def __init__(self) -> None:
        self.waits = threading.Semaphore(0)

    def wait(self, wake_up: WakeUp, seconds: float) -> bool:
        self.waits.release()
        return super().wait(wake_up, seconds)


def test_threads_that_need_no_room_do_not_wait_for_one_that_makes_it(disk: Disk, reading: Reading) -> None:
    """They read back, acknowledge and release."""
    abandoned(disk, lines(*range(300)))
    spool = disk.spool(max_bytes=24_000)
    spooled(spool, 1)
    with ThreadPoolExecutor(1) as caller:
        append = caller.submit(spool.append, records(2, size=9_000))
        assert reading.began.wait(PATIENCE)
        replayed = spool.read_back(10, 10_000, own_only=True)
        assert ids(replayed) == [1]
        spool.acknowledge(in_hand(replayed))
        assert not spool.emptied  # what is being read may hold records
        reading.go_on.set()
        assert append.result(PATIENCE) == 1
    assert spool.emptied


def test_two_threads_that_need_room_discard_the_oldest_all_the_same(disk: Disk, reading: Reading) -> None:
    """The second waits for the first: its own younger segment is not discarded for an older one."""
    clock = WaitingClock()
    ledger = Ledger()
    abandoned(disk, lines(*range(300)))
    disk.clock = clock  # type: ignore[assignment]  # a real one
    spool = disk.spool(max_bytes=32_000, max_age=1e10, observer=ledger)
    spooled(spool, 1, size=9_000)
    with ThreadPoolExecutor(2) as callers:
        first = callers.submit(spool.append, records(2, size=9_000))
        assert reading.began.wait(PATIENCE)
        second = callers.submit(spool.append, records(3, size=9_000))
        assert clock.waits.acquire(timeout=PATIENCE)
        reading.go_on.set()
        assert (first.result(PATIENCE), second.result(PATIENCE)) == (1, 1)
    assert ledger.events == [("adopted", 300, 0), ("lost", 300, "spool_full", False)]


def test_a_thread_that_comes_too_late_for_a_segment_leaves_it_to_the_other(
    disk: Disk, reading: Reading
) -> None:
    """Both had chosen it: which happens by chance only, so the second one's choice is made here."""
    path = abandoned(disk, lines(1))
    spool = disk.spool()
    with ThreadPoolExecutor(1) as worker:
        found = worker.submit(read, spool)
        assert reading.began.wait(PATIENCE)
        part_of(spool, Adoption).adopt(path)
        assert not spool.emptied
        reading.go_on.set()
        assert ids(found.result(PATIENCE)) == [1]


def test_a_thread_does_not_wait_for_long(disk: Disk, reading: Reading) -> None:
    """Its record stays in memory then."""
    abandoned(disk, lines(*range(300)))
    spool = disk.spool(max_bytes=20_000)
    with ThreadPoolExecutor(1) as caller:
        first = caller.submit(spool.append, records(1, size=9_000))
        assert reading.began.wait(PATIENCE)
        before = disk.clock.monotonic()
        assert spool.append(records(2, size=9_000)) == 0
        assert disk.clock.monotonic() - before == pytest.approx(ROOM_SECONDS)
        reading.go_on.set()
        assert first.result(PATIENCE) == 1


def test_a_thread_does_not_wait_for_itself(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A destructor that logs, called while this thread makes room, finds none."""
    abandoned(disk, lines(*range(300)))
    spool = disk.spool(max_bytes=20_000)
    inner: list[int] = []
    real = Segment.read_index

    def logs(segment: Segment) -> Index:
        inner.append(spool.append(records(2, size=9_000)))
        return real(segment)

    monkeypatch.setattr(Segment, "read_index", logs)
    assert spool.append(records(1, size=9_000)) == 1
    assert inner == [0]
    assert disk.clock.waits == []


def test_an_exception_while_room_is_made_leaves_the_way_free(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C may strike there."""
    abandoned(disk, lines(*range(300)))
    spool = disk.spool(max_bytes=20_000)

    def interrupted(_segment: Segment) -> Index:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Segment, "read_index", interrupted)
        with pytest.raises(KeyboardInterrupt):
            spool.append(records(1, size=9_000))
    disk.clock.advance(2)
    assert spool.append(records(1, size=9_000)) == 1
    assert disk.clock.waits == []


def test_a_segment_read_while_the_spool_closes_is_left_to_others(disk: Disk, reading: Reading) -> None:
    """What of it is damaged is in the quarantine, and counted."""
    ledger = Ledger()
    abandoned(disk, lines(1) + b"torn\n")
    spool = disk.spool(observer=ledger)
    with ThreadPoolExecutor(1) as worker:
        found = worker.submit(read, spool)
        assert reading.began.wait(PATIENCE)
        spool.close()
        reading.go_on.set()
        assert found.result(PATIENCE) == []
    assert ledger.events == [("adopted", 0, 1)]
    assert [entry.body for entry in disk.quarantined()] == [b"torn"]
    assert ids(read(disk.spool())) == [1]
