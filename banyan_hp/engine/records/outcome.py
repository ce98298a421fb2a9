"""What becomes of a record after an attempt, and what the backend said."""

from __future__ import annotations

import enum
from typing import NamedTuple


class Outcome(enum.Enum):
    """What is to be done with a record after an attempt."""

    __hash__ = object.__hash__  # Enum's own is a Python function, called several times an attempt

    DELIVERED = "delivered"
    RETRY = "retry"  # the destination fails
    HOLD_AUTH = "auth_error"  # the credentials are wrong
    HOLD_CONFIG = "misconfigured"  # the base URL or the account is wrong
    NO_ENDPOINT = "no_endpoint"  # nothing takes records of this kind there; it may take others
    REFUSED = "refused"  # this record, or one in this batch
    CONFLICT = "conflict"  # delivered, if an earlier attempt may have stored it; else refused
    TOO_LARGE = "too_large"


DISCARDED = "discarded"  # the reason of records that were read and thrown away: they must not be sent again


class Verdict(NamedTuple):
    """An outcome with what the backend said.

    Attributes:
        discarded: how many of the records in a delivered batch were thrown away; the response does not say
            which.
    """

    outcome: Outcome
    detail: str = ""
    status: int | None = None
    retry_after: float | None = None
    reason: str = "status"
    discarded: int = 0

    @property
    def is_final(self) -> bool:
        """Whether a refusal needs no second opinion."""
        return self.reason == DISCARDED
