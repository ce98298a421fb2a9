"""The engine and its on-disk queue: pace, keys, homes, what is never written."""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import platformdirs
import pytest

from banyan_hp import logs
from banyan_hp.destinations.banyan import BanyanDestination
from banyan_hp.engine.delivery.tasks import ReadBack
from banyan_hp.engine.records.ledger import Term
from banyan_hp.engine.spool.layout import short_directory
from banyan_hp.engine.spool.reader import Replayed
from banyan_hp.engine.spool.spool import FSYNC_INTERVAL, LOOK_SECONDS
from tests.support.clock import FakeClock
from tests.support.stepped import URL, FakeBackend, SteppedEngine, down, failing

KEYS = ("psk_tenant_one_recognisable", "psk_tenant_two_recognisable")


class Town:
    """A backend, a clock and a state directory, and the applications that share them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.clock = FakeClock()
        self.backend = FakeBackend()

    def engine(self, key: str = KEYS[0], **options: Any) -> SteppedEngine:
        return SteppedEngine(self.backend, self.clock, self.directory, key=key, **options)


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


def refused(town: Town, key: str, count: int = 3) -> None:
    """An application whose key is refused and never was accepted."""
    town.backend.behaviour = failing(401)
    engine = town.engine(key)
    for _ in range(count):
        engine.log()
    engine.shutdown(1)
    assert engine.ledger.own[Term.SPOOLED] == count
    town.backend.behaviour = town.backend.well


def recovered(town: Town, key: str, **options: Any) -> int:
    """What a further application delivers on behalf of others, given ample time."""
    engine = town.engine(key, **options)
    for _ in range(10):
        engine.log()
        engine.run(20)
        town.clock.advance(LOOK_SECONDS)
    engine.shutdown(5)
    assert engine.balanced()
    return engine.ledger.adopted[Term.DELIVERED]


# -- keys ----------------------------------------------------------------------------------------------------


def test_a_refused_key_s_records_do_not_leave_under_another_tenant_s_key(town: Town) -> None:
    """A revoked key looks like a customer's mistyped one: only the application knows which it is."""
    refused(town, KEYS[0])
    assert recovered(town, KEYS[1]) == 0
    assert recovered(town, KEYS[0]) == 3
    assert {request.headers["X-API-Key"] for request in town.backend.usage()[-3:]} == {KEYS[0]}


def test_after_a_rotation_the_new_key_sends_what_the_application_says_is_its_own(town: Town) -> None:
    """`previous_keys` names the old key: its records are adopted, each is delivered once."""
    refused(town, KEYS[0])
    assert recovered(town, KEYS[1], previous_keys=["psk_older_still", KEYS[0]]) == 3
    assert max(town.backend.taken.values()) == 1
    assert recovered(town, KEYS[0]) == 0


def test_a_process_with_the_old_key_may_end_while_the_new_one_runs(town: Town) -> None:
    """What it leaves is adopted at the next look."""
    engine = town.engine(KEYS[1], previous_keys=[KEYS[0]])
    engine.log()
    assert engine.flush(5)
    outage(town, KEYS[0], count=5)
    town.clock.advance(LOOK_SECONDS)
    engine.run(20)
    assert engine.ledger.adopted[Term.DELIVERED] == 5
    engine.shutdown(1)


def test_records_under_a_short_fingerprint_are_reported_and_never_adopted(town: Town) -> None:
    """32 bits don't tell keys apart for certain: a person decides."""
    outage(town, KEYS[0], count=2)
    (directory,) = (town.directory / "spool").iterdir()
    directory.rename(short_directory(directory))
    assert recovered(town, KEYS[0]) == 0
    assert recovered(town, KEYS[1], previous_keys=[KEYS[0]]) == 0
    engine = town.engine(KEYS[0])
    engine.log()
    engine.run(5)
    reasons = engine.health()["reasons"]
    assert [f"--from-key {short_directory(directory).name[-8:]}" in reason for reason in reasons].count(
        True
    ) == 1
    engine.shutdown(1)


def test_two_good_keys_of_one_project_never_send_for_each_other(town: Town) -> None:
    """However long the other's records wait."""
    outage(town, KEYS[0])
    assert recovered(town, KEYS[1]) == 0
    assert recovered(town, KEYS[0]) == 20


def test_records_of_a_new_key_lie_apart_from_those_of_the_old(town: Town) -> None:
    """A running application turns to another key: a process with the old one must not send what comes now."""
    engine = town.engine(KEYS[0], durability="disk")
    engine.log()
    engine.reconfigure(
        BanyanDestination(URL, KEYS[1], None), replace(engine.settings, previous_keys=[KEYS[0]])
    )
    engine.log()
    assert engine.spool is not None
    places = {path.parent for path in town.directory.rglob("*.v1.jsonl")}
    assert len(places) == 2
    assert engine.flush(5)
    engine.shutdown(1)
    assert len(town.backend.taken) == 2


@pytest.mark.parametrize(
    ("url", "key", "project", "named"),
    [
        (URL, KEYS[1], None, []),
        ("http://elsewhere.test", KEYS[0], None, [KEYS[0]]),
        (URL, KEYS[0], "another", [KEYS[0]]),
        (URL, KEYS[1], "another", [KEYS[0]]),
    ],
)
def test_an_engine_turns_to_no_destination_that_is_not_its_records_own(
    town: Town, url: str, key: str, project: str | None, named: list[str]
) -> None:
    """Another URL or project never, another key only if ours is named as a previous one."""
    engine = town.engine(KEYS[0])
    engine.log()
    with pytest.raises(ValueError, match="records leave only for where"):
        engine.reconfigure(
            BanyanDestination(url, key, project), replace(engine.settings, previous_keys=named)
        )
    assert engine.flush(5)
    assert [request.headers["X-API-Key"] for request in town.backend.usage()] == [KEYS[0]]
    engine.shutdown(1)


def test_keys_appear_nowhere(town: Town, caplog: pytest.LogCaptureFixture) -> None:
    """Not on disk, in repr, logs, errors or stats: through an outage, a refusal, a quarantine and a crash."""
    caplog.set_level(logging.DEBUG)
    errors: list[Exception] = []
    said = []
    town.backend.refuses = lambda body: body["input"] == "bad"
    for behaviour in (down, failing(401), failing(403), failing(500), town.backend.well):
        town.backend.behaviour = behaviour
        for key in KEYS:
            engine = town.engine(
                key, on_error=errors.append, max_retries=0, durability="disk", previous_keys=KEYS
            )
            for value in ("good", "bad", "good"):
                engine.log(value)
            engine.run(10)
            engine.flush(1)
            engine.notices.report()
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
    assert any(path.name == "quarantine.v1.jsonl" for path in paths)
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

    class WakeUp:
        def wake(self) -> None:
            rung.append(True)

    # private: what a sender does before it sleeps
    engine.scheduler._wait(town.clock.monotonic(), 60, (1000, 1e9))
    engine.add_sleeper(WakeUp())  # type: ignore[arg-type]
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
        logs.last_said.clear()
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
    """Neither at the destination's directory nor at the one above it; memory only, and reported."""
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

    def slowly(max_records: int, max_bytes: int, **how: bool) -> list[Replayed]:
        found = real(max_records, max_bytes, **how)
        with engine.lock:
            engine.worker.stop()
        return found

    monkeypatch.setattr(engine.spool, "read_back", slowly)
    # private: one step of a thread's, while another ends it
    engine.parts.runner._read_back(ReadBack(own_only=False, max_records=200))
    assert engine.ledger.adopted[Term.IN_FLIGHT] == 0
    assert engine.ledger.adopted[Term.SPOOLED] == 20
    engine.shutdown(0)
    assert recovered(town, KEYS[0]) == 20
