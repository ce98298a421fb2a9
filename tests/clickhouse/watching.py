"""What ClickHouse is asked in a test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from banyan_hp.server.store.clickhouse.client import ClickHouse


def queries_of(clickhouse: ClickHouse, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """The queries from now on with their parameters, as they come."""
    seen: list[tuple[str, Any]] = []
    rows = clickhouse.rows

    def noted(sql: str, parameters: Any = None, seconds: float | None = None) -> Any:
        seen.append((sql, parameters))
        return rows(sql, parameters, seconds)

    monkeypatch.setattr(clickhouse, "rows", noted)
    return seen
