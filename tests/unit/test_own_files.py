"""A user's own small files: whole or not at all, and nobody else's."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from banyan_hp.engine.own_files import check_directory, make_directory, read_file, replace_file


def test_a_file_is_replaced_whole_and_private(tmp_path: Path) -> None:
    """What is read is what was written last, up to the bound; nobody else can read it."""
    path = tmp_path / "file"
    for content in (b"first", b"second"):
        replace_file(path, content)
    assert read_file(path, 100) == b"second"
    assert read_file(path, 3) == b"sec"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_is_cut_short_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that takes a part only is an error, and no half of it stays."""
    path = tmp_path / "file"
    replace_file(path, b"first")
    real = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda fd, content: real(fd, content[:2]))
        with pytest.raises(OSError, match="a part of file"):
            replace_file(path, b"second")
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]


def test_directories_are_made_private_with_all_above_them(tmp_path: Path) -> None:
    """Also when they are there already."""
    path = tmp_path / "a" / "b"
    for _ in range(2):
        make_directory(path, durable=True)
    check_directory(path)
    assert [stat.S_IMODE(each.stat().st_mode) for each in (path, path.parent)] == [0o700, 0o700]


def test_a_linked_directory_is_not_ours(tmp_path: Path) -> None:
    """Somebody else may have put the link there."""
    make_directory(tmp_path / "real")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(OSError, match="symbolic link"):
        check_directory(tmp_path / "link")


def test_a_pipe_in_the_place_of_a_file_blocks_nobody(tmp_path: Path) -> None:
    """It is an error instead: nothing is read from what is no file."""
    os.mkfifo(tmp_path / "file")
    with pytest.raises(PermissionError, match="is no file"):
        read_file(tmp_path / "file", 10)
