"""How threads meet: the lock, the wake-up, the clock. The only place that waits or reads the time.

The engine's lock is an `EngineLock`: it guards the queue, the ledger and the policies, and is never held
across I/O, a wait or a user's callback. The spool has a lock of its own. When an exception leaves a public
call, every lock is free again. Tests pass in another clock, and a lock that checks `assert_held`.
"""

from __future__ import annotations

import functools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from types import BuiltinFunctionType
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar

if TYPE_CHECKING:

    class RLock:
        """What typeshed leaves out of `RLock`, or does not let us inherit from."""

        def __enter__(self) -> bool: ...
        def __exit__(self, *_: object) -> None: ...
        def _is_owned(self) -> bool: ...
        def acquire(self, blocking: bool = True) -> bool: ...
        def release(self) -> None: ...

else:
    from _thread import RLock  # the interpreter's own, which gevent and eventlet leave alone

LONGEST_WAIT = 3600.0
_ONE_TURN = 0.0001


class WakeUp:
    """One thread waits, any thread wakes it; a wake-up before the wait makes the wait return at once.

    A raw lock used as a binary semaphore. `threading.Event` and `Condition` take a lock inside `set` and
    `notify`, which deadlocks if the garbage collector or a signal handler calls them in the middle of a wait;
    releasing a raw lock takes none.
    """

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def wake(self) -> None:
        try:
            self._lock.release()
        except RuntimeError:
            return  # an earlier wake-up is still pending

    def wait(self, seconds: float) -> bool:
        if seconds <= 0:
            return self._lock.acquire(blocking=False)
        return self._lock.acquire(timeout=min(seconds, LONGEST_WAIT))


class Clock:
    """The real clock: monotonic for durations, wall for timestamps, and the one way to wait."""

    # The C functions themselves: each record asks for both.
    monotonic: Callable[[], float] = staticmethod(time.monotonic)
    wall: Callable[[], float] = staticmethod(time.time)

    def yield_(self) -> None:
        """Let other threads run, and other greenlets if `time` is patched.

        gevent's `sleep(0)` only runs greenlets that are ready, and never looks at timers or sockets.
        """
        sleep = time.sleep
        sleep(0 if isinstance(sleep, BuiltinFunctionType) else _ONE_TURN)

    def wait(self, wake_up: WakeUp, seconds: float) -> bool:
        """Wait for the wake-up, at most `seconds`; True if it came."""
        return wake_up.wait(seconds)


class Lock(RLock):
    """A re-entrant lock that can be released even if an exception has left it held.

    `with lock` enters and leaves in C, which is fast. But it may leave the lock held if a signal handler
    raises (Ctrl-C): CPython 3.14 looks for signals between entering and the section. So a `ReleasingOnError`
    surrounds every section, there or further out; then it does not matter where the interpreter looks.

    Under gevent and eventlet all greenlets of a thread count as one: they never switch inside a section.
    """

    __slots__ = ()

    is_mine = RLock._is_owned
    """Whether the calling thread holds it. A C function: every log call asks."""

    def assert_held(self) -> None:
        """The caller must hold the lock. Does nothing here; the tests' lock checks it."""

    def release_fully(self) -> None:
        """Release it, however often this thread has entered."""
        while self.is_mine():
            self.release()


class GreenletLock:
    """A `Lock` that tells greenlets apart: under gevent and eventlet, which replace `threading.RLock`.

    For long sections, in which greenlets switch.
    """

    def __init__(self) -> None:
        self._lock: Any = threading.RLock()  # typeshed leaves out `_is_owned`

    def __enter__(self) -> bool:
        return bool(self._lock.acquire())

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def is_mine(self) -> bool:
        """Whether the calling thread, or greenlet, holds it."""
        return bool(self._lock._is_owned())

    def release_fully(self) -> None:
        """Release it, however often the caller has entered."""
        while self.is_mine():
            self._lock.release()


class EngineLock(Lock):
    """The engine's lock, with work deferred by calls that came while this thread held it.

    That happens when the garbage collector, running inside a section, calls a destructor that logs. State is
    half-updated then, so such work is deferred: a thread that leaves a section, or wakes, does it.
    """

    __slots__ = ("deferred",)

    def __init__(self) -> None:
        super().__init__()
        self.deferred: deque[Callable[[], object]] = deque()

    def defer(self, work: Callable[[], object]) -> None:
        """Leave work to the next call of `run_deferred`. Takes no lock."""
        self.deferred.append(work)

    def run_deferred(self) -> None:
        """Do the deferred work. Call without the lock held."""
        while self.deferred:
            try:
                work = self.deferred.popleft()
            except IndexError:
                return  # another thread took it
            work()


class ReleasingOnError:
    """Around sections: when an exception leaves, locks that were free before are released."""

    __slots__ = ("_free",)

    def __init__(self, locks: Iterable[Lock | GreenletLock]) -> None:
        self._free = [lock for lock in locks if not lock.is_mine()]

    def __enter__(self) -> None:
        """Takes nothing."""

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            for lock in self._free:
                lock.release_fully()


class HasLocks(Protocol):
    """An owner of methods that `releases_on_error` can wrap."""

    @property
    def locks(self) -> tuple[Lock, ...]:
        """All locks that its methods may take."""


Owner = TypeVar("Owner", bound=HasLocks)
Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def releases_on_error(
    method: Callable[Concatenate[Owner, Parameters], Result],
) -> Callable[Concatenate[Owner, Parameters], Result]:
    """Wrap a method: an exception that leaves it leaves no lock held that was free before."""

    @functools.wraps(method)
    def call(owner: Owner, /, *args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        with ReleasingOnError(owner.locks):
            return method(owner, *args, **kwargs)

    return call
