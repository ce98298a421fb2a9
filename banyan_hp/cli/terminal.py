"""What commands have in common: exit codes, and text on a terminal (tables, sizes, ages, questions)."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

from ..text import printable, printable_json

_UNITS = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))
_WIDTH = 110

T = TypeVar("T")

DONE = 0
LEFT = 1
WRONG = 2
BROKEN = 3

EXPLAINED = """\
exit codes:
  0  done
  1  something is left, or not everything was delivered
  2  wrong usage, or the key is missing or is not the one that is needed
  3  the directory can't be read or written
"""


class CommandError(Exception):
    """A command can't do what it was asked to do; `code` is the exit code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def say(text: str = "") -> None:
    """A line on stdout, harmless to a terminal whatever is in it."""
    sys.stdout.write(printable(text) + "\n")


def complain(text: str) -> None:
    """A line on stderr, harmless to a terminal whatever is in it."""
    sys.stderr.write(f"banyan-hp: {printable(text)}\n")
    sys.stderr.flush()


def hush() -> None:
    """Have nothing more reach a stdout that nobody reads, not even the interpreter's flush at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def say_json(fields: dict[str, Any], body: bytes | None = None) -> None:
    """One JSON object on a line. `body` is JSON already: it comes last, as it is."""
    text = json.dumps(fields)
    if body is not None:
        text = f'{text[:-1]}, "body": {printable_json(body.decode("utf-8", "replace"))}}}'
    sys.stdout.flush()
    sys.stdout.buffer.write(text.encode("utf-8") + b"\n")


def table(rows: Sequence[Sequence[str]], *, right: frozenset[int] = frozenset(), indent: str = "  ") -> None:
    """Rows in aligned columns; those numbered in `right` are flush right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.rjust(width) if number in right else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        say((indent + "  ".join(cells)).rstrip())


def counted(number: int, noun: str) -> str:
    """`1 record`, `1,000 records`, `2 entries`."""
    plural = noun[:-1] + "ies" if noun.endswith("y") and not noun.endswith("ey") else noun + "s"
    return f"{number:,} {noun if number == 1 else plural}"


def room_for(limit: int | None) -> Iterator[int]:
    """How many items may be shown, over all destinations; None means any number. For `within`."""
    return itertools.count() if limit is None else iter(range(limit))


def within(room: Iterator[int], items: Iterable[T]) -> Iterator[T]:
    """The first items, as many as `room` still allows."""
    return (item for item, _ in zip(items, room, strict=False))


def size(count: int) -> str:
    """Bytes as people read them."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GiB"


def age(seconds: float) -> str:
    """A duration in its largest unit: `3d`, `5h`, `12m`, `7s`."""
    for length, unit in _UNITS:
        if seconds >= length:
            return f"{seconds // length:.0f}{unit}"
    return "0s"


def one_line(raw: bytes, indent: int = 0) -> str:
    """The beginning of a body: as much as fits beside `indent` characters, harmless to a terminal."""
    width = max(20, shutil.get_terminal_size((_WIDTH, 24)).columns - indent)
    text = printable(raw[: 4 * width].decode("utf-8", "replace"))
    return text if len(text) <= width else text[: width - 1] + "…"


def confirm(question: str, instead: str = "--yes") -> bool:
    """Ask on the terminal; anything but yes is no.

    Raises:
        CommandError: there is no terminal to ask on; the message names the options to pass `instead`.
    """
    if not sys.stdin.isatty():
        raise CommandError(f"{question} There is no terminal to ask on: pass {instead}", WRONG)
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}
