"""Projects, and the keys that open them. A key is shown once; what is stored is its SHA-256."""

from __future__ import annotations

import enum
import operator
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, Row, insert, literal, select, tuple_, update

from ...feedback_tokens import digest_of as digest_of
from ...feedback_tokens import key_id_of
from .audit import Actor, note, now
from .calls import time_of
from .database import Database
from .parts import Made, Part
from .tables import keys, projects

PREFIX = "psk_"  # clients refuse a Banyan key without it
DEFAULT_PROJECT = "default"
_RANDOM_BYTES = 32
_SHOWN = 4
_MADE = (keys.c.created_at, keys.c.id)


class Role(enum.Enum):
    """What a key may do; each may do what those before it may."""

    INGEST = "ingest"  # log, score, fetch prompts, route
    READ = "read"
    ADMIN = "admin"

    def covers(self, needed: Role) -> bool:
        """Whether a key of this role may do what needs the other one."""
        order = list(Role)
        return order.index(self) >= order.index(needed)


@dataclass(frozen=True, slots=True)
class Key:
    """A key, without its secret.

    Attributes:
        id: names it in lists, in the audit and in feedback tokens; follows from the secret.
        hint: the last characters of the secret.
        revoked_at: None while it is good.
    """

    id: str
    project: str
    role: Role
    hint: str
    created_at: datetime
    revoked_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Project:
    """A project: what all else belongs to."""

    id: str
    name: str


class Signing(NamedTuple):
    """What feedback tokens of a key are checked with, and the project that they are good for."""

    project: str
    digest: bytes


def new_secret() -> str:
    """A key with 256 random bits."""
    return PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)


class Keys:
    """The keys."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, project: str, role: Role, by: str = "local") -> tuple[Key, str]:
        """A new key, and its secret, which can't be had again. The project is made if it is not there."""
        secret = new_secret()
        key_id = key_id_of(digest_of(secret))
        row = {
            "id": key_id,
            "project": project,
            "role": role.value,
            "sha256": digest_of(secret),
            "hint": secret[-_SHOWN:],
            "created_at": now(),
            "revoked_at": None,
        }

        def store(connection: Connection) -> Key:
            know_project(connection, project)
            connection.execute(insert(keys).values(row))
            note(connection, Actor(project, by), "key.create", f"key:{key_id}", {"role": role.value})
            return _key(connection.execute(select(keys).where(keys.c.id == key_id)).one())

        return self._database.write(store), secret

    def find(self, digest: bytes) -> Key | None:
        """The key whose secret has this SHA-256 (`digest_of`), if it is not revoked."""
        query = select(keys).where(keys.c.sha256 == digest, keys.c.revoked_at.is_(None))
        with self._database.read() as connection:
            row = connection.execute(query).first()
        return _key(row) if row is not None else None

    def signing(self, key_id: str) -> Signing | None:
        """What checks the tokens of a key that is not revoked."""
        chosen = select(keys.c.project, keys.c.sha256).where(keys.c.id == key_id, keys.c.revoked_at.is_(None))
        with self._database.read() as connection:
            row = connection.execute(chosen).first()
        return Signing(row.project, bytes(row.sha256)) if row is not None else None

    def listed(self, project: str | None = None) -> list[Key]:
        """All keys, revoked ones included, in order of their making."""
        query = select(keys).order_by(keys.c.created_at, keys.c.id)
        if project is not None:
            query = query.where(keys.c.project == project)
        with self._database.read() as connection:
            return [_key(row) for row in connection.execute(query)]

    def page(self, project: str, limit: int, after: str | None = None, *, newest: bool = False) -> Part[Key]:
        """The keys of a project, revoked ones included, in order of their making, or the newest first.

        Parts as those of prompts.

        Raises:
            UnusableCursorError: `after` is the `next` of no part.
        """
        query = select(keys).where(keys.c.project == project)
        if after is not None:
            beyond = operator.lt if newest else operator.gt
            query = query.where(beyond(tuple_(*_MADE), tuple_(*map(literal, Made.parse(after)))))
        query = query.order_by(*(column.desc() if newest else column for column in _MADE)).limit(limit + 1)
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        more = len(rows) > limit
        last = rows[limit - 1] if more else None
        return Part(
            [_key(row) for row in rows[:limit]],
            str(Made(last.created_at, last.id)) if last is not None else None,
        )

    def revoke(self, key_id: str, project: str | None = None, by: str = "local") -> bool:
        """End a key; False if there is none of this id (in the project), or it has ended before."""
        chosen = [keys.c.id == key_id, keys.c.revoked_at.is_(None)]
        if project is not None:
            chosen.append(keys.c.project == project)

        def store(connection: Connection) -> bool:
            ended = update(keys).where(*chosen).values(revoked_at=now()).returning(keys.c.project)
            row = connection.execute(ended).first()
            if row is not None:
                note(connection, Actor(row.project, by), "key.revoke", f"key:{key_id}")
            return row is not None

        return self._database.write(store)


class Projects:
    """The projects."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def listed(self) -> list[Project]:
        """All, by id."""
        with self._database.read() as connection:
            rows = connection.execute(select(projects).order_by(projects.c.id))
            return [Project(row.id, row.name) for row in rows]

    def get(self, project: str) -> Project | None:
        """The one of this id."""
        with self._database.read() as connection:
            row = connection.execute(select(projects).where(projects.c.id == project)).first()
        return Project(row.id, row.name) if row is not None else None

    def has_others(self, project: str) -> bool:
        """Whether there is any but this one."""
        with self._database.read() as connection:
            return (
                connection.execute(select(projects.c.id).where(projects.c.id != project)).first() is not None
            )

    def know(self, names: Collection[str]) -> None:
        """Make those that are not there, each under its id as its name."""
        missing = sorted(set(names) - {each.id for each in self.listed()})

        def store(connection: Connection) -> None:
            for name in missing:
                know_project(connection, name)

        if missing:
            self._database.write(store)

    def put(self, project: Project) -> None:
        """Make it, or give it another name."""

        def store(connection: Connection) -> None:
            know_project(connection, project.id)
            connection.execute(update(projects).where(projects.c.id == project.id).values(name=project.name))

        self._database.write(store)


def know_project(connection: Connection, project: str) -> None:
    """Make a project if it is not there, under its id as its name."""
    values = (project, project, now())
    marks = "%s, %s, %s" if connection.dialect.name == "postgresql" else "?, ?, ?"
    statement = f"INSERT INTO projects (id, name, created_at) VALUES ({marks}) ON CONFLICT DO NOTHING"  # noqa: S608
    connection.exec_driver_sql(statement, values)


def _key(row: Row[tuple[object, ...]]) -> Key:
    revoked = row.revoked_at
    return Key(
        row.id,
        row.project,
        Role(row.role),
        row.hint,
        time_of(row.created_at),
        time_of(revoked) if revoked is not None else None,
    )
