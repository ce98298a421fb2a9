"""The engine's one lock: who holds it may touch the queue, the ledger and the gate.

Never held across I/O, a wait or a user's callback. The spool has one of its own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:

    class RLock:
        """What typeshed leaves out of it, or forbids to inherit from."""

        def __enter__(self) -> bool: ...
        def __exit__(self, *_: object) -> None: ...
        def _is_owned(self) -> bool: ...

else:
    from _thread import RLock  # the interpreter's own, which gevent and eventlet leave alone


class Guard(RLock):
    """A lock that can be asked whether this thread is inside already.

    That happens when the garbage collector, running inside a guarded section, calls a destructor that
    logs. State is half-updated then, so such work is deferred: whoever leaves a section, or wakes, does it.

    `with guard` enters and leaves in C. Were these Python functions, the exception of a signal handler
    (Ctrl-C) could arrive inside them and leave the lock held for ever: the interpreter looks for signals
    at the beginning of functions, behind calls and at the end of loops, and nowhere else.

    Under gevent and eventlet all greenlets of a thread count as one: none is switched inside a section.
    """

    __slots__ = ("deferred",)

    def __init__(self) -> None:
        super().__init__()
        self.deferred: deque[Callable[[], object]] = deque()

    is_mine = RLock._is_owned
    """Whether the calling thread is inside. Ask before entering. In C: every log call asks."""

    def defer(self, work: Callable[[], object]) -> None:
        """Leave work to whoever calls `run_deferred` next. Takes no lock."""
        self.deferred.append(work)

    def run_deferred(self) -> None:
        """Do what was deferred. Call from outside."""
        while self.deferred:
            try:
                work = self.deferred.popleft()
            except IndexError:
                return  # another thread took it
            work()
