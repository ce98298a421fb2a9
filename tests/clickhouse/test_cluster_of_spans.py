"""A cluster of two shards has spans: what is asked of several traces is put together of both."""

from __future__ import annotations

from tests.unit.server.store import test_traces

from . import test_spans
from .test_cluster import embedded as embedded
from .test_spans import spans as spans
from .test_spans import traces as traces
from .test_tenants_of_spans import test_spans_of_another_project_are_not_seen as test_tenants

__all__ = ["test_tenants"]

for _module in (test_spans, test_traces):
    for _name, _test in vars(_module).items():
        if _name.startswith("test_") and callable(_test):
            globals()[_name] = _test
