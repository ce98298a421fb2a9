"""`banyan-hp delete`: removes a person's calls for good, or those of a session."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from .options import add_command
from .terminal import DONE, LEFT, WRONG, CommandError, confirm, counted, say, say_json

if TYPE_CHECKING:
    from .api import Api
    from .options import Commands


def add_delete(commands: Commands) -> None:
    """Add `delete` with its options."""
    about = (
        "remove all calls of a user or a session for good, and what they are found by; needs an admin's key"
    )
    parser = add_command(commands, "delete", about, _run)
    whose = parser.add_mutually_exclusive_group(required=True)
    whose.add_argument("--user", metavar="ID", type=_named, help="the user")
    whose.add_argument("--session", metavar="ID", type=_named, help="the session")
    parser.add_argument("--yes", action="store_true", help="don't ask")


def _run(arguments: argparse.Namespace) -> int:
    from .api import run

    return run(_delete, arguments)


def _delete(api: Api, arguments: argparse.Namespace) -> int:
    from .api import patiently

    column = "user" if arguments.user is not None else "session"
    whose = {column: getattr(arguments, column)}
    known = api.get("/api/auth/validate")
    if known.get("role") != "admin":
        raise CommandError(f"this needs an admin's key, this one's role is {known.get('role')}", WRONG)
    (found,) = api.get("/api/calls/summary", **whose)["groups"]
    of_whom = f"of the {column} {whose[column]!r} in project {known['project']!r}"
    question = f"Remove {counted(found['calls'], 'call')} {of_whom} for good?"
    if not arguments.yes and not confirm(question):
        say("nothing is removed")
        return LEFT
    removed, more = 0, True
    while more:
        step = patiently(lambda: api.delete("/api/calls", **whose))
        removed += step["deleted"]
        more = step["more"]
    if arguments.json:
        say_json({"project": known["project"], column: whose[column], "deleted": removed})
    else:
        say(f"removed {counted(removed, 'call')} {of_whom}")
    return DONE


def _named(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("must not be empty")
    return text
