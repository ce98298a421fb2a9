"""From a frozen value to the bytes that travel: `before_send`, encoding, the limit on a record's size."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ..foreign import is_deliberate, type_name
from .callbacks import Callbacks, Raised
from .guard import Guard
from .ledger import Counters
from .quarantine import UNSCRUBBED
from .records import JSONValue, Record, encode, freeze
from .retry import Outcome, Verdict
from .settlement import Settlement
from .shortening import fitted, with_texts

UNENCODABLE = "unencodable"  # the reason of records that can't become JSON
BeforeSend = Callable[[dict[str, Any]], object]  # what it returns is checked


class Preparer:
    """Encodes each record once; the same bytes go on the wire and into the spool."""

    def __init__(
        self,
        guard: Guard,
        counters: Counters,
        callbacks: Callbacks,
        settlement: Settlement,
        before_send: BeforeSend | None,
        max_record_bytes: int,
    ) -> None:
        self._guard = guard
        self._counters = counters
        self._callbacks = callbacks
        self._settlement = settlement
        self._before_send = before_send
        self._limit = max_record_bytes

    def call_from_now_on(self, before_send: BeforeSend | None) -> None:
        """Another object for the same function."""
        self._before_send = before_send

    def prepare(self, records: Iterable[Record]) -> list[Record]:
        """The records that have a body now; the others are settled: dropped by the user, or quarantined.

        One that raises is quarantined alone, whatever it raises. Only what stops the application's own
        thread passes; then the others stay as they are.
        """
        ready = []
        for record in records:
            value = record.value  # before looking at body: at shutdown another thread may be encoding it, too
            try:
                if record.body is None:
                    if self._before_send is not None:
                        value = self._run_before_send(record, self._for_people(record), self._before_send)
                        if value is None:
                            continue
                    body = encode(value)
                    if len(body) > self._limit:
                        body = self._brought_within_limit(record, value, body)
                        if not body:
                            continue
                    record.body = body
                    record.value = None
            except BaseException as error:
                if is_deliberate(error):  # nothing is wrong with the record: it stays as it is
                    raise
                self._quarantine(record, f"preparing it raised {type_name(error)}")
                continue
            ready.append(record)
        return ready

    def _brought_within_limit(self, record: Record, value: JSONValue, body: bytes) -> bytes:
        """The bytes of a record that is too large, shortened; none: it is quarantined."""
        _, shorter, shortened = fitted(value, self._limit)
        if shortened:
            self._count_shortened(record)
            return shorter
        detail = f"the record has {len(body)} bytes, max_record_bytes allows {self._limit}"
        record.verdict = Verdict(Outcome.TOO_LARGE, detail, reason="too_large")
        self._settlement.quarantined(record, record.verdict)
        return b""

    def _for_people(self, record: Record) -> JSONValue:
        """The record with its texts as they travel. What is too large is shortened while it has structure."""
        value = record.value
        if record.size > self._limit // 2:  # in memory, which is not the same as in bytes
            value, _, shortened = fitted(value, self._limit)
            if shortened:
                self._count_shortened(record)
        return with_texts(value)

    def _count_shortened(self, record: Record) -> None:
        with self._guard:
            self._counters.records_shortened += not record.shortened
            record.shortened = True

    def _run_before_send(self, record: Record, value: JSONValue, before_send: BeforeSend) -> JSONValue | None:
        """Let the user see and change the record. If that fails it must not leave: it may not be clean."""
        try:
            changed = self._callbacks.call("before_send", before_send, value)
        except BaseException as error:
            self._quarantine(record, f"before_send was interrupted by {type_name(error)}")
            raise
        if isinstance(changed, Raised):
            self._quarantine(record, f"before_send raised {type_name(changed.error)}")
            return None
        if changed is None:
            self._settlement.dropped([record], "before_send")
            return None
        if not isinstance(changed, dict):
            self._callbacks.count_error()
            self._quarantine(record, f"before_send returned {type_name(changed)}, not a dict or None")
            return None
        return freeze(changed).value

    def _quarantine(self, record: Record, detail: str) -> None:
        reason = UNENCODABLE if self._before_send is None else UNSCRUBBED
        self._settlement.quarantined(record, Verdict(Outcome.REFUSED, detail, reason=reason))
