"""Signals whose default action ends the process past `atexit`: SIGTERM, SIGHUP, SIGQUIT.

Where one of them still has its default action, a handler of ours drains first and then lets the default
action happen, so the exit status stays what it was. A handler that is set later replaces ours, which is not
set a second time. A handler that Python knows nothing of (uWSGI's, faulthandler's) stays.

    state      who drains                        what a signal does
    (none)     nobody                            a thread begins to drain, and the main thread waits for it
    draining   that thread, or the exit itself   it is recorded: the drain has a deadline anyway
    over       nobody                            the default action

The handler interrupts the main thread anywhere, so it takes no lock; where the main thread is in the middle
of a change of ours, the signal is sent again when that is over. A fork takes the handlers along: a child has
its own state, and drains its own records. Under gevent and eventlet the main thread can't wait: the
application goes on until the drain is over. eventlet's hub has to be woken for the drain's greenlet.
"""

from __future__ import annotations

import _thread
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from ...files import read_file
from . import eventlet

_SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP", "SIGQUIT") if hasattr(signal, name)]
_SECTION_SECONDS = 0.001
_SECTIONS_AT_MOST = 2.0
_AGAIN_SECONDS = 0.05
_STATUS_BYTES = 65536
_GRACE_SECONDS = 3.0  # beyond the drain's own deadline; then the default action happens at any rate


class Again:
    """Sends a signal again when the main thread's section is over; sections take microseconds.

    A section that does not end was left by an exception: then the signal counts all the same.
    """

    def __init__(self) -> None:
        self._wanted: object = None  # what only the thread that is to send it has, too
        self._first = float("-inf")

    def arrived(self) -> None:
        self._wanted = None

    @property
    def too_long(self) -> bool:
        """Whether it has been sent again for too long."""
        return _SECTIONS_AT_MOST < time.monotonic() - self._first < 2 * _SECTIONS_AT_MOST

    def later(self, number: int) -> None:
        now = time.monotonic()
        is_first = now - self._first > _SECTIONS_AT_MOST
        if is_first:
            self._first = now
        self._wanted = wanted = object()
        delay = _SECTION_SECONDS if is_first else _AGAIN_SECONDS
        with suppress(RuntimeError):  # no threads any more: the process is at its end already
            _thread.start_new_thread(self._send, (number, wanted, delay))

    def _send(self, number: int, wanted: object, delay: float) -> None:
        """Until it arrives: one just before a system call is not handled before that has ended."""
        time.sleep(delay)
        while self._wanted is wanted:
            interrupt_main(number)
            time.sleep(_AGAIN_SECONDS)


class _Ending:
    """A process's drain: the first signal that came, if any, and whether the drain is over."""

    def __init__(self, number: int | None = None) -> None:
        self.pid = os.getpid()
        self.number = number
        self.over = False


class DrainFirst:
    """The handler.

    Args:
        drain: ends all engines; has a deadline.
        prepare: has all records on disk soon, also later ones.
        patience: how long the drain may take, in seconds.
        in_a_section: whether the calling thread is in the middle of changing something.
    """

    def __init__(
        self,
        drain: Callable[[], None],
        prepare: Callable[[], None],
        patience: Callable[[], float],
        in_a_section: Callable[[], bool],
    ) -> None:
        self._drain = drain
        self._prepare = prepare
        self._patience = patience
        self._in_a_section = in_a_section
        self._again = Again()

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        self._again.arrived()
        ending = _current()
        if ending is not None and ending.over:
            die(ending.number or number)
        elif ending is not None:
            ending.number = ending.number or number
        elif self._in_a_section() and not self._again.too_long:
            self._again.later(number)
        elif os.getpid() == 1:  # the default action does nothing to a container's first process
            self._prepare()
        else:
            self._begin(number)

    def _begin(self, number: int) -> None:
        global _ending
        if _who_makes_threads() == "eventlet" and not eventlet.wake():
            die(number)
        ending = _ending = _Ending(number)
        try:
            _thread.start_new_thread(self._drain_on_thread, (ending, number))
        except RuntimeError:  # no thread to be had
            self._drain()
        else:
            if _who_makes_threads() != "_thread":
                return
            time.sleep(self._patience() + _GRACE_SECONDS)  # interrupted by the end of the drain
        die(number)

    def _drain_on_thread(self, ending: _Ending, number: int) -> None:
        try:
            self._drain()
        finally:
            ending.over = True
            while True:  # until it arrives, see `Again`
                interrupt_main(number)
                time.sleep(_AGAIN_SECONDS)


_ending: _Ending | None = None
_set_once: set[int] = set()


def install(handler: DrainFirst) -> None:
    """Set the handler for each signal that has its default action. On other threads than the main one, and
    in subinterpreters, nothing happens: Python allows it nowhere else.
    """
    watch_hub()
    for number in _with_default_action():
        if number not in _set_once:
            with suppress(ValueError):
                signal.signal(number, handler)
                _set_once.add(number)


def watch_hub() -> None:
    """Prepare eventlet's hub for a drain's greenlet, in each process."""
    if _who_makes_threads() == "eventlet":
        eventlet.watch()


@contextmanager
def exiting(handler: DrainFirst | None) -> Iterator[None]:
    """The process drains at its end: a signal with its default action waits for that.

    Args:
        handler: for the signals that have their default action now; None: they keep it.
    """
    global _ending
    ending = _ending = _current() or _Ending()
    ending.over = False
    taken_over = _take_over(handler) if handler is not None and _on_main_thread() else []
    try:
        yield
    finally:
        ending.over = True
        for number in taken_over:
            if isinstance(signal.getsignal(number), DrainFirst):
                signal.signal(number, signal.SIG_DFL)
        if ending.number is not None and _on_main_thread():
            die(ending.number)


def _take_over(handler: DrainFirst) -> list[int]:
    """Set the handler for each signal that has its default action."""
    taken_over = []
    for number in _with_default_action():
        with suppress(ValueError):  # in a subinterpreter
            signal.signal(number, handler)
            taken_over.append(number)
    return taken_over


# -- fork ----------------------------------------------------------------------------------------------------

_masks: dict[int, list[set[int]]] = {}  # by thread: what it blocked before it began to fork


def block_for_fork() -> None:
    """Have signals wait while this thread forks: Python forgets what a child gets before it is ready."""
    if _set_once:
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        _masks.setdefault(threading.get_ident(), []).append(mask)


def unblock_after_fork() -> None:
    """In parent and child."""
    masks = _masks.get(threading.get_ident())
    if masks:
        mask = masks.pop()
        if not masks:
            del _masks[threading.get_ident()]
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


# -- the default action --------------------------------------------------------------------------------------


def die(number: int) -> None:
    """The default action. Call on the main thread."""
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)


def interrupt_main(number: int) -> None:
    """Have a handler called on the main thread, and a wait there end."""
    main = threading.main_thread().ident
    if main is None or _who_makes_threads() != "_thread":  # then it is not the system's number
        os.kill(os.getpid(), number)
    else:
        signal.pthread_kill(main, number)


def _current() -> _Ending | None:
    """The drain of this process: a forked child has had no signal yet."""
    return _ending if _ending is not None and _ending.pid == os.getpid() else None


def _on_main_thread() -> bool:
    return threading.get_ident() == threading.main_thread().ident


def _who_makes_threads() -> str:
    """`_thread`, or what has replaced it: gevent or eventlet."""
    return str(getattr(_thread.start_new_thread, "__module__", "_thread")).partition(".")[0]


def _with_default_action() -> list[int]:
    default = [number for number in _SIGNALS if signal.getsignal(number) == signal.SIG_DFL]
    caught = _caught() if default else 0
    return [number for number in default if not caught >> (number - 1) & 1]


def _caught() -> int:
    """A bit for each signal with a handler, also of those that Python knows nothing of; Linux only."""
    with suppress(OSError, ValueError, StopIteration):
        lines = read_file(Path("/proc/self/status"), _STATUS_BYTES).splitlines()
        return int(next(line for line in lines if line.startswith(b"SigCgt:")).split()[1], 16)
    return 0
