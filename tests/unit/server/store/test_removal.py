"""What goes, in which steps, and what becomes of calls where something breaks off between two of them."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection

from banyan_hp.server.store import election, removal
from banyan_hp.server.store.audit import Audit
from banyan_hp.server.store.calls import Call, CallFilter, Calls
from banyan_hp.server.store.database import BusyError, Database
from banyan_hp.server.store.election import SPANS, elected, elected_soon
from banyan_hp.server.store.sql_calls import SqlCalls

from .samples import NOON, call, ids

ALL = CallFilter(project="p")
LATER = NOON + timedelta(days=40)
LIMIT = LATER - timedelta(days=30)


class BrokenError(Exception):
    """A crash, at some step."""


class Shelf:
    """A keeper in memory: what a real one does, and a crash before or after any of it."""

    def __init__(self) -> None:
        self.kept: list[Call] = []
        self.taken: list[tuple[str, date, int]] = []
        self.crashes: list[str] = []

    def keep(self, project: str, day: date, numbers: Sequence[int], calls: Iterable[Call]) -> None:
        self._perhaps("before")
        known = {each.seq for each in self.kept}
        new = [each for each in calls if each.seq not in known]
        assert {each.seq for each in new} <= set(numbers)
        assert {(each.project, each.event_time.date()) for each in new} <= {(project, day)}
        self.taken.append((project, day, len(new)))
        self.kept += new
        self._perhaps("after")

    def _perhaps(self, when: str) -> None:
        if self.crashes and self.crashes[0] == when:
            self.crashes.pop(0)
            raise BrokenError


def old_calls(store: Calls) -> list[str]:
    """Two projects, three days, some without a time: all of them old."""
    days = [NOON + timedelta(days=number % 3) for number in range(30)]
    given = [
        call(number, event_time=time, received_at=time, project="p" if number % 2 else "q")
        for number, time in enumerate(days)
    ]
    given += [call(100, day=date(1, 1, 1), event_time=NOON, received_at=NOON)]
    store.append(given)
    store.index(20)
    return sorted(ids(given))


def test_what_is_old_comes_to_the_keeper_by_project_and_day(store: Calls) -> None:
    given = old_calls(store)
    store.append([call(200, event_time=LATER, received_at=LATER)])
    shelf = Shelf()
    assert sum(store.trim(LIMIT, shelf)) == 31
    assert sorted(ids(shelf.kept)) == given
    assert sorted(shelf.taken) == [
        (project, (NOON + timedelta(days=day)).date(), number)
        for project, numbers in (("p", (6, 5, 5)), ("q", (5, 5, 5)))
        for day, number in enumerate(numbers)
    ]
    assert ids(store.page(ALL, 10).calls) == ["id-200"]


@pytest.mark.parametrize("partitions", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_a_crash_between_any_two_steps_loses_no_call_and_keeps_none_twice(
    store: SqlCalls, monkeypatch: pytest.MonkeyPatch, partitions: bool, seed: int
) -> None:
    """Whatever has been done: after the last run all calls are with the keeper, each once."""
    chance = random.Random(seed)
    monkeypatch.setattr(removal, "KEPT_AT_ONCE", 4)
    monkeypatch.setattr(removal, "STEP", 3)
    if partitions:
        store.maintain(NOON + timedelta(days=1))
    given = old_calls(store)
    shelf = Shelf()
    shelf.crashes = [chance.choice(["before", "after"]) for _ in range(6)]
    for _ in range(100):
        try:
            for _ in store.trim(LIMIT, shelf):
                if chance.random() < 0.3:
                    raise BrokenError  # between two transactions
            break
        except BrokenError:
            left = ids(store.page(ALL, 100).calls) + ids(store.page(CallFilter(project="q"), 100).calls)
            assert set(given) == {*left, *ids(shelf.kept)}
    assert not shelf.crashes
    assert sorted(ids(shelf.kept)) == given
    assert store.unindexed() == 0


def test_a_call_that_comes_while_its_day_is_kept_stays(store: Calls) -> None:
    """It is not removed unseen, neither one by one nor with its day; the next run takes it along."""
    store.maintain(NOON)
    store.append([call(1), call(2)])

    class Slow(Shelf):
        def keep(self, project: str, day: date, numbers: Sequence[int], calls: Iterable[Call]) -> None:
            super().keep(project, day, numbers, calls)
            if not late:
                late.append(call(3))
                store.append(late)

    late: list[Call] = []
    shelf = Slow()
    for _ in store.trim(LIMIT, shelf):
        pass
    seen = ids(shelf.kept)
    assert set(seen) | set(ids(store.page(ALL, 10).calls)) == {"id-1", "id-2", "id-3"}
    for _ in store.trim(LIMIT, shelf):
        pass
    assert sorted(ids(shelf.kept)) == ["id-1", "id-2", "id-3"]
    assert store.page(ALL, 10).calls == []


def test_a_call_that_arrives_with_a_clock_far_ahead_ages_from_its_arrival(store: Calls) -> None:
    ahead = call(1, event_time=datetime(2199, 1, 1, tzinfo=UTC), received_at=NOON)
    store.append([ahead, call(2, event_time=LATER, received_at=LATER)])
    assert sum(store.trim(LIMIT)) == 1
    assert ids(store.page(ALL, 10).calls) == ["id-2"]


def test_whole_days_go(store: Calls) -> None:
    """A limit at noon leaves that whole day, on either database."""
    store.maintain(NOON)
    store.append([call(1), call(-86_400)])
    assert sum(store.trim(NOON + timedelta(hours=6))) == 1
    assert ids(store.page(ALL, 10).calls) == ["id-1"]


def test_a_deletion_is_in_the_audit_without_the_persons_name(store: Calls, database: Database) -> None:
    store.append([call(number, user="Ann <ann@example.org>") for number in range(3)])
    chosen = CallFilter(project="p", equal={"user": "Ann <ann@example.org>"})
    assert sum(store.delete(chosen, "key-1")) == 3
    (change,) = Audit(database).of("p").items
    assert (change.key_id, change.action, change.subject) == ("key-1", "calls.delete", "calls")
    digest = hashlib.sha256(b"Ann <ann@example.org>").hexdigest()
    assert change.detail == {"calls": 3, "user_sha256": digest}


def test_the_note_is_part_of_the_removal(store: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it can't be written, nothing is removed."""
    store.append([call(1, user="u")])

    def fail(*_: object) -> None:
        raise BrokenError

    monkeypatch.setattr(removal, "note", fail)
    with pytest.raises(BrokenError):
        list(store.delete(CallFilter(project="p", equal={"user": "u"}), "key-1"))
    assert ids(store.page(ALL, 10).calls) == ["id-1"]


def test_nothing_of_what_is_deleted_is_left_in_sqlites_files(store: SqlCalls, database: Database) -> None:
    """Neither its text nor its words, neither in the file nor in the log beside it."""
    if database.is_postgres:
        pytest.skip("its vacuum is its own")
    ann = {"input": "Quintessential " * 50, "output": "zebra", "metadata": {"user_id": "ann"}}
    store.append([call(number, user="ann", body={**ann, "n": number}) for number in range(50)])
    store.append([call(100 + number, user="bob") for number in range(50)])
    while store.index(10):
        pass
    assert b"quintessential" in _files(database).lower()
    assert sum(store.delete(CallFilter(project="p", equal={"user": "ann"}))) == 50
    store.erase()
    left = _files(database).lower()
    assert [word for word in (b"quintessential", b"zebra", b"ann") if word in left] == []
    assert len(store.page(CallFilter(project="p", text="question"), 100).calls) == 50


def _files(database: Database) -> bytes:
    return b"".join(path.read_bytes() for path in Path(database.name).parent.iterdir() if path.is_file())


def test_the_space_of_what_is_removed_is_given_back(store: SqlCalls, database: Database) -> None:
    if database.is_postgres:
        pytest.skip("its vacuum is its own")
    store.append([call(number, body={"input": "x" * 20_000}) for number in range(100)])
    assert sum(store.trim(LATER)) == 100
    store.erase()
    assert Path(database.name).stat().st_size < 500_000


def test_one_process_is_elected(database: Database, url: str) -> None:
    """As long as it works, or lives; then another one."""
    other = Database(url)
    try:
        with elected(database) as first, elected(other) as second:
            assert first is not None
            assert first()
            assert second is None
        with elected(other) as second:
            assert second is not None
    finally:
        other.close()


def test_who_waits_for_an_election_does_so_for_a_while(
    database: Database, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until who has it ends, or else somebody has to ask again."""
    other = Database(url)
    try:
        with elected(database, SPANS) as first:
            assert first is not None
            monkeypatch.setattr(election, "BUSY_SECONDS", 0.05)
            with pytest.raises(BusyError, match="others have been at the spans"), elected_soon(other, SPANS):
                pass
        with elected_soon(other, SPANS) as still:
            assert still()
    finally:
        other.close()


def test_who_loses_the_connection_is_no_longer_elected(database: Database, url: str) -> None:
    if not database.is_postgres:
        pytest.skip("a process can't lose its lock on a file")
    other = Database(url)
    try:
        with elected(database) as still:
            assert still is not None
            with other.session() as connection:
                _end_the_holder(connection)
            assert not still()
            with elected(other) as second:
                assert second is not None
    finally:
        other.close()


def _end_the_holder(connection: Connection) -> None:
    connection.exec_driver_sql(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_locks WHERE locktype = 'advisory' "
        "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
