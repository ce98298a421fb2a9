"""Tests that begin anew, on machines that stand still for a moment now and then.

A test that finds something too slow with `assert_in_time` begins anew, with fresh fixtures, at most twice.
Where order, counters, a fake clock or CPU time can tell, let them: this is for promises about seconds.

Of the tests that fail otherwise, the first few of a run begin anew, once, and the summary shows how they had
failed: among ten thousand tests with real processes there is one that the machine can confuse, and nobody
should have to run all again to find it. It is a fault all the same, of the test or of the product: mend it.
With FIRST_TIME=1 a failure is final.
"""

from __future__ import annotations

import os

import pytest
from _pytest.runner import runtestprotocol

TRIES = 3
FORGIVEN = 2  # tests of one run that may fail at first
_was_too_slow = pytest.StashKey[bool]()
_begun_anew = pytest.StashKey[list[str]]()
_forgiven = pytest.StashKey[dict[str, str]]()


class TooSlow(AssertionError):
    """It took longer than it may; perhaps the machine did."""


def assert_in_time(seconds: float, limit: float) -> None:
    """Of a test's main thread: it took less than `limit`; else the test begins anew."""
    if seconds >= limit:
        raise TooSlow(f"took {seconds:.3f} s, may take {limit:g}")


def pytest_configure(config: pytest.Config) -> None:
    """Make what is remembered of a run."""
    config.stash[_begun_anew] = []
    config.stash[_forgiven] = {}


def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    """Remember what failed how."""
    if call.when == "call":
        item.stash[_was_too_slow] = call.excinfo is not None and call.excinfo.errisinstance(TooSlow)


def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool:
    """Run a test, and again where that is allowed."""
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for left in reversed(range(TRIES)):
        item.stash[_was_too_slow] = False
        reports = runtestprotocol(item, log=False, nextitem=nextitem)
        failed = [report for report in reports if report.failed]
        if not (left and failed and _may_begin_anew(item, failed)):
            break
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def _may_begin_anew(item: pytest.Item, failed: list[pytest.TestReport]) -> bool:
    if item.stash[_was_too_slow] and len(failed) == 1:
        item.config.stash[_begun_anew].append(item.nodeid)
        return True
    forgiven = item.config.stash[_forgiven]
    if item.nodeid in forgiven or len(forgiven) == FORGIVEN or os.environ.get("FIRST_TIME"):
        return False
    forgiven[item.nodeid] = "\n".join(report.longreprtext for report in failed)
    return True


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Tell which tests began anew."""
    for name in config.stash[_begun_anew]:
        terminalreporter.write_line(f"too slow, begun anew: {name}")
    for name, reason in config.stash[_forgiven].items():
        terminalreporter.section(f"failed, begun anew: {name}")
        terminalreporter.write_line(reason)
