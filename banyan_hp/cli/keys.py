"""`banyan-hp keys`: makes, lists and ends the keys of a backend, in its database itself.

So the first key can be made before there is one to ask with.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .databases import add_database_command, database_of, using_the_server
from .terminal import DONE, WRONG, CommandError, say, say_json, table

if TYPE_CHECKING:
    from argparse import ArgumentParser, _SubParsersAction

    from ..server.store.keys import Key, Keys

_ROLES = ("ingest", "read", "admin")
_MOST_CHARACTERS = 255


def add_keys(commands: _SubParsersAction[ArgumentParser]) -> None:
    """Add `keys` with its commands and options."""
    keys = commands.add_parser("keys", help="the keys that open a backend: make, list and end them")
    actions = keys.add_subparsers(title="commands", metavar="COMMAND", required=True)
    create = _action(actions, "create", _create, "make a key, and show it: it can't be shown again")
    create.add_argument("--project", required=True, type=_project, metavar="NAME", help="what it opens")
    create.add_argument(
        "--role",
        choices=_ROLES,
        default="ingest",
        help="what it may do there: ingest (log, fetch prompts, route), read (that, and read all that was "
        "logged) or admin (that, and change prompts, experiments and keys) (default: %(default)s)",
    )
    ls = _action(actions, "ls", _ls, "list the keys, without their secrets")
    ls.add_argument("--project", type=_project, metavar="NAME", help="only those of this project")
    revoke = _action(actions, "revoke", _revoke, "end a key: within seconds nobody gets in with it")
    revoke.add_argument("id", metavar="ID", help="its id, as ls shows it")


def _action(
    actions: _SubParsersAction[ArgumentParser],
    name: str,
    run: Callable[[argparse.Namespace], int],
    help_text: str,
) -> ArgumentParser:
    parser = add_database_command(actions, name, run, help_text)
    parser.add_argument("--json", action="store_true", help="one JSON object for each key")
    return parser


def _create(arguments: argparse.Namespace) -> int:
    from ..server.store.keys import Role

    with _opened(database_of(arguments), make=True) as keys:
        key, secret = keys.create(arguments.project, Role(arguments.role))
    if arguments.json:
        say_json({**_as_json(key), "key": secret})
        return DONE
    say(f"key {key.id} of project {key.project}, role {key.role.value}; it is not shown again:")
    say(secret)
    return DONE


def _ls(arguments: argparse.Namespace) -> int:
    with _opened(database_of(arguments)) as keys:
        found = keys.listed(arguments.project)
    if arguments.json:
        for key in found:
            say_json(_as_json(key))
    elif found:
        table([("id", "project", "role", "key", "made", "revoked"), *map(_row, found)], indent="")
    else:
        say("there are no keys")
    return DONE


def _revoke(arguments: argparse.Namespace) -> int:
    with _opened(database_of(arguments)) as keys:
        known = {key.id: key for key in keys.listed()}
        if arguments.id not in known:
            raise CommandError(f"there is no key {arguments.id!r}; banyan-hp keys ls shows the ids", WRONG)
        keys.revoke(arguments.id)
        (key,) = [key for key in keys.listed() if key.id == arguments.id]
    if arguments.json:
        say_json(_as_json(key))
    else:
        before = known[key.id].revoked_at is not None
        say(f"key {key.id} of project {key.project} {'was revoked before' if before else 'is revoked'}")
    return DONE


@contextmanager
def _opened(url: str, *, make: bool = False) -> Iterator[Keys]:
    """The keys of a database, which is made only by whoever makes a key."""
    with using_the_server():
        from ..server.store.database import Database
        from ..server.store.keys import Keys

        if not make and "://" not in url and not Path(url).exists():
            raise CommandError(f"there is no database {Path(url).absolute()}", WRONG)
        database = Database(url)
        try:
            yield Keys(database)
        finally:
            database.close()


def _row(key: Key) -> tuple[str, ...]:
    ended = key.revoked_at.isoformat(" ", "seconds") if key.revoked_at is not None else ""
    made = key.created_at.isoformat(" ", "seconds")
    return key.id, key.project, key.role.value, f"…{key.hint}", made, ended


def _as_json(key: Key) -> dict[str, Any]:
    return {
        "id": key.id,
        "project": key.project,
        "role": key.role.value,
        "hint": f"…{key.hint}",
        "created_at": key.created_at.isoformat(timespec="seconds"),
        "revoked_at": key.revoked_at.isoformat(timespec="seconds") if key.revoked_at is not None else None,
    }


def _project(text: str) -> str:
    if not text.strip() or len(text) > _MOST_CHARACTERS or not text.isprintable():
        raise argparse.ArgumentTypeError(f"must be 1 to {_MOST_CHARACTERS} printable characters")
    return text
