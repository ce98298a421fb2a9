"""The policies of one destination, handed over together. Guarded by the engine's lock."""

from __future__ import annotations

from typing import NamedTuple

from .batch_support import BatchSupport
from .circuit_breaker import CircuitBreaker
from .concurrency_limit import ConcurrencyLimit
from .endpoints import Endpoints
from .suspects import Suspects


class Policies(NamedTuple):
    """What decides whether, how, and by how many senders a destination is tried."""

    breaker: CircuitBreaker
    batch_support: BatchSupport
    concurrency: ConcurrencyLimit
    suspects: Suspects
    endpoints: Endpoints
