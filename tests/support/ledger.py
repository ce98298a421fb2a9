"""The sum that must hold at every read of the stats."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TERMS = ("logs_sent", "logs_spooled", "logs_quarantined", "logs_dropped", "queue_size", "in_flight")


def assert_balanced(stats: Mapping[str, Any]) -> None:
    terms = {name: stats[name] for name in TERMS}
    assert stats["logs_queued"] == sum(terms.values()), (stats["logs_queued"], terms)
    assert min(terms.values()) >= 0, terms
    assert stats["logs_dropped"] == sum(stats["drops"].values()), stats["drops"]
    adopted = stats["adopted"]
    parts = ("recovered", "pending", "quarantined", "dropped")
    assert adopted["logs"] == sum(adopted[name] for name in parts), adopted
