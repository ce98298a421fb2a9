"""The end that an application asks for, by a call or by dropping its logger."""

from __future__ import annotations

import sys

from .delivery.waiters import FlushResult
from .ending import Ending
from .flush import Flushing, Losses
from .parts import Parts
from .process import exit as process_exit
from .sync import WakeUp, releases_on_error


class Shutdown:
    """Takes the steps of the end for one engine.

    Args:
        parts: of the same engine.
        ending: its steps.
        flushing: says what it came to.
    """

    def __init__(self, parts: Parts, ending: Ending, flushing: Flushing) -> None:
        self.locks = parts.locks
        self._parts = parts
        self._lock = parts.lock
        self._clock = parts.clock
        self._ending = ending
        self._flushing = flushing
        self._is_left_to_thread = False  # by a coroutine, which has claimed the end

    @releases_on_error
    def run(self, timeout: float) -> FlushResult:
        """See `Engine.shutdown`."""
        if self._lock.is_mine():  # a destructor, in the middle of our own work: as soon as that is over
            self._parts.defer(lambda: self.run(timeout))
        if self._lock.is_mine() or sys.is_finalizing():
            return self._flushing.result(0, delivered=False)
        self._lock.run_deferred()
        deadline = self._clock.monotonic() + timeout
        losses = Losses(self._parts)
        try:
            self._ending.close(timeout)
            self._ending.wait_until_sent(deadline)
        finally:  # Ctrl-C, too, leaves on disk what is not delivered
            self._ending.finish(deadline)
        return self._flushing.result(losses.report())

    async def arun(self, timeout: float) -> FlushResult:
        """`run` on the running event loop. Cancelled, it leaves the final write to a thread."""
        from .delivery import loops  # imports asyncio, which not everybody uses

        self._lock.run_deferred()
        deadline = self._clock.monotonic() + timeout
        losses = Losses(self._parts)
        waiting, lifecycle = self._parts.waiting, self._parts.lifecycle
        try:
            self._ending.close(timeout)
            if waiting.allowed:
                await loops.until(waiting.for_all(self._ending.nothing_more_to_do, deadline))
        finally:
            first = self._claim()
            finishing = loops.on_a_thread(lambda: self._ending.finish(deadline)) if first else None
        if finishing is not None:
            await finishing
        else:
            await loops.until(waiting.for_all(lambda: lifecycle.over, deadline))
        return self._flushing.result(losses.report())

    def _claim(self) -> bool:
        """Whether no other call has begun with the end: only the first one needs a thread for it."""
        with self._lock:
            first = not self._is_left_to_thread and not self._ending.has_begun
            self._is_left_to_thread = True
        return first and not self._parts.lifecycle.over

    def abandon(self) -> None:
        """See `Engine.abandon`."""
        if not self._parts.lifecycle.accepting:
            return
        if self._parts.worker.threads:
            self._parts.defer(self._end_abandoned)
        else:
            process_exit.abandon(self._parts.member)

    def _end_abandoned(self) -> None:
        worker, timeout = self._parts.worker, self._parts.settings.exit_timeout
        if not worker.is_own_thread():  # the exit, which ends all of them
            return
        deadline = self._clock.monotonic() + timeout
        self._ending.close(timeout)
        worker.drive(self._ending.nothing_more_to_do, deadline, WakeUp())
        self._ending.finish(deadline)
