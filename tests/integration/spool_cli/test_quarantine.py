"""`banyan-hp spool quarantine`, against what real backends have refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from banyan_hp.engine.spool.entries import UNSCRUBBED, Entry
from banyan_hp.engine.spool.quarantine import Quarantine
from banyan_hp.engine.spool.segment import Segment
from tests.conftest import MakeLogger
from tests.support.scripted import ScriptedServer
from tests.support.scripted_answers import batching
from tests.support.spools import Spools


@pytest.fixture
def refused(spools: Spools, make_logger: MakeLogger, up: Callable[[], ScriptedServer]) -> ScriptedServer:
    """Records 1 and 3 of five are refused; the backend that refused them, now content with all."""
    back = up()
    back.handler = batching(
        verdicts=lambda record: (
            (422, "bad number") if record["body"]["metadata"]["number"] in (1, 3) else (201, None)
        )
    )
    logger = make_logger(back.url, flush_interval=60)  # one batch: what it accepts proves the others refused
    for number in range(5):
        logger.log_prompt(input=f"question {number}", output="x", metadata={"number": number})
    logger.shutdown(timeout=5)
    back.handler = batching()
    return back


def test_quarantine_ls_and_show(spools: Spools, refused: ScriptedServer) -> None:
    """How many and why; and each, with the backend's words and its body."""
    code, out, _ = spools.run("quarantine", "ls")
    assert code == 0
    assert [row.split()[:3] for row in out.splitlines()[1:]] == [
        ["REASON", "STATUS", "ENTRIES"], ["refused", "422", "2"]
    ]  # fmt: skip
    assert "quarantine: 2 entries" in spools.run("ls")[1]
    (kind,) = spools.json("quarantine", "ls")
    assert (kind["reason"], kind["status"], kind["entries"], kind["client"]) == ("refused", 422, 2, "banyan")
    shown = spools.json("quarantine", "show")
    assert [(entry["body"]["metadata"]["number"], entry["detail"]) for entry in shown] == [
        (1, "bad number"), (3, "bad number")
    ]  # fmt: skip
    assert spools.json("quarantine", "show", "--id", shown[1]["id"]) == shown[1:]
    assert spools.json("quarantine", "show", "--limit", "1") == shown[:1]
    text = spools.run("quarantine", "show")[1]
    assert f"{shown[0]['id']}  {shown[0]['quarantined']}  refused 422: bad number" in text


def test_requeued_records_are_sent_under_their_ids(spools: Spools, refused: ScriptedServer) -> None:
    """Out of the quarantine, into a segment of its own, and on to the backend."""
    ids = [entry["id"] for entry in spools.json("quarantine", "show")]
    times = [entry["time"] for entry in spools.json("quarantine", "show")]
    code, out, err = spools.run("quarantine", "requeue", "--all")
    assert (code, err) == (0, "")
    assert out == "requeued 2 records, to be sent with the rest of the queue\n"
    assert spools.run("quarantine", "ls")[1] == "nothing in quarantine\n"
    assert [(record["id"], record["time"]) for record in spools.json("show")] == list(
        zip(ids, times, strict=True)
    )
    before = len(refused.ids())
    assert spools.run("replay")[0] == 0
    assert refused.ids()[before:] == ids
    assert spools.run("quarantine", "requeue", "--all") == (0, "nothing to requeue\n", "")


def test_requeue_of_one_leaves_the_other(spools: Spools, refused: ScriptedServer) -> None:
    """By the beginning of its id; an id that nothing has is no success."""
    first, second = [entry["id"] for entry in spools.json("quarantine", "show")]
    assert spools.run("quarantine", "requeue", "--id", first)[0] == 0
    assert [entry["id"] for entry in spools.json("quarantine", "show")] == [second]
    assert spools.run("quarantine", "requeue", "--id", "nobody") == (1, "nothing to requeue\n", "")


def test_what_can_t_or_should_not_be_sent_stays(spools: Spools, refused: ScriptedServer) -> None:
    """Damaged lines never; records that before_send has not seen to, unless it is said, wait until it has."""
    kept = spools.quarantine()
    kept.take(lambda _: True, lambda _: None)
    kept.add_damage("segment", [b"\xff damaged"])
    kept.add(Entry(UNSCRUBBED, b'{"secret":1}', id="raw", time=1.0))
    code, _, err = spools.run("quarantine", "requeue", "--all")
    assert (code, len(spools.segments())) == (1, 1)
    assert "there is no whole record to send" in err
    requests = len(refused.requests)
    code, _, err = spools.run("replay", "--yes")
    assert (code, len(refused.requests)) == (1, requests)
    assert "left alone: 1 record that before_send has not seen" in err
    assert [seen["raw"] for seen in spools.json("ls")] == [1]
    assert spools.run("purge", "--yes")[0] == 0
    kept.add(Entry(UNSCRUBBED, b'{"secret":1}', id="raw", time=1.0))
    assert spools.run("quarantine", "requeue", "--id", "raw", "--unscrubbed")[0] == 0
    assert [seen["raw"] for seen in spools.json("ls")] == [0]
    assert [record["body"] for record in spools.json("show")] == [{"secret": 1}]
    (line,) = spools.json("quarantine", "show")
    assert (line["base64"], line["segment"]) == ("/yBkYW1hZ2Vk", "segment")


def test_a_crash_between_requeue_s_two_steps_loses_nothing(
    spools: Spools, refused: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The records are in both places then, under the same ids."""

    def crash(*_: object) -> None:
        raise OSError("crash")

    ids = [entry["id"] for entry in spools.json("quarantine", "show")]
    # private: the second of the two steps
    monkeypatch.setattr(Quarantine, "_leave_out", crash)
    assert spools.run("quarantine", "requeue", "--all")[0] == 3
    assert [record["id"] for record in spools.json("show")] == ids
    assert [entry["id"] for entry in spools.json("quarantine", "show")] == ids


def test_a_requeue_that_the_disk_does_not_take_changes_nothing(
    spools: Spools, refused: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 3, the entries where they were, and no half segment."""

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Segment, "write", full)
        code, _, err = spools.run("quarantine", "requeue", "--all")
    assert (code, "No space left" in err) == (3, True)
    assert spools.segments() == []
    assert len(spools.json("quarantine", "show")) == 2


def test_quarantine_purge(spools: Spools, refused: ScriptedServer) -> None:
    """It asks; by age, by id, or all."""
    first, second = [entry["id"] for entry in spools.json("quarantine", "show")]
    code, _, err = spools.run("quarantine", "purge")
    assert (code, "Remove 2 quarantined entries for good?" in err) == (2, True)
    assert spools.run("quarantine", "purge", "--yes", "--older-than", "1h")[1].startswith("removed 0 entries")
    assert spools.run("quarantine", "purge", "--yes", "--id", first)[1].startswith("removed 1 entry")
    assert [entry["id"] for entry in spools.json("quarantine", "show")] == [second]
    assert spools.run("quarantine", "purge", "--yes")[0] == 0
    assert not list(spools.directory().glob("quarantine*"))
