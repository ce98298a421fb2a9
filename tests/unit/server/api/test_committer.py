"""The group committer: one transaction for all that waits, and what becomes of it when that fails."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy.exc import DataError, OperationalError

from banyan_hp.server.api.committer import MOST_BYTES, MOST_CALLS, MOST_WAITING_BYTES, Committer, Verdict
from banyan_hp.server.store.calls import Call, Stored
from banyan_hp.server.store.database import BusyError, Database
from banyan_hp.server.store.sql_calls import SqlCalls
from tests.conftest import NewDatabase
from tests.unit.server.store.samples import call

SECONDS = 10.0
REFUSAL = DataError("INSERT", {}, Exception("it does not fit"))


class Store:
    """A store that refuses the calls named `bad`, fails as told, and can be held while it stores."""

    def __init__(self) -> None:
        self.groups: list[list[str]] = []
        self.failure: Exception | None = None
        self.entered, self.go_on = threading.Semaphore(0), threading.Event()
        self.go_on.set()

    def append(self, calls: Sequence[Call]) -> list[Stored]:
        self.groups.append([each.id for each in calls])
        self.entered.release()
        assert self.go_on.wait(SECONDS)
        if self.failure is not None:
            raise self.failure
        if any(each.id.startswith("bad") for each in calls):
            raise REFUSAL
        return [Stored.NEW for _ in calls]


@pytest.fixture
def store() -> Store:
    return Store()


def committing(store: Store, gather_seconds: float = 0.0) -> Committer:
    return Committer(lambda calls: store.append(calls), gather_seconds=gather_seconds)


@pytest.fixture
def committer(store: Store) -> Iterator[Committer]:
    with committing(store) as running:
        yield running


def stored(committer: Committer, *ids: str, size: int = 1) -> Future[list[Verdict]]:
    return committer.store([call(id=each) for each in ids], size)


def held(store: Store, committer: Committer) -> Future[list[Verdict]]:
    """A request that is being stored until `store.go_on` is set."""
    store.go_on.clear()
    first = stored(committer, "first")
    assert store.entered.acquire(timeout=SECONDS)
    return first


def test_what_waits_goes_into_one_group(store: Store, committer: Committer) -> None:
    """While one group is stored, the next one gathers; each request gets its own verdicts."""
    first = held(store, committer)
    others = [stored(committer, "a", "b"), stored(committer, "c")]
    store.go_on.set()
    assert first.result(SECONDS) == [Stored.NEW]
    assert [each.result(SECONDS) for each in others] == [[Stored.NEW] * 2, [Stored.NEW]]
    assert store.groups == [["first"], ["a", "b", "c"]]


def test_a_group_waits_for_requests_that_are_being_read(store: Store) -> None:
    """And for no others: it begins when the last of them is there, or was refused."""
    with committing(store, SECONDS) as committer:
        assert stored(committer, "alone").result(SECONDS) == [Stored.NEW]
        with committer.coming():
            waiting = [stored(committer, "a")]
            with committer.coming():
                waiting.append(stored(committer, "b", "c"))
            assert not any(each.done() for each in waiting)
        assert [len(each.result(SECONDS)) for each in waiting] == [1, 2]
    assert store.groups == [["alone"], ["a", "b", "c"]]


def test_a_group_waits_for_a_while_only(store: Store) -> None:
    """Not until the last of many is read, nor when it is large enough."""
    with committing(store, 0.01) as committer, committer.coming():
        assert stored(committer, "a").result(SECONDS) == [Stored.NEW]
    with committing(store, SECONDS * 100) as committer, committer.coming():
        assert stored(committer, "large", size=MOST_BYTES).result(SECONDS) == [Stored.NEW]
        assert len(stored(committer, *map(str, range(MOST_CALLS))).result(SECONDS)) == MOST_CALLS


def test_a_stop_waits_for_nobody(store: Store) -> None:
    """What is read then is told that the backend stops."""
    committer = committing(store, SECONDS * 100)
    with committer.coming():
        with committer:
            waiting = stored(committer, "a")
        assert waiting.result(0) == [Stored.NEW]


@pytest.mark.parametrize("many", ["calls", "bytes"])
def test_a_group_has_a_size(store: Store, committer: Committer, many: str) -> None:
    """In calls and in bytes; a request that is larger by itself is a group of its own."""
    held(store, committer)
    size = MOST_BYTES // 2 if many == "bytes" else 1
    ids = [str(number) for number in range(MOST_CALLS // 2)] if many == "calls" else ["x"]
    waiting = [stored(committer, *ids, size=size) for _ in range(3)]
    waiting.append(stored(committer, "large", size=MOST_BYTES * 2))
    store.go_on.set()
    assert all(each.result(SECONDS) for each in waiting)
    assert [len(group) // len(ids) or 1 for group in store.groups[1:]] == [2, 1, 1]


def test_what_waits_has_a_limit(store: Store, committer: Committer) -> None:
    """While the database hangs, requests beyond a limit are told to come again, and none afterwards."""
    held(store, committer)
    waiting = [stored(committer, "large", size=MOST_WAITING_BYTES), stored(committer, "too much")]
    with pytest.raises(BusyError, match="too many calls wait"):
        waiting[1].result(SECONDS)
    store.go_on.set()
    assert waiting[0].result(SECONDS) == [Stored.NEW]
    assert stored(committer, "large again", size=MOST_WAITING_BYTES).result(SECONDS) == [Stored.NEW]


def test_one_bad_record_never_poisons_a_group(store: Store, committer: Committer) -> None:
    """It is refused alone: its request's other records are stored, and so are those of other requests."""
    held(store, committer)
    waiting = [stored(committer, *ids) for ids in (("a", "bad", "b"), ("c", "d"), ("bad alone",))]
    store.go_on.set()
    verdicts = [each.result(SECONDS) for each in waiting]
    assert verdicts == [[Stored.NEW, REFUSAL, Stored.NEW], [Stored.NEW] * 2, [REFUSAL]]


@pytest.mark.parametrize(
    "failure",
    [BusyError("locked"), OperationalError("INSERT", {}, Exception("no such table")), KeyError("x")],
)
def test_what_is_not_a_records_fault_is_busy_for_all(
    store: Store, committer: Committer, failure: Exception
) -> None:
    """A database in trouble, and a mistake of ours, make clients come again; nothing is tried one by one."""
    held(store, committer)
    waiting = [stored(committer, "a", "b"), stored(committer, "c")]
    store.failure = failure
    store.go_on.set()
    for each in waiting:
        with pytest.raises(BusyError):
            each.result(SECONDS)
    assert store.groups[1:] == [["a", "b", "c"]]
    store.failure = None
    assert stored(committer, "later").result(SECONDS) == [Stored.NEW]


def test_what_a_database_refuses_is_that_records_fault(new_database: NewDatabase) -> None:
    """Each database says it in its own way."""
    database = Database(new_database())
    with Committer(SqlCalls(database).append) as committer:
        calls = [call(1), call(2, input_tokens=2**70), call(3)]
        verdicts = committer.store(calls).result(SECONDS)
        assert [verdicts[0], verdicts[2]] == [Stored.NEW] * 2
        assert isinstance(verdicts[1], Exception)
    database.close()


def test_trouble_in_the_middle_leaves_what_was_stored_answered(store: Store, committer: Committer) -> None:
    """Of a group that is stored one by one, those behind the trouble are busy, and no others."""
    held(store, committer)
    fine, bad = stored(committer, "a"), stored(committer, "bad")
    append = store.append

    def failing(calls: Sequence[Call]) -> list[Stored]:
        if [each.id for each in calls] == ["bad"]:
            raise BusyError("gone")
        return append(calls)

    store.append = failing  # type: ignore[method-assign]
    store.go_on.set()
    assert fine.result(SECONDS) == [Stored.NEW]
    with pytest.raises(BusyError):
        bad.result(SECONDS)


def test_who_has_calls_stored_prepares_them(store: Store) -> None:
    """The committer's one thread is what intake waits for."""
    threads = []

    def prepared(calls: Sequence[Call]) -> list[Call]:
        threads.append(threading.current_thread())
        return [replace(each, id=f"prepared {each.id}") for each in calls]

    with Committer(store.append, prepared) as committer:
        assert stored(committer, "a", "b").result(SECONDS) == [Stored.NEW, Stored.NEW]
    assert threads == [threading.current_thread()]
    assert store.groups == [["prepared a", "prepared b"]]


def test_a_stop_stores_what_waits_and_takes_no_more(store: Store) -> None:
    """Nobody who was let in goes without an answer."""
    committer = committing(store)
    with committer:
        first = held(store, committer)
        waiting = stored(committer, "a")
        releasing = threading.Timer(0.05, store.go_on.set)
        releasing.start()
    releasing.join()
    assert [first.result(0), waiting.result(0)] == [[Stored.NEW], [Stored.NEW]]
    late: Any = stored(committer, "late")
    with pytest.raises(BusyError, match="stops"):
        late.result(0)
