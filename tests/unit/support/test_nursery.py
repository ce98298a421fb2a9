"""Processes that are forked off one that has imported everything."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from tests.support.nursery import Forked, fork


def help_of(tmp_path: Path, *arguments: str) -> tuple[Forked, Path]:
    errors = tmp_path / "stderr"
    with errors.open("w") as stderr:
        return fork(arguments, stderr=stderr, cwd=tmp_path), errors


def test_it_says_what_it_says_and_ends_with_its_code(tmp_path: Path) -> None:
    """On its own streams."""
    started, errors = help_of(tmp_path, "serve", "--help")
    with started.stdout as stdout:
        assert stdout.read().startswith("usage: banyan-hp serve")
    assert (started.wait(10), errors.read_text()) == (0, "")
    refused, errors = help_of(tmp_path, "serve", "--port", "x")
    assert refused.wait(10) == 2
    refused.stdout.close()
    assert "must be a number from 0 to 65535, was 'x'" in errors.read_text()


def test_it_has_its_own_environment_and_directory(tmp_path: Path) -> None:
    """Those of its request, whatever the nursery was started in."""
    with (tmp_path / "stderr").open("w") as stderr:
        started = fork(["keys", "ls"], stderr=stderr, cwd=tmp_path, env={"XDG_DATA_HOME": str(tmp_path)})
    started.wait(10)
    started.stdout.close()
    assert str(tmp_path / "banyan_hp") in (tmp_path / "stderr").read_text()


def test_it_gets_signals(tmp_path: Path) -> None:
    """And what it was ended by is its code."""
    started, _ = help_of(tmp_path, "serve", "--port", "0", "--db", str(tmp_path / "db"))
    with started.stdout as stdout:
        assert stdout.readline().startswith("banyan-hp local backend on ")
        assert started.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            started.wait(0.01)
        started.kill()
        assert started.wait(10) == -signal.SIGKILL
        started.kill()  # of one that has ended: nothing happens
