"""A client's engines: the one that takes its records, and those that deliver what was logged before a change.

A record leaves under the key, and for the URL and organisation, that it was logged with. So a change of one
of these makes another engine. The one before *drains*: it delivers what it has, in memory and on disk, under
its own identity, and ends. An engine goes over to another key, with all it has, only if the application
named the old key as a previous one (`Engine.may_reconfigure`).

    current ──change──► draining ──drained, or too many drain──► ending ──► summed up
       ▲                   │
       └───changed back────┘

The engines and their states are one immutable value, replaced under a lock that is held for a few
instructions. No engine's lock is taken while it is held, and reading takes none: a destructor may read in the
middle of anything. Changes happen one at a time. Each engine's ledger balances by itself, and so does the
sum. A forked child has no engine that drains: what was logged before is its parent's.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple

from ..settings import Settings
from .delivery.stepwise import Event, UntilSet
from .delivery.waiters import FlushResult
from .destination import Destination
from .engine import Engine
from .sync import GreenletLock, Lock, ReleasingOnError

# Engines, each with threads and connections. Of more, the oldest leaves its records on disk.
MOST_DRAINING = 4
_AGES = ("oldest_record_age_s", "oldest_spooled_age_s")

Make = Callable[[Destination, Settings], Engine]


class Line(NamedTuple):
    """The engines of one client, by state, and the counters and the ledger of those that have ended."""

    current: Engine
    draining: tuple[Engine, ...] = ()  # the oldest first
    ending: tuple[Engine, ...] = ()  # shutting down, which takes time
    past: Mapping[str, Any] = {}
    ledger: Mapping[str, int] = {}

    @property
    def engines(self) -> tuple[Engine, ...]:
        return (self.current, *self.draining, *self.ending)


class Life:
    """What belongs to one process."""

    def __init__(self, current: Engine) -> None:
        self.changing = GreenletLock()  # held while the configuration changes, which may wait for a disk
        self.lock = Lock()  # guards the replacement of `line`
        self.line = Line(current)
        self.quiet = Event()  # set while none is ending
        self.quiet.set()
        self.unreported: deque[int] = deque()  # losses of engines that have ended, for the next flush
        self.rejected: deque[int] = deque()  # calls that these have rejected, likewise

    def replace(self, change: Callable[[Line], Line]) -> None:
        """By what `change` makes of the present line."""
        with ReleasingOnError((self.lock,)), self.lock:
            self.line = change(self.line)
            if not self.line.ending:
                self.quiet.set()


class Succession:
    """All engines of one client. Thread-safe."""

    def __init__(self, destination: Destination, settings: Settings, make: Make = Engine) -> None:
        self._make = make
        self._lives: dict[int, Life] = {}  # by process
        self._latest = make(destination, settings)
        self._closed = False

    @property
    def _life(self) -> Life:
        process = os.getpid()
        return self._lives.get(process) or self._lives.setdefault(process, Life(self._latest))

    @property
    def current(self) -> Engine:
        return self._life.line.current

    # -- change -----------------------------------------------------------------------------------------

    @property
    def changing(self) -> GreenletLock:
        """Held while the configuration changes; re-entrant."""
        return self._life.changing

    def change(
        self, destination: Destination, settings: Settings, publish: Callable[[Engine], object]
    ) -> None:
        """Send records that are logged from now on there. Nothing changes after `shutdown`.

        Args:
            destination: where to, and under which key.
            settings: with the previous keys whose records may follow.
            publish: called with the engine that takes them, before the one before ends. A thread that was
                about to hand a record to the old one gets None, and finds the new one here.
        """
        life = self._life
        with ReleasingOnError((life.changing,)), life.changing:
            if self._closed:
                return
            current = life.line.current
            if current.may_reconfigure(destination, settings):
                current.reconfigure(destination, settings)  # first: later records leave under it
                publish(current)
            else:
                self._succeed(life, self._make(destination, settings), publish)
            for engine in life.line.draining:
                if engine.may_reconfigure(destination, settings):
                    engine.reconfigure(destination, settings)
        self._tidy(life)

    def _succeed(self, life: Life, fresh: Engine, publish: Callable[[Engine], object]) -> None:
        """One that still drains for the same destination takes records again; else a fresh one does."""
        with ReleasingOnError((life.lock,)), life.lock:
            line = life.line
            same = [each for each in line.draining if _same_destination(each, fresh)]
            successor = same[0] if same else fresh
            draining = (*_without(line.draining, successor), line.current)
            life.line = line._replace(current=successor, draining=draining)
            self._latest = successor
            publish(successor)
        if successor is not fresh:
            successor.core.resume()
            successor.reconfigure(fresh.destination, fresh.settings)
        line.current.core.retire(partial(self._end_if_drained, line.current))
        if self._closed:  # meanwhile, by a shutdown that did not know this one
            successor.shutdown(0.0)

    # -- the end of one ---------------------------------------------------------------------------------

    def _tidy(self, life: Life) -> None:
        for engine in life.line.draining:
            self._end_if_drained(engine)
        for engine in life.line.draining[:-MOST_DRAINING]:
            self._end(engine, only_if_drained=False)

    def _end_if_drained(self, engine: Engine) -> None:
        if engine.core.is_drained():
            self._end(engine, only_if_drained=True)

    def _end(self, engine: Engine, *, only_if_drained: bool) -> None:
        life = self._life
        with ReleasingOnError((life.lock,)), life.lock:
            line = life.line
            if engine not in line.draining:  # it takes records again, or another thread ends it
                return
            draining, ending = _without(line.draining, engine), (*line.ending, engine)
            life.line = line._replace(draining=draining, ending=ending)
            life.quiet.clear()
        lost = 0
        try:
            if engine.core.supersede(only_if_drained=only_if_drained):
                result = engine.shutdown(0.0)
                lost = result.lost
                life.rejected.append(result.rejected)
        finally:  # Ctrl-C, too
            if engine.superseded:
                self._sum_up(life, engine, lost)
            else:  # a late record: it drains on
                life.replace(
                    lambda line: line._replace(
                        draining=(engine, *line.draining), ending=_without(line.ending, engine)
                    )
                )

    def _sum_up(self, life: Life, engine: Engine, lost: int) -> None:
        stats, ledger = {**engine.stats(), "spool_bytes": 0}, engine.ledger_now()
        if lost:
            life.unreported.append(lost)

        def add(line: Line) -> Line:
            past, in_all = dict(line.past), dict(line.ledger)
            add_counters(past, stats)
            add_counters(in_all, ledger)
            return line._replace(ending=_without(line.ending, engine), past=past, ledger=in_all)

        life.replace(add)

    def abandon(self) -> None:
        """`Engine.abandon` of all. Takes no lock."""
        for engine in self._life.line.engines:
            engine.abandon()

    # -- calls on all of them -------------------------------------------------------------------

    def flush(self, timeout: float) -> FlushResult:
        """`Engine.flush` of all, within one timeout."""
        life = self._life
        result = self._of_all(life, Engine.flush, timeout)
        self._tidy(life)
        return result

    def shutdown(self, timeout: float) -> FlushResult:
        """`Engine.shutdown` of all, within one timeout."""
        life = self._life
        self._closed = True
        return self._of_all(life, Engine.shutdown, timeout)

    def _of_all(self, life: Life, do: Callable[[Engine, float], FlushResult], timeout: float) -> FlushResult:
        deadline = time.monotonic() + timeout
        line = life.line
        results = [do(engine, _left(deadline)) for engine in line.engines]
        _until_quiet(life, deadline).block()
        return _summed_up(life, line, results)

    async def aflush(self, timeout: float) -> FlushResult:
        """`flush` on the running event loop."""
        from .delivery import loops  # imports asyncio, which not everybody uses

        life = self._life
        result = await self._of_all_on_the_loop(life, Engine.aflush, timeout)
        if life.line.draining:  # one that is drained now ends, which takes time
            await loops.on_a_thread(lambda: self._tidy(life))
        return result

    async def ashutdown(self, timeout: float) -> FlushResult:
        """`shutdown` on the running event loop. Cancelled, it ends all of them nevertheless."""
        life = self._life
        self._closed = True
        return await self._of_all_on_the_loop(life, Engine.ashutdown, timeout)

    async def _of_all_on_the_loop(
        self, life: Life, do: Callable[[Engine, float], Awaitable[FlushResult]], timeout: float
    ) -> FlushResult:
        """All at the same time, so that one that is cancelled is cancelled for all."""
        import asyncio

        from .delivery import loops

        deadline = time.monotonic() + timeout
        line = life.line
        results = await asyncio.gather(*(do(engine, timeout) for engine in line.engines))
        await loops.until(_until_quiet(life, deadline))
        return _summed_up(life, line, results)

    def stats(self) -> dict[str, Any]:
        """`Engine.stats`: the counters of all; state and ages of success and error are the current one's."""
        line = self._life.line
        total, *others = [engine.stats() for engine in line.engines]
        ages = {name: [each[name] for each in (total, *others)] for name in _AGES}
        alive = [each["worker_alive"] for each in (total, *others)]
        for more in (*others, line.past):
            add_counters(total, more)
        for name, values in ages.items():
            total[name] = max((age for age in values if age is not None), default=None)
        total["worker_alive"] = any(alive)
        return total

    def health(self) -> dict[str, Any]:
        """`Engine.health` of the current one, and what is not well with those that drain."""
        life = self._life
        health = life.line.current.health()
        reasons = [reason for engine in life.line.draining for reason in engine.health()["reasons"]]
        if reasons and not self._closed:
            health["reasons"] += [f"logged under an earlier configuration: {reason}" for reason in reasons]
            health["status"] = "degraded" if health["status"] == "ok" else health["status"]
        return health


def _until_quiet(life: Life, deadline: float) -> UntilSet:
    """Those that are ending report their losses at their end. Never waits on one of their own threads."""
    may_wait = all(engine.may_wait for engine in life.line.ending)
    return UntilSet(life.quiet, _left(deadline) if may_wait else 0.0)


def _left(deadline: float) -> float:
    return max(0.0, deadline - time.monotonic())


def _same_destination(engine: Engine, other: Engine) -> bool:
    """Whether both deliver to the same place, under the same key."""
    ours, theirs = engine.destination, other.destination
    return (ours.identity, ours.key) == (theirs.identity, theirs.key)


def _without(engines: Iterable[Engine], one: Engine) -> tuple[Engine, ...]:
    return tuple(engine for engine in engines if engine is not one)


def _summed_up(life: Life, line: Line, results: list[FlushResult]) -> FlushResult:
    return summed(results, line.ledger, _take_all(life.unreported), _take_all(life.rejected))


def _take_all(losses: deque[int]) -> int:
    """All of them; each is taken once, also by threads at the same time."""
    total = 0
    while losses:
        try:
            total += losses.popleft()
        except IndexError:
            break
    return total


def add_counters(total: dict[str, Any], more: Mapping[str, Any]) -> None:
    """Add what can be added, in place: integers, and dicts of them."""
    for name, value in more.items():
        if isinstance(value, dict):
            total[name] = dict(total.get(name, {}))
            add_counters(total[name], value)
        elif isinstance(value, int) and not isinstance(value, bool):
            total[name] = total.get(name, 0) + value


def summed(results: list[FlushResult], past: Mapping[str, int], lost: int, rejected: int = 0) -> FlushResult:
    """One result for several engines; `past`, `lost` and `rejected` are of those that have ended before."""
    ledger = dict(past)
    for result in results:
        add_counters(ledger, result.ledger)
    left = past.get("spooled", 0)
    return FlushResult(
        delivered=all(result.delivered for result in results) and not lost and not left,
        pending=sum(result.pending for result in results),
        spooled=sum(result.spooled for result in results) + left,
        lost=sum(result.lost for result in results) + lost,
        ledger=ledger,
        backlog=sum(result.backlog for result in results),
        backlog_bytes=sum(result.backlog_bytes for result in results),
        rejected=sum(result.rejected for result in results) + rejected,
    )
