"""Coroutines that wait for what our threads do, without the event loop's default executor.

That executor is the application's: `getaddrinfo` and `asyncio.to_thread` queue there. So a wait is either
driven by the calling thread (`run`) or by an event loop that our threads wake (`drive`); what can't but block
runs on a daemon thread of ours (`on_a_thread`). A cancelled wait leaves nothing behind that waits, and no
thread here keeps a process from ending.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar
from weakref import WeakKeyDictionary

from ..sync import LONGEST_WAIT
from ..threads import start
from .stepwise import Steps, Wait

T = TypeVar("T")

MOST_THREADS = 16
_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()


class LoopWakeUp:
    """Any thread wakes the coroutine that waits; woken before its wait, it does not wait."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._future: asyncio.Future[None] | None = None
        self._woken = False

    def wake(self) -> None:
        if self._woken:
            return  # and has not looked yet
        self._woken = True
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._hear)

    async def wait(self, seconds: float) -> None:
        if not self._woken:
            self._future = self._loop.create_future()
            timer = self._loop.call_later(min(seconds, LONGEST_WAIT), self._hear)
            try:
                await self._future
            finally:
                timer.cancel()
                self._future = None
        self._woken = False  # before the waiter looks: what comes from now on wakes it again

    def _hear(self) -> None:
        if self._future is not None and not self._future.done():
            self._future.set_result(None)


async def drive(steps: Steps[T]) -> T:
    """Go through the steps on the running loop. Cancelled, it closes them."""
    try:
        while True:
            try:
                wait = next(steps)
            except StopIteration as end:
                result: T = end.value
                return result
            await until(wait)
    finally:
        steps.close()


async def until(wait: Wait) -> None:
    if wait.over():
        return
    wake_up = LoopWakeUp()
    if not wait.begin(wake_up):  # there is no thread that would do what is waited for
        try:
            await on_a_thread(wait.block)
        finally:
            wait.stop()
        return
    try:
        while not wait.over() and (left := wait.seconds_left()) > 0:
            await wake_up.wait(left)
    finally:
        wait.end(wake_up)


async def on_few_threads(work: Callable[[], T]) -> T:
    """`on_a_thread`, at most `MOST_THREADS` of a loop's at the same time."""
    loop = asyncio.get_running_loop()
    async with _turns.setdefault(loop, asyncio.Semaphore(MOST_THREADS)):
        return await on_a_thread(work)


def on_a_thread(work: Callable[[], T], name: str = "banyan_hp-async") -> asyncio.Future[T]:
    """Begin `work` on a daemon thread of its own, in this context; where none can be started, do it here.

    Cancelling the future ends the wait, not the work.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()
    context = contextvars.copy_context()

    def run() -> None:
        try:
            report = partial(future.set_result, context.run(work))
        except BaseException as error:  # noqa: BLE001 - raised where it is awaited
            report = partial(future.set_exception, error)
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(lambda: None if future.done() else report())

    try:
        start(threading.Thread(target=run, name=name, daemon=True))
    except RuntimeError:  # the interpreter is shutting down, or the system has no threads left
        run()
    return future
