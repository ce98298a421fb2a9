"""What every store of calls does, on ClickHouse: the other stores' tests that ask for `Calls` only."""

from __future__ import annotations

from tests.unit.server.store import test_arrival, test_calls, test_removal

for _module in (test_calls, test_arrival, test_removal):
    for _name, _test in vars(_module).items():
        if getattr(_test, "__annotations__", {}).get("store") == "Calls":
            globals()[_name] = _test
