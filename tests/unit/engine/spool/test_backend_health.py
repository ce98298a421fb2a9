"""What exits remember of a backend that does not answer."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from banyan_hp.engine.spool.backend_health import BELIEVED_SECONDS, HEALTH_NAME, BackendHealth

START = 1_767_225_600.0


class Wall:
    now = START

    def __call__(self) -> float:
        return self.now


def test_a_silence_is_believed_for_a_minute_or_until_an_answer(tmp_path: Path) -> None:
    """Also by another process; what answered before it began says nothing."""
    wall = Wall()
    BackendHealth(tmp_path, wall).note_silent()
    other = BackendHealth(tmp_path, wall)
    wall.now += 10
    assert other.is_silent(None)
    assert other.is_silent(START - 1)
    assert not other.is_silent(START + 1)
    wall.now = START + BELIEVED_SECONDS
    assert not other.is_silent(None)


def test_an_answer_ends_it_for_all(tmp_path: Path) -> None:
    """Nothing is written where nothing was silent."""
    health = BackendHealth(tmp_path, Wall())
    health.note_answering()
    assert not list(tmp_path.iterdir())
    health.note_silent()
    health.note_answering()
    assert not health.is_silent(None)


def test_the_file_is_private_and_says_state_and_time_only(tmp_path: Path) -> None:
    """No key, no URL."""
    BackendHealth(tmp_path, Wall()).note_silent()
    path = tmp_path / HEALTH_NAME
    assert json.loads(path.read_text()) == {"state": "silent", "since": START}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"state": "silent"}', '{"state": "silent", "since": "x"}', "\xff"]
)
def test_a_file_that_makes_no_sense_says_nothing(content: str, tmp_path: Path) -> None:
    """Then the exit waits, as if there were none."""
    (tmp_path / HEALTH_NAME).write_text(content)
    assert not BackendHealth(tmp_path, Wall()).is_silent(None)


def test_a_clock_that_was_set_back_says_nothing(tmp_path: Path) -> None:
    """A silence that begins in the future would be believed for too long."""
    wall = Wall()
    health = BackendHealth(tmp_path, wall)
    health.note_silent()
    wall.now -= 3600
    assert not health.is_silent(None)


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    """It is replaced, and what it points to stays."""
    (tmp_path / "target").write_text("precious")
    (tmp_path / HEALTH_NAME).symlink_to(tmp_path / "target")
    health = BackendHealth(tmp_path, Wall())
    assert not health.is_silent(None)
    health.note_silent()
    assert health.is_silent(None)
    assert (tmp_path / "target").read_text() == "precious"


def test_without_a_directory_nothing_is_remembered(tmp_path: Path) -> None:
    """Nor made."""
    for directory in (None, tmp_path / "missing"):
        health = BackendHealth(directory, Wall())
        health.note_silent()
        assert not health.is_silent(None)
    assert not list(tmp_path.iterdir())
