"""What happens to engines when the process forks or ends.

An engine's states, and what it owns in each:

    new        no thread, no connection, no descriptor, no file; its locks are free
    running    from the first record on: threads, pooled connections, leases on segments of the spool
    closing    as running, but accepts nothing; a lock is never held for longer than a few instructions,
               but for the spool's, which is held across a write
    stopped    as new; what was not delivered is on disk
    leaving    the process ends: as stopped, and what is still logged goes to disk at once

A fork may come between any two steps, from any thread. The child makes everything anew at its first call
(locks may be held there for ever, by threads that it does not have) and is *new*; or *stopped*, if the
parent was closing. It closes the leases' descriptors and unlocks nothing. A fork from inside a section of
the same thread (a destructor or signal handler that forks) lets the section end first. What a destructor
logs among the child's fork hooks is taken in at once; a thread is started for it behind them.

An exit ends every engine that has seen a record, step by step and all together; `last_writes` says who owns
the records in each step. Threads that are still there then may go on logging. Only engines are held here,
never loggers: an engine whose logger is garbage-collected ends itself.
When the interpreter itself is gone (`sys.is_finalizing`) its threads stand still, perhaps with a lock of
ours, so no lock is taken any more.
"""

from __future__ import annotations

import _thread
import atexit
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from ... import logs
from ...settings import checked_seconds
from ..delivery.worker import MayStart
from . import celery, rq, termination, uvicorn, uwsgi

if TYPE_CHECKING:
    from ..engine import Engine

__all__ = ["drain"]

_JOIN_SECONDS = 0.2
_FOR_RESPONSES = 0.1  # of the time: no request begins in it

_engines: set[Engine] = set()
_abandoned: deque[Engine] = deque()
_prepared: set[int] = set()  # processes
_leaving: set[int] = set()  # processes


def register(engine: Engine) -> None:
    """From its first record on an engine lives until it is shut down, at the latest at exit."""
    _engines.add(engine)
    if os.getpid() not in _prepared:
        _prepared.add(os.getpid())
        uwsgi.at_exit(at_exit)
        celery.at_exit(at_exit)
        rq.at_exit(at_exit_of_a_short_life)
        if engine.settings.on_sigterm == "auto":
            termination.be_heard()
        _register_at_exit()
        _drain_at_the_end_of_children()


def remember(engine: Engine) -> None:
    """The part of `register` that a destructor may do."""
    _engines.add(engine)


def abandoned(engine: Engine) -> None:
    """Nobody can use it any more, and it has no thread to end it. For a finaliser: takes no lock."""
    if engine in _engines:
        _abandoned.append(engine)


def end_abandoned() -> None:
    """End them, on the thread of a caller who expects us to take its time."""
    while _abandoned:
        try:
            engine = _abandoned.popleft()
        except IndexError:
            return  # another thread took it
        engine.shutdown(0.0)


def unregister(engine: Engine) -> None:
    _engines.discard(engine)


def _drain_at_the_end_of_children() -> None:
    """Children of multiprocessing and billiard leave by `os._exit`, past atexit, but run their finalizers.

    They forget the finalizers that they began with. So each child makes one at its beginning, and again
    here, at its first record, if the parent had not loaded these modules when it came by.
    """
    for package in ("multiprocessing", "billiard"):
        util, processes = sys.modules.get(f"{package}.util"), sys.modules.get(f"{package}.process")
        if util is None or processes is None:
            continue
        util.register_after_fork(at_exit, _finalizer_of(util))
        if processes.current_process()._parent_pid is not None:  # so in both, and in all their versions
            _finalizer_of(util)(at_exit)


def _finalizer_of(util: ModuleType) -> Callable[[Callable[[], None]], object]:
    return lambda drain: util.Finalize(None, drain, exitpriority=100)


def spool_closed(directory: Path) -> None:
    """An engine of this process has let go of its segments: another of the same destination may send them."""
    for engine in list(_engines):
        engine.look_on_disk(directory)


# -- exit ----------------------------------------------------------------------------------------------------


def leaving() -> bool:
    """Whether the end of this process has begun."""
    return os.getpid() in _leaving


def at_exit(timeout: float | None = None) -> None:
    """End every engine: what waits is on disk first; then all send until one deadline. No thread is started:
    from 3.12 on Python refuses it now.

    Args:
        timeout: seconds to wait for the backend; by default the largest `exit_timeout`.
    """
    while True:
        try:
            with termination.exiting(_drain_first if _handles_signals() else None):
                _leaving.add(os.getpid())
                logs.process_is_ending()
                _end_all(list(_engines), exit_timeout() if timeout is None else timeout)
            return
        except (KeyboardInterrupt, SystemExit):  # Ctrl-C again: the records come to disk, and no time is left
            timeout = 0.0


def exit_timeout() -> float:
    """Seconds that the exit may wait for the backend: the largest of all engines."""
    return max([engine.settings.exit_timeout for engine in tuple(_engines)], default=0.0)


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


def _end_all(engines: list[Engine], timeout: float) -> None:
    _each(engines, lambda engine: engine.begin_to_leave(timeout))
    deadline = time.monotonic() + timeout
    if timeout:
        _each(engines, lambda engine: engine.wait_at_exit(deadline - timeout * _FOR_RESPONSES))
        _each(engines, lambda engine: engine.await_responses(deadline))
    now = time.monotonic()
    _each(engines, lambda engine: engine.stop_sending())
    _each(engines, lambda engine: engine.finish(deadline, now + _JOIN_SECONDS))


def _each(engines: Iterable[Engine], step: Callable[[Engine], object]) -> None:
    for engine in engines:
        try:
            step(engine)
        except Exception:  # noqa: BLE001 - the outermost of all: the other engines have their turn
            logs.warn("exit", "a logger could not be shut down in good order", exc_info=True)


# -- before an end that calls no hook ------------------------------------------------------------------------


def secure(engines: Iterable[Engine]) -> None:
    """Have on disk what waits to be sent; it stays in memory as well, and is sent from there."""
    _each(engines, lambda engine: engine.secure())


def flush_all(timeout: float) -> bool:
    """Deliver what was logged, then what others have left, within one deadline; whether all is delivered."""
    deadline = time.monotonic() + timeout
    results = [engine.flush(max(0.0, deadline - time.monotonic())) for engine in list(_engines)]
    return all(results)


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
    engines = list(_engines)
    secure(engines)
    return flush_all(exit_timeout() if timeout is None else checked_seconds("timeout", timeout))


def at_exit_of_a_short_life() -> None:
    """`at_exit` where a process lives for one task: what others have left is sent, too. None lives longer."""
    engines = list(_engines)
    deadline = time.monotonic() + exit_timeout()
    secure(engines)
    if all(engine.answers() for engine in engines):
        _each(engines, lambda engine: engine.flush(max(0.0, deadline - time.monotonic())))
    at_exit(max(0.0, deadline - time.monotonic()))


# -- signals -------------------------------------------------------------------------------------------------


def handle_signals() -> None:
    """Where a signal's default action would end the process, drain first; see `termination`."""
    termination.install(_drain_first)
    uvicorn.listen(hear)


def _handles_signals() -> bool:
    return any(engine.settings.on_sigterm == "auto" for engine in tuple(_engines))


def hear() -> None:
    """The process may end at any moment: have all on disk soon, later records at once. Takes no lock."""
    hasten()
    engines = tuple(_engines)
    for engine in engines:
        engine.keep_first()
    with suppress(RuntimeError):  # no thread to be had: what is logged from now on is on disk at least
        _thread.start_new_thread(secure, (engines,))


def in_a_section() -> bool:
    """Whether the calling thread is inside a guarded section of any engine. Takes no lock."""
    return any(engine.in_a_section for engine in tuple(_engines))


def hasten() -> None:
    """The end is near: nothing lingers any more. Takes no lock."""
    for engine in tuple(_engines):
        engine.hasten()


_drain_first = termination.DrainFirst(at_exit, hear, exit_timeout, in_a_section)


# -- threads -------------------------------------------------------------------------------------------------


def may_start_threads() -> MayStart:
    """What this process says about threads now; from 3.12 on Python refuses one while it ends."""
    if not uwsgi.threads_can_run():
        return MayStart.NEVER
    return MayStart.NOT_NOW if leaving() or newborn() else MayStart.NOW


# -- fork ----------------------------------------------------------------------------------------------------


_forking: dict[int, int] = {}  # by thread: the process in which it began to fork


def newborn() -> bool:
    """Whether this thread is in the fork hooks of a child, where a destructor may log.

    `threading` may not have had its turn: it would forget a thread that is started now.
    """
    return _forking.get(threading.get_ident(), os.getpid()) != os.getpid()


def _before_fork() -> None:
    termination.hold_for_fork()
    _forking[threading.get_ident()] = os.getpid()


def _after_fork_in_parent() -> None:
    _forking.pop(threading.get_ident(), None)
    termination.let_go_after_fork()


def _after_fork_in_child() -> None:
    try:
        logs.forget_threads()
        for engine in list(_engines):
            engine.after_fork()
    finally:
        _forking.clear()
        termination.let_go_after_fork()  # before threads are started: they would inherit what is blocked
    for engine in list(_engines):
        engine.start_if_needed()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
    )
