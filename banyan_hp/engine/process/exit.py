"""The end of a process: every engine that has seen a record ends, step by step and all together.

`delivery/final_write.py` says who owns the records in each step. Threads that are still there then may go on
logging. Only engines are held here, never loggers: an engine whose logger is garbage-collected ends itself.
When the interpreter itself is gone (`sys.is_finalizing`) its threads stand still, perhaps with a lock of
ours, so no lock is taken any more.
"""

from __future__ import annotations

import _thread
import atexit
import os
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from ... import logs
from ...settings import Settings, checked_seconds
from . import hosts, leftovers, termination

__all__ = ["drain"]

_JOIN_SECONDS = 0.2
_FOR_RESPONSES = 0.1  # of the time: no request begins in it


class Ending(Protocol):
    """One engine's steps of the end. A step that Ctrl-C has interrupted can be taken again."""

    def begin_to_leave(self, timeout: float) -> object:
        """The process ends in this many seconds: accept nothing more, and `secure`."""

    def secure(self) -> object:
        """Have on disk what waits to be sent."""

    def wait_at_exit(self, deadline: float) -> object:
        """Wait for the backend, if it has responded lately."""

    def await_responses(self, deadline: float) -> object:
        """Begin no more requests, so that none is repeated because its response came too late."""

    def stop_sending(self) -> object:
        """What was not delivered is the final write's."""

    def finish(self, deadline: float, join_until: float | None = None) -> object:
        """The final write, and the end."""

    def expects_response(self) -> bool:
        """Whether the backend can be expected to respond soon."""


class Core(Protocol):
    """What belongs to one process of an engine. All but the last two methods take no lock."""

    @property
    def ending(self) -> Ending:
        """The steps of the end."""

    @property
    def in_a_section(self) -> bool:
        """Whether the calling thread is in the middle of changing something."""

    def stop_lingering(self) -> object:
        """Nothing lingers any more, and no backlog is sent."""

    def write_before_sending(self) -> object:
        """From now on each record is on disk before it is sent."""

    def spool_released(self, directory: Path) -> object:
        """Another engine has released its segments in `directory`."""

    def start_if_needed(self) -> object:
        """Begin with what was logged while no thread could be started."""


class Member(Protocol):
    """What the end of a process, and a fork, need of an engine."""

    @property
    def settings(self) -> Settings:
        """`exit_timeout` and `on_sigterm` are read."""

    @property
    def core(self) -> Core:
        """What belongs to this process, or to the parent until `here` is called."""

    def here(self) -> Core:
        """What belongs to this process."""

    def after_fork(self) -> object:
        """Make everything anew."""

    def flush(self, timeout: float) -> object:
        """Deliver what was logged; whether all is delivered."""

    def shutdown(self, timeout: float) -> object:
        """All steps."""


_engines: set[Member] = set()
_abandoned: deque[Member] = deque()
_prepared: set[int] = set()  # processes
_first_at_exit: list[Callable[[], object]] = []
_last_at_exit: list[Callable[[], object]] = []
_leaving: set[int] = set()  # processes


# -- the engines of this process ----------------------------------------------------------------------------


def members() -> tuple[Member, ...]:
    """All engines that are to be ended. The copy is atomic under the GIL."""
    return tuple(_engines)


def register(engine: Member) -> None:
    """From its first record on an engine lives until it is shut down, at the latest at exit."""
    _engines.add(engine)
    if os.getpid() not in _prepared:
        _prepared.add(os.getpid())
        if engine.settings.on_sigterm == "auto":
            termination.watch_hub()
        _register_at_exit()
        hosts.at_exit(at_exit, at_exit_of_short_life)


register_in_destructor = _engines.add  # the part of `register` that a destructor may do
unregister = _engines.discard


def abandon(engine: Member) -> None:
    """Its logger is gone, and it has no thread that would end it. For a finaliser: takes no lock."""
    if engine in _engines:
        _abandoned.append(engine)


def end_abandoned() -> None:
    """End those engines, on the thread of a caller that waits for a delivery anyway."""
    while _abandoned:
        try:
            engine = _abandoned.popleft()
        except IndexError:
            return  # another thread took it
        engine.shutdown(0.0)


def spool_released(directory: Path) -> None:
    """An engine has released its segments, which another one of this process may send."""
    for engine in members():
        engine.core.spool_released(directory)


# -- exit ----------------------------------------------------------------------------------------------------


def leaving() -> bool:
    return os.getpid() in _leaving


def before_exit(work: Callable[[], object]) -> None:
    """Have `work` done at the beginning of each exit, be it by a signal, while records are still accepted."""
    _first_at_exit.append(work)


def after_exit(work: Callable[[], object]) -> None:
    """Have `work` done at the end of each exit, when every record is settled. It takes a bounded time."""
    _last_at_exit.append(work)


def at_exit(timeout: float | None = None) -> None:
    """End every engine: what waits is on disk first; then all send until one deadline. No thread is started:
    from 3.12 on Python refuses it now.

    Args:
        timeout: seconds to wait for the backend; by default the largest `exit_timeout`.
    """
    while True:
        try:
            handles_signals = any(engine.settings.on_sigterm == "auto" for engine in members())
            with termination.exiting(_drain_first if handles_signals else None):
                _do(_first_at_exit, "what is open could not be logged")
                _leaving.add(os.getpid())
                logs.process_is_ending()
                _end_all(members(), exit_timeout() if timeout is None else timeout)
                leftovers.report()
                _do(_last_at_exit, "what was counted could not be reported")
            return
        except (KeyboardInterrupt, SystemExit):  # Ctrl-C again: the records come to disk, and no time is left
            timeout = 0.0


def _do(works: Iterable[Callable[[], object]], failed: str) -> None:
    for work in works:
        try:
            work()
        except Exception:  # noqa: BLE001 - the outermost of all: the engines end whatever it does
            logs.warn("exit", failed, exc_info=True)


def exit_timeout() -> float:
    """Seconds that the exit may wait for the backend: the largest of all engines."""
    return max([engine.settings.exit_timeout for engine in members()], default=0.0)


class _Finder:
    """Compares itself with all that is registered: `atexit` has no other way to ask."""

    found = False

    def __eq__(self, other: object) -> bool:
        self.found = self.found or other is at_exit
        return False

    __hash__ = None  # type: ignore[assignment]


def _register_at_exit() -> None:
    """Again in each process where it is gone: some children clear `atexit` of what the parent registered."""
    finder = _Finder()
    atexit.unregister(finder)  # type: ignore[arg-type]
    if not finder.found:
        for _ in range(2):  # Ctrl-C at the very beginning of one leaves it to the other
            atexit.register(at_exit)


_register_at_exit()


def _end_all(engines: Iterable[Member], timeout: float) -> None:
    _each(engines, lambda engine: engine.here().ending.begin_to_leave(timeout))
    deadline = time.monotonic() + timeout
    if timeout:
        _each(engines, lambda engine: engine.here().ending.wait_at_exit(deadline - timeout * _FOR_RESPONSES))
        _each(engines, lambda engine: engine.here().ending.await_responses(deadline))
    now = time.monotonic()
    _each(engines, lambda engine: engine.here().ending.stop_sending())
    _each(engines, lambda engine: engine.here().ending.finish(deadline, now + _JOIN_SECONDS))


def _each(engines: Iterable[Member], step: Callable[[Member], object]) -> None:
    for engine in engines:
        try:
            step(engine)
        except Exception:  # noqa: BLE001 - the outermost of all: the other engines have their turn
            logs.warn("exit", "a logger could not be shut down in good order", exc_info=True)


# -- before an end that calls no hook ------------------------------------------------------------------------


def _secure(engines: Iterable[Member]) -> None:
    """Have on disk what waits to be sent; it stays in memory as well, and is sent from there."""
    _each(engines, lambda engine: engine.here().ending.secure())


def drain(timeout: float | None = None) -> bool:
    """Have all on disk, then delivered. For the end of a process past `atexit`: before `os._exit` or
    `os.exec*`, or in a framework's own hook after a task.

    First all that was logged, with every logger of this process, is on disk; then it is sent, and after it
    what earlier processes have left there, for as long as there is time. What remains is sent by the next
    process that logs. The process may go on logging, and call it again.

    Args:
        timeout: seconds to wait for the backend; by default the loggers' `exit_timeout`.

    Returns:
        Whether all that this process has logged is delivered.
    """
    engines = members()
    _secure(engines)
    seconds = exit_timeout() if timeout is None else checked_seconds("timeout", timeout)
    deadline = time.monotonic() + seconds
    results = [engine.flush(max(0.0, deadline - time.monotonic())) for engine in engines]
    return all(results)


def at_exit_of_short_life() -> None:
    """`at_exit` where each process lives for one task: what others have left is sent, too, as no process
    lives longer.
    """
    engines = members()
    deadline = time.monotonic() + exit_timeout()
    _secure(engines)
    if all(engine.here().ending.expects_response() for engine in engines):
        _each(engines, lambda engine: engine.flush(max(0.0, deadline - time.monotonic())))
    at_exit(max(0.0, deadline - time.monotonic()))


# -- signals -------------------------------------------------------------------------------------------------


def handle_signals() -> None:
    """Where a signal's default action would end the process, drain first; see `termination`."""
    termination.install(_drain_first)
    hosts.before_uvicorn_ends(prepare_for_end)


def prepare_for_end() -> None:
    """The process may end at any moment: have all on disk soon, later records at once. Takes no lock."""
    stop_lingering()
    engines = members()
    for engine in engines:
        engine.core.write_before_sending()
    with suppress(RuntimeError):  # no thread to be had: what is logged from now on is on disk at least
        _thread.start_new_thread(_secure, (engines,))


def stop_lingering() -> None:
    """The end is near: nothing lingers. Takes no lock."""
    for engine in members():
        engine.core.stop_lingering()


def in_a_section() -> bool:
    """Whether the calling thread is inside a guarded section of any engine. Takes no lock."""
    return any(engine.core.in_a_section for engine in members())


_drain_first = termination.DrainFirst(at_exit, prepare_for_end, exit_timeout, in_a_section)
