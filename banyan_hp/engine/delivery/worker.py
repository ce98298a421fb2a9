"""The daemon threads that send: started at the first record, one for batches, a few for single records.

They run the tasks that the scheduler names. So does a caller's thread where no thread can be started
(`background_thread=False`, interpreter shutdown).
"""

from __future__ import annotations

import enum
import os
import sys
import threading
from collections.abc import Callable
from functools import partial

from ...logs import warn
from ...settings import Settings
from ..records.record import Record
from ..sync import WakeUp
from ..threads import ThreadStart
from .callbacks import Notices, OwnThread
from .runner import TaskRunner
from .scheduler import Scheduler
from .shared import Shared

_AFTER_A_CRASH_SECONDS = 1.0
_NO_THREAD_SECONDS = 1.0

# Workers whose only thread was refused, and in which process. Other workers' threads ask again for them.
_without_thread: dict[Worker, int] = {}


class MayStart(enum.Enum):
    """Whether the process lets a thread be started."""

    NOW = enum.auto()
    NOT_NOW = enum.auto()  # it ends, or begins: a fork's hooks are under way
    NEVER = enum.auto()  # threads do not run here


class Worker:
    """All sending threads of one engine; `may_start`, asked before a thread is started, takes no lock."""

    def __init__(
        self,
        shared: Shared,
        settings: Settings,
        scheduler: Scheduler,
        notices: Notices,
        runner: TaskRunner,
        may_start: Callable[[], MayStart],
    ) -> None:
        self._lock, self._clock, self._ledger, policies, self._watchers = shared
        self._concurrency = policies.concurrency
        self._settings = settings
        self._scheduler = scheduler
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
        This is asked with the lock held, where nothing may switch.
        """
        return bool(self.threads)

    def call_between_tasks(self, function: Callable[[], object] | None) -> None:
        """Have each thread call this after each task or wait; None: nothing any more."""
        self._between_tasks = function

    def is_own_thread(self) -> bool:
        return threading.get_ident() in self._own_threads

    def start(self, wanted: int = 1) -> None:
        """Have at least this many threads. Where the system refuses one, callers do the work themselves.

        A refused thread is tried again, at most once a second: at the next record, stats poll, or task of
        any worker of this process.
        """
        if len(self.threads) >= wanted or not self._may_start():
            return
        try:
            thread = OwnThread(target=self._run, daemon=True)
            with ThreadStart(thread, partial(self._forget, thread)) as begun:
                if self._noted(thread, wanted):
                    begun.make()
                    _without_thread.pop(self, None)
        except RuntimeError as error:  # in subinterpreters without daemon threads, one can't even be made
            self._refused(error)

    def _noted(self, thread: OwnThread, wanted: int) -> bool:
        """Put it on the list, unless there are so many by now."""
        with self._lock:
            number = len(self.threads)
            if number >= wanted or not self._may_start():
                return False
            thread.name = f"banyan_hp-{number}"
            self.threads.append(thread)
            return True

    def _refused(self, error: RuntimeError) -> None:
        """The system has no threads left; or the interpreter is shutting down, which is no trouble.

        From 3.12 on Python refuses threads before our own end begins: while it waits for other threads.
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
        """End all threads after their present task, whose records belong to the caller now.

        Call with the lock held. Called again, after Ctrl-C in the middle, it returns the same.
        """
        self._lock.assert_held()
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
        """Run `work`, and wake another thread at its end.

        The others may sleep without a time limit: this one would have seen to the next retry or probe.
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
        """Do the threads' work on the calling thread until `done` or the deadline; `wake_up` wakes it."""

        def work() -> None:
            while not done() and not self._runner.stopping and self._clock.monotonic() < deadline:
                self.step(wake_up, deadline)

        self._watchers.watch(wake_up)
        try:
            self._as_own_thread(work)
        finally:
            self._watchers.unwatch(wake_up)

    def step(self, wake_up: WakeUp, deadline: float, *, one_of_many: bool = False) -> None:
        """One task, or one wait; before it, the work and the callbacks that were left to our threads."""
        self._lock.run_deferred()
        if self._notices.pending:
            self._notices.report()
        self._runner.step(wake_up, deadline, self._add_thread_if_useful, one_of_many=one_of_many)

    def _add_thread_if_useful(self) -> None:
        """One record per request needs more threads: one sends 20 records a second at 50 ms each.

        There is one thread more than requests under way, which notices a request that hangs.
        """
        with self._lock:
            self._scheduler.share(self._clock.monotonic())
            threads = len(self.threads)
            all_busy = 0 < threads <= self._concurrency.at_work
            one_more = all_busy and threads < self._settings.max_connections
        if one_more:
            self.start(threads + 1)


def start_refused() -> None:
    """Ask again for the threads that were refused in this process."""
    for worker, process in tuple(_without_thread.items()):
        if worker.threads or process != os.getpid():
            _without_thread.pop(worker, None)
        else:
            worker.start()


NO_DEADLINE = float("inf")
