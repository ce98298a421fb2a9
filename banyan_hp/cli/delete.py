"""`banyan-hp delete`: removes a person's calls for good, or those of a session."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from .remote import add_backend, add_json, remote_of
from .terminal import DONE, LEFT, WRONG, CommandError, confirm, counted, say, say_json

if TYPE_CHECKING:
    from argparse import ArgumentParser, _SubParsersAction


def add_delete(commands: _SubParsersAction[ArgumentParser]) -> None:
    """Add `delete` with its options."""
    text = "remove all calls of a user or a session for good, and what they are found by; needs an admin key"
    parser = commands.add_parser("delete", help=text, description=text)
    parser.set_defaults(run=_delete)
    add_backend(parser)
    whose = parser.add_mutually_exclusive_group(required=True)
    whose.add_argument("--user", metavar="ID", type=_named, help="the user")
    whose.add_argument("--session", metavar="ID", type=_named, help="the session")
    parser.add_argument("--yes", action="store_true", help="don't ask")
    add_json(parser, "the result as a JSON object")


def _delete(arguments: argparse.Namespace) -> int:
    column = "user" if arguments.user is not None else "session"
    whose = {column: getattr(arguments, column)}
    with remote_of(arguments) as remote:
        known = remote.get("/api/auth/validate")
        if known.get("role") != "admin":
            raise CommandError(f"this needs an admin's key, this one's role is {known.get('role')}", WRONG)
        (found,) = remote.get("/api/calls/summary", whose)["groups"]
        of_whom = f"of the {column} {whose[column]!r} in project {known['project']!r}"
        question = f"Remove {counted(found['calls'], 'call')} {of_whom} for good?"
        if not arguments.yes and not confirm(question):
            say("nothing is removed")
            return LEFT
        removed = 0
        more = True
        while more:
            step = remote.delete("/api/calls", whose)
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
