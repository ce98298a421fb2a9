"""A score: what somebody thinks of a record, a session or a user. It is a call, of the source `score`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

SCORE = "score"
"""The source of calls that are scores, and what marks them in `metadata.banyan_hp`."""
VERSION = 1
MAX_NAME, MAX_CATEGORY, MAX_COMMENT = 100, 200, 2_000  # characters
MAX_NUMBER = 1e15  # its square, and sums of it, stay numbers
BOOL, NUMBER, CATEGORY = "bool", "number", "category"
TARGETS = ("record_id", "session", "sticky_value")
CLIENT_ID = "^[0-9a-f]{16}-([0-9a-f]{1,15})-([0-9a-f]{1,15})$"
"""An id that the client makes: the process, the number of the record in it, and its time in microseconds."""
_CLIENT_ID = re.compile(CLIENT_ID)


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One score.

    Attributes:
        id: of the call that it is.
        at: when it was given, UTC.
        value: a bool, a number, or a category's text.
        record_id, session, sticky_value: what it is about; at least one is given.
        experiment_id: the only experiment that it counts in; None: all that it leads to.
        rater: who gave it, so that each one's last score counts; None: the application or its user.
        seq: its number in this store; 0 before it is stored.
    """

    project: str
    id: str
    at: datetime
    name: str
    value: bool | float | str
    record_id: str | None = None
    session: str | None = None
    sticky_key: str | None = None
    sticky_value: str | None = None
    experiment_id: str | None = None
    experiment_version_id: str | None = None
    rater: str | None = None
    comment: str | None = None
    seq: int = 0


@dataclass(frozen=True, slots=True)
class ScorePage:
    """Some scores, and the cursor to go on from; None: there are no more."""

    scores: Sequence[Score]
    next: str | None


def place_of(at: int, call_id: str, seq: int) -> tuple[int, int, int, int]:
    """Where a score stands among others: the last one of a name counts. `at` is in microseconds.

    Clients send milliseconds, over several connections, so that the later of two scores may arrive first.
    What both leave open is in the client's ids. Other senders' ids say nothing: there the arrival decides.
    """
    found = _CLIENT_ID.fullmatch(call_id)
    if found is None:
        return at, at, 0, seq
    number, moment = (int(each, 16) for each in found.groups())
    return at, moment, number, seq


def stated_in(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What a body says about a score, good or not; None: it is none."""
    metadata = body.get("metadata")
    stated = metadata.get("banyan_hp") if isinstance(metadata, dict) else None
    if not isinstance(stated, dict) or stated.get("kind") != SCORE or stated.get("v") != VERSION:
        return None
    if isinstance(stated["v"], bool) or not _is_empty(body):
        return None
    return stated


def _is_empty(body: Mapping[str, Any]) -> bool:
    """Whether its texts are those of a score: what has an input and an output is a call."""
    if "user_prompt" in body:
        return bool(body["user_prompt"] == body.get("response") == "[score]")
    return bool(body.get("input") == body.get("output") == "")
