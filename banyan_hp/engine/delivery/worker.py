"""The daemon threads that send: started at the first record, one where batches are taken, else a few.

They run the tasks that the scheduler names. A caller's thread can run them too, where there is no thread
to be had (`background_thread=False`, interpreter shutdown).
"""

from __future__ import annotations

import enum
import os
import sys
import threading
from collections.abc import Callable

from ...logs import warn
from ...settings import Settings
from ..records.record import Record
from ..sync import WakeUp
from .callbacks import Notices, OwnThread
from .runner import TaskRunner
from .scheduler import Scheduler
from .settlement import Settlement
from .shared import Shared

_AFTER_A_CRASH_SECONDS = 1.0
_NO_THREAD_SECONDS = 1.0

# Those that were refused their only thread, and in which process; others' threads ask again for them, too.
_without_thread: dict[Worker, int] = {}


class MayStart(enum.Enum):
    """Whether the process lets a thread be started."""

    NOW = enum.auto()
    NOT_NOW = enum.auto()  # it ends, or begins: a fork's hooks are under way
    NEVER = enum.auto()  # threads do not run here


class Worker:
    """All sending threads of one engine.

    Args:
        may_start: asked before a thread is started; takes no lock.
    """

    def __init__(
        self,
        shared: Shared,
        settings: Settings,
        scheduler: Scheduler,
        settlement: Settlement,
        notices: Notices,
        runner: TaskRunner,
        may_start: Callable[[], MayStart],
    ) -> None:
        self._lock, self._clock, self._ledger = shared
        self._settings = settings
        self._scheduler = scheduler
        self._settlement = settlement
        self._notices = notices
        self._runner = runner
        self._process_lets_start = may_start
        self.threads: list[threading.Thread] = []
        self._between_tasks: Callable[[], object] | None = None
        self._own_threads: set[int] = set()  # each adds and discards only itself, which is atomic
        self._no_thread_until = float("-inf")
        self.failed_at = float("-inf")
        self.last_failure = ""

    # -- threads ----------------------------------------------------------------------------------------

    @property
    def background(self) -> bool:
        """Whether threads are wanted, and can run at this moment."""
        return self._settings.background_thread and self._process_lets_start() is not MayStart.NEVER

    @property
    def alive(self) -> bool:
        """Whether a thread is there: each takes itself off the list at its end.

        Asking a thread whether it is alive tries a lock, and under gevent that switches to another greenlet.
        This is asked inside guarded sections, where nothing may switch.
        """
        return bool(self.threads)

    def call_between_tasks(self, function: Callable[[], object] | None) -> None:
        """Have each thread call this after each task or wait; None: nothing any more."""
        self._between_tasks = function

    def is_own_thread(self) -> bool:
        return threading.get_ident() in self._own_threads

    def start(self, wanted: int = 1) -> None:
        """Have at least so many threads. Where that is refused, callers do the work themselves.

        It is asked for again, at most once a second: at the next record, stats poll, or task of any
        worker of this process.
        """
        thread = None
        try:
            thread = self._next_thread(wanted)
            if thread is not None:
                thread.start()
                _without_thread.pop(self, None)
        except RuntimeError as error:  # in subinterpreters without daemon threads, one can't even be made
            self._refused(error)
        finally:  # an interrupted start (Ctrl-C) may have been none, too
            if thread is not None and thread.ident is None:
                self._forget(thread)

    def _next_thread(self, wanted: int) -> OwnThread | None:
        """On the list, and not started yet; None if there are so many, or may be none."""
        with self._lock:
            number = len(self.threads)
            if number >= wanted or not self._may_start():
                return None
            thread = OwnThread(target=self._run, name=f"banyan_hp-{number}", daemon=True)
            self.threads.append(thread)
            return thread

    def _refused(self, error: RuntimeError) -> None:
        """The system has no threads left, or the interpreter is shutting down: then all is as it should be.

        From 3.12 on Python says so before our end has begun: while it still waits for others' threads.
        """
        self._no_thread_until = self._clock.monotonic() + _NO_THREAD_SECONDS
        if self._process_lets_start() is not MayStart.NOT_NOW and "shutdown" not in str(error):
            _without_thread[self] = os.getpid()
            warn("no thread", "no background thread can be started: %s", error)

    @property
    def lacks_thread(self) -> bool:
        """Whether the only thread was refused."""
        return self in _without_thread and not self.threads

    def _may_start(self) -> bool:
        if not self._settings.background_thread or self._runner.stopping or sys.is_finalizing():
            return False
        return self._clock.monotonic() >= self._no_thread_until and self._process_lets_start() is MayStart.NOW

    def stop(self) -> list[Record]:
        """Tell all threads to end after what they are doing; what they do it with is the caller's now.

        Call with the lock held. Again, after Ctrl-C in the middle, it returns the same.
        """
        _without_thread.pop(self, None)
        return self._runner.stop()

    def join(self, deadline: float) -> None:
        """Wait for the threads to end, until `deadline` on the monotonic clock."""
        for thread in tuple(self.threads):
            if thread is not threading.current_thread() and thread.is_alive():
                thread.join(max(0.0, deadline - self._clock.monotonic()))

    def _run(self) -> None:
        try:
            self._as_own_thread(self._work)
        except BaseException as error:  # noqa: BLE001 - the outermost of a thread: nothing on stderr
            self._failed(error)
        finally:
            self._forget(threading.current_thread())
            self.start()  # another one, unless this is the end

    def _forget(self, gone: threading.Thread) -> None:
        with self._lock:
            self.threads = [thread for thread in self.threads if thread is not gone]

    def _work(self) -> None:
        wake_up = WakeUp()
        while not self._runner.stopping:
            try:
                self.step(wake_up, NO_DEADLINE, one_of_many=True)
                if self._between_tasks is not None:
                    self._between_tasks()
                if _without_thread:
                    start_refused()
            except BaseException as error:  # noqa: BLE001 - a thread's loop
                self._failed(error)
        self._lock.run_deferred()  # the final write, perhaps

    def _failed(self, error: BaseException) -> None:
        with self._lock:
            self._ledger.counters.worker_restarts += 1
            self.failed_at, self.last_failure = self._clock.monotonic(), type(error).__name__
        warn("worker", "the worker failed and goes on: %s", self.last_failure, exc_info=True)
        self._clock.wait(WakeUp(), _AFTER_A_CRASH_SECONDS)

    def _as_own_thread(self, work: Callable[[], None]) -> None:
        """Run `work`; whoever leaves has another one look around.

        The others may sleep without a time, because we would have seen to a retry or to an open gate.
        """
        me = threading.get_ident()
        self._own_threads.add(me)
        try:
            work()
        finally:
            self._own_threads.discard(me)
            with self._lock:
                self._scheduler.sleepers.wake_one()

    def drive(self, done: Callable[[], bool], deadline: float, wake_up: WakeUp) -> None:
        """Do the threads' work on the calling thread until `done` or the deadline; `bell` wakes it."""

        def work() -> None:
            while not done() and not self._runner.stopping and self._clock.monotonic() < deadline:
                self.step(wake_up, deadline)

        self._settlement.watch(wake_up)
        try:
            self._as_own_thread(work)
        finally:
            self._settlement.unwatch(wake_up)

    def step(self, wake_up: WakeUp, deadline: float, *, one_of_many: bool = False) -> None:
        """One task, or one wait, and before it what was left for a thread like this one."""
        self._lock.run_deferred()
        if self._notices.pending:
            self._notices.report()
        self._runner.step(wake_up, deadline, self._add_thread_if_useful, one_of_many=one_of_many)

    def _add_thread_if_useful(self) -> None:
        """One record a request needs more threads: one caps us at 20 records a second at 50 ms each.

        One more than is at work is there, to see to it if a request hangs.
        """
        with self._lock:
            self._scheduler.share(self._clock.monotonic())
            threads = len(self.threads)
            one_more = 0 < threads <= self._runner.sending and threads < self._settings.max_connections
        if one_more:
            self.start(threads + 1)

    # -- what the threads have in hand, see `TaskRunner` -------------------------------------------------

    def oldest_at(self) -> float | None:
        return self._runner.oldest_at()

    @property
    def sends_backlog(self) -> bool:
        return self._runner.sends_backlog

    @property
    def sends(self) -> bool:
        return self._runner.sends

    def forget(self) -> None:
        self._runner.forget()

    def in_hand(self) -> list[Record]:
        return self._runner.in_hand()


def start_refused() -> None:
    """Ask again for the threads that were refused in this process."""
    for worker, process in tuple(_without_thread.items()):
        if worker.threads or process != os.getpid():
            _without_thread.pop(worker, None)
        else:
            worker.start()


NO_DEADLINE = float("inf")
