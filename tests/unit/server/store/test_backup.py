"""A backup survives a power cut from the moment on that the command returns."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import pytest

from banyan_hp.server.store.database import Database
from banyan_hp.server.store.status import back_up


def test_the_copy_and_its_name_are_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """First what is in the file, then its name in the directory."""
    target = tmp_path / "backups" / "copy.sqlite3"
    target.parent.mkdir()
    usual, seen = os.fsync, []

    def fsync(descriptor: int) -> None:
        seen.append((os.fstat(descriptor).st_ino, target.exists()))
        usual(descriptor)

    with closing(Database(str(tmp_path / "calls.sqlite3"))):
        monkeypatch.setattr(os, "fsync", fsync)
        back_up(tmp_path / "calls.sqlite3", target)
    assert seen[-2:] == [(target.stat().st_ino, False), (target.parent.stat().st_ino, True)]
