"""What experiments amount to: the sums of each user, whatever the order in which things arrive."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TypeVar

import pytest
from sqlalchemy import Connection

from banyan_hp.server.analysis.moments import Moments
from banyan_hp.server.store.audit import Actor
from banyan_hp.server.store.calls import Call, CallFilter
from banyan_hp.server.store.database import BusyError, Database
from banyan_hp.server.store.election import SUMS, elected
from banyan_hp.server.store.experiments import Experiment, Experiments, Variant
from banyan_hp.server.store.marks import note_changed
from banyan_hp.server.store.outcomes import Outcomes, Summary
from banyan_hp.server.store.prompts import Prompt, Prompts, Version
from banyan_hp.server.store.sql_calls import SqlCalls
from banyan_hp.server.store.sql_outcomes import SqlOutcomes
from banyan_hp.server.store.tables import experiments
from tests.support.plans import engine_of

from .samples import NOON, at, everything, rows, score, used

DAY = timedelta(days=1)
LATER = NOON + 10 * DAY
T = TypeVar("T")
ADMIN = Actor("p", "k")
ALL = CallFilter(project="p", scores=True)


@pytest.fixture
def outcomes(database: Database) -> Outcomes:
    return SqlOutcomes(database)


def experiment(database: Database) -> None:
    """Store one, with its prompt."""
    prompts = Prompts(database)
    prompts.create(Prompt(project="p", name="n"), Version(version="1", content="c"), ADMIN)
    prompt = prompts.find("p", "n")
    assert prompt is not None
    made = Experiment(
        project="p",
        experiment_id="x",
        prompt_id=prompt.prompt_id,
        status="running",
        sticky_type="user_id",
        salt="x",
        variants=(Variant(experiment_version_id="a", version="1", traffic_percentage=100.0, content="c"),),
    )
    Experiments(database).add(made, ADMIN)


def caught_up(outcomes: Outcomes) -> None:
    while outcomes.step(100):
        pass
    assert outcomes.pending() == 0


def summary(
    outcomes: Outcomes, *metrics: str, start: datetime = NOON, until: datetime | None = None
) -> Summary:
    caught_up(outcomes)
    return outcomes.summaries("p", "x", metrics, window=DAY, start=start, until=until, now=LATER)


def value(outcomes: Outcomes, name: str, version: str = "a") -> Moments | None:
    return summary(outcomes, name).versions[version].metrics.get(name)


def test_a_users_calls_are_one_observation(store: SqlCalls, outcomes: Outcomes) -> None:
    """The sum and the number of each measure, for each version."""
    store.append(
        [
            used("1", "u", 0, latency_ms=100.0, input_tokens=5, cost=0.5),
            used("2", "u", 1, latency_ms=300.0, error="e"),
            used("3", "u", 2, latency_ms=None, output="sixsix"),
            used("4", "v", 3, latency_ms=50.0),
            used("5", "w", 3, "b"),
        ]
    )
    names = ("latency", "latency_p50", "input_tokens", "output_tokens", "cost", "error_rate", "output_length")
    found = summary(outcomes, *names)
    version = found.versions["a"]
    assert (version.exposed, version.closed, version.calls, found.mixed) == (2, 2, 4, 0)
    assert version.metrics == {
        "latency": Moments.of([(2, 400.0), (1, 50.0)]),
        "latency_p50": Moments.of([(1, 200.0), (1, 50.0)]),
        "input_tokens": Moments.of([(1, 5.0)]),
        "cost": Moments.of([(1, 0.5)]),
        "error_rate": Moments.of([(3, 1), (1, 0)]),
        "output_length": Moments.of([(3, 14.0), (1, 4.0)]),
    }
    assert found.versions["b"].calls == 1


def test_only_closed_windows_count_and_only_what_is_in_them(store: SqlCalls, outcomes: Outcomes) -> None:
    """A window begins with the first call, and ends a day later."""
    store.append(
        [used("1", "u", 0), used("2", "u", 24 * 60 - 1), used("3", "u", 24 * 60), used("4", "v", 60)]
    )
    caught_up(outcomes)
    now = NOON + DAY
    found = outcomes.summaries("p", "x", ["latency"], window=DAY, start=NOON, until=None, now=now)
    version = found.versions["a"]
    assert (version.exposed, version.closed, version.calls) == (2, 1, 2)
    assert version.metrics == {"latency": Moments.of([(2, 200.0)])}


def test_users_are_those_whose_first_call_is_in_the_period(store: SqlCalls, outcomes: Outcomes) -> None:
    """Whoever was there before the start does not count afterwards."""
    store.append([used("1", "u", 0), used("2", "u", 10), used("3", "v", 10), used("4", "w", 20)])
    found = summary(outcomes, "latency", start=at(5), until=at(15)).versions["a"]
    assert (found.exposed, found.calls) == (1, 1)
    assert outcomes.first_assignments("p", "x", start=at(5), until=None) == {"a": 2}


def test_who_was_seen_in_two_versions_is_left_out(store: SqlCalls, outcomes: Outcomes) -> None:
    """But is still part of the first assignments; what comes after the window changes nothing."""
    store.append([used("1", "u", 0), used("2", "u", 5, "b"), used("3", "v", 0), used("4", "v", 24 * 60, "b")])
    store.append([score("thumbs", 6, sticky_value="u")])
    found = summary(outcomes, "latency", "thumbs")
    assert (found.mixed, found.versions["a"].exposed, found.versions["a"].metrics.get("thumbs")) == (
        1,
        1,
        None,
    )
    assert outcomes.first_assignments("p", "x", start=NOON, until=None) == {"a": 2}


@pytest.mark.parametrize(
    "about",
    [
        {"sticky_value": "u"},
        {"sticky_value": "u", "sticky_key": "user_id"},
        {"record_id": "1"},
        {"session_id": "s-u"},
        {"record_id": "1", "sticky_value": "org", "sticky_key": "org_id"},
        {"session_id": "s-u", "experiment_id": "x"},
    ],
)
@pytest.mark.parametrize("late", [True, False])
def test_a_score_finds_its_user(
    store: SqlCalls, outcomes: Outcomes, about: dict[str, str], late: bool
) -> None:
    """By the sticky value, the record or the session, whichever of score and call comes first."""
    given = [[used("1", "u", 0), used("2", "v", 0)], [score("thumbs", 5, **about)]]
    for each in given if late else reversed(given):
        store.append(each)
        caught_up(outcomes)
    assert value(outcomes, "thumbs") == Moments.of([(1, 1.0)])


@pytest.mark.parametrize(
    "about",
    [
        {"sticky_value": "u", "sticky_key": "org_id"},
        {"record_id": "other"},
        {"session_id": "other"},
        {"record_id": "1", "experiment_id": "y"},
        {"sticky_value": "u", "experiment_id": "y"},
    ],
)
def test_a_score_about_something_else_does_not_count(
    store: SqlCalls, outcomes: Outcomes, about: dict[str, str]
) -> None:
    """Another kind of user, another record, session or experiment."""
    store.append([used("1", "u", 0), score("thumbs", 5, **about)])
    assert value(outcomes, "thumbs") is None


def test_a_score_counts_from_the_exposure_to_the_end_of_the_window(
    store: SqlCalls, outcomes: Outcomes
) -> None:
    """One from before it is no effect of the version."""
    minutes = (-1, 0, 24 * 60 - 1, 24 * 60)
    scores = [score(f"n{index}", each, index, sticky_value="u") for index, each in enumerate(minutes)]
    store.append([used("1", "u", 0), *scores])
    caught_up(outcomes)
    assert list(outcomes.metrics("p", "x")) == ["n1", "n2"]


@pytest.mark.parametrize(
    "about", [{"record_id": "1"}, {"record_id": "1", "sticky_value": "u", "sticky_key": "user_id"}]
)
@pytest.mark.parametrize("late", [True, False])
def test_what_is_about_the_first_call_is_never_too_early(
    store: SqlCalls, outcomes: Outcomes, about: dict[str, str], late: bool
) -> None:
    """An interaction is scored before it ends, which is the time of its record. Not so about another's."""
    scores = [score("thumbs", -1, **about), score("other", -1, **{**about, "record_id": "2"})]
    given = [[used("1", "u", 0), used("2", "u", 24 * 60)], scores]
    for each in given if late else reversed(given):
        store.append(each)
        caught_up(outcomes)
    assert value(outcomes, "thumbs") == Moments.of([(1, 1.0)])
    assert list(outcomes.metrics("p", "x")) == ["thumbs"]


def test_the_last_score_about_the_same_counts_for_each_rater(store: SqlCalls, outcomes: Outcomes) -> None:
    """Several records of a user each have one."""
    store.append(
        [
            *(used("1", "u", 0), used("2", "u", 1)),
            *(score("stars", 5, 1, record_id="1"), score("stars", 4, 3, record_id="1")),
            *(score("stars", 5, 5, record_id="2"), score("stars", 6, 4, record_id="2", rater="judge")),
        ]
    )
    assert value(outcomes, "stars") == Moments.of([(3, 10.0)])


def test_an_ambiguous_score_is_counted_and_left_out(store: SqlCalls, outcomes: Outcomes) -> None:
    """A session of two users; once the second is known, the first one loses it."""
    store.append([used("1", "u", 0, session="s"), score("thumbs", 5, session_id="s")])
    assert value(outcomes, "thumbs") == Moments.of([(1, 1.0)])
    store.append([used("2", "v", 1, session="s")])
    assert value(outcomes, "thumbs") is None
    assert summary(outcomes).ambiguous == 1
    assert sum(store.delete(replace(ALL, equal={"id": "2"}))) == 1
    assert value(outcomes, "thumbs") == Moments.of([(1, 1.0)])
    assert summary(outcomes).ambiguous == 0


def test_each_category_is_a_proportion(store: SqlCalls, outcomes: Outcomes) -> None:
    """Of all categories of its name, over the users who have one."""
    store.append([used(user, user, 0) for user in ("u", "v", "w")] + [used("o", "o", 0, "b")])
    store.append(
        [
            *(score("mood", 1, "good", record_id="u"), score("mood", 2, "bad", sticky_value="u")),
            *(score("mood", 3, "bad", record_id="v"), score("mood", 3, 7, record_id="w")),
            *(score("mood", 3, "bad", record_id="o"), score("a=b", 3, record_id="o")),
        ]
    )
    caught_up(outcomes)
    assert outcomes.metrics("p", "x") == {"a=b": True, "mood": False, "mood=bad": True, "mood=good": True}
    assert value(outcomes, "mood=good") == Moments.of([(2, 1.0), (1, 0.0)])
    assert value(outcomes, "mood=good", "b") == Moments.of([(1, 0.0)])
    assert value(outcomes, "mood=bad") == Moments.of([(2, 1.0), (1, 1.0)])
    assert value(outcomes, "mood") == Moments.of([(1, 7.0)])
    assert value(outcomes, "a=b", "b") == Moments.of([(1, 1.0)])
    assert value(outcomes, "mood=none") == Moments.of([(2, 0.0), (1, 0.0)])
    assert value(outcomes, "none=bad") is None


def arrive(store: SqlCalls, outcomes: Outcomes, given: Sequence[Call], chance: random.Random) -> None:
    """In groups, with steps of any size between them."""
    given = list(given)
    while given:
        size = chance.randrange(1, 12)
        store.append(given[:size])
        del given[:size]
        for _ in range(chance.randrange(3)):
            outcomes.step(chance.randrange(1, 8))
    caught_up(outcomes)


@pytest.mark.parametrize("seed", range(3))
def test_order_makes_no_difference_and_a_rebuild_gives_the_same(
    store: SqlCalls, outcomes: Outcomes, database: Database, seed: int
) -> None:
    """Calls and scores that arrive in any order, are removed in part, and arrive anew."""
    chance = random.Random(seed)
    given = everything(chance)
    by_key = {(each.id, each.day): each for each in reversed(given)}  # the first of an id is stored
    arrive(store, outcomes, given, chance)
    kept = {(each.id, each.day) for each in store.page(ALL, 1000).calls}
    first = rows(database)
    assert first[0], first
    assert outcomes.rebuild("p", "x") > 0
    outcomes.rebuild("p", "y")
    caught_up(outcomes)
    assert rows(database) == first
    for user in ("u1", "u2"):
        for _ in store.delete(replace(ALL, equal={"session": f"s{user[1]}"})):
            outcomes.step(chance.randrange(1, 8))
    caught_up(outcomes)
    left = rows(database)
    outcomes.rebuild("p", "x")
    outcomes.rebuild("p", "y")
    caught_up(outcomes)
    assert rows(database) == left
    for _ in store.delete(ALL):
        pass
    caught_up(outcomes)
    assert rows(database) == [[], [], []]
    again = [by_key[key] for key in sorted(kept)]
    chance.shuffle(again)
    arrive(store, outcomes, again, chance)
    assert rows(database)[:2] == first[:2]


def test_what_is_removed_for_its_age_is_out_of_the_sums(
    store: SqlCalls, outcomes: Outcomes, database: Database
) -> None:
    """Whole days in PostgreSQL: their users are computed from what is left, and the experiment says so."""
    experiment(database)
    store.maintain(NOON)
    later = 24 * 60
    store.append(
        [
            *(
                used("1", "u", 0, session="s"),
                used("2", "v", 0),
                used("3", "v", later),
                used("4", "w", later),
            ),
            *(score("thumbs", 1, sticky_value="w"), score("stars", 1, sticky_value="v")),
            *(score("stars", later + 1, 5, record_id="4"), score("mood", later + 1, "good", session_id="s")),
        ]
    )
    found = summary(outcomes, "stars")
    assert (found.versions["a"].exposed, found.removed_until) == (3, None)
    assert sum(store.trim(NOON + DAY)) == 4
    found = summary(outcomes, "stars", "mood=good")
    assert (found.versions["a"].exposed, found.versions["a"].calls) == (2, 2)
    assert found.versions["a"].metrics == {"stars": Moments.of([(1, 5.0)])}
    assert found.removed_until is not None
    assert at(0) <= found.removed_until < at(12 * 60)
    left = [each.name for each in store.scores("p", {}, 10).scores]
    assert sorted(left) == ["mood", "stars"]
    before = rows(database)
    outcomes.rebuild("p", "x")
    caught_up(outcomes)
    assert rows(database) == before


def test_another_window_computes_all_users_anew(
    store: SqlCalls, outcomes: Outcomes, database: Database
) -> None:
    """Until that is done the summary says how many are missing."""
    experiment(database)
    store.append([used("1", "u", 0), used("2", "u", 60), used("3", "v", 0)])
    caught_up(outcomes)
    hour = timedelta(hours=1)

    def of_an_hour() -> Summary:
        return outcomes.summaries("p", "x", ["latency"], window=hour, start=NOON, until=None, now=LATER)

    assert of_an_hour().pending == 2
    with engine_of(database).begin() as connection:
        connection.execute(experiments.update().values(analysis='{"window_seconds": 3600}'))
    database.write(lambda connection: note_changed(connection, "p", "x"))
    caught_up(outcomes)
    assert (of_an_hour().pending, of_an_hour().versions["a"].calls) == (0, 2)


def test_what_is_removed_while_a_step_computes_is_not_written(
    store: SqlCalls, outcomes: Outcomes, url: str
) -> None:
    """The step has read it; then it begins anew."""

    class Removing(Database):
        """Has a user removed between what is read and what is written."""

        def write(self, work: Callable[[Connection], T], *, seconds: float | None = None) -> T:
            assert sum(store.delete(replace(ALL, equal={"session": "s-u"}))) == 1
            return super().write(work, seconds=seconds)

    store.append([used("1", "u", 0), used("2", "v", 0)])
    with closing(Removing(url)) as slow:
        assert SqlOutcomes(slow).step(100) > 0
    assert outcomes.first_assignments("p", "x", start=NOON, until=None) == {}
    assert summary(outcomes).versions["a"].exposed == 1


def test_one_process_at_a_time_computes(store: SqlCalls, outcomes: Outcomes, database: Database) -> None:
    """The others leave it to that one."""
    store.append([used("1", "u", 0)])
    with elected(database, SUMS) as still:
        assert still is not None
        assert outcomes.step(100) == 0
    assert outcomes.pending() == 1
    assert outcomes.step(100) > 0


def test_what_happens_at_once_gives_what_a_rebuild_gives(url: str, outcomes: Outcomes) -> None:
    """Two processes that store and compute, and one that removes."""
    failed: list[Exception] = []
    stored = threading.Event()

    def store_some(seed: int) -> None:
        chance = random.Random(seed)
        with closing(Database(url)) as own:
            for number in range(15):
                given = chance.sample(everything(chance, ["a"]), 10)
                SqlCalls(own).append([replace(each, id=f"{each.id}-{seed * number % 7}") for each in given])

    def remove_some(_: int) -> None:
        with closing(Database(url)) as own:
            while not stored.is_set():
                list(SqlCalls(own).delete(replace(ALL, equal={"session": "s1"})))
                list(SqlCalls(own).delete(replace(ALL, equal={"user": "u1"})))

    def compute(seed: int) -> None:
        with closing(Database(url)) as own:
            while not stored.is_set():
                SqlOutcomes(own).step(seed)

    def tried(work: Callable[[int], None], seed: int) -> None:
        try:
            work(seed)
        except BusyError:
            pass  # as it may be, on a busy machine
        except Exception as error:  # noqa: BLE001 - for the test's own thread
            failed.append(error)

    def started(work: Callable[[int], None], seed: int) -> threading.Thread:
        thread = threading.Thread(target=tried, args=(work, seed))
        thread.start()
        return thread

    beside = [started(remove_some, 0), started(compute, 7), started(compute, 50)]
    for each in [started(store_some, 1), started(store_some, 2)]:
        each.join(60)
    stored.set()
    for each in beside:
        each.join(60)
    assert not failed
    with closing(Database(url)) as database:
        caught_up(outcomes)
        found = rows(database)
        assert found[1]
        for experiment_id in ("x", "y"):
            outcomes.rebuild("p", experiment_id)
        caught_up(outcomes)
        assert rows(database) == found
