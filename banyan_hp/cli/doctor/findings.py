"""What a check found, and how it is shown: a line each, or JSON."""

from __future__ import annotations

import enum
import json
import sys
from collections.abc import Iterable
from typing import NamedTuple

from ...text import printable
from ..terminal import DONE, LEFT


class State(enum.Enum):
    """What a finding means."""

    GOOD = "good"
    WRONG = "wrong"
    NOTE = "note"  # worth knowing; nothing is wrong
    UNKNOWN = "not checked"


class Finding(NamedTuple):
    """What one check found.

    Attributes:
        topic: what was looked at.
        state: what it means.
        found: what was found, without a full stop.
        advice: what to do about it, as a sentence; empty if there is nothing to do.
    """

    topic: str
    state: State
    found: str
    advice: str = ""


def good(topic: str, found: str) -> Finding:
    return Finding(topic, State.GOOD, found)


def wrong(topic: str, found: str, advice: str = "") -> Finding:
    return Finding(topic, State.WRONG, found, advice)


def note(topic: str, found: str, advice: str = "") -> Finding:
    return Finding(topic, State.NOTE, found, advice)


def unknown(topic: str, why: str) -> Finding:
    return Finding(topic, State.UNKNOWN, f"not checked: {why}")


_MARKS = {State.GOOD: "✓", State.WRONG: "✗", State.NOTE: "!", State.UNKNOWN: "-"}
_ASCII_MARKS = {
    **_MARKS,
    State.GOOD: "ok   ",
    State.WRONG: "WRONG",
    State.NOTE: "note ",
    State.UNKNOWN: "-    ",
}


def show(findings: Iterable[Finding]) -> int:
    """Print a line for each finding as it comes, and a last one for all of them. Returns the exit code."""
    marks = _MARKS if _can_show("".join(_MARKS.values())) else _ASCII_MARKS
    bad = 0
    for finding in findings:
        bad += finding.state is State.WRONG
        advice = f". {finding.advice}" if finding.advice else ""
        _write(f"{marks[finding.state]} {finding.topic}: {finding.found}{advice}")
    _write("nothing is wrong" if not bad else f"{bad} {'thing is' if bad == 1 else 'things are'} wrong")
    return LEFT if bad else DONE


def show_json(findings: Iterable[Finding]) -> int:
    """Print one JSON object. Returns the exit code."""
    all_of_them = list(findings)
    fine = all(finding.state is not State.WRONG for finding in all_of_them)
    checks = [{**finding._asdict(), "state": finding.state.value} for finding in all_of_them]
    sys.stdout.write(json.dumps({"ok": fine, "checks": checks}, indent=2) + "\n")
    return DONE if fine else LEFT


def _can_show(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _write(line: str) -> None:
    text = printable(line)
    if not _can_show(text):
        text = text.encode("ascii", "replace").decode("ascii")
    sys.stdout.write(text + "\n")
    sys.stdout.flush()  # a check may take seconds
