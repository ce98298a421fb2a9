"""Sessions: what the calls that name the same one amount to. They have no table of their own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol

MOST_LOOKED_AT = 2_000  # calls, for one page of sessions
MOST_COUNTED = 1_000  # calls of one session
MOST_SUMMED = 100_000  # the latest calls of a session that its totals are of
MOST_TIMED = 10_000  # the latest calls of a session that its latencies are of


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A session, as the list of them shows it.

    Attributes:
        began, last: the times of its first and its last call.
        user: of its last call.
        calls, errors: of its calls, at most of the first `MOST_COUNTED`.
    """

    id: str
    began: datetime
    last: datetime
    user: str | None
    calls: int
    errors: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """What a session's latest `MOST_SUMMED` calls amount to; None: of no call that is known.

    Attributes:
        latency_p50, latency_p95: in milliseconds, of the latest `MOST_TIMED` that have a latency.
        timed: how many these are.
    """

    calls: int
    errors: int
    input_tokens: int | None
    output_tokens: int | None
    cost: float | None
    latency_p50: float | None
    latency_p95: float | None
    timed: int


class SessionPage(NamedTuple):
    """Some sessions, and the cursor to go on from; None: there are no more."""

    sessions: Sequence[Session]
    next: str | None


class Sessions(Protocol):
    """The sessions of all projects. Safe for use by several threads."""

    def recent(
        self, project: str, limit: int, cursor: str | None = None, user: str | None = None
    ) -> SessionPage:
        """Up to `limit` sessions, last active first.

        Looks at the newest `MOST_LOOKED_AT` calls from the cursor on, so a page may be short, or empty, and
        have a next one.
        """
        ...

    def totals(self, project: str, session: str) -> Totals:
        """What the calls of a session amount to."""
        ...


def at_rank(ordered: Sequence[float], share: float) -> float | None:
    """The value of the nearest rank; None of nothing."""
    return ordered[math.ceil(share * len(ordered)) - 1] if ordered else None
