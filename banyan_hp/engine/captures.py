"""Captures: while one is open, records go into its list, not into the queue. For applications' tests.

A capture is of the process: it takes what all threads log to all engines, and the one that was opened last
takes all of it. A captured record is prepared as others are, on the calling thread; then the caller sees it
as delivered, and no ledger, worker or file has it. There is no lock: what is done to a list is one step under
the GIL. A forked child has copies of the lists.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from .delivery.prepare import Preparer
from .delivery.shared import Shared
from .parts import Parts
from .records.ledger import Term
from .records.outcome import Verdict
from .records.record import Record


class Capture:
    """One capture. Two are never equal: their lists may be.

    Attributes:
        records: what was captured, in the order in which the log calls came here.
    """

    __slots__ = ("records",)

    def __init__(self, records: list[dict[str, Any]]) -> None:
        self.records = records


open_captures: list[Capture] = []  # the innermost last; empty but in tests, and each log call looks
_ended: list[Capture] = []  # the one that ended last


def begin(records: list[dict[str, Any]]) -> Capture:
    """Open one, which adds to this list."""
    capture = Capture(records)
    open_captures.append(capture)
    return capture


def end(capture: Capture) -> None:
    """Close it. Captures of several threads may end in any order."""
    _ended[:] = [capture]
    open_captures.remove(capture)


def take(record: Record, parts: Parts) -> None:
    """Put a record into the innermost capture, unless `before_send` drops it or it can't be sent."""
    try:
        capture = open_captures[-1]
    except IndexError:  # it ended this moment, and the call began in it
        capture = _ended[0]
    shared = Shared(parts.lock, parts.clock, parts.ledger, parts.policies, parts.watchers)
    preparer = Preparer(shared, parts.callbacks, _Nowhere(), parts.settings)
    for ready in preparer.prepare([record]):
        ready.term = Term.DELIVERED
        capture.records.append(json.loads(ready.body or b"null"))


class _Nowhere:
    """Settles what is not captured: the record knows what became of it, and nothing else changes."""

    def dropped(self, records: Iterable[Record], _reason: str) -> None:
        for record in records:
            record.term = Term.DROPPED

    def quarantined(self, record: Record, verdict: Verdict) -> None:
        record.verdict = verdict
        record.term = Term.QUARANTINED
