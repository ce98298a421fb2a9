"""`banyan-hp spool purge`: asks, and removes what nobody holds."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from banyan_hp.engine.spool.segment import Segment, segment_name
from tests.integration.spool_cli.conftest import Spools, Terminal, acknowledge


def test_purge_asks_and_does(spools: Spools, outage: Callable[..., None]) -> None:
    """Nothing happens without a yes: not even where nobody can be asked."""
    outage(3)
    code, _, err = spools.run("purge")
    assert code == 2
    assert "Remove 1 segment with 3 unsent records for good? Say --yes" in err
    assert len(spools.segments()) == 1
    assert spools.run("purge", "--yes") == (0, "removed 1 segment with 3 unsent records\n", "")
    assert spools.segments() == []
    assert spools.run("purge") == (0, "removed 0 segments with 0 unsent records\n", "")


@pytest.mark.parametrize(("answer", "code", "left"), [("y\n", 0, 0), ("n\n", 1, 1), ("", 1, 1)])
def test_purge_takes_yes_for_an_answer_and_nothing_else(
    spools: Spools,
    outage: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    answer: str,
    code: int,
    left: int,
) -> None:
    """No, or the end of the input, leaves everything."""
    outage(1)
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    assert spools.run("purge")[0] == code
    assert len(spools.segments()) == left


def test_ctrl_c_at_the_question_is_a_no(
    spools: Spools, outage: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And no traceback."""

    class Interrupted(Terminal):
        def readline(self, _size: int = -1) -> str:  # type: ignore[override]
            raise KeyboardInterrupt

    outage(1)
    monkeypatch.setattr(sys, "stdin", Interrupted())
    code, _, err = spools.run("purge")
    assert (code, err.endswith("banyan-hp: interrupted\n")) == (1, True)
    assert len(spools.segments()) == 1


def test_purge_by_age_looks_at_the_youngest_record(spools: Spools, outage: Callable[..., None]) -> None:
    """A segment goes only when all that is unsent in it is older."""
    outage(1)
    (young,) = spools.segments()
    old_name = segment_name(1_000_000_000, "abc", 0)
    young.rename(young.with_name(old_name))
    assert spools.run("purge", "--yes", "--older-than", "1d")[0] == 0
    assert len(spools.segments()) == 1, "its record is young, whatever its name says"
    (old,) = spools.segments()
    acknowledge(old, 0)
    assert spools.run("purge", "--yes", "--older-than", "1d")[0] == 0
    assert spools.segments() == []


def test_purge_leaves_held_segments_unless_told(spools: Spools, outage: Callable[..., None]) -> None:
    """And those of another version in any case; what is left is an exit code."""
    outage(1)
    (segment,) = spools.segments()
    unknown = segment.with_name(segment.name.replace("v1", "v2"))
    unknown.write_bytes(b"?")
    owner = Segment.adopt(segment)
    assert owner is not None
    code, _, err = spools.run("purge", "--yes")
    assert (code, "running application holds it" in err, "another version" in err) == (1, True, True)
    assert spools.segments() == [segment, unknown]
    assert spools.run("purge", "--yes", "--held", "--segment", segment.name)[0] == 0
    assert spools.segments() == [unknown]
    owner.close()
