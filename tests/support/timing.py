"""Wall time as a judge, on machines that stand still for a moment now and then.

A test that finds something too slow with `assert_in_time` begins anew, with fresh fixtures, at most twice;
whatever else it asserts must hold at the first time. Where order, counters, a fake clock or CPU time can
tell, let them: this is for promises about seconds.
"""

from __future__ import annotations

import pytest
from _pytest.runner import runtestprotocol

TRIES = 3
_was_too_slow = pytest.StashKey[bool]()
_begun_anew = pytest.StashKey[list[str]]()


class TooSlow(AssertionError):
    """It took longer than it may; perhaps the machine did."""


def assert_in_time(seconds: float, limit: float) -> None:
    """Of a test's main thread: it took less than `limit`; else the test begins anew."""
    if seconds >= limit:
        raise TooSlow(f"took {seconds:.3f} s, may take {limit:g}")


def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    """Remember what failed how."""
    if call.when == "call":
        item.stash[_was_too_slow] = call.excinfo is not None and call.excinfo.errisinstance(TooSlow)


def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool:
    """Run a test, and again where it was too slow and nothing else failed."""
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for left in reversed(range(TRIES)):
        reports = runtestprotocol(item, log=False, nextitem=nextitem)
        failed = [report.when for report in reports if report.failed]
        if not left or failed != ["call"] or not item.stash.get(_was_too_slow, False):
            break
        item.config.stash.setdefault(_begun_anew, []).append(item.nodeid)
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Tell which tests began anew."""
    for name in config.stash.get(_begun_anew, []):
        terminalreporter.write_line(f"too slow, begun anew: {name}")
