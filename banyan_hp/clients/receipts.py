"""What `HuggingPlace.log` returns: a way to wait for a record, on a loop, on a thread, or not at all."""

from __future__ import annotations

import os
from collections.abc import Coroutine, Generator
from typing import TYPE_CHECKING, Any, NamedTuple

from ..copies import OneObject
from ..engine.engine import Engine
from ..engine.records.ledger import Term
from ..engine.records.outcome import Outcome, Verdict
from ..engine.records.record import BY_BEFORE_SEND, Record
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

if TYPE_CHECKING:
    from .sampling import Sampling

__all__ = ["Receipt"]


class Source(NamedTuple):
    """Where a receipt's record was logged.

    Attributes:
        engine: has the record.
        lifeline: keeps the engine from ending by itself while the application holds a receipt.
    """

    engine: Engine
    lifeline: object


class Line(NamedTuple):
    """What a log call needs, read in one step: `update_config` may replace it at any time."""

    engine: Engine
    source: Source
    org_id: str
    mode: str
    sampling: Sampling | None


class Receipt(Coroutine[Any, Any, None], OneObject):
    """A record's receipt: shaped like a coroutine, but nothing happens if nobody awaits it.

    `await`, `asyncio.create_task`, `TaskGroup`, `gather`, `wait_for` and `asyncio.run` take it. Cancelling
    the wait cancels nothing else. It can be awaited any number of times, on any loop.
    """

    __slots__ = ("__weakref__", "_error", "_generator", "_record", "_seen", "_source")

    def __init__(
        self,
        source: Source,
        record: Record | None = None,
        error: HuggingPlaceSDKError | None = None,
        *,
        said: bool = False,
    ) -> None:
        self._source = source
        self._record = record
        self._error = error
        self._seen = said  # whether the application got the error, or learned of it in another way
        self._generator: Generator[Any, Any, None] | None = None

    @property
    def id(self) -> str | None:
        """The record's id; None if it was not accepted."""
        return self._record.id if self._record is not None else None

    @property
    def dropped(self) -> str | None:
        """Why the record was dropped; None if it was not.

        "before_send": by the application's own `before_send`, which returned None. "sampled_out": sampling
        left it out. Then waiting for it ends without an error. The other reasons are those of `drops` in
        `get_stats()`.
        """
        return self._record.drop_reason if self._record is not None else None

    def done(self) -> bool:
        """Whether waiting would end at once."""
        return self._record is None or self._record.settled

    def result(self, timeout: float | None = None) -> None:
        """Wait on the calling thread until the record is delivered, or `dropped` by `before_send`.

        Args:
            timeout: seconds; default: as long as all attempts can take.

        Raises:
            HuggingPlaceSDKError: it is not delivered; `banyan_hp.errors` has the kinds and attributes.
            ConfigurationError: `timeout` is not a number of seconds.
        """
        patience = None if timeout is None else checked_seconds("timeout", timeout)
        if self._record is not None:
            self._source.engine.wait_for(self._record, patience)
        self._conclude()

    def _conclude(self) -> None:
        if self._error is not None:
            self._seen = True
            raise self._error
        if self._record is not None and not self._ended_well(self._record):
            raise error_for(self._record, self._source.engine)

    @staticmethod
    def _ended_well(record: Record) -> bool:
        """It is delivered, or the application did not want it to be."""
        return record.term is Term.DELIVERED or record.drop_reason == BY_BEFORE_SEND

    def __await__(self) -> Generator[Any, Any, None]:
        # One plain generator, no chain of coroutines: thousands of these start in one turn of the loop.
        record = self._record
        if record is not None:
            waiter = self._source.engine.loop_waiter(record)
            if waiter is not None:
                yield from waiter.wait(record)
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
            warn("unseen receipt", "a record was not accepted, and its receipt was not read: %s", self._error)

    def __reduce__(self) -> tuple[type[UnpickledReceipt], tuple[Any, ...]]:
        """Its id, and whether it is delivered: only the process that has the record learns more."""
        well = self._error is None and (self._record is None or self._ended_well(self._record))
        return UnpickledReceipt, (self.id, well, self._error, self.dropped)

    def __repr__(self) -> str:
        state = "refused" if self._record is None else self._record.term.name.lower()
        return f"<Receipt {self.id} {state}>"


class SampledOut(Receipt):
    """Of a record that sampling left out. It has an id all the same: there may be scores about it."""

    __slots__ = ("_id",)

    def __init__(self, source: Source, ident: str | None) -> None:
        super().__init__(source)
        self._id = ident or os.urandom(16).hex()

    @property
    def id(self) -> str:
        return self._id

    @property
    def dropped(self) -> str:
        return "sampled_out"

    def __repr__(self) -> str:
        return f"<Receipt {self.id} sampled out>"


class UnpickledReceipt(Receipt):
    """A receipt of a record of another process: its state when it was pickled.

    There is nothing to wait for. `result` and `await` raise unless the record was delivered by then.
    """

    __slots__ = ("_delivered", "_dropped", "_id")

    def __init__(
        self,
        ident: str | None,
        delivered: bool,
        error: HuggingPlaceSDKError | None,
        dropped: str | None = None,
    ) -> None:
        self._record = None
        self._error = error
        self._seen = True  # the original warns of an error that nobody looked at
        self._generator = None
        self._id = ident
        self._delivered = delivered
        self._dropped = dropped

    @property
    def id(self) -> str | None:
        return self._id

    @property
    def dropped(self) -> str | None:
        return self._dropped

    def _conclude(self) -> None:
        if self._error is not None:
            raise self._error
        if not self._delivered:
            raise HuggingPlaceSDKError(
                f"this receipt was pickled: what became of record {self._id} is known where it was logged",
                record_id=self._id,
            )

    def __reduce__(self) -> tuple[type[UnpickledReceipt], tuple[Any, ...]]:
        return UnpickledReceipt, (self._id, self._delivered, self._error, self._dropped)

    def __repr__(self) -> str:
        known = "delivered" if self._delivered else "unknown"
        state = "refused" if self._error else "dropped" if self._dropped else known
        return f"<Receipt {self._id} {state}>"


def error_for(record: Record, engine: Engine) -> HuggingPlaceSDKError:
    """What to raise for a record that is not delivered."""
    refused = record.verdict is not None and record.verdict.outcome in (Outcome.REFUSED, Outcome.TOO_LARGE)
    on_disk = record.term is Term.SPOOLED or (record.place is not None and record.term is not Term.DROPPED)
    spooled = on_disk and not refused
    verdict, state = record.verdict, ""
    if verdict is None:
        state, why = engine.why_not_sent()
        verdict = Verdict(Outcome.RETRY, why, reason="no_connection")
    words = verdict.detail or f"HTTP status {verdict.status}"
    return _kind(verdict, state)(
        f"record {record.id} {_whereabouts(record, spooled=spooled, refused=refused)}: {words}",
        spooled=spooled,
        status=verdict.status,
        retry_after=verdict.retry_after,
        record_id=record.id,
    )


def _whereabouts(record: Record, *, spooled: bool, refused: bool) -> str:
    if refused and record.term not in (Term.QUARANTINED, Term.DROPPED):
        return "is refused; it is kept until the backend accepts another record, and is then quarantined"
    if spooled:
        return "is not delivered yet; it is safe on disk and will be sent"
    if not record.settled:
        return "is not delivered yet; it waits in memory"
    return "is quarantined" if record.term is Term.QUARANTINED else "is lost"


def _kind(verdict: Verdict, state: str) -> type[HuggingPlaceSDKError]:
    """The published SDK's error for a response, or for a backend in this state that was not asked again."""
    if verdict.outcome is Outcome.HOLD_AUTH or state == "auth_error":
        return AuthenticationError
    if verdict.outcome in (Outcome.REFUSED, Outcome.TOO_LARGE):
        return ValidationError
    if verdict.status == 429:
        return RateLimitError
    if verdict.status is not None or state == "misconfigured":
        return ServerError
    return NetworkError
