"""An experiment's segments, from the audit's changes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from banyan_hp.server.analysis.segments import CACHES, Change, segments

DAY = datetime(2026, 11, 1, tzinfo=UTC)


def after(days: int) -> datetime:
    return DAY + timedelta(days=days)


def version(name: str, percentage: float, slots: Any = (), **fields: Any) -> dict[str, Any]:
    own = {"experiment_version_id": name, "version": f"v-{name}", "content": None, "config": None}
    return {**own, "traffic_percentage": percentage, "slots": slots, **fields}


def change(days: int, *versions: dict[str, Any], **fields: Any) -> Change:
    usual = {"status": "running", "allocation": 2, "salt": "s", "sticky_type": "user_id"}
    shown = list(versions) or [version("a", 50), version("b", 50)]
    return Change(after(days), {**usual, "variants": shown, **fields})


def test_a_draft_has_none_and_the_first_begins_with_the_start() -> None:
    """Nobody has a cached assignment before."""
    assert segments([change(0, status="draft")]) == []
    (found,) = segments([change(0, status="draft"), change(1)])
    assert (found.number, found.start, found.until) == (1, after(1), None)
    assert found.shares == {"a": 0.5, "b": 0.5}


def test_what_leaves_the_routing_alone_begins_none() -> None:
    """A pause, another metric, another analysis."""
    changes = [change(0), change(1, status="paused"), change(2), change(3, primary_metric="thumbs")]
    assert len(segments([*changes, change(4, status="finished")])) == 1


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        (change(3, version("a", 40), version("b", 60)), "the traffic was changed"),
        (change(3, salt="other"), "the traffic was changed"),
        (change(3, sticky_type="session_id"), "the traffic was changed"),
        (change(3, version("a", 50), version("c", 50)), "the versions were changed"),
        (change(3, version("a", 50), version("b", 50, content="other")), "the versions were changed"),
    ],
)
def test_other_traffic_or_versions_begin_one_when_caches_have_run_out(changed: Change, why: str) -> None:
    """The earlier one ends at the change itself."""
    first, second = segments([change(0), changed])
    assert (first.until, second.start, second.why) == (after(3), after(3) + CACHES, why)


def test_a_change_made_while_it_is_paused_counts_from_the_start_on() -> None:
    """Nobody is routed by it before."""
    paused = change(2, version("a", 10), version("b", 90), status="paused")
    first, second = segments(
        [change(0), change(1, status="paused"), paused, change(5, version("a", 10), version("b", 90))]
    )
    assert (first.until, second.start) == (after(5), after(5) + CACHES)


def test_a_version_that_was_rewritten_is_another_one() -> None:
    """If the experiment takes it from the prompt."""
    changes = [change(0), Change(after(1), rewritten="v-x"), Change(after(2), rewritten="v-b"), change(3)]
    assert [each.number for each in segments(changes)] == [1, 2]
    own = [change(0, version("a", 50, content="own")), Change(after(1), rewritten="v-a")]
    assert len(segments(own)) == 1


def test_shares_are_those_of_the_slots() -> None:
    """Of versions with traffic, among the routed users."""
    versions = (version("a", 10, [[0, 100_000]]), version("b", 30, [[100_000, 400_000]]), version("c", 0))
    (found,) = segments([change(0, *versions)])
    assert found.shares == {"a": 0.25, "b": 0.75}
