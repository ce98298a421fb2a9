"""A cluster of two shards has spans: what is asked of several traces is put together of both."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.senders import stored_of
from tests.unit.server.store import test_traces
from tests.unit.server.store.test_spans import RULE

from . import test_spans
from .test_cluster import embedded as embedded
from .test_spans import spans as spans
from .test_spans import traces as traces
from .test_tenants_of_spans import test_spans_of_another_project_are_not_seen as test_tenants

if TYPE_CHECKING:
    from banyan_hp.server.store.clickhouse.calls import ClickHouseCalls
    from banyan_hp.server.store.clickhouse.spans import ClickHouseSpans

__all__ = ["test_tenants"]

for _module in (test_spans, test_traces):
    for _name, _test in vars(_module).items():
        if _name.startswith("test_") and callable(_test):
            globals()[_name] = _test


def test_spans_are_looked_at_when_each_replica_that_is_asked_has_them(
    spans: ClickHouseSpans, store: ClickHouseCalls, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A queue that is ahead of its spans would be emptied without a call."""
    spans.append(stored_of("langwatch-1.4.0"))
    settled = store.settled
    monkeypatch.setattr(store, "settled", lambda: settled() - (60_000 << 22))  # a minute before
    assert spans.derive(50, RULE) == 0
    waiting = spans.underived()
    assert waiting > 0
    monkeypatch.setattr(store, "settled", settled)
    assert spans.derive(50, RULE) == waiting
    assert spans.underived() == 0
