"""What all collaborators of one engine share."""

from __future__ import annotations

from typing import NamedTuple

from ..records.ledger import Ledger
from ..sync import Clock, EngineLock


class Shared(NamedTuple):
    """The engine's lock, its clock, and the ledger with the counters, which the lock guards."""

    lock: EngineLock
    clock: Clock
    ledger: Ledger
