"""A database of an earlier revision is brought up to date, with what is in it."""

from __future__ import annotations

from contextlib import closing

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine

from banyan_hp.server.store.calls import time_of
from banyan_hp.server.store.database import Database
from banyan_hp.server.store.sql_calls import SqlCalls
from banyan_hp.server.store.sql_outcomes import SqlOutcomes

from .samples import NOON, ids, score, used

DAY = NOON.date()
_OLD_DAY = f"""
CREATE TABLE {{table}}_{DAY:%Y%m%d} PARTITION OF {{table}} FOR VALUES FROM ('{DAY}') TO ('2026-03-02')
"""
_OLD_CALL = f"""
INSERT INTO calls (project, day, id, digest, event_time, received_at, source, experiment_id,
experiment_version_id, sticky_value, deliveries, bytes)
VALUES ('p', '{DAY}', 'old', {{blob}}, 0, 0, 'banyan', 'x', 'a', 'u', 1, 2)
"""


def first_revision(url: str) -> None:
    """Make a database as the first revision left it, with a call and, in PostgreSQL, its day."""
    is_postgres = url.startswith("postgresql:")
    engine = create_engine(
        url.replace("postgresql:", "postgresql+psycopg:") if is_postgres else f"sqlite:///{url}"
    )
    config = Config()
    config.set_main_option("script_location", "banyan_hp.server.store:migrations")
    config.set_main_option("path_separator", "os")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        if is_postgres:
            for table in ("calls", "call_bodies", "call_search"):
                connection.exec_driver_sql(_OLD_DAY.format(table=table))
        connection.exec_driver_sql(_OLD_CALL.format(blob="''" if is_postgres else "x''"))
        seq = connection.exec_driver_sql("SELECT seq FROM calls").scalar_one()
        body = f"INSERT INTO call_bodies (seq, day, body) VALUES ({seq}, '{DAY}', '{{}}')"
        connection.exec_driver_sql(body)
        connection.exec_driver_sql(f"INSERT INTO calls_to_index (seq, day) VALUES ({seq}, '{DAY}')")
    engine.dispose()


def test_calls_from_before_scores_are_counted_after_a_rebuild(empty_url: str) -> None:
    """And its days take scores, and go with them."""
    first_revision(empty_url)
    with closing(Database(empty_url)) as database:
        store, outcomes = SqlCalls(database), SqlOutcomes(database)
        store.append([used("new", "v", 0), score("thumbs", 1, record_id="new")])
        assert outcomes.rebuild("p", "x") == 2
        while outcomes.step(100):
            pass
        assert outcomes.first_assignments("p", "x", start=time_of(0), until=None) == {"a": 2}
        assert list(outcomes.metrics("p", "x")) == ["thumbs"]
        found = store.get("p", "old")
        assert found is not None
        assert found.sticky_value == "u"
        assert sum(store.trim(NOON.replace(day=30))) == 3
        assert ids(store.scores("p", {}, 10).scores) == []
