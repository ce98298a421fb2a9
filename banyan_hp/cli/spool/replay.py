"""`banyan-hp spool replay`: sends what no running application holds, with the applications' own engine."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import TextIO

from ...destinations.banyan import BanyanDestination
from ...destinations.collector import collector_at, key_of_headers
from ...destinations.huggingplace import HuggingPlaceDestination
from ...destinations.otlp import OtlpDestination
from ...engine.destination import Destination
from ...engine.engine import Engine
from ...engine.spool import survey
from ...engine.spool.layout import Address, key_fingerprint
from ...engine.spool.survey import State
from ...errors import ConfigurationError
from ...settings import Settings, checked_url, first_text, header_text
from ..terminal import BROKEN, DONE, LEFT, WRONG, CommandError, complain, confirm, counted, say
from .places import Place, chosen, each, say_of_idle

_KEYS = {
    "banyan": "BANYAN_API_KEY",
    "huggingplace": "HUGGINGPLACE_API_KEY",
    "otlp": "OTEL_EXPORTER_OTLP_HEADERS",
}
_LET_GO_SECONDS = 5.0
_BAR = 30
_SECONDS_BETWEEN_LINES = 5.0

# Caps are for applications: a replay is to send old records, not to remove them.
SETTINGS = Settings(spool_max_age=1e9, spool_max_bytes=2**62)


@dataclass(frozen=True, slots=True)
class Waiting:
    """Records on disk that are not settled."""

    free: int
    held: int
    raw: int  # not sent here: a `before_send` must see them first


_NOTHING = Waiting(0, 0, 0)


@dataclass(frozen=True, slots=True)
class Tally:
    """What became of the records that could be sent."""

    delivered: int
    left: int
    quarantined: int
    lost: int


def replay(arguments: argparse.Namespace) -> int:
    """Replay each destination in turn; the highest exit code is the command's."""
    _check(arguments)
    idle: list[Place] = []

    def replay_one(place: Place) -> int:
        if not _is_meant(place, arguments):
            return DONE
        waiting = _waiting(place.directory)
        if waiting == _NOTHING and not arguments.all:
            idle.append(place)
            return DONE
        return _replay(place, arguments, waiting)

    try:
        code = each(arguments, replay_one)
        say_of_idle(idle)
        return code
    except KeyboardInterrupt:
        complain("interrupted; what was not delivered stays on disk")
        return LEFT


def _replay(place: Place, arguments: argparse.Namespace, before: Waiting) -> int:
    if not before.free:
        say(place.title)
        say(f"  nothing to send{_held(before)}")
        return _mention_raw(before)
    destination = _destination(place, arguments)
    if not _may_send(place, arguments, before):
        return LEFT
    engine = Engine(destination, SETTINGS, spool_directory=place.directory, leaves_raw=True)
    say(place.title)
    sys.stdout.flush()
    why: str | None = None
    try:
        why = _send(engine, arguments.timeout, Progress(before.free, sys.stderr))
    finally:
        after = _waiting(place.directory)
        tally = _tally(engine, after)
        say(f"  {_summary(tally)}{_held(after)}")
    if tally.left:
        complain(why or "some records have come since, or could not be adopted")
    if engine.spool_problem:
        return BROKEN
    code = LEFT if tally.left or tally.quarantined or tally.lost else DONE
    return max(code, _mention_raw(after))


def _mention_raw(waiting: Waiting) -> int:
    if not waiting.raw:
        return DONE
    complain(
        f"left alone: {counted(waiting.raw, 'record')} that before_send has not seen; an application with "
        "a before_send sends them"
    )
    return LEFT


def _waiting(directory: Path) -> Waiting:
    seen = survey.segments(directory)
    held = sum(one.unacknowledged for one in seen if one.state is State.HELD)
    # A segment with only damaged lines is adopted, too: its lines go to the quarantine.
    free = [one for one in seen if one.state in (State.ABANDONED, State.DAMAGED)]
    raw = sum(one.raw for one in free)
    return Waiting(sum(one.unacknowledged + one.damaged for one in free) - raw, held, raw)


def _send(engine: Engine, timeout: float, progress: Progress) -> str | None:
    """Run the engine until everything is sent. Returns why something is left, or None."""
    try:
        return engine.replay(timeout, lambda: progress.show(_settled(engine)))
    finally:
        engine.shutdown(_LET_GO_SECONDS)
        progress.end(_settled(engine))


def _settled(engine: Engine) -> int:
    adopted = engine.stats()["adopted"]
    return int(adopted["recovered"] + adopted["quarantined"] + adopted["dropped"])


def _tally(engine: Engine, after: Waiting) -> Tally:
    adopted = engine.stats()["adopted"]
    return Tally(adopted["recovered"], after.free, adopted["quarantined"], adopted["dropped"])


def _summary(tally: Tally) -> str:
    return (
        f"delivered {tally.delivered:,}, still on disk {tally.left:,}, "
        f"quarantined {tally.quarantined:,}, lost {tally.lost:,}"
    )


def _held(waiting: Waiting) -> str:
    return f" ({counted(waiting.held, 'record')} held by running applications)" if waiting.held else ""


# -- where to, and under which key ---------------------------------------------------------------------------


def _check(arguments: argparse.Namespace) -> None:
    for option in ("base_url", "to_url"):
        if (url := getattr(arguments, option)) is not None:
            try:
                setattr(arguments, option, checked_url(f"--{option.replace('_', '-')}", url))
            except ConfigurationError as error:
                raise CommandError(str(error), WRONG) from error
    if arguments.to_url is not None and arguments.base_url is None and arguments.destination is None:
        raise CommandError(
            "--to-url needs --base-url, the URL that the records were logged for, or --destination; see ls",
            WRONG,
        )
    if arguments.from_key is not None and not any(_has_key(place, arguments) for place in chosen(arguments)):
        raise CommandError("no destination has a key with the fingerprint in --from-key; see ls", WRONG)
    if arguments.base_url is not None and not any(_has_url(place, arguments) for place in chosen(arguments)):
        raise CommandError("no destination has the URL in --base-url; see ls", WRONG)


def _is_meant(place: Place, arguments: argparse.Namespace) -> bool:
    """With `--from-key`, only records of that key are sent; with `--base-url`, only those for that URL."""
    return _has_key(place, arguments) and _has_url(place, arguments)


def _has_key(place: Place, arguments: argparse.Namespace) -> bool:
    return arguments.from_key in (None, place.fingerprint)


def _has_url(place: Place, arguments: argparse.Namespace) -> bool:
    wanted = arguments.base_url
    return wanted is None or (place.address is not None and _url(place.address) == wanted)


def _destination(place: Place, arguments: argparse.Namespace) -> Destination:
    address = place.address
    make = _CLIENTS.get(address.client) if address is not None else None
    if address is None or make is None:
        raise CommandError(
            "the directory does not say where its records go; they stay where they are", BROKEN
        )
    url = arguments.to_url or _url(address)
    key = _key(address, arguments.api_key)
    if address.fingerprint not in (key_fingerprint(key), arguments.from_key):
        raise CommandError(
            f"these records were logged under the key {address.fingerprint}, the one given is "
            f"{key_fingerprint(key)}; to send them under it: --from-key {address.fingerprint}",
            WRONG,
        )
    return make(address._replace(base_url=url), key)


def _url(address: Address) -> str:
    """Where the records go, checked to be a URL: anybody may have written the file that tells it."""
    try:
        return checked_url("the URL in the directory", address.base_url)
    except ConfigurationError as error:
        raise CommandError(f"{error}; its records stay where they are", BROKEN) from error


def _may_send(place: Place, arguments: argparse.Namespace, waiting: Waiting) -> bool:
    """A directory named by hand may be anybody's: the key goes to its URL only if a person confirms it."""
    said = arguments.yes or arguments.base_url is not None or arguments.to_url is not None
    if arguments.dir is None or said or place.address is None:
        return True
    records = counted(waiting.free, "record")
    question = f"Send {records} and your API key to {place.address.base_url}?"
    return confirm(question, "--yes, or --base-url with this URL")


def _key(address: Address, given: str | None) -> str:
    variable = _KEYS[address.client]
    try:
        key = first_text("--api-key", given, variable)
        if address.client == "otlp":
            return key_of_headers(key or "")
        if key is not None:
            return header_text("the API key", key)
    except ConfigurationError as error:
        raise CommandError(str(error), WRONG) from error
    raise CommandError(f"no API key: set {variable}", WRONG)


def _banyan(address: Address, key: str) -> Destination:
    return BanyanDestination(address.base_url, key, address.project or None)


def _huggingplace(address: Address, key: str) -> Destination:
    return HuggingPlaceDestination(address.base_url, key, address.project)


def _otlp(address: Address, key: str) -> Destination:
    return OtlpDestination(collector_at(address.base_url, address.project, key))


_CLIENTS: dict[str, Callable[[Address, str], Destination]] = {
    "banyan": _banyan,
    "huggingplace": _huggingplace,
    "otlp": _otlp,
}


class Progress:
    """How far a replay is: a bar on a terminal, otherwise a line every few seconds.

    Args:
        total: the number of records; more may come.
        stream: where it is shown.
        clock: seconds, for the rate.
    """

    def __init__(self, total: int, stream: TextIO, clock: Callable[[], float] = monotonic) -> None:
        self._total = total
        self._stream = stream
        self._clock = clock
        self._began = self._shown_at = clock()
        self._bar = stream.isatty()

    def show(self, done: int) -> None:
        """Show the figure, if it is time to."""
        if self._bar:
            self._stream.write(f"\r{self._drawing(done)} {self._figures(done)}\x1b[K")
            self._stream.flush()
        elif self._clock() - self._shown_at >= _SECONDS_BETWEEN_LINES:
            self._shown_at = self._clock()
            self._write_line(done)

    def end(self, done: int) -> None:
        """Show the last figure and end the line."""
        if self._bar:
            self.show(done)
            self._stream.write("\n")
        else:
            self._write_line(done)
        self._stream.flush()

    def _write_line(self, done: int) -> None:
        self._stream.write(f"  {self._figures(done)}\n")
        self._stream.flush()

    def _figures(self, done: int) -> str:
        total = max(done, self._total)
        seconds = self._clock() - self._began
        rate = f", {done / seconds:,.0f}/s" if seconds > 0 else ""
        return f"{done:,} of {total:,}{rate}"

    def _drawing(self, done: int) -> str:
        full = _BAR * done // max(done, self._total, 1)
        return f"  [{'#' * full}{' ' * (_BAR - full)}]"
