"""Of scores of one millisecond the last one counts in ClickHouse, too."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import TYPE_CHECKING

from banyan_hp.server.store.database import Database
from tests.unit.server.store.samples import NOON, used
from tests.unit.server.store.test_last_scores import given, in_one_millisecond

if TYPE_CHECKING:
    from banyan_hp.server.store.clickhouse.client import ClickHouse


def test_the_last_score_of_one_millisecond_counts(clickhouse: ClickHouse, database: Database) -> None:
    """By the client's ids, however they arrive; by arrival where the ids are another sender's."""
    from banyan_hp.server.store.clickhouse.calls import ClickHouseCalls
    from banyan_hp.server.store.clickhouse.outcomes import ClickHouseOutcomes

    calls, outcomes = ClickHouseCalls(clickhouse, database), ClickHouseOutcomes(clickhouse, database)
    every = [each for scores in in_one_millisecond() for each in scores]
    random.Random(1).shuffle(every)
    every += given("another sender", "b", "c", "a")
    users = sorted({str(each.user) for each in every})
    calls.append([used(f"call of {user}", user, 0) for user in users])
    calls.append(every)
    day = timedelta(days=1)
    found = outcomes.summaries("p", "x", ["stars"], window=day, start=NOON, until=None, now=NOON + 2 * day)
    stars = found.versions["a"].metrics["stars"]
    assert (stars.n, stars.mean) == (4, 1.0)
