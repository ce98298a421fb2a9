"""Of scores of one name and one rater about the same, the last one that was given counts."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest

from banyan_hp.server.store.calls import Call
from banyan_hp.server.store.database import Database
from banyan_hp.server.store.outcomes import Outcomes
from banyan_hp.server.store.scores import place_of
from banyan_hp.server.store.sql_calls import SqlCalls
from banyan_hp.server.store.sql_outcomes import SqlOutcomes

from .samples import NOON, score, used

MICRO = round(NOON.timestamp() * 1e6) + 60_000_000  # a minute after noon, when they are given


def given(user: str, *ids: str) -> list[Call]:
    """Scores of a user in one millisecond, in the order in which they were given; the last one is 1."""
    return [score("stars", 1, float(each == ids[-1]), id=each, sticky_value=user) for each in ids]


def in_one_millisecond() -> list[list[Call]]:
    """For each user the scores that clients sent: of one process, of two, and at a time that was said."""
    one, two = "0123456789abcdef", "f" * 16
    return [
        given("counted", f"{one}-9-{MICRO + 5:x}", f"{one}-a-{MICRO + 5:x}", f"{one}-10-{MICRO + 5:x}"),
        given("timed", f"{one}-ff-{MICRO + 100:x}", f"{one}-100-{MICRO + 200:x}"),
        given("two processes", f"{two}-99-{MICRO + 100:x}", f"{one}-1-{MICRO + 200:x}"),
    ]


@pytest.fixture
def outcomes(database: Database) -> Outcomes:
    return SqlOutcomes(database)


def last_values(store: SqlCalls, outcomes: Outcomes, scores: list[Call]) -> float:
    """The mean of what counts: 1 if it is always the last one."""
    users = {str(each.body["metadata"]["banyan_hp"]["sticky_value"]) for each in scores}
    store.append([used(f"call of {user}", user, 0) for user in users])
    store.append(scores)
    while outcomes.step(1000):
        pass
    day = timedelta(days=1)
    found = outcomes.summaries("p", "x", ["stars"], window=day, start=NOON, until=None, now=NOON + 2 * day)
    return found.versions["a"].metrics["stars"].mean


@pytest.mark.parametrize("seed", range(3))
def test_of_one_millisecond_the_one_that_the_client_gave_last_counts(
    store: SqlCalls, outcomes: Outcomes, seed: int
) -> None:
    """Whatever their ids look like as texts, and in whatever order they arrive."""
    every = [each for scores in in_one_millisecond() for each in scores]
    random.Random(seed).shuffle(every)
    assert last_values(store, outcomes, every) == 1


def test_of_other_senders_the_one_that_arrived_last_counts(store: SqlCalls, outcomes: Outcomes) -> None:
    """Their ids say nothing about it."""
    assert last_values(store, outcomes, given("u", "b", "c", "a")) == 1


def test_times_that_differ_decide_alone() -> None:
    """A later number in an id is no later score."""
    assert place_of(2_000, "0123456789abcdef-1-7d0", 1) > place_of(1_000, "0123456789abcdef-2-fff", 2)
