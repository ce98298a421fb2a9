"""Tests that were too slow begin anew; those that fail otherwise do not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.servers import ROOT
from tests.support.timing import TRIES, TooSlow, assert_in_time

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
def test_wrong(fresh):
    raise AssertionError("wrong")
@pytest.fixture
def complains():
    yield
    raise AssertionError("left something behind")
def test_slow_and_wrong(fresh, complains):
    assert_in_time(5, 1)
def test_fixtures():
    print("made", len(made))
"""


def test_the_limit_itself_is_too_much() -> None:
    """And the error says both numbers."""
    assert_in_time(0.99, 1.0)
    with pytest.raises(TooSlow, match=r"took 1\.000 s, may take 1$"):
        assert_in_time(1.0, 1.0)


def test_only_what_was_too_slow_begins_anew(tmp_path: Path) -> None:
    """With fixtures of its own each time; each such time is told."""
    (tmp_path / "test_these.py").write_text(TESTS)
    options = "-q -s -p no:cacheprovider -p no:hypothesispytest -p tests.support.timing test_these.py"
    command = [sys.executable, "-m", "pytest", *options.split()]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert "3 failed, 2 passed, 1 error" in ran.stdout, ran.stdout
    assert f"made {3 + TRIES + 1 + 1}" in ran.stdout
    anew = [line.rpartition("::")[2] for line in ran.stdout.splitlines() if "begun anew" in line]
    assert anew == ["test_slow_twice"] * 2 + ["test_always_slow"] * (TRIES - 1)
