"""`banyan-hp spool quarantine ls | show | requeue | purge`."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable

from ...engine.records.encode import event_time
from ...engine.spool.entries import UNSCRUBBED, Entry
from ...engine.spool.quarantine import Quarantine
from ...engine.spool.quarantine import requeue as requeue_entries
from ...engine.sync import Clock
from ..terminal import (
    DONE,
    LEFT,
    age,
    complain,
    confirm,
    counted,
    one_line,
    room_for,
    say,
    say_json,
    table,
    within,
)
from .places import Place, each


def _entries(place: Place) -> list[Entry]:
    return Quarantine(place.directory, Clock()).entries()


def _has_id(prefix: str | None) -> Callable[[Entry], bool]:
    return lambda entry: prefix is None or (entry.id is not None and entry.id.startswith(prefix))


# -- ls ------------------------------------------------------------------------------------------------------


def ls(arguments: argparse.Namespace) -> int:
    """How many entries there are, by reason and status."""
    now = Clock().wall()
    found = 0
    report = _list_as_json if arguments.json else _list

    def list_one(place: Place) -> int:
        nonlocal found
        entries = _entries(place)
        found += len(entries)
        if entries:
            report(place, entries, now)
        return DONE

    code = each(arguments, list_one)
    if code == DONE and not found and not arguments.json:
        say("nothing in quarantine")
    return code


def _kinds(entries: list[Entry]) -> list[tuple[str, int | None, int, float]]:
    """Reason, status, how many, and when the newest came; the most frequent first."""
    counts = Counter((entry.reason, entry.status) for entry in entries)
    newest = {(entry.reason, entry.status): entry.at for entry in sorted(entries, key=lambda entry: entry.at)}
    return [(*kind, count, newest[kind]) for kind, count in counts.most_common()]


def _list(place: Place, entries: list[Entry], now: float) -> None:
    say(place.title)
    rows = [
        (reason, "-" if status is None else str(status), f"{count:,}", age(now - newest))
        for reason, status, count, newest in _kinds(entries)
    ]
    table([("REASON", "STATUS", "ENTRIES", "NEWEST"), *rows], right=frozenset({1, 2, 3}))


def _list_as_json(place: Place, entries: list[Entry], _now: float) -> None:
    for reason, status, count, newest in _kinds(entries):
        kind = {"reason": reason, "status": status, "entries": count, "newest": event_time(newest)}
        say_json({**place.fields(), **kind})


# -- show ----------------------------------------------------------------------------------------------------


def show(arguments: argparse.Namespace) -> int:
    """The entries, with what the backend said and what was sent."""
    room = room_for(arguments.limit)

    def show_one(place: Place) -> int:
        found = list(within(room, filter(_has_id(arguments.id), _entries(place))))
        if found and not arguments.json:
            say(place.title)
        for entry in found:
            if arguments.json:
                _show_as_json(place, entry)
            else:
                _show(entry)
        return DONE

    return each(arguments, show_one)


def _show(entry: Entry) -> None:
    status = f" {entry.status}" if entry.status is not None else ""
    name = entry.id if entry.id is not None else f"a line of {entry.segment}"
    detail = f": {one_line(entry.detail.encode('utf-8', 'replace'), 4)}" if entry.detail else ""
    say(f"  {name}  {event_time(entry.at)}  {entry.reason}{status}{detail}")
    say("    " + one_line(entry.body, 4))


def _show_as_json(place: Place, entry: Entry) -> None:
    fields = {
        "id": entry.id,
        "time": None if entry.time is None else event_time(entry.time),
        "destination": place.id,
        "quarantined": event_time(entry.at),
        "from": entry.origin,
        "segment": entry.segment,
        "reason": entry.reason,
        "status": entry.status,
        "detail": entry.detail,
    }
    name, value = entry.readable_body()
    if name == "body":
        say_json(fields, entry.body)
    else:
        say_json({**fields, name: value})


# -- requeue -------------------------------------------------------------------------------------------------


def requeue(arguments: argparse.Namespace) -> int:
    """Put records back into the queue."""
    meant = _has_id(arguments.id)

    def is_raw(entry: Entry) -> bool:
        return entry.reason == UNSCRUBBED and not arguments.unscrubbed

    left: Counter[str] = Counter()
    requeued = 0

    def requeue_one(place: Place) -> int:
        nonlocal requeued
        requeued += len(requeue_entries(place.directory, meant, Clock(), is_raw))
        left.update(_why_left(entry) for entry in _entries(place) if meant(entry))
        return DONE

    code = each(arguments, requeue_one)
    if not requeued and not left:
        say("nothing requeued" if code else "nothing to requeue")
        return max(code, LEFT if arguments.id is not None else DONE)
    say(f"requeued {counted(requeued, 'record')}, to be sent with the rest of the queue")
    for why, count in left.items():
        complain(f"left alone: {counted(count, 'entry')} ({why})")
    return max(code, LEFT if left else DONE)


def _why_left(entry: Entry) -> str:
    if not entry.sendable:
        return "damaged: there is no whole record to send"
    return "quarantined just now"


# -- purge ---------------------------------------------------------------------------------------------------


def purge(arguments: argparse.Namespace) -> int:
    """Remove entries for good."""
    has_id = _has_id(arguments.id)
    before = Clock().wall() - (arguments.older_than or 0.0)

    def meant(entry: Entry) -> bool:
        return has_id(entry) and entry.at <= before

    going = removed = 0

    def look(place: Place) -> int:
        nonlocal going
        going += sum(map(meant, _entries(place)))
        return DONE

    def purge_one(place: Place) -> int:
        nonlocal removed
        removed += len(Quarantine(place.directory, Clock()).take(meant, _nowhere))
        return DONE

    code = each(arguments, look)
    if going and not arguments.yes and not confirm(f"Remove {counted(going, 'quarantined entry')} for good?"):
        return LEFT
    code = max(code, each(arguments, purge_one) if going else DONE)
    say(f"removed {counted(removed, 'entry')} from the quarantine")
    return code


def _nowhere(_entries: list[Entry]) -> None:
    """They are not kept."""
