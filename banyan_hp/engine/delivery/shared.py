"""What all collaborators of one engine share."""

from __future__ import annotations

from typing import NamedTuple

from ..policy.policies import Policies
from ..records.ledger import Ledger
from ..sync import Clock, EngineLock
from .stepwise import Watchers


class Shared(NamedTuple):
    """The engine's lock, its clock, what the lock guards: the ledger and the policies, and who waits."""

    lock: EngineLock
    clock: Clock
    ledger: Ledger
    policies: Policies
    watchers: Watchers
