"""What judges a run of chaos: it must see each fault, or its silence is worth nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.chaos.backend import REFUSED, TAKEN, Arrival
from tests.support.chaos.disk import ChaosDisk
from tests.support.chaos.judge import violations
from tests.support.chaos.plan import CUTTING, FINE, draw
from tests.support.chaos.run import Evidence
from tests.support.disk import Disk, records, spooled

PID, PORT = 7, 50_000
TEXT = "7.0 a"
BALANCED = {
    "logs_queued": 1,
    "logs_sent": 1,
    "logs_spooled": 0,
    "logs_quarantined": 0,
    "logs_dropped": 0,
    "queue_size": 0,
    "in_flight": 0,
    "drops": {},
    "adopted": {"logs": 0, "recovered": 0, "pending": 0, "quarantined": 0, "dropped": 0},
}
DROPPED = {**BALANCED, "logs_sent": 0, "logs_dropped": 1, "drops": {"queue_full": 1}}


def line(what: str, at: float, **more: Any) -> dict[str, Any]:
    return {"what": what, "pid": PID, "at": at, **more}


def evidence(
    *, durability: str = "memory", accepted: bool = True, overflow: str = "drop_newest", **said: Any
) -> Evidence:
    """A process that logged one record for the first tenant, and has connected."""
    journal = [
        line("begins", 0.0, parent=None),
        line("logger", 0.1, logger=0, tenant="a", options={"durability": durability, "overflow": overflow}),
        line("connected", 0.2, port=PORT),
        line("about", 1.0, id="7.0", logger=0),
        line("said", 1.1, id="7.0", logger=0, accepted=accepted, **said),
    ]
    return Evidence(draw(0), journal=journal, workers_gone_at=100.0)


def ended(made: Evidence, stats: dict[str, Any] | None = None, opened: tuple[str, ...] = ()) -> Evidence:
    """It ended in good order, with these stats."""
    made.journal += [
        line("ending", 50.0, logger=None, timeout=2.0),
        line("stats", 52.0, logger=0, stats=stats or BALANCED),
        line("final", 52.0, open=list(opened)),
    ]
    return made


def killed(made: Evidence, at: float = 40.0) -> Evidence:
    made.signals[PID] = (9, at)
    return made


def arrival(at: float = 2.0, **more: Any) -> Arrival:
    usual = {"key": "psk_first", "project": None, "server": 0, "port": PORT, "fate": TAKEN, "mood": FINE}
    return Arrival(**{"text": TEXT, "answered_at": at + 0.01, "at": at, **usual, **more})


def found(made: Evidence, *arrivals: Arrival) -> list[str]:
    """The kinds of what is wrong."""
    made.arrivals = list(arrivals)
    return sorted({each.split(":")[0].split(" (")[0] for each in violations(made)})


def test_a_record_that_arrived_once_is_well() -> None:
    """No violation is found where there is none."""
    assert found(ended(evidence()), arrival()) == []


def test_a_judge_who_does_not_know_whose_connections_came_says_so() -> None:
    """Else each doubt would be called a repetition."""
    made = ended(evidence())
    made.journal = [each for each in made.journal if each["what"] != "connected"]
    assert found(made, arrival()) == ["blind"]


def test_a_record_that_is_nowhere_is_lost_unless_somebody_counted_it() -> None:
    """A clean end must count what it drops; so must whoever adopted the record."""
    assert found(ended(evidence())) == ["lost"]
    assert found(ended(evidence(), DROPPED)) == []
    adopted = {**BALANCED["adopted"], "logs": 1, "dropped": 1}  # type: ignore[dict-item]
    assert found(ended(evidence(), {**BALANCED, "adopted": adopted})) == []


def test_a_drop_needs_a_reason() -> None:
    """A full queue is none where the logger spills, the end of the process none while the disk has room."""
    assert found(ended(evidence(overflow="spill"), DROPPED)) == ["dropped without need"]
    at_the_end = {**DROPPED, "drops": {"shutdown": 1}}
    assert found(ended(evidence(), at_the_end)) == ["dropped without need"]
    full = ended(evidence(), at_the_end)
    full.full = [(49.0, 60.0)]
    assert found(full) == []


def test_what_was_in_memory_of_a_killed_process_is_no_loss() -> None:
    """With durability="disk" it is one, unless the process had counted that the disk did not take it."""
    assert found(killed(evidence())) == []
    assert found(killed(evidence(durability="disk"))) == ["lost"]
    assert found(killed(evidence(durability="disk", not_durable=1))) == []


def test_what_is_on_disk_must_be_delivered_by_the_drain() -> None:
    """On disk is good enough at the end of the workers, not behind the drain."""
    made = ended(evidence(), {**BALANCED, "logs_sent": 0, "logs_spooled": 1})
    made.unsent = {TEXT}
    assert found(made, arrival(at=101.0)) == []
    assert found(made) == ["lost"]
    made.left = ["1795852488222-f80b7725b4b7f742-0000.v1.jsonl"]
    assert found(made, arrival(at=101.0)) == ["left"]


@pytest.mark.parametrize("wrong", [{"key": "psk_second"}, {"server": 1}, {"project": "other"}])
def test_a_record_of_another_tenant_is_mixed_up(wrong: dict[str, Any]) -> None:
    """Server, key and project must be those that the record was logged with."""
    assert "mixed up" in found(ended(evidence()), arrival(**wrong))


def test_a_record_may_come_twice_only_after_a_doubt() -> None:
    """A response cut off, a sender killed before it could acknowledge, an exit that ran out of time."""
    again = arrival(at=20.0)
    assert found(ended(evidence()), arrival(), again) == ["repeated"]
    assert found(ended(evidence()), arrival(answered_at=None), again) == []
    assert found(ended(evidence()), arrival(mood=CUTTING), again) == []
    assert found(killed(evidence(), at=2.5), arrival(), again) == []
    assert found(killed(evidence(), at=9.0), arrival(), again) == ["repeated"]
    unknown = arrival(port=1)  # the connection that was just being noted down when its process was killed
    assert found(killed(evidence(), at=2.1), unknown, again) == []
    assert found(killed(evidence(), at=9.0), unknown, again) == ["repeated"]
    assert found(ended(evidence()), arrival(at=51.9), arrival(at=60.0)) == []
    full = ended(evidence())
    full.full = [(1.5, 3.0)]
    assert found(full, arrival(), again) == []


def test_a_record_that_was_not_accepted_must_not_arrive() -> None:
    """The application would log it again."""
    assert found(ended(evidence(accepted=False)), arrival()) == ["not accepted, and yet delivered"]


def test_quarantine_needs_a_refusal_and_keeps_the_record_from_being_sent() -> None:
    """Neither is a record quarantined that nobody refused, nor one sent that is in quarantine."""
    made = ended(evidence())
    made.quarantined = made.quarantined_at_last = {TEXT: "status"}
    assert found(made) == ["quarantined though never refused"]
    assert found(made, arrival(fate=REFUSED)) == []
    assert found(made, arrival(fate=REFUSED), arrival(at=9.0)) == ["quarantined and delivered"]


def test_a_flush_must_not_claim_what_is_not_so() -> None:
    """What was accepted before a flush that says "delivered" has arrived before its end."""
    made = ended(evidence())
    made.journal.append(line("flush", 3.0, logger=0, began=1.5, delivered=True))
    assert found(made, arrival()) == []
    assert found(made, arrival(at=4.0)) == ["flush said delivered at 3.000"]


def test_how_a_process_ends_is_judged() -> None:
    """It ends in time, by itself or by a signal of ours, with its books balanced and its segments closed."""
    assert found(evidence(accepted=False)) == ["died"]
    assert found(ended(evidence(), {**BALANCED, "logs_queued": 2}), arrival()) == ["unbalanced"]
    held = ended(evidence(), opened=("/spool/1.v1.jsonl",))
    assert found(held, arrival()) == ["still open at the end of process 7"]
    stuck = killed(evidence())
    stuck.stuck = [PID]
    assert found(stuck) == ["stuck"]


def test_an_exception_of_log_prompt_is_found() -> None:
    """It must not raise whatever happens."""
    made = ended(evidence(), {**BALANCED, "logs_queued": 0, "logs_sent": 0})
    made.journal[4] = line("raised", 1.1, id="7.0", logger=0, error="ValueError()")
    assert found(made) == ["raised"]


def test_the_reader_of_its_own_finds_what_the_engine_left(tmp_path: Path) -> None:
    """Unacknowledged records of the engine's segments, and only those."""
    with ChaosDisk(tmp_path, "well", seed=0) as chaos:
        disk = Disk(chaos.spool / "spool" / "somewhere")
        spool = disk.spool()
        texts = [f"7.{number} a" for number in range(5)]
        written = records(*range(5))
        for record, text in zip(written, texts, strict=True):
            record.body = b'{"input":"%s"}' % text.encode()
        assert spool.append(written)
        spool.release(written)
        spool.acknowledge(written[1:3])
        assert chaos.unsent() == {texts[0], texts[3], texts[4]}
        assert spool.quarantine(written[0], "refused", 400, "no")
        assert chaos.quarantined() == {texts[0]: "refused"}
        chaos.delete()
        assert (chaos.segments(), chaos.deleted()) == ([], set(texts))
        spooled(spool, 9)
        assert len(chaos.segments()) == 1
        spool.close()


def test_a_plan_follows_its_seed() -> None:
    """The same seed draws the same plan, another one another."""
    assert draw(3) == draw(3)
    assert draw(3) != draw(4)
