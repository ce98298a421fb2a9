"""`banyan-hp tail`: calls as they arrive, a line each, until it is interrupted."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..text import clean, printable_json
from .choosing import add_filters, parameters_of
from .options import add_command
from .terminal import DONE, CommandError, complain, one_line, say

if TYPE_CHECKING:
    from .api import Api
    from .options import Commands

_QUIET_SECONDS = 60.0  # without a sign of life; one comes every 15 s
_PAUSE, _LONGEST_PAUSE = 1.0, 30.0
_SHORT = 40  # characters of a name


@dataclass
class _Event:
    """A server-sent event. `id` is where the next connection goes on."""

    id: str | None = None
    kind: str = ""
    data: str = ""


def add_tail(commands: Commands) -> None:
    """Add `tail` with its options."""
    parser = add_command(commands, "tail", "show calls as they arrive, until it is interrupted", _run)
    add_filters(parser, times=False)


def _run(arguments: argparse.Namespace) -> int:
    from .api import run

    return run(_tail, arguments)


def _tail(api: Api, arguments: argparse.Namespace) -> int:
    show = _show_json if arguments.json else _show
    try:
        for call in _calls(api, parameters_of(arguments)):
            show(call)
            sys.stdout.flush()
    except KeyboardInterrupt:
        return DONE
    return DONE


def _calls(api: Api, chosen: Mapping[str, str]) -> Iterator[str]:
    """The calls, each as JSON; over as many connections as it takes, and without a gap between two.

    Raises:
        CommandError: the first connection fails, or the key is refused.
    """
    from .api import may_pass

    last: str | None = None
    pause = _PAUSE
    while True:
        headers = {"Last-Event-ID": last} if last is not None else {}
        try:
            with api.stream("/api/calls/follow", chosen, headers, _QUIET_SECONDS) as lines:
                for event in _events(lines):
                    last = event.id or last
                    pause = _PAUSE
                    if event.kind == "call":
                        yield event.data
                    elif event.kind == "end":
                        complain(f"the backend ended the connection: {clean(_reason(event.data))}")
        except CommandError as error:
            if last is None or not may_pass(error):
                raise
            complain(f"{error}; again in {pause:g} s")
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


def _events(lines: Iterator[bytes]) -> Iterator[_Event]:
    event = _Event()
    for line in lines:
        field, _, value = line.decode("utf-8", "replace").partition(": ")
        if not field:
            yield event
            event = _Event()
        elif field == "id":
            event.id = value
        elif field == "event":
            event.kind = value
        elif field == "data":
            event.data = value


def _reason(data: str) -> object:
    try:
        return json.loads(data)["reason"]
    except (ValueError, KeyError, TypeError):
        return data


def _show_json(call: str) -> None:
    sys.stdout.write(printable_json(call) + "\n")


def _show(text: str) -> None:
    call: dict[str, Any] = json.loads(text)
    facts = "  ".join(filter(None, map(str, _facts(call))))
    said = " → ".join(_short(call[name]) for name in ("input", "output") if call[name] is not None)
    say(one_line(f"{facts}  {said}".encode("utf-8", "replace")))


def _facts(call: Mapping[str, Any]) -> Iterator[str]:
    yield call["event_time"][:19].replace("T", " ")
    if call["prompt_name"] is not None:
        yield f"{call['prompt_name'][:_SHORT]}@{call['version'] or '?'}"
    for name in ("model", "user", "session"):
        if call[name] is not None:
            yield f"{'' if name == 'model' else name + '='}{call[name][:_SHORT]}"
    if call["latency_ms"] is not None:
        yield f"{call['latency_ms']:.0f}ms"
    if call["error"] is not None:
        yield f"ERROR {call['error'][:_SHORT]}"


def _short(value: object) -> str:
    return value[:200] if isinstance(value, str) else json.dumps(value)[:200]
