"""The engine and its on-disk queue: pace, keys, homes, what is never written."""

from __future__ import annotations

import logging
import os
from itertools import groupby
from pathlib import Path
from typing import Any

import platformdirs
import pytest

from banyan_hp import logs
from banyan_hp.destinations.banyan import BanyanDestination
from banyan_hp.engine.directory import KEY_NAME, REFUSED
from banyan_hp.engine.ledger import Term
from banyan_hp.engine.replaying import Replayed
from banyan_hp.engine.spool import FSYNC_INTERVAL, LOOK_SECONDS
from banyan_hp.engine.standing import LONG_SECONDS
from tests.support.clock import FakeClock
from tests.support.stepped import URL, FakeBackend, SteppedEngine, down, failing

KEYS = ("psk_tenant_one_recognisable", "psk_tenant_two_recognisable")


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_last_said", {})


class Town:
    """A backend, a clock and a state directory, and the applications that share them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.clock = FakeClock()
        self.backend = FakeBackend()

    def engine(self, key: str = KEYS[0], **options: Any) -> SteppedEngine:
        return SteppedEngine(self.backend, self.clock, self.directory, key=key, **options)

    def marks(self) -> list[str]:
        return sorted(path.read_text().strip() for path in self.directory.rglob(KEY_NAME))


@pytest.fixture
def town(tmp_path: Path) -> Town:
    return Town(tmp_path / "state")


def outage(town: Town, key: str, count: int = 20) -> None:
    """An application that ends while the backend is down."""
    town.backend.behaviour = down
    engine = town.engine(key, max_retries=0)
    for _ in range(count):
        engine.log()
    engine.shutdown(0)
    assert engine.ledger.own[Term.SPOOLED] == count
    town.backend.behaviour = town.backend.well


def refused_for(town: Town, key: str, seconds: float, count: int = 3) -> None:
    """An application whose key was accepted, and then refused for so long."""
    engine = town.engine(key)
    engine.log()
    assert engine.flush(5)
    town.backend.behaviour = failing(401)
    for _ in range(count):
        engine.log()
    end = town.clock.monotonic() + seconds
    engine.flush(5)
    while town.clock.monotonic() < end:
        town.clock.advance(5)
        engine.flush(0.1)
        engine.run(3)
    engine.shutdown(1)
    assert engine.ledger.own[Term.SPOOLED] == count
    town.backend.behaviour = town.backend.well


def recovered(town: Town, key: str) -> int:
    """What a further application delivers on behalf of others, given ample time."""
    engine = town.engine(key)
    for _ in range(10):
        engine.log()
        engine.run(20)
        town.clock.advance(LOOK_SECONDS)
    engine.shutdown(5)
    assert engine.balanced()
    return engine.ledger.adopted[Term.DELIVERED]


# -- keys ----------------------------------------------------------------------------------------------------


def test_after_a_rotation_the_new_key_sends_what_the_old_one_could_not(town: Town) -> None:
    """A good key that is refused for more than a minute was rotated."""
    refused_for(town, KEYS[0], LONG_SECONDS + 20)
    assert town.marks() == [REFUSED]
    assert recovered(town, KEYS[1]) == 3
    assert max(town.backend.taken.values()) == 1


def test_a_good_key_that_is_refused_for_a_moment_keeps_its_records(town: Town) -> None:
    """A server that checks keys has a hiccup: nothing leaves under another tenant's key."""
    refused_for(town, KEYS[0], LONG_SECONDS / 3)
    assert recovered(town, KEYS[1]) == 0
    assert recovered(town, KEYS[0]) == 3


def test_what_an_earlier_process_knew_of_the_key_counts(town: Town) -> None:
    """A job that starts during the hiccup never saw its key accepted, but a note in the directory did."""
    first = town.engine(KEYS[0])
    first.log()
    assert first.flush(5)
    first.shutdown(1)
    town.backend.behaviour = failing(401)
    second = town.engine(KEYS[0])
    second.log()
    second.flush(5)
    second.shutdown(1)
    town.backend.behaviour = town.backend.well
    assert REFUSED not in town.marks()
    assert recovered(town, KEYS[1]) == 0


def test_a_key_that_never_was_accepted_gives_its_records_at_once(town: Town) -> None:
    """An application that was started with the revoked key, and then with the new one."""
    town.backend.behaviour = failing(401)
    engine = town.engine(KEYS[0])
    for _ in range(3):
        engine.log()
    engine.shutdown(1)
    town.backend.behaviour = town.backend.well
    assert town.marks() == [REFUSED]
    assert recovered(town, KEYS[1]) == 3


def test_two_good_keys_of_one_project_never_send_for_each_other(town: Town) -> None:
    """However long the other's records wait."""
    outage(town, KEYS[0])
    assert recovered(town, KEYS[1]) == 0
    assert recovered(town, KEYS[0]) == 20


def test_records_of_a_new_key_lie_apart_from_those_of_the_old(town: Town) -> None:
    """A running application turns to another key: a process with the old one must not send what comes now."""
    engine = town.engine(KEYS[0], durability="disk")
    engine.log()
    engine.turn_to(BanyanDestination(URL, KEYS[1], None), engine.settings)
    engine.log()
    assert engine.spool is not None
    places = {path.parent for path in town.directory.rglob("*.v1.jsonl")}
    assert len(places) == 2
    assert engine.flush(5)
    engine.shutdown(1)
    assert len(town.backend.taken) == 2


def test_keys_appear_nowhere(town: Town, caplog: pytest.LogCaptureFixture) -> None:
    """Not on disk, in repr, logs, errors or stats: through an outage, a refusal, a quarantine and a crash."""
    caplog.set_level(logging.DEBUG)
    errors: list[Exception] = []
    said = []
    town.backend.refuses = lambda body: body["input"] == "bad"
    for behaviour in (down, failing(401), failing(403), failing(500), town.backend.well):
        town.backend.behaviour = behaviour
        for key in KEYS:
            engine = town.engine(key, on_error=errors.append, max_retries=0, durability="disk")
            for value in ("good", "bad", "good"):
                engine.log(value)
            engine.run(10)
            engine.flush(1)
            engine.notices.tell()
            said += [repr(engine), repr(engine.spool), str(engine.stats()), str(engine.health())]
            said += [repr(engine.settings), repr(engine.ledger)]
            assert engine.spool is not None
            engine.spool.abandon()  # a crash
    assert errors
    said += [f"{error!r} {error} {vars(error)}" for error in errors]
    paths = list(town.directory.rglob("*"))
    said += [str(path) for path in paths]
    said += [path.read_bytes().decode("latin-1") for path in paths if path.is_file()]
    said.append(caplog.text)
    assert len(paths) > 10
    secrets = [*KEYS, *(key.removeprefix("psk_") for key in KEYS)]
    assert [secret for secret in secrets for text in said if secret in text] == []


# -- pace ----------------------------------------------------------------------------------------------------


def test_fresh_records_and_the_backlog_take_turns(town: Town) -> None:
    """A request each while there are both: half of the requests for each, whoever waits."""
    outage(town, KEYS[0], count=200)
    engine = town.engine(batch_size=10)
    turns = []
    for _ in range(400):
        while len(engine.queue) < 10:
            engine.log("fresh")
        before = len(town.backend.order)
        engine.step()
        sent = town.backend.order[before:]
        if sent:
            turns.append("fresh" if sent[0].startswith(engine.process) else "backlog")
        if turns.count("backlog") == 20:
            break
    assert turns.count("backlog") == 20, turns
    assert abs(turns.count("fresh") - 20) <= 2
    longest = max(len(list(run)) for _, run in groupby(turns))
    assert longest <= 2  # neither holds up the other
    engine.shutdown(1)


def test_a_shutdown_does_not_wait_for_the_backlog_of_others(town: Town) -> None:
    """What an earlier process left stays on disk, unharmed, for the next."""
    outage(town, KEYS[0], count=200)
    engine = town.engine(batch_size=10)
    engine.log("fresh")
    engine.run(6)
    assert 0 < engine.ledger.adopted[Term.DELIVERED] < 200
    sent = len(town.backend.taken)
    engine.shutdown(10)
    assert len(town.backend.taken) <= sent + 20
    assert engine.balanced()
    assert engine.ledger.adopted[Term.IN_FLIGHT] == 0
    assert recovered(town, KEYS[0]) == 200 - engine.ledger.adopted[Term.DELIVERED]


def test_an_idle_process_looks_for_dead_siblings(town: Town) -> None:
    """Twice a minute, and not more often than that."""
    engine = town.engine()
    engine.log()
    assert engine.flush(5)
    engine.run(10)
    outage(town, KEYS[0], count=5)
    town.clock.waits.clear()
    began = town.clock.monotonic()
    while engine.ledger.adopted[Term.DELIVERED] < 5:
        engine.step(longest_wait=3600)
        assert town.clock.monotonic() - began <= LOOK_SECONDS + 5
    engine.run(5)
    town.clock.waits.clear()
    began = town.clock.monotonic()
    for _ in range(100):
        engine.step(longest_wait=3600)
    assert len(town.clock.waits) <= (town.clock.monotonic() - began) / LOOK_SECONDS + 2
    engine.shutdown(1)


def test_fsync_at_intervals_does_not_wait_for_the_next_batch(town: Town) -> None:
    """A sleeping worker is woken for it, and syncs within the interval."""
    engine = town.engine(durability="disk", fsync="interval", flush_interval=60)
    engine.log()
    assert engine.flush(5)
    engine.run(10)
    rung = []

    class Bell:
        def ring(self) -> None:
            rung.append(True)

    engine._scheduler._wait(town.clock.monotonic(), 60, (1000, 1e9))  # what a sender does before it sleeps
    engine._scheduler.sleep(Bell())  # type: ignore[arg-type]
    engine.log()
    assert rung
    assert engine.spool is not None
    assert engine.spool.sync_due_in(town.clock.monotonic()) <= FSYNC_INTERVAL
    engine.shutdown(1)


# -- where ---------------------------------------------------------------------------------------------------


def test_without_a_home_records_stay_in_memory(
    town: Town, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One warning, a reason in health, and nothing raised, also where asking raises."""

    def homeless(*_: object) -> Path:
        raise RuntimeError("Could not determine home directory.")

    for answer in (homeless, lambda *_: Path("~/.local/state/banyan_hp")):
        caplog.clear()
        logs._last_said.clear()
        monkeypatch.setattr(platformdirs, "user_state_path", answer)
        engine = SteppedEngine(town.backend, town.clock, None, spool=True)
        engine.log()
        assert engine.flush(5)
        assert "set spool_dir" in str(engine.health()["reasons"])
        assert len(caplog.records) == 1
        engine.shutdown(1)
    assert not Path("~").exists()


@pytest.mark.parametrize("place", ["spool", "spool/destination"])
def test_a_link_in_the_way_is_not_followed(town: Town, tmp_path: Path, place: str) -> None:
    """Neither at the destination's directory nor at the one above it; memory only, and told."""
    engine = town.engine(durability="disk", max_retries=0)
    assert engine.spool is not None
    where = engine.spool.directory if "/" in place else engine.spool.directory.parent
    where.parent.mkdir(parents=True)
    target = tmp_path / "elsewhere"
    target.mkdir()
    where.symlink_to(target)
    town.backend.behaviour = down
    for _ in range(5):
        assert engine.log() is not None
    engine.run(10)
    assert list(target.rglob("*")) in ([], [target / engine.spool.directory.name])
    assert not list(target.rglob("*.jsonl"))
    assert "symbolic link" in str(engine.health()["reasons"])
    assert engine.stats()["spool_errors"] > 0
    where.unlink()  # somebody puts it right
    town.clock.advance(31)
    engine.run(30)
    assert engine.ledger.own[Term.SPOOLED] == 5
    assert engine.health()["reasons"][0].startswith("offline")
    engine.shutdown(1)


def test_without_a_spool_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`spool=False`: not below HOME, the XDG directories, TMPDIR or the working directory."""
    for name in ("HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "TMPDIR"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    backend = FakeBackend()
    backend.refuses = lambda body: body["input"] == "bad"
    engine = SteppedEngine(backend, FakeClock(), None, queue_size=5, max_retries=0, overflow="spill")
    for behaviour in (backend.well, down, failing(401), failing(400)):
        backend.behaviour = behaviour
        for value in ("good", "bad", "good", "good", "good", "good", "good"):
            engine.log(value)
        engine.run(10)
        engine.clock.advance(60)
    engine.shutdown(1)
    assert engine.balanced()
    assert sorted(tmp_path.rglob("*")) == before
    assert os.environ["BANYAN_HP_SPOOL_DIR"].startswith(str(tmp_path))


# -- deleted under us ----------------------------------------------------------------------------------------


def test_records_in_memory_whose_segment_was_deleted_are_written_again(town: Town) -> None:
    """Somebody clears the directory under a running application: what it still has in memory is not lost."""
    town.backend.behaviour = down
    engine = town.engine(durability="disk", flush_interval=60)
    for _ in range(5):
        engine.log()
    for path in town.directory.rglob("*.v1.jsonl"):
        path.unlink()
    engine.shutdown(0)
    assert engine.ledger.own[Term.SPOOLED] == 5
    assert engine.balanced()
    town.backend.behaviour = town.backend.well
    assert recovered(town, KEYS[0]) == 5


def test_records_on_disk_that_were_deleted_are_counted(town: Town) -> None:
    """`drops["removed"]`, at the latest at the next look, and a flush that does not call them delivered."""
    town.backend.behaviour = down
    engine = town.engine(max_retries=0)
    for _ in range(5):
        engine.log()
    engine.flush(5)
    assert engine.ledger.own[Term.SPOOLED] == 5
    for path in town.directory.rglob("*.v1.jsonl"):
        path.unlink()
    town.clock.advance(LOOK_SECONDS)
    engine.run(3)
    assert engine.stats()["drops"] == {"removed": 5}
    assert engine.balanced()
    engine.shutdown(1)


def test_records_read_while_the_engine_stops_stay_on_disk(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread that comes back from the disk after the end leaves no record in flight, and none leased."""
    outage(town, KEYS[0], count=20)
    engine = town.engine()
    assert engine.spool is not None
    engine.spool.open()
    real = engine.spool.read_back

    def slowly(max_records: int, max_bytes: int) -> list[Replayed]:
        found = real(max_records, max_bytes)
        engine.worker.stop()
        return found

    monkeypatch.setattr(engine.spool, "read_back", slowly)
    engine.worker._read_back()
    assert engine.ledger.adopted[Term.IN_FLIGHT] == 0
    assert engine.ledger.adopted[Term.SPOOLED] == 20
    engine.shutdown(0)
    assert recovered(town, KEYS[0]) == 20
