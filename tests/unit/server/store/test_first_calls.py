"""What users' first calls measured: it is there at once, and nothing changes it later."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from datetime import datetime

import pytest

from banyan_hp.server.analysis.moments import Moments
from banyan_hp.server.store.database import Database
from banyan_hp.server.store.outcomes import Outcomes
from banyan_hp.server.store.sql_calls import SqlCalls
from banyan_hp.server.store.sql_outcomes import SqlOutcomes

from .samples import NOON, at, go_back_to_0005, score, used
from .test_outcomes import caught_up, experiment

METRICS = ("latency", "latency_p50", "input_tokens", "output_tokens", "cost", "error_rate", "output_length")


@pytest.fixture
def outcomes(database: Database) -> Outcomes:
    return SqlOutcomes(database)


def first_calls(
    outcomes: Outcomes, *metrics: str, start: datetime = NOON, until: datetime | None = None
) -> Mapping[str, Mapping[str, Moments]]:
    caught_up(outcomes)
    return outcomes.first_calls("p", "x", metrics or METRICS, start=start, until=until)


def test_a_user_counts_from_the_first_call_on(store: SqlCalls, outcomes: Outcomes) -> None:
    """Each measure that it has, once; no window has to be over."""
    store.append(
        [
            used("1", "u", 0, latency_ms=100.0, input_tokens=5, cost=0.5),
            used("2", "v", 1, latency_ms=None, error="e", output="sixsix"),
            used("3", "w", 1, "b", latency_ms=30.0),
        ]
    )
    assert first_calls(outcomes) == {
        "a": {
            "latency": Moments.of([(1, 100.0)]),
            "latency_p50": Moments.of([(1, 100.0)]),
            "input_tokens": Moments.of([(1, 5.0)]),
            "cost": Moments.of([(1, 0.5)]),
            "error_rate": Moments.of([(1, 0.0), (1, 1.0)]),
            "output_length": Moments.of([(1, 4.0), (1, 6.0)]),
        },
        "b": {
            "latency": Moments.of([(1, 30.0)]),
            "latency_p50": Moments.of([(1, 30.0)]),
            "error_rate": Moments.of([(1, 0.0)]),
            "output_length": Moments.of([(1, 4.0)]),
        },
    }


def test_what_a_user_does_later_changes_nothing(store: SqlCalls, outcomes: Outcomes) -> None:
    """Further calls, also of another version, and scores."""
    store.append([used("1", "u", 0, latency_ms=100.0), used("2", "v", 5, latency_ms=7.0)])
    before = first_calls(outcomes)
    store.append(
        [
            used("3", "u", 6, latency_ms=900.0, error="e"),
            used("4", "v", 7, "b", latency_ms=900.0),
            score("thumbs", 8, sticky_value="u"),
        ]
    )
    assert first_calls(outcomes, *METRICS, "thumbs") == before


def test_only_users_of_the_period_count(store: SqlCalls, outcomes: Outcomes) -> None:
    """By their first call."""
    store.append([used("1", "u", 0), used("2", "u", 10), used("3", "v", 10), used("4", "w", 20)])
    found = first_calls(outcomes, "latency", start=at(5), until=at(15))
    assert found == {"a": {"latency": Moments.of([(1, 100.0)])}}


def test_users_of_an_earlier_release_are_computed_anew(
    store: SqlCalls, outcomes: Outcomes, database: Database, url: str
) -> None:
    """Those of running experiments, once the database has the columns."""
    experiment(database)
    store.append([used("1", "u", 0, latency_ms=100.0)])
    before = first_calls(outcomes)
    database.write(go_back_to_0005)
    with closing(Database(url)) as migrated:
        assert first_calls(SqlOutcomes(migrated)) == before != {}
