"""The same calls in SQLite, PostgreSQL and ClickHouse: lists, searches, sums and results are equal."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from banyan_hp.server.analysis.course import Times
from banyan_hp.server.store.calls import UNDATED, Call, CallFilter, Calls, Group, Stored
from banyan_hp.server.store.database import Database
from banyan_hp.server.store.hours import DAY, HOUR, Hours, Kind, Of, Period, Sums
from banyan_hp.server.store.outcomes import Outcomes
from banyan_hp.server.store.scores import TARGETS
from banyan_hp.server.store.sessions import MOST_COUNTED, Session, Sessions, Totals
from banyan_hp.server.store.sql_calls import SqlCalls
from banyan_hp.server.store.sql_hours import SqlHours
from banyan_hp.server.store.sql_outcomes import SqlOutcomes
from banyan_hp.server.store.sql_sessions import SqlSessions
from tests.clickhouse.test_equal import assert_alike, assert_equal
from tests.support.postgres import Postgres
from tests.unit.server.store.samples import NOON, call, score

if TYPE_CHECKING:
    from banyan_hp.server.store.clickhouse.client import ClickHouse

BATCH = 1000
S = TypeVar("S", Group, Sums, Totals)
SECONDS = 1800
END = NOON + timedelta(days=40)
MONTH = Period(since=NOON - 10 * DAY, until=END)
TEXTS = (
    "plain answer",
    "naïve Straße STRASSE",
    "日本語 の 文章",
    "Привет мир",
    "सत्यमेव जयते",
    "😀 emoji-word",
    "ﬁne İstanbul",
)
QUERIES = (
    *(
        "answer",
        '"plain answer"',
        "ANSWER plain",
        "strasse",
        "straße",
        "naive",
        "naïve",
        "日本語",
        '"мир 17"',
    ),
    *(
        "сегодня",
        "सत्यमेव",
        "emoji-word",
        "istanbul",
        "fine",
        "o'neil",
        'back\\slash "quoted word"',
        "%",
        "_ x",
    ),
)
NASTY = (
    "u'1",
    'u"1',
    "u\\1",
    "u\\'1",
    "u%",
    "u_",
    "u;DROP TABLE calls",
    "{p0:String}",
    "\\N",
    "u\n1\t",
    "NULL",
    "",
)
MODELS = ("m1", "M1", "m-2", "", None, "модель", *NASTY[:4])
SCORED = ("r1", "s-1", "user-1", "r' OR 1=1 --")
METRICS = ("latency", "latency_p50", "error_rate", "output_length", "cost", "input_tokens", "output_tokens")


@dataclass
class Store:
    """All that is kept of calls in one kind of store."""

    calls: Calls
    hours: Hours
    sessions: Sessions
    outcomes: Outcomes

    def settle(self) -> None:
        """Do all that is done later."""
        while self.calls.index(1000):
            pass
        while self.outcomes.step(1000):
            pass


@pytest.fixture
def stores(clickhouse: ClickHouse, database: Database, postgres: Postgres) -> Iterator[list[Store]]:
    from banyan_hp.server.store.clickhouse.calls import ClickHouseCalls
    from banyan_hp.server.store.clickhouse.hours import ClickHouseHours
    from banyan_hp.server.store.clickhouse.outcomes import ClickHouseOutcomes
    from banyan_hp.server.store.clickhouse.sessions import ClickHouseSessions

    other = Database(postgres.new_database())
    yield [
        *(Store(SqlCalls(of), SqlHours(of), SqlSessions(of), SqlOutcomes(of)) for of in (database, other)),
        Store(
            ClickHouseCalls(clickhouse, database),
            ClickHouseHours(clickhouse),
            ClickHouseSessions(clickhouse),
            ClickHouseOutcomes(clickhouse, database),
        ),
    ]
    other.close()


def made(number: int, chance: random.Random) -> Call:
    """A call or a score of few people, in any of the ways that clients send them."""
    people = 40 + number // 50
    user = f"{chance.choice(['user', 'User'])}-{chance.randrange(people)}"
    minutes = chance.choice([chance.randrange(40_000), chance.randrange(40_000), chance.random() * 40_000])
    if chance.random() < 0.12:
        about = {
            "record_id": f"r{chance.randrange(number + 1)}",
            "session_id": f"s-{chance.randrange(people)}",
            "sticky_value": user,
        }
        about = {name: about[name] for name in chance.sample(sorted(about), chance.choice([1, 1, 2]))}
        value = chance.choice([True, False, 3, 2.5, "good", "bad", "sehr gut'"])
        late = chance.choice([0, 0, 3000])
        return score(chance.choice(["n", "taste"]), minutes + late, value, id=f"score-{number}", **about)
    time = NOON + timedelta(minutes=minutes)
    if chance.random() < 0.01:
        time = datetime(chance.choice([1971, 1999, 2100, 2290]), 2, 28, 23, 59, 59, 999_999, tzinfo=UTC)
    text = f"{chance.choice(TEXTS)} {number % 100}"
    if number % 500 == 0:
        text += " long" * 20_000
    body: dict[str, Any] = {
        "input": text,
        "output": chance.choice([text, "o'neil back\\slash", None]),
        "metadata": {},
    }
    in_experiment = chance.random() < 0.5
    return call(
        number,
        id=f"r{number}",
        project="q" if chance.random() < 0.05 else "p",
        event_time=time,
        received_at=NOON + timedelta(seconds=number),
        day=UNDATED if chance.random() < 0.03 else time.date(),
        body=body,
        session=chance.choice([None, f"s-{chance.randrange(people)}", chance.choice(NASTY)]),
        user=chance.choice([None, user, chance.choice(NASTY)]),
        prompt_name=chance.choice([None, "greet", "Greet", "ask'", "greet "]),
        version=chance.choice([None, "v1", "v2"]),
        branch=chance.choice([None, "main"]),
        model=chance.choice(MODELS),
        latency_ms=chance.choice([None, 0.0, chance.lognormvariate(6, 2), 100.0]),
        input_tokens=chance.choice([None, 0, 7, 10**12]),
        output_tokens=chance.choice([None, chance.randrange(1000)]),
        cost=chance.choice([None, 0.0, 0.1, 0.2, 1e-9, 0.000_123_456_789, 1e6]),
        error=chance.choice([None, None, None, "", "boom", "e'\\"]),
        experiment_id=chance.choice("xxy") if in_experiment else None,
        experiment_version_id=chance.choice("aaaaaab") if in_experiment else None,
        sticky_key=chance.choice(["user_id", None]) if in_experiment else None,
        sticky_value=user if in_experiment else None,
    )


def filled(stores: Sequence[Store], many: int) -> None:
    """The same batches to all, with repeats and with ids that belong to other bodies."""
    chance = random.Random(33)
    earlier: list[Call] = []
    for start in range(0, many, BATCH):
        batch = [made(number, chance) for number in range(start, min(start + BATCH, many))]
        again = chance.sample(earlier, min(len(earlier), 20))
        others = [
            replace(each, body={**each.body, "input": "other"}) for each in again if each.source != "score"
        ]
        given = [*batch, *again, *others, *batch[:3]]
        verdicts = [store.calls.append(given) for store in stores]
        assert verdicts[0] == verdicts[1] == verdicts[2]
        assert Stored.CONFLICT in verdicts[0] or not start
        earlier = chance.sample(batch, 100) if len(batch) > 100 else batch
        earlier = [each for each in earlier if each.day != UNDATED]
    for store in stores:
        store.settle()


# -- what is asked -----------------------------------------------------------------------------------------


def filters(times: Sequence[datetime]) -> Iterator[CallFilter]:
    """By each column and value that may be taken for something else, and at times that calls have."""
    yield CallFilter(project="p")
    yield CallFilter(project="p'; DROP TABLE calls --")
    yield CallFilter(project="q", scores=True)
    for value in ("user-1", "User-1", "USER-1", "user-1 ", *NASTY):
        yield CallFilter(project="p", equal={"user": value})
    for column, values in {
        "id": ("r1", "R1", "score-1", *NASTY[:5]),
        "session": ("s-1", *NASTY),
        "prompt_name": ("greet", "Greet", "greet ", "ask'"),
        "model": ("m1", "M1", "m2", "", "модель", *NASTY[:4]),
        "source": ("banyan", "score", "Score"),
        "experiment_id": ("x", "y"),
        "branch": ("main", "x' OR '1'='1"),
    }.items():
        yield from (CallFilter(project="p", equal={column: value}) for value in values)
    first, last = times[0], times[-1]
    tick = timedelta(microseconds=1)
    for since, until in (
        (first, last),
        (first + tick, last),
        (first, last + tick),
        (last, first),
        (last, last),
    ):
        yield CallFilter(project="p", since=since, until=until)
    yield CallFilter(project="p", until=datetime(1999, 3, 1, tzinfo=UTC))
    yield CallFilter(project="p", since=datetime(2100, 1, 1, tzinfo=UTC), failed=False)
    yield CallFilter(project="p", failed=True)
    yield CallFilter(project="p", failed=False, equal={"model": "m1", "prompt_name": "greet"})
    for query in QUERIES:
        with suppress(ValueError):
            yield CallFilter(project="p", text=query)
    yield CallFilter(project="p", text="answer", equal={"model": "M1"}, since=first)


def listed(calls: Calls, chosen: CallFilter, pages: int = 3) -> list[Any]:
    """Some pages of small and large sizes, without the numbers of this store; and the error, if it is one."""
    found: list[Any] = []
    cursor: str | None = None
    for limit in (7, 100, 1)[:pages]:
        try:
            page = calls.page(chosen, limit, cursor)
        except ValueError as error:
            return [str(error)]
        found += [replace(each, seq=0) for each in page.calls]
        found.append(page.next is None)
        if (cursor := page.next) is None:
            break
    return found


def rounded(sums: S) -> S:
    """With the cost to nine digits: costs are added in other orders, or as whole billionths."""
    return replace(sums, cost=None if sums.cost is None else float(f"{sums.cost:.9e}"))


def asked(store: Store, times: Sequence[datetime]) -> Iterator[tuple[Any, Any]]:
    """Each question, and the answer of a store, which must be that of the others."""
    calls = store.calls
    for chosen in filters(times):
        yield ("listed", chosen), listed(calls, chosen)
        if chosen.text is None:
            yield ("counted", chosen), calls.count(chosen)
    every = CallFilter(project="p")
    for by in ((), ("model",), ("prompt_name", "user"), ("source",)):
        yield ("summed", by), sorted(map(rounded, calls.aggregate(every, by)), key=repr)
    yield "arrived", [each.id for each in calls.arrived(every, 300).calls]
    yield "arrived last", [each.id for each in calls.arrived(every, 300, newest=True).calls]
    scored_by: tuple[dict[str, str], ...] = ({}, *({name: value} for name in TARGETS for value in SCORED))
    for given in (*scored_by, {"sticky_value": "user-1", "record_id": "r1"}, {"no' column": "x"}):
        yield ("scored", repr(given)), scored(calls, given)
    yield from of_hours(store.hours)
    yield from of_sessions(store.sessions)


def scored(calls: Calls, given: dict[str, str]) -> Any:
    try:
        page = calls.scores("p", given, 50)
    except KeyError as error:
        return type(error)
    return [replace(each, seq=0) for each in page.scores]


def of_hours(hours: Hours) -> Iterator[tuple[Any, Any]]:
    for of in (
        Of(project="p"),
        Of(project="q"),
        *(Of(project="p", kind=Kind.MODEL, name=name or "") for name in MODELS),
    ):
        for step in (HOUR, DAY):
            course = hours.over_time(of, MONTH, step)
            yield ("hours", of, step), {at: rounded(each) for at, each in course.items()}
        yield ("total", of), rounded(hours.total(of, MONTH))
    for kind in Kind:
        for names in (None, ["m1", "greet", "ask'", "u\\'1"]):
            found = hours.by("p", kind, MONTH, 20, names)
            yield ("by", kind, names), [(name, rounded(each)) for name, each in found]


def of_sessions(sessions: Sessions) -> Iterator[tuple[Any, Any]]:
    for user in (None, "user-1", *NASTY[:5]):
        cursor: str | None = None
        for _ in range(2):
            page = sessions.recent("p", 20, cursor, user)
            shown = [*map(as_counted, page.sessions), page.next is None]
            yield ("sessions", user, cursor is None), shown
            if (cursor := page.next) is None:
                break
    for name in ("s-1", "s-2", "none", *NASTY):
        yield ("session", name), rounded(sessions.totals("p", name))


def as_counted(session: Session) -> Session:
    """The databases count the calls of a long session up to a number, and ClickHouse all of them."""
    return session if session.calls < MOST_COUNTED else replace(session, calls=MOST_COUNTED, errors=0)


def assert_the_same(stores: Sequence[Store], times: Sequence[datetime]) -> None:
    questions = zip(*(asked(store, times) for store in stores), strict=True)
    differing = [each for each in questions if not each[0] == each[1] == each[2]]
    assert not differing, [f"{str(each)[:900]}\n\n" for differs in differing[:5] for each in differs]
    for experiment in ("x", "y"):
        assert_same_results([store.outcomes for store in stores], experiment)


def assert_same_results(outcomes: Sequence[Outcomes], experiment: str) -> None:
    """To 1e-9, in summary and over time."""
    named = [each.metrics("p", experiment) for each in outcomes]
    assert named[0] == named[1] == named[2]
    metrics = [*METRICS, *named[0]]
    assert len(metrics) > len(METRICS)
    window: dict[str, Any] = {"start": NOON - DAY, "until": None}
    times = Times.of(NOON - DAY, END)
    summaries = [
        each.summaries("p", experiment, metrics, window=DAY, now=END - 5 * DAY, **window) for each in outcomes
    ]
    for other in summaries[1:]:
        assert_equal(other, summaries[0])
    for metric in metrics:
        courses = [each.over_time("p", experiment, metric, times=times, **window) for each in outcomes]
        for sqlite, *others in zip(*courses, strict=True):
            for at, moments in others:
                assert at == sqlite[0]
                assert_alike(moments, sqlite[1])
    assert_alike_first_calls(outcomes, experiment, window)
    for read in ("users_of", "first_assignments"):
        given = (["x", "y"],) if read == "users_of" else (experiment,)
        further = {} if read == "users_of" else window
        found = [getattr(each, read)("p", *given, **further) for each in outcomes]
        assert found[0] == found[1] == found[2]


def assert_alike_first_calls(outcomes: Sequence[Outcomes], experiment: str, window: dict[str, Any]) -> None:
    sqlite, *others = [each.first_calls("p", experiment, METRICS, **window) for each in outcomes]
    assert sqlite.keys() == {"a", "b"}
    for other in others:
        assert other.keys() == sqlite.keys()
        for version, moments in other.items():
            assert_alike(moments, sqlite[version])


@pytest.mark.parametrize(
    "many",
    [
        pytest.param(1_000, marks=pytest.mark.timeout(300)),
        pytest.param(100_000, marks=[pytest.mark.soak, pytest.mark.timeout(SECONDS)]),
    ],
)
def test_three_stores_give_the_same(stores: list[Store], many: int) -> None:
    """Of all calls, and of what is left when people, sessions, a day and a score are removed."""
    filled(stores, many)
    page = stores[0].calls.page(CallFilter(project="p", until=END), 200)
    times = sorted(each.event_time for each in page.calls)
    assert_the_same(stores, times)
    for chosen in (
        CallFilter(project="p", equal={"user": "user-1"}),
        CallFilter(project="p", equal={"user": "u'1"}),
        CallFilter(project="p", equal={"session": "s-2"}),
        CallFilter(project="p", equal={"session": "\\N"}),
        CallFilter(project="p", since=NOON + 10 * DAY, until=NOON + 11 * DAY),
        CallFilter(project="p", equal={"source": "score", "id": "score-7"}),
    ):
        removed = [sum(store.calls.delete(chosen)) for store in stores]
        assert removed[0] == removed[1] == removed[2], chosen
    for store in stores:
        store.settle()
    assert_the_same(stores, times)
