"""Prompts with a life: versions are drafts until they are released, and labels point to versions.

A prompt is known by its project and id; its name is unique on a branch. What is served without a label is the
released version, which also goes by the label ``production``.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    Connection,
    Row,
    Select,
    and_,
    delete,
    func,
    insert,
    literal,
    select,
    tuple_,
    update,
)
from sqlalchemy.exc import IntegrityError

from .audit import Actor, note, now
from .calls import MAX_PAGE, microseconds
from .database import Database
from .keys import know_project
from .parts import Made, Part
from .prompt_rows import (
    DEFAULT_BRANCH,
    PRODUCTION,
    Content,
    Listed,
    Prompt,
    Version,
    changeable,
    prompt_of,
    prompt_row,
    version_of,
    version_row,
)
from .rows import within_bytes
from .tables import prompt_labels, prompt_versions, prompts

__all__ = [
    "DEFAULT_BRANCH",
    "FIRST_VERSION",
    "PRODUCTION",
    "Content",
    "Listed",
    "MissingError",
    "Prompt",
    "Prompts",
    "TakenError",
    "Version",
]
FIRST_VERSION = "1.0"


class TakenError(Exception):
    """What is to be added is already there; the message says what and where."""


class MissingError(Exception):
    """What is to be changed is not there; the message says what and where."""


class Prompts:
    """The prompts. Each change is noted in the audit, with who made it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # -- read --------------------------------------------------------------------------------------------

    def find(self, project: str, name: str, branch: str = DEFAULT_BRANCH) -> Prompt | None:
        """The prompt of this name on a branch."""
        return self._one(prompts.c.project == project, prompts.c.name == name, prompts.c.branch == branch)

    def get(self, project: str, prompt_id: str) -> Prompt | None:
        """The prompt of this id."""
        return self._one(prompts.c.project == project, prompts.c.prompt_id == prompt_id)

    def listed(
        self,
        project: str,
        branch: str | None = None,
        name: str | None = None,
        *,
        limit: int = MAX_PAGE,
        after: str | None = None,
    ) -> Part[Listed]:
        """The prompts of a project, in order of their making; on a branch, of a name, where given.

        Up to `limit`, and fewer where they are large, but always one.
        """
        chosen = [prompts.c.project == project]
        chosen += [prompts.c.branch == branch] if branch is not None else []
        chosen += [prompts.c.name == name] if name is not None else []
        place = (prompts.c.created_at, prompts.c.prompt_id)
        chosen += [tuple_(*place) > tuple_(*map(literal, Made.parse(after)))] if after is not None else []
        size = func.length(prompts.c.metadata) + _size_of_version
        query = select(*place, size.label("bytes")).outerjoin(prompt_versions, _is_released)
        with self._database.read() as connection:
            rows = connection.execute(query.where(*chosen).order_by(*place).limit(limit + 1)).all()
            shown = within_bytes(rows[:limit])
            found = self._together(connection, project, [row.prompt_id for row in shown])
        return Part(found, str(Made(*shown[-1][:2])) if len(rows) > len(shown) else None)

    def _together(self, connection: Connection, project: str, ids: Sequence[str]) -> list[Listed]:
        """These prompts, each with the version that is served."""
        mine = (prompts.c.project == project, prompts.c.prompt_id.in_(ids))
        query = select(prompt_versions).join(prompts, _is_released).where(*mine)
        served = {row.prompt_id: version_of(row) for row in connection.execute(query)}
        newest = {row.prompt_id: row.version for row in connection.execute(_newest_of(project, ids))}
        return [
            Listed(each, served.get(each.prompt_id), newest.get(each.prompt_id))
            for each in self._all(connection, *mine)
        ]

    def version(self, prompt: Prompt, version: str) -> Version | None:
        """One version of a prompt."""
        query = select(prompt_versions).where(*_versions_of(prompt), prompt_versions.c.version == version)
        with self._database.read() as connection:
            row = connection.execute(query).first()
        return version_of(row) if row is not None else None

    def versions(
        self, prompt: Prompt, *, limit: int = MAX_PAGE, after: str | None = None, newest: bool = False
    ) -> Part[Version]:
        """All versions of a prompt, in order of their making, or the newest first: parts as of `listed`."""
        chosen = [*_versions_of(prompt)]
        if after is not None:
            beyond = operator.lt if newest else operator.gt
            chosen.append(beyond(tuple_(*_MADE), tuple_(*map(literal, Made.parse(after)))))
        order = [column.desc() if newest else column for column in _MADE]
        query = select(*_MADE, _size_of_version.label("bytes")).where(*chosen)
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(*order).limit(limit + 1)).all()
            shown = within_bytes(rows[:limit])
            named = prompt_versions.c.version.in_([row.version for row in shown])
            whole = select(prompt_versions).where(*_versions_of(prompt), named).order_by(*order)
            found = [version_of(row) for row in connection.execute(whole)]
        return Part(found, str(Made(*shown[-1][:2])) if len(rows) > len(shown) else None)

    def _one(self, *chosen: Any) -> Prompt | None:
        with self._database.read() as connection:
            found = self._all(connection, *chosen)
        return found[0] if found else None

    def _all(self, connection: Connection, *chosen: Any) -> list[Prompt]:
        query = select(prompts).where(*chosen).order_by(prompts.c.created_at, prompts.c.prompt_id)
        rows = connection.execute(query).all()
        labels = _labels(connection, rows)
        return [prompt_of(row, labels.get(row.prompt_id, {})) for row in rows]

    # -- changed -----------------------------------------------------------------------------------------

    def create(self, prompt: Prompt, first: Version, actor: Actor, *, release: bool = True) -> None:
        """Store a prompt with its first version.

        Raises:
            TakenError: there is one of that name on the branch, or of that id.
        """

        def store(connection: Connection) -> None:
            know_project(connection, prompt.project)
            connection.execute(insert(prompts).values(**prompt_row(prompt), created_at=now()))
            _note(connection, prompt, actor, "create", name=prompt.name)
            self._put_version(connection, prompt, first, actor, now())
            if release:
                self._release(connection, prompt, first.version, actor)

        where = f"prompt {prompt.name!r} already exists on branch {prompt.branch!r}"
        self._write(store, f"{where} of project {prompt.project!r}")

    def add_version(
        self,
        prompt: Prompt,
        version: Version,
        actor: Actor,
        *,
        release: bool = True,
        after: str | None = None,
    ) -> None:
        """Store a further version. With `after` only if the newest one has that revision.

        Raises:
            TakenError: the prompt has a version of that name, or its newest one has another revision.
            MissingError: the prompt was removed.
        """

        def store(connection: Connection) -> None:
            self._lock(connection, prompt)
            newest = self._newest(connection, prompt)
            if after is not None and newest.revision != after:
                there = f"its newest version is {newest.version!r}, revision {newest.revision}"
                raise TakenError(f"{where} has changed: {there}, not {after}")
            # The newest may have been made by another machine's clock.
            made = microseconds(newest.created_at) if newest.created_at else 0
            self._put_version(connection, prompt, version, actor, max(now(), made + 1))
            if release:
                self._release(connection, prompt, version.version, actor)

        where = f"prompt {prompt.name!r} on branch {prompt.branch!r}"
        self._write(store, f"{where} already has version {version.version!r}")

    def release(self, prompt: Prompt, version: str | None, actor: Actor) -> None:
        """Serve this version from now on. An earlier one again is how a release is undone; None: none.

        Raises:
            MissingError: there is no such version.
        """
        self._database.write(lambda connection: self._release(connection, prompt, version, actor))

    def label(self, prompt: Prompt, label: str, version: str | None, actor: Actor) -> None:
        """Have a label point to a version; None: to none any more.

        Raises:
            MissingError: there is no such version.
        """

        def store(connection: Connection) -> None:
            self._lock(connection, prompt)
            mine = (*_of(prompt, prompt_labels), prompt_labels.c.label == label)
            before = connection.execute(select(prompt_labels.c.version).where(*mine)).scalar()
            connection.execute(delete(prompt_labels).where(*mine))
            if version is not None:
                self._require(connection, prompt, version)
                where = {"project": prompt.project, "prompt_id": prompt.prompt_id}
                connection.execute(insert(prompt_labels).values(**where, label=label, version=version))
            _note(connection, prompt, actor, "label", label=label, version=version, before=before)

        self._database.write(store)

    def change(self, prompt: Prompt, actor: Actor) -> None:
        """Make branch, logging and metadata of the stored prompt those of `prompt`.

        Raises:
            TakenError: another prompt of that name is on the branch.
        """

        def store(connection: Connection) -> None:
            before = self._lock(connection, prompt)
            if changeable(before) == changeable(prompt):
                return
            row = prompt_row(prompt)
            changed = {name: row[name] for name in ("branch", "enable_logging", "metadata")}
            connection.execute(update(prompts).where(*_of(prompt, prompts)).values(changed))
            changes = changeable(prompt)
            _note(connection, prompt, actor, "change", **changes, before=changeable(before))

        where = f"prompt {prompt.name!r} already exists on branch {prompt.branch!r}"
        self._write(store, f"{where} of project {prompt.project!r}")

    def rewrite(self, prompt: Prompt, version: Version, actor: Actor) -> None:
        """Put another content and configuration into a version that is there.

        The published command line does so. The audit has what was there before.

        Raises:
            MissingError: there is no such version.
        """

        def store(connection: Connection) -> None:
            self._lock(connection, prompt)
            before = self._require(connection, prompt, version.version)
            if before.revision == version.revision:
                return
            chosen = (*_versions_of(prompt), prompt_versions.c.version == version.version)
            row = version_row(version)
            changed = {name: row[name] for name in ("content", "config")}
            connection.execute(update(prompt_versions).where(*chosen).values(changed))
            was = {"content": before.content, "config": before.config}
            _note(connection, prompt, actor, "rewrite", version=version.version, before=was)

        self._database.write(store)

    def remove(self, prompt: Prompt, actor: Actor) -> None:
        """Remove a prompt with its versions, labels and experiments."""

        def store(connection: Connection) -> None:
            connection.execute(delete(prompts).where(*_of(prompt, prompts)))
            _note(connection, prompt, actor, "remove", name=prompt.name)

        self._database.write(store)

    def _release(self, connection: Connection, prompt: Prompt, version: str | None, actor: Actor) -> None:
        before = self._lock(connection, prompt).version
        if version == before:
            return
        if version is not None:
            self._require(connection, prompt, version)
        connection.execute(update(prompts).where(*_of(prompt, prompts)).values(version=version))
        fresh = (*_versions_of(prompt), prompt_versions.c.version == version)
        connection.execute(
            update(prompt_versions)
            .where(*fresh, prompt_versions.c.released_at.is_(None))
            .values(released_at=now())
        )
        _note(connection, prompt, actor, "release", version=version, before=before)

    def _put_version(
        self, connection: Connection, prompt: Prompt, version: Version, actor: Actor, time: int
    ) -> None:
        row = {
            "project": prompt.project,
            "prompt_id": prompt.prompt_id,
            **version_row(version),
            "author": actor.key_id,
            "created_at": time,
        }
        connection.execute(insert(prompt_versions).values(row))
        _note(connection, prompt, actor, "version", version=version.version)

    def _lock(self, connection: Connection, prompt: Prompt) -> Prompt:
        """Have other changes of the prompt wait until this one is made; it as it is stored."""
        query = select(prompts).where(*_of(prompt, prompts)).with_for_update()
        row = connection.execute(query).first()
        if row is None:
            raise MissingError(f"prompt {prompt.name!r} not found on branch {prompt.branch!r}")
        return prompt_of(row, {})

    def _newest(self, connection: Connection, prompt: Prompt) -> Version:
        query = select(prompt_versions).where(*_versions_of(prompt))
        query = query.order_by(*(column.desc() for column in _MADE)).limit(1)
        return version_of(connection.execute(query).one())

    def _require(self, connection: Connection, prompt: Prompt, version: str) -> Version:
        chosen = (*_versions_of(prompt), prompt_versions.c.version == version)
        row = connection.execute(select(prompt_versions).where(*chosen)).first()
        if row is None:
            where = f"on branch {prompt.branch!r}"
            raise MissingError(f"prompt {prompt.name!r} has no version {version!r} {where}")
        return version_of(row)

    def _write(self, store: Any, taken: str) -> None:
        try:
            self._database.write(store)
        except IntegrityError as error:
            raise TakenError(taken) from error


_MADE = (prompt_versions.c.created_at, prompt_versions.c.version)
"""The order of making."""
_is_released = and_(
    prompts.c.project == prompt_versions.c.project,
    prompts.c.prompt_id == prompt_versions.c.prompt_id,
    prompts.c.version == prompt_versions.c.version,
)
_size_of_version = func.coalesce(func.length(prompt_versions.c.content), 0) + func.coalesce(
    func.length(prompt_versions.c.config), 0
)


def _newest_of(project: str, ids: Sequence[str]) -> Select[Any]:
    """The name of the newest version, draft or not, of each of these prompts."""
    columns = prompt_versions.c
    made = func.row_number().over(
        partition_by=columns.prompt_id, order_by=[column.desc() for column in _MADE]
    )
    query = select(columns.prompt_id, columns.version, made.label("age"))
    ranked = query.where(columns.project == project, columns.prompt_id.in_(ids)).subquery()
    return select(ranked).where(ranked.c.age == 1)


def _of(prompt: Prompt, table: Any) -> tuple[Any, ...]:
    return (table.c.project == prompt.project, table.c.prompt_id == prompt.prompt_id)


def _versions_of(prompt: Prompt) -> tuple[Any, ...]:
    return _of(prompt, prompt_versions)


def _note(connection: Connection, prompt: Prompt, actor: Actor, action: str, **detail: object) -> None:
    note(connection, actor, f"prompt.{action}", f"prompt:{prompt.prompt_id}", detail)


def _labels(connection: Connection, rows: Sequence[Row[Any]]) -> dict[str, dict[str, str]]:
    if not rows:
        return {}
    query = select(prompt_labels).where(
        prompt_labels.c.project == rows[0].project,
        prompt_labels.c.prompt_id.in_([row.prompt_id for row in rows]),
    )
    labels: dict[str, dict[str, str]] = {}
    for row in connection.execute(query):
        labels.setdefault(row.prompt_id, {})[row.label] = row.version
    return labels
