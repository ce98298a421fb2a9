"""What `HuggingPlace.log` returns: a way to wait for a record, on a loop, on a thread, or not at all."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Coroutine, Generator
from typing import Any
from weakref import WeakKeyDictionary

from .engine.engine import Engine
from .engine.ledger import Term
from .engine.log import warn
from .engine.records import Record
from .engine.retry import Outcome, Verdict
from .errors import (
    AuthenticationError,
    HuggingPlaceSDKError,
    NetworkError,
    RateLimitError,
    ServerError,
    ValidationError,
)


class Receipt(Coroutine[Any, Any, None]):
    """A record's receipt: shaped like a coroutine, but nothing happens if nobody awaits it.

    `await`, `asyncio.create_task`, `TaskGroup`, `gather`, `wait_for` and `asyncio.run` take it. Cancelling
    the wait cancels nothing else. It can be awaited any number of times, on any loop.
    """

    __slots__ = ("__weakref__", "_coroutine", "_error", "_record", "_seen", "_waits")

    def __init__(
        self, waits: Waits, record: Record | None = None, error: HuggingPlaceSDKError | None = None
    ) -> None:
        self._waits = waits
        self._record = record
        self._error = error
        self._seen = False  # whether somebody got the error
        self._coroutine: Coroutine[Any, Any, None] | None = None

    @property
    def id(self) -> str | None:
        """The record's id; None if it was not accepted."""
        return self._record.id if self._record is not None else None

    def done(self) -> bool:
        """Whether waiting would end at once."""
        return self._record is None or is_settled(self._record)

    def result(self, timeout: float | None = None) -> None:
        """Wait on the calling thread until the record is delivered.

        Args:
            timeout: seconds; default: the attempts' own bound.

        Raises:
            HuggingPlaceSDKError: it is not; of the kinds and with the attributes of `banyan_hp.errors`.
        """
        if self._record is not None:
            self._waits.engine.wait_for(self._record, timeout)
        self._conclude()

    async def _wait(self) -> None:
        if self._record is not None and not self.done():
            await self._waits.here().wait(self._record)
        self._conclude()

    def _conclude(self) -> None:
        if self._error is not None:
            self._seen = True
            raise self._error
        if self._record is not None and self._record.term is not Term.DELIVERED:
            raise error_for(self._record, self._waits.engine)

    def __await__(self) -> Generator[Any, Any, None]:
        return self._wait().__await__()

    def send(self, value: Any) -> Any:
        if self._coroutine is None:
            self._coroutine = self._wait()
        return self._coroutine.send(value)

    def throw(self, *error: Any) -> Any:
        if self._coroutine is None:
            self._coroutine = self._wait()
        return self._coroutine.throw(*error)

    def close(self) -> None:
        if self._coroutine is not None:
            self._coroutine.close()

    def __del__(self) -> None:
        if self._error is not None and not self._seen:
            warn("unseen receipt", "a record was not accepted and nobody looked: %s", self._error)

    def __repr__(self) -> str:
        state = "refused" if self._record is None else self._record.term.name.lower()
        return f"<Receipt {self.id} {state}>"


class Waits:
    """All waits for the records of one engine, by event loop."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._lock = threading.Lock()
        self._loops: WeakKeyDictionary[asyncio.AbstractEventLoop, LoopWaiter] = WeakKeyDictionary()

    def here(self) -> LoopWaiter:
        loop = asyncio.get_running_loop()
        with self._lock:
            waiter = self._loops.get(loop)
            if waiter is None:
                waiter = self._loops[loop] = LoopWaiter(self.engine, loop)
        return waiter


class LoopWaiter:
    """The coroutines of one event loop that wait for records.

    Threads hand over what has settled and wake the loop once for many; all else happens on the loop.
    """

    def __init__(self, engine: Engine, loop: asyncio.AbstractEventLoop) -> None:
        self._engine = engine
        self._call_soon = loop.call_soon_threadsafe
        self._create_future = loop.create_future
        self._call_later = loop.call_later
        self._pending: dict[Record, tuple[asyncio.Future[None], int]] = {}
        self._settled: deque[Record] = deque()
        self._look_at_all = False
        self._woken = False

    async def wait(self, record: Record) -> None:
        """Until it settles, or the attempts are used up."""
        while (waiting := self._pending.get(record)) is not None:  # another coroutine has the same receipt
            await asyncio.shield(waiting[0])
            if is_settled(record):
                return
        await self._wait_first(record)

    async def _wait_first(self, record: Record) -> None:
        setbacks = self._engine.begin_waiting(record, self)
        if setbacks is None:
            return
        future = self._create_future()
        self._pending[record] = future, setbacks
        settings = self._engine.settings
        patience = self._call_later(settings.timeout * (settings.max_retries + 1), _resolve, future)
        if self._engine.given_up(record, setbacks):
            _resolve(future)
        try:
            await future
        finally:
            patience.cancel()
            del self._pending[record]
            _resolve(future)
            self._engine.stop_waiting(self, last=not self._pending)

    def settled(self, record: Record) -> None:
        self._settled.append(record)
        self._wake()

    def ring(self) -> None:
        if self._engine.gate.unwell:
            self._look_at_all = True
            self._wake()

    def _wake(self) -> None:
        if self._woken:
            return
        self._woken = True
        try:
            self._call_soon(self._look)
        except RuntimeError:
            self._settled.clear()  # the loop is closed: nobody waits any more

    def _look(self) -> None:
        self._woken = False  # before looking: what comes from now on wakes again
        while self._settled:
            waiting = self._pending.get(self._settled.popleft())
            if waiting is not None:
                _resolve(waiting[0])
        if self._look_at_all:
            self._look_at_all = False
            for record, (future, setbacks) in self._pending.items():
                if self._engine.given_up(record, setbacks):
                    _resolve(future)


def is_settled(record: Record) -> bool:
    return record.term not in (Term.QUEUED, Term.IN_FLIGHT)


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done() and not future.get_loop().is_closed():
        future.set_result(None)


def error_for(record: Record, engine: Engine) -> HuggingPlaceSDKError:
    """What to raise for a record that is not delivered."""
    spooled = record.term is Term.SPOOLED or (record.place is not None and record.term is not Term.DROPPED)
    verdict = record.verdict or Verdict(
        Outcome.RETRY, engine.notices.last_error or "", reason="no_connection"
    )
    kind = _kind(verdict, engine.gate.state if record.verdict is None else "")
    words = verdict.detail or f"HTTP status {verdict.status}"
    return kind(
        f"record {record.id} {_whereabouts(record, spooled=spooled)}: {words}",
        spooled=spooled,
        status=verdict.status,
        retry_after=verdict.retry_after,
        record_id=record.id,
    )


def _whereabouts(record: Record, *, spooled: bool) -> str:
    if spooled:
        return "is not delivered yet; it is safe on disk and will be sent"
    if record.term in (Term.QUEUED, Term.IN_FLIGHT):
        return "is not delivered yet; it waits in memory"
    return "is put aside" if record.term is Term.QUARANTINED else "is lost"


def _kind(verdict: Verdict, state: str) -> type[HuggingPlaceSDKError]:
    """The published SDK's error for an answer, or for a backend that was not asked again."""
    if verdict.outcome is Outcome.HOLD_AUTH or state == "auth_error":
        return AuthenticationError
    if verdict.outcome in (Outcome.REFUSED, Outcome.TOO_LARGE):
        return ValidationError
    if verdict.status == 429:
        return RateLimitError
    if verdict.status is not None or state == "misconfigured":
        return ServerError
    return NetworkError
