"""`banyan-hp spool path | ls | show | purge`."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from ...engine.records.encode import event_time
from ...engine.spool import survey
from ...engine.spool.lease import take_over
from ...engine.spool.lines import Line
from ...engine.spool.quarantine import Quarantine
from ...engine.spool.survey import Seen, State
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
    size,
    table,
    within,
)
from .places import Place, base_directory, chosen, each, say_of_idle

_HEAD = ("SEGMENT", "STATE", "UNSENT", "RECORDS", "BYTES", "AGE")
_NUMBERS = frozenset({2, 3, 4, 5})


def path(arguments: argparse.Namespace) -> int:
    """The base directory, or a destination's own."""
    where = [place.directory for place in chosen(arguments)] if arguments.destination else []
    say(str(where[0] if where else base_directory(arguments) / "spool"))
    return DONE


# -- ls ------------------------------------------------------------------------------------------------------


def ls(arguments: argparse.Namespace) -> int:
    """All segments of each destination, and how full its quarantine is."""
    if not chosen(arguments) and not arguments.json:
        say(f"nothing in {base_directory(arguments) / 'spool'}")
    now = Clock().wall()
    idle: list[Place] = []

    def list_one(place: Place) -> int:
        segments, quarantine = survey.segments(place.directory), Quarantine(place.directory, Clock())
        if arguments.json:
            _list_as_json(place, segments, now)
        elif arguments.all or any(map(_waits, segments)) or quarantine.entries():
            _list(place, segments, quarantine, now)
        else:
            idle.append(place)
        return DONE

    code = each(arguments, list_one)
    say_of_idle(idle)
    return code


def _waits(seen: Seen) -> bool:
    return bool(seen.unacknowledged or seen.damaged) or seen.state is State.UNKNOWN


def _list(place: Place, segments: list[Seen], quarantine: Quarantine, now: float) -> None:
    say(place.title)
    if segments:
        table([_HEAD, *(_row(seen, now) for seen in segments)], right=_NUMBERS)
    else:
        say("  nothing waits to be sent")
    entries = quarantine.entries()
    if entries:
        say(f"  quarantine: {counted(len(entries), 'entry')}, {size(quarantine.size)}")


def _row(seen: Seen, now: float) -> tuple[str, ...]:
    known = seen.state is not State.UNKNOWN
    return (
        seen.path.name,
        seen.state.value,
        f"{seen.unacknowledged:,}" if known else "?",
        f"{seen.total:,}" if known else "?",
        size(seen.size),
        age(now - seen.created),
    )


def _list_as_json(place: Place, segments: list[Seen], now: float) -> None:
    for seen in segments:
        known = seen.state is not State.UNKNOWN
        say_json(
            {
                **place.fields(),
                "segment": seen.path.name,
                "state": seen.state.value,
                "unsent": seen.unacknowledged if known else None,
                "raw": seen.raw if known else None,
                "records": seen.total if known else None,
                "damaged": seen.damaged if known else None,
                "bytes": seen.size,
                "created": event_time(seen.created),
                "age_s": round(now - seen.created, 3),
            }
        )


# -- show ----------------------------------------------------------------------------------------------------


def show(arguments: argparse.Namespace) -> int:
    """The records that are not yet sent."""
    room = room_for(arguments.limit)

    def show_one(place: Place) -> int:
        found = within(room, _records(place, arguments.segment, arguments.id or ""))
        if arguments.json:
            for line in found:
                say_json({"id": line.id, "time": event_time(line.time), "destination": place.id}, line.body)
        else:
            _show(place, found)
        return DONE

    return each(arguments, show_one)


def _show(place: Place, lines: Iterator[Line]) -> None:
    for number, line in enumerate(lines):
        if not number:
            say(place.title)
        begin = f"  {line.id}  {event_time(line.time)}  "
        say(begin + one_line(line.body, len(begin)))


def _records(place: Place, segment: str | None, prefix: str) -> Iterator[Line]:
    for seen in survey.segments(place.directory):
        if seen.state is State.UNKNOWN or segment not in (None, seen.path.name):
            continue
        for line in survey.unacknowledged_lines(seen.path):
            if line.id.startswith(prefix):
                yield line


# -- purge ---------------------------------------------------------------------------------------------------


def purge(arguments: argparse.Namespace) -> int:
    """Remove segments: free ones under their lease, held ones only with `--held`."""
    before = None if arguments.older_than is None else Clock().wall() - arguments.older_than
    meant: list[Seen] = []

    def look(place: Place) -> int:
        meant.extend(
            seen
            for seen in survey.segments(place.directory)
            if arguments.segment in (None, seen.path.name) and (before is None or seen.newest < before)
        )
        return DONE

    code = each(arguments, look)
    going = [seen for seen in meant if _may_go(seen, held=arguments.held)]
    if going and not arguments.yes and not confirm(f"Remove {_summary(going)} for good?"):
        return LEFT
    removed = [seen for seen in going if _remove(seen)]
    say(f"removed {_summary(removed)}")
    left = [seen for seen in meant if seen not in removed and seen.path.exists()]
    for seen in left:
        complain(f"left alone: {seen.path.name} ({_why(seen)})")
    return max(code, LEFT if left else DONE)


def _may_go(seen: Seen, *, held: bool) -> bool:
    return seen.state in (State.ABANDONED, State.DAMAGED) or (held and seen.state is State.HELD)


def _summary(segments: list[Seen]) -> str:
    records = counted(sum(seen.unacknowledged for seen in segments), "unsent record")
    return f"{counted(len(segments), 'segment')} with {records}"


def _why(seen: Seen) -> str:
    if seen.state is State.UNKNOWN:
        return "made by another version of banyan_hp"
    return "a running application holds it; see --held"


def _remove(seen: Seen) -> bool:
    """False if a running application has adopted or sent it in the meantime."""
    if seen.state is State.HELD:
        survey.look(seen.path).remove()
        return True
    segment = take_over(seen.path)
    if segment is None:
        return False
    segment.remove()
    return True
