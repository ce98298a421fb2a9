"""Options that choose calls, the same for each command: `--since 7d --user u1 --text "…"`."""

from __future__ import annotations

import argparse
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import ArgumentParser

_EQUAL = {
    "user": "user",
    "session": "session",
    "prompt": "prompt_name",
    "version": "version",
    "branch": "branch",
    "model": "model",
    "experiment": "experiment_id",
    "experiment-version": "experiment_version_id",
    "source": "source",
    "id": "id",
}
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_AGO = re.compile(r"(\d{1,6})([smhdw])", re.ASCII)


def add_filters(parser: ArgumentParser, *, times: bool = True) -> None:
    """Add the options."""
    group = parser.add_argument_group("which calls (all of what is given)")
    add = group.add_argument
    if times:
        when = "as long ago as in 7d, 12h or 30m, or a time as 2026-11-28 or 2026-11-28T12:00Z"
        add("--since", type=moment, metavar="WHEN", help=f"from then on: {when}")
        add("--until", type=moment, metavar="WHEN", help="before then: likewise")
    for option, column in _EQUAL.items():
        add(f"--{option}", dest=f"chosen_{column}", metavar=option.upper(), help=f"with this {option}")
    failed = group.add_mutually_exclusive_group()
    failed.add_argument("--failed", action="store_true", help="with an error")
    failed.add_argument("--succeeded", action="store_true", help="without an error")
    add("--text", metavar="WORDS", help='with all of these words and "phrases" in them')


def parameters_of(arguments: argparse.Namespace) -> dict[str, str]:
    """The same as parameters of the API."""
    found = {column: getattr(arguments, f"chosen_{column}") for column in _EQUAL.values()}
    found["text"] = arguments.text
    for name in ("since", "until"):
        time: datetime | None = getattr(arguments, name, None)
        found[name] = time.isoformat().replace("+00:00", "Z") if time is not None else None
    if arguments.failed or arguments.succeeded:
        found["failed"] = "true" if arguments.failed else "false"
    return {name: value for name, value in found.items() if value is not None}


def moment(text: str) -> datetime:
    """The time that a text means: so long ago, or a date with or without a time, UTC if it has no zone."""
    ago = _AGO.fullmatch(text)
    try:
        if ago is not None:
            return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        time = datetime.fromisoformat(text)
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        why = f"must be as long ago as in 7d, or a time as 2026-11-28T12:00Z, was {text!r}"
        raise argparse.ArgumentTypeError(why) from None
