"""What `HuggingPlace.log` returns: a way to wait for a record, on a loop, on a thread, or not at all."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine, Generator
from time import monotonic
from typing import Any
from weakref import WeakKeyDictionary, ref

from ..copies import OneObject
from ..engine.engine import Engine
from ..engine.records.ledger import Term
from ..engine.records.outcome import Outcome, Verdict
from ..engine.records.record import Record
from ..engine.sync import Lock, ReleasingOnError
from ..errors import (
    AuthenticationError,
    HuggingPlaceSDKError,
    NetworkError,
    RateLimitError,
    ServerError,
    ValidationError,
)
from ..logs import warn
from ..settings import checked_seconds

__all__ = ["Receipt"]


class Receipt(Coroutine[Any, Any, None], OneObject):
    """A record's receipt: shaped like a coroutine, but nothing happens if nobody awaits it.

    `await`, `asyncio.create_task`, `TaskGroup`, `gather`, `wait_for` and `asyncio.run` take it. Cancelling
    the wait cancels nothing else. It can be awaited any number of times, on any loop.
    """

    __slots__ = ("__weakref__", "_error", "_generator", "_record", "_seen", "_waits")

    def __init__(
        self, waits: Waits, record: Record | None = None, error: HuggingPlaceSDKError | None = None
    ) -> None:
        self._waits = waits
        self._record = record
        self._error = error
        self._seen = False  # whether somebody got the error
        self._generator: Generator[Any, Any, None] | None = None

    @property
    def id(self) -> str | None:
        """The record's id; None if it was not accepted."""
        return self._record.id if self._record is not None else None

    def done(self) -> bool:
        """Whether waiting would end at once."""
        return self._record is None or self._record.settled

    def result(self, timeout: float | None = None) -> None:
        """Wait on the calling thread until the record is delivered.

        Args:
            timeout: seconds; default: the attempts' own bound.

        Raises:
            HuggingPlaceSDKError: it is not; of the kinds and with the attributes of `banyan_hp.errors`.
            ConfigurationError: `timeout` is not a number of seconds.
        """
        patience = None if timeout is None else checked_seconds("timeout", timeout)
        if self._record is not None:
            self._waits.engine.wait_for(self._record, patience)
        self._conclude()

    def _conclude(self) -> None:
        if self._error is not None:
            self._seen = True
            raise self._error
        if self._record is not None and self._record.term is not Term.DELIVERED:
            raise error_for(self._record, self._waits.engine)

    def __await__(self) -> Generator[Any, Any, None]:
        # One plain generator, no chain of coroutines: thousands of these start in one turn of the loop.
        record = self._record
        if record is not None and not record.settled and self._waits.engine.knows(record):
            yield from self._waits.here().wait(record)
        self._conclude()

    def send(self, value: Any) -> Any:
        if self._generator is None:
            self._generator = self.__await__()
        return self._generator.send(value)

    def throw(self, *error: Any) -> Any:
        if self._generator is None:
            self._generator = self.__await__()
        return self._generator.throw(*error)

    def close(self) -> None:
        if self._generator is not None:
            self._generator.close()

    def __del__(self) -> None:
        if self._error is not None and not self._seen:
            warn("unseen receipt", "a record was not accepted and nobody looked: %s", self._error)

    def __reduce__(self) -> tuple[type[UnpickledReceipt], tuple[Any, ...]]:
        """Its id, and whether it is delivered: only the process that has the record hears more of it."""
        delivered = self._record is None or self._record.term is Term.DELIVERED
        return UnpickledReceipt, (self.id, delivered and self._error is None, self._error)

    def __repr__(self) -> str:
        state = "refused" if self._record is None else self._record.term.name.lower()
        return f"<Receipt {self.id} {state}>"


class UnpickledReceipt(Receipt):
    """A receipt of another process, or of another object's record: what it said when it was pickled.

    Nothing can be waited for here. `result` and `await` raise unless the record was delivered by then.
    """

    __slots__ = ("_delivered", "_id")

    def __init__(self, ident: str | None, delivered: bool, error: HuggingPlaceSDKError | None) -> None:
        self._record = None
        self._error = error
        self._seen = True  # or not: that is for the original to say
        self._generator = None
        self._id = ident
        self._delivered = delivered

    @property
    def id(self) -> str | None:
        return self._id

    def _conclude(self) -> None:
        if self._error is not None:
            raise self._error
        if not self._delivered:
            raise HuggingPlaceSDKError(
                f"this receipt was pickled: what became of record {self._id} is known where it was logged",
                record_id=self._id,
            )

    def __reduce__(self) -> tuple[type[UnpickledReceipt], tuple[Any, ...]]:
        return UnpickledReceipt, (self._id, self._delivered, self._error)

    def __repr__(self) -> str:
        state = "refused" if self._error else "delivered" if self._delivered else "unknown"
        return f"<Receipt {self._id} {state}>"


class Waits:
    """All waits for the records of one engine, by event loop.

    Args:
        lifeline: keeps the engine from ending by itself as long as somebody has a receipt.
    """

    def __init__(self, engine: Engine, lifeline: object) -> None:
        self.engine = engine
        self._lifeline = lifeline
        self._begin()

    def _begin(self) -> None:
        self._process = self.engine.process
        self._lock = Lock()
        self._loops: WeakKeyDictionary[asyncio.AbstractEventLoop, LoopWaiter] = WeakKeyDictionary()
        self._latest: LoopWaiter | None = None

    def here(self) -> LoopWaiter:
        """The running loop's."""
        if self._process is not self.engine.process:  # forked: what waited in the parent waits there
            self._begin()
        loop = asyncio.get_running_loop()
        latest = self._latest
        if latest is not None and latest.loop() is loop:
            return latest
        with ReleasingOnError((self._lock,)), self._lock:
            waiter = self._loops.get(loop)
            if waiter is None:
                waiter = self._loops[loop] = LoopWaiter(self.engine, loop)
            self._latest = waiter
        return waiter


# One record's: what resolves it, what its waiter had seen when it began, and its deadline. A plain tuple:
# thousands are made in one turn of an event loop.
Wait = tuple["asyncio.Future[None]", int, float]


class LoopWaiter:
    """The coroutines of one event loop that wait for records.

    Threads hand over what has settled and wake the loop once for many; all else happens on the loop, and
    costs a wait no lock but for the first of many.
    """

    def __init__(self, engine: Engine, loop: asyncio.AbstractEventLoop) -> None:
        self._engine = engine
        self._patience = engine.settings.patience
        self.loop = ref(loop)  # weakly: we are kept as long as the loop is, not the other way round
        self._pending: dict[Record, Wait] = {}  # in the order of their deadlines
        self._settled: deque[Record] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._look_at_all = False
        self._woken = False

    def wait(self, record: Record) -> Generator[Any, Any, None]:
        """Until it settles, or the attempts are used up."""
        while (waiting := self._pending.get(record)) is not None:  # another coroutine has the same receipt
            yield from asyncio.shield(waiting[0])
            if record.settled:
                return
        # The waiter first and the look at the record then: whoever settles it does it the other way round.
        if record.first_waiter(self) is not self:
            self._engine.waiting.also_wake(record, self)
        if record.settled:
            return
        if not self._pending:
            self._begin()
        future = asyncio.get_running_loop().create_future()
        self._pending[record] = future, self._setbacks(), monotonic() + self._patience
        try:
            yield from future
        finally:
            self._end(record)

    def _begin(self) -> None:
        self._engine.waiting.begin(self)
        self._timer = asyncio.get_running_loop().call_later(self._patience, self._out_of_patience)

    def _setbacks(self) -> int:
        if not self._engine.breaker.is_open:
            return self._engine.breaker.trips
        self.wake()
        return self._engine.waiting.trips_seen()

    def _end(self, record: Record) -> None:
        waiting = self._pending.pop(record, None)
        if waiting is not None:
            _resolve(waiting[0])
        if not self._pending:
            self._engine.waiting.stop(self)
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    def settled(self, record: Record) -> None:
        self._settled.append(record)
        self._wake()

    def wake(self) -> None:
        if self._engine.breaker.is_open or self._is_over():
            self._look_at_all = True
            self._wake()

    def _wake(self) -> None:
        loop = self.loop()
        if loop is None or loop.is_closed():
            self._forget_all()
        elif not self._woken:
            self._woken = True
            try:
                loop.call_soon_threadsafe(self._look)
            except RuntimeError:  # closed in this moment
                self._forget_all()

    def _forget_all(self) -> None:
        """The loop is closed: nobody waits any more."""
        self._engine.waiting.stop(self)
        self._settled.clear()
        self._pending.clear()

    def _is_over(self) -> bool:
        loop = self.loop()
        return loop is None or loop.is_closed()

    def _look(self) -> None:
        self._woken = False  # before looking: what comes from now on wakes again
        while self._settled:
            waiting = self._pending.get(self._settled.popleft())
            if waiting is not None:
                _resolve(waiting[0])
        if self._look_at_all:
            self._look_at_all = False
            for record, (future, trips, _) in self._pending.items():
                if self._engine.waiting.given_up(record, trips):
                    _resolve(future)

    def _out_of_patience(self) -> None:
        now = monotonic()
        for future, _, deadline in self._pending.values():
            if deadline > now:
                self._timer = asyncio.get_running_loop().call_later(deadline - now, self._out_of_patience)
                return
            _resolve(future)
        self._timer = None


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done() and not future.get_loop().is_closed():
        future.set_result(None)


def error_for(record: Record, engine: Engine) -> HuggingPlaceSDKError:
    """What to raise for a record that is not delivered."""
    refused = record.verdict is not None and record.verdict.outcome in (Outcome.REFUSED, Outcome.TOO_LARGE)
    on_disk = record.term is Term.SPOOLED or (record.place is not None and record.term is not Term.DROPPED)
    spooled = on_disk and not refused
    verdict = record.verdict or Verdict(Outcome.RETRY, _why_not_tried(engine), reason="no_connection")
    state = engine.breaker.state if record.verdict is None and not engine.breaker.refusing else ""
    kind = _kind(verdict, state)
    words = verdict.detail or f"HTTP status {verdict.status}"
    return kind(
        f"record {record.id} {_whereabouts(record, spooled=spooled, refused=refused)}: {words}",
        spooled=spooled,
        status=verdict.status,
        retry_after=verdict.retry_after,
        record_id=record.id,
    )


def _why_not_tried(engine: Engine) -> str:
    """What a record says that was not sent yet; never what was said of another record."""
    if engine.breaker.refusing:
        return "the backend refused the records that were sent last; this one was not sent yet"
    return engine.notices.last_failure or "it was not sent yet"


def _whereabouts(record: Record, *, spooled: bool, refused: bool) -> str:
    if refused and record.term not in (Term.QUARANTINED, Term.DROPPED):
        return "is refused; it is kept until the backend accepts another one, and is then put aside"
    if spooled:
        return "is not delivered yet; it is safe on disk and will be sent"
    if not record.settled:
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
