"""Tests that were too slow begin anew, those that fail otherwise once, and few of them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.servers import ROOT
from tests.support.timing import FORGIVEN, TRIES, TooSlow, assert_in_time

TESTS = """
import pytest
from tests.support.timing import assert_in_time
seconds = [5.0, 5.0, 0.1]
made = []
@pytest.fixture
def fresh():
    made.append(len(made))
    return made[-1]
def test_slow_twice(fresh):
    assert_in_time(seconds[fresh], 1)
def test_always_slow(fresh):
    assert_in_time(5, 1)
def test_wrong_once(fresh):
    assert fresh % 2, f"fixture {fresh}"
@pytest.fixture
def complains():
    yield
    raise AssertionError("left something behind")
def test_slow_and_wrong(fresh, complains):
    assert_in_time(5, 1)
def test_wrong_too_late(fresh):
    assert fresh % 2, f"fixture {fresh}"
def test_fixtures():
    print("made", len(made))
"""


def run_these(directory: Path, **environment: str) -> str:
    """What pytest says of `TESTS`."""
    (directory / "test_these.py").write_text(TESTS)
    options = "-q -s -p no:cacheprovider -p no:hypothesispytest -p tests.support.timing test_these.py"
    command = [sys.executable, "-m", "pytest", *options.split()]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", **environment}
    return subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, check=False
    ).stdout


def test_the_limit_itself_is_too_much() -> None:
    """And the error says both numbers."""
    assert_in_time(0.99, 1.0)
    with pytest.raises(TooSlow, match=r"took 1\.000 s, may take 1$"):
        assert_in_time(1.0, 1.0)


def test_what_was_too_slow_begins_anew_and_so_do_a_few_that_failed(tmp_path: Path) -> None:
    """With fixtures of their own each time; each such time is told, a failure with its reason."""
    said = run_these(tmp_path)
    assert "3 failed, 3 passed, 1 error" in said, said
    assert f"made {3 + TRIES + 2 + 2 + 1}" in said
    anew = [line.rpartition("::")[2] for line in said.splitlines() if "too slow, begun" in line]
    assert anew == ["test_slow_twice"] * 2 + ["test_always_slow"] * (TRIES - 1)
    forgiven = re.findall(r"failed, begun anew: .*::(\w+)", said)
    assert forgiven == ["test_wrong_once", "test_slow_and_wrong"]
    assert len(forgiven) == FORGIVEN
    assert "AssertionError: fixture 6" in said


def test_where_all_must_pass_at_once_a_failure_is_final(tmp_path: Path) -> None:
    """As in the long runs, which look for what happens rarely."""
    said = run_these(tmp_path, FIRST_TIME="1")
    assert "failed, begun anew" not in said
    assert f"made {3 + TRIES + 1 + 1 + 1}" in said
