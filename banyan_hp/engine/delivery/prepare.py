"""From a frozen value to the bytes that travel: `before_send`, encoding, the limit on a record's size.

A record in memory has one of three forms:

    value        as it was logged
    raw          encoded for the disk, but `before_send` has not seen it; `value` may be there as well
    body         `before_send` has seen it, if there is one: these bytes travel

Only `prepare` calls `before_send`. What is sent is a body, or, where no `before_send` has to see them, the
values of a batch encoded as a whole: the same bytes. A settled record has no value any more.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Any, Protocol

from ...foreign import is_deliberate, type_name
from ...settings import Settings
from ..records.encode import JSONValue, encode
from ..records.freeze import freeze
from ..records.media import LEAST, may_hold_media, without_media
from ..records.outcome import Outcome, Verdict
from ..records.record import BY_BEFORE_SEND, RECORD_OVERHEAD, Deferred, Record
from ..records.shortening import fitted, with_texts
from ..spool.entries import UNSCRUBBED
from .callbacks import Callbacks, CountingCallback, Raised
from .shared import Shared

UNENCODABLE = "unencodable"  # the reason of records that can't become JSON
_SLICE_SECONDS = 0.02
MOST_GROWTH = 16  # bytes of JSON for one in memory, at the most: `\u0000`, or that within a text
_MOST_TOGETHER = 4 * 1024 * 1024  # bytes in memory; no other thread runs while they are encoded
_SIZE = attrgetter("size")
_TRIES_TO_ENCODE = 3
_NOBODY_TO_SEE_IT = "it was logged with a before_send that has not seen it, and this process has none"
BeforeSend = Callable[[dict[str, Any]], object]


class Settles(Protocol):
    """What becomes of records that get no body."""

    def dropped(self, records: list[Record], reason: str) -> object:
        """The user dropped them."""

    def quarantined(self, record: Record, verdict: Verdict) -> object:
        """It can't be sent."""


class Preparer:
    """Encodes records; the same bytes go on the wire and into the spool."""

    def __init__(self, shared: Shared, callbacks: Callbacks, settlement: Settles, settings: Settings) -> None:
        self._lock, self._clock = shared.lock, shared.clock
        self._counters, self._redactions = shared.ledger.counters, shared.ledger.redactions
        self._callbacks = callbacks
        self._settlement = settlement
        self._limit = settings.max_record_bytes
        # The size of a record that may hold media is above this.
        self._least_media = float("inf") if settings.media == "keep" else LEAST + RECORD_OVERHEAD
        self._stopping = False

    def stop(self) -> None:
        """End a `prepare` that another thread is in behind its present slice."""
        self._stopping = True

    def together(self, records: Sequence[Record]) -> list[JSONValue] | None:
        """What the records hold, if they can be encoded as a whole; None if one needs a look of its own.

        That is so if `before_send` has to see it, if it is encoded already (`durability="disk"`, or it comes
        from the disk) or to be completed, and if it may be too large or hold media. Another thread that
        prepares or settles the records meanwhile does no harm: nobody changes what was read here.
        """
        sizes = list(map(_SIZE, records))
        if self._callbacks.hooks.before_send is not None:
            return None
        largest = max(sizes, default=0)
        if largest * MOST_GROWTH > self._limit or sum(sizes) > _MOST_TOGETHER:
            return None
        values = [record.value for record in records if record.deferred is None]
        if len(values) < len(records) or not all(values):
            return None
        return None if largest > self._least_media and any(map(may_hold_media, values)) else values

    def prepare(self, records: Iterable[Record], until: float = float("inf")) -> list[Record]:
        """The records that have a body now; the others are settled: dropped by the user, or quarantined.

        Works in slices, between which other threads and greenlets run. Behind the slice in which it was
        stopped, or `until` on the monotonic clock has come, the rest stays as it is.

        One that raises is quarantined alone, whatever it raises. Only what stops the application's own
        thread passes; then the others stay as they are.
        """
        ready = []
        monotonic = self._clock.monotonic
        slice_ends = monotonic() + _SLICE_SECONDS
        for record in records:
            if (now := monotonic()) >= slice_ends:
                if self._stopping or now >= until:
                    break
                self._clock.yield_()
                slice_ends = monotonic() + _SLICE_SECONDS
            if record.body is None and not self._prepared(record):
                continue
            ready.append(record)
        return ready

    def _prepared(self, record: Record) -> bool:
        """Whether it has a body now; else it is settled."""
        raw, value, deferred = record.raw, record.value, record.deferred
        before_send = self._callbacks.hooks.before_send
        if record.body is not None:  # looked at last: at shutdown another thread may be preparing it, too
            return True
        if value is None and raw is None:  # or settling it
            return False
        try:
            if value is None and raw is not None:
                if before_send is None:
                    self._never_seen(record)
                    return False
                value = json.loads(raw)
            elif deferred is not None:
                value = self._completed(value, deferred)
            value = self._without_media(record, value)
            if before_send is not None:
                value = self._run_before_send(record, self._for_people(record, value), before_send)
                if value is None:
                    return False
            body = encode(value)
            if len(body) > self._limit:
                body = self._brought_within_limit(record, value, body)
                if not body:
                    return False
            record.body = body
            record.value = record.raw = record.deferred = None
            return True
        except BaseException as error:
            if is_deliberate(error):  # nothing is wrong with the record: it stays as it is
                raise
            self._quarantine(record, f"preparing it raised {type_name(error)}")
            return False

    def writable(self, records: Iterable[Record]) -> list[Record]:
        """Those that can go to disk after an attempt; what waits for `before_send` goes on waiting."""
        if self._callbacks.hooks.before_send is None:
            return self.for_disk(records)
        return [record for record in records if record.writable]

    def for_disk(self, records: Iterable[Record]) -> list[Record]:
        """The same records without calling `before_send`: what it has not seen is `raw` now.

        One that can't be encoded is quarantined alone.
        """
        encoded = self._is_raw if self._callbacks.hooks.before_send is not None else self._prepared
        return [record for record in records if record.writable or encoded(record)]

    def _is_raw(self, record: Record) -> bool:
        """Whether it could be encoded as it is; else it is settled."""
        for again in range(_TRIES_TO_ENCODE):
            value, deferred = record.value, record.deferred  # before looking at body: it may be prepared now
            if record.body is not None:
                return True
            if value is None:  # it was settled meanwhile
                return False
            try:
                value = value if deferred is None else self._completed(value, deferred)
                record.raw = encode(self._without_media(record, value))
                return True
            except Exception as error:  # noqa: BLE001 - `before_send` may be changing it this moment
                if again == _TRIES_TO_ENCODE - 1:
                    self._quarantine(record, f"preparing it raised {type_name(error)}")
        return False

    def _never_seen(self, record: Record) -> None:
        with self._lock:
            self._counters.records_unscrubbed += 1
        verdict = Verdict(Outcome.REFUSED, _NOBODY_TO_SEE_IT, reason=UNSCRUBBED)
        self._settlement.quarantined(record, verdict)

    def _completed(self, value: JSONValue, deferred: Deferred) -> JSONValue:
        """The value with what was left for our threads; as it is where that fails."""
        completed = self._callbacks.call("a record's completion", deferred.complete, value)
        return value if isinstance(completed, Raised) else freeze(completed).value

    def _without_media(self, record: Record, value: JSONValue) -> JSONValue:
        """The value with descriptions in the place of pictures and sound, unless the settings keep them."""
        if record.size <= self._least_media or not may_hold_media(value):
            return value
        value, found = without_media(value)
        if found:
            with self._lock:
                self._counters.media_replaced += found
        return value

    def _brought_within_limit(self, record: Record, value: JSONValue, body: bytes) -> bytes:
        """The bytes of a record that is too large, shortened; empty if it is quarantined."""
        _, shorter, shortened = fitted(value, self._limit)
        if shortened:
            self._count_shortened(record)
            return shorter
        detail = f"the record has {len(body)} bytes, max_record_bytes allows {self._limit}"
        record.verdict = Verdict(Outcome.TOO_LARGE, detail, reason="too_large")
        self._settlement.quarantined(record, record.verdict)
        return b""

    def _for_people(self, record: Record, value: JSONValue) -> JSONValue:
        """The record with its texts as they travel. What is too large is shortened while it has structure."""
        if record.size > self._limit // 2:  # in memory, which is not the same as in bytes
            value, _, shortened = fitted(value, self._limit)
            if shortened:
                self._count_shortened(record)
        return with_texts(value)

    def _count_shortened(self, record: Record) -> None:
        with self._lock:
            self._counters.records_shortened += not record.shortened
            record.shortened = True

    def _run_before_send(self, record: Record, value: JSONValue, before_send: BeforeSend) -> JSONValue | None:
        """Let the user see and change the record. If that fails it must not leave: it may not be clean."""
        call = before_send.counted if isinstance(before_send, CountingCallback) else before_send
        try:
            changed = self._callbacks.call("before_send", call, value)
        except BaseException as error:
            self._quarantine(record, f"before_send was interrupted by {type_name(error)}")
            raise
        if isinstance(changed, Raised):
            self._quarantine(record, f"before_send raised {type_name(changed.error)}")
            return None
        if isinstance(before_send, CountingCallback):
            changed = self._count_redactions(changed)
        if changed is None:
            self._settlement.dropped([record], BY_BEFORE_SEND)
            return None
        if not isinstance(changed, dict):
            self._callbacks.count_error()
            self._quarantine(record, f"before_send returned {type_name(changed)}, not a dict or None")
            return None
        return freeze(changed).value

    def _count_redactions(self, counted: Any) -> object:
        changed, found = counted
        if found:
            with self._lock:
                self._redactions.update(found)
        return changed

    def _quarantine(self, record: Record, detail: str) -> None:
        reason = UNENCODABLE if self._callbacks.hooks.before_send is None else UNSCRUBBED
        self._settlement.quarantined(record, Verdict(Outcome.REFUSED, detail, reason=reason))
