"""Calls to store."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from banyan_hp.server.store.calls import Call
from banyan_hp.server.store.database import Database
from banyan_hp.server.store.score_tables import FIRST_CALL

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def call(number: int = 1, **changes: Any) -> Call:
    """The call of this number, that many seconds after noon."""
    time = NOON + timedelta(seconds=number)
    made = Call(
        project="p",
        id=f"id-{number}",
        day=time.date(),
        event_time=time,
        received_at=time + timedelta(seconds=1),
        source="banyan",
        body={"input": f"question {number}", "output": "answer", "metadata": {"n": number}},
    )
    made = replace(made, **changes)
    return (
        replace(made, day=made.event_time.date())
        if "event_time" in changes and "day" not in changes
        else made
    )


def at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def used(name: str, user: str, minutes: float, version: str = "a", **changes: Any) -> Call:
    """A call of a user, so many minutes after noon."""
    body = {"input": "q", "output": changes.pop("output", "four"), "metadata": {}}
    given = {"sticky_key": "user_id", "sticky_value": user, "session": f"s-{user}", "latency_ms": 100.0}
    given |= {"experiment_id": "x", "experiment_version_id": version, "event_time": at(minutes), "body": body}
    return replace(call(), id=name, **{"day": at(minutes).date(), **given, **changes})


def score(name: str, minutes: float, value: object = True, **about: Any) -> Call:
    """A score, so many minutes after noon."""
    own = about.pop("id", f"{name}-{minutes}-{sorted(about.items())}")
    mark = {"kind": "score", "v": 1, "name": name, "value": value, **about}
    body = {"input": "", "output": "", "metadata": {"banyan_hp": mark}}
    given: dict[str, Any] = {"session": about.get("session_id"), "user": about.get("sticky_value")}
    given |= {"event_time": at(minutes), "day": at(minutes).date()}
    return replace(call(), id=own, source="score", body=body, **given)


def everything(chance: random.Random, versions: Sequence[str] = "aaaab") -> list[Call]:
    """Calls and scores of a few users, records and sessions, that meet in all ways."""
    people, sessions, found = ("u1", "u2", "u3", "u4"), ("s1", "s2", "s3", None), []
    for number in range(60):
        minutes = chance.choice([number, number, number * 60.0])
        if chance.random() < 0.6:
            about = {"session": chance.choice(sessions), "experiment_id": chance.choice(["x", "x", "y"])}
            name, user = f"r{chance.randrange(40)}", chance.choice(people)
            key = chance.choice(["user_id", "user_id", "user_id", None])
            version = chance.choice(versions)
            found.append(
                used(name, user, minutes, version, latency_ms=float(number), sticky_key=key, **about)
            )
            continue
        about = {
            "record_id": f"r{chance.randrange(40)}",
            "session_id": chance.choice(["s1", "s2", "s3"]),
            "sticky_value": chance.choice(people),
        }
        about = {name: about[name] for name in chance.sample(sorted(about), chance.choice([1, 1, 2]))}
        if "sticky_value" in about and chance.random() < 0.5:
            about["sticky_key"] = chance.choice(["user_id", "org_id"])
        value = chance.choice([True, False, 3, "good", "bad"])
        found.append(score("n", minutes, value, id=f"score-{number}", **about))
    return found


def rows(database: Database) -> list[Any]:
    """All sums, and owners by the ids of their scores, without the numbers of this store."""
    with database.read() as connection:
        found = [
            sorted(map(tuple, connection.exec_driver_sql(f"SELECT * FROM {table}")), key=repr)
            for table in ("experiment_users", "experiment_values")
        ]
        led = connection.exec_driver_sql(
            "SELECT scores.id, o.experiment_id, o.sticky_value FROM score_owners o "
            "JOIN scores ON scores.seq = o.seq AND scores.day = o.day"
        )
        return [*found, sorted(map(tuple, led), key=repr)]


def go_back_to_0005(connection: Any) -> None:
    """Take away what later revisions made."""
    for name in FIRST_CALL:
        connection.exec_driver_sql(f"ALTER TABLE experiment_users DROP COLUMN {name}")
    connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0005'")


def ids(calls: Any) -> list[str]:
    return [each.id for each in calls]
