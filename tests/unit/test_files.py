"""Files and directories of ours: whole or not at all, and nobody else's."""

from __future__ import annotations

import ast
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

import banyan_hp
from banyan_hp.files import (
    check_directory,
    make_directory,
    make_own_directory,
    open_file,
    read_file,
    replace_file,
)
from banyan_hp.prompts.store import Store
from tests.support.disk import Disk, Ledger, abandoned, ids, lines, read


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
        with pytest.raises(OSError, match="a part of"):
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
    with pytest.raises(PermissionError, match="is not a regular file"):
        read_file(tmp_path / "file", 10)


# -- what is not ours ----------------------------------------------------------------------------------------


def linked(path: Path) -> None:
    target = path.with_name("elsewhere")
    target.write_bytes(b"secret")
    path.symlink_to(target)


def broken_link(path: Path) -> None:
    path.symlink_to(path.with_name("nowhere"))


def of_another_user(path: Path) -> None:
    path.write_bytes(b"theirs")
    os.chown(path, os.geteuid() + 1, -1)


NOT_OURS = [
    linked,
    broken_link,
    os.mkfifo,
    Path.mkdir,
    pytest.param(
        of_another_user, marks=pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
    ),
]


@pytest.mark.parametrize("plant", NOT_OURS)
@pytest.mark.parametrize(
    "flags", [os.O_RDONLY, os.O_RDWR | os.O_APPEND, os.O_WRONLY | os.O_CREAT | os.O_APPEND]
)
def test_what_is_no_file_of_ours_is_not_opened(
    tmp_path: Path, plant: Callable[[Path], None], flags: int
) -> None:
    """Links, pipes, directories and other users' files: an error at once, and nothing is written through."""
    path = tmp_path / "file"
    plant(path)
    with pytest.raises(OSError, match=str(path)):
        open_file(path, flags)
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(
    ("mode", "as_parent", "as_leaf"),
    [
        (0o700, True, True),
        (0o755, True, True),
        (0o2770, True, True),  # a Kubernetes volume with an fsGroup
        (0o1777, True, False),  # a shared parent: nobody removes what others made
        (0o770, False, False),
        (0o777, False, False),
        (0o2777, False, False),
    ],
)
def test_a_directory_of_ours_that_others_can_write_to_is_refused(
    tmp_path: Path, mode: int, *, as_parent: bool, as_leaf: bool
) -> None:
    """The message names it, its mode and the remedy; setgid volumes and sticky parents are fine."""
    path = tmp_path / "ours"
    path.mkdir()
    path.chmod(mode)
    for shared, fine in ((True, as_parent), (False, as_leaf)):
        if fine:
            check_directory(path, shared=shared)
        else:
            with pytest.raises(PermissionError, match=rf"can write to .*ours \(mode 0*{mode:o}\); chmod 700"):
                check_directory(path, shared=shared)


def test_what_is_above_our_directories_may_be_shared(tmp_path: Path) -> None:
    """A mount point that everybody can write to; what is made below it is private."""
    tmp_path.chmod(0o777)
    make_own_directory(tmp_path / "spool" / "destination")
    assert stat.S_IMODE((tmp_path / "spool").stat().st_mode) == 0o700


@pytest.mark.parametrize("name", ["prompts", "spool"])
def test_nothing_is_made_behind_a_linked_parent(tmp_path: Path, name: str) -> None:
    """`prompts/` or `spool/` as a link is refused before anything is made in its target."""
    target = tmp_path / "target"
    target.mkdir()
    (tmp_path / name).symlink_to(target)
    with pytest.raises(OSError, match="symbolic link"):
        make_own_directory(tmp_path / name / "destination")
    Store(tmp_path / name / "destination").keep(("question",), {"answer": 1}, None, 1.0)
    assert list(target.iterdir()) == []


# -- the files of the spool ----------------------------------------------------------------------------------


@pytest.mark.parametrize("plant", NOT_OURS)
@pytest.mark.parametrize("suffix", ["", ".ack"])
def test_a_planted_file_keeps_nobody_from_the_other_segments(
    tmp_path: Path, plant: Callable[[Path], None], suffix: str
) -> None:
    """In the place of a segment or of its `.ack`: it is counted as a failure, and all others are sent.

    Another user's `.ack` settles nothing.
    """
    disk = Disk(tmp_path / "spool" / "destination")
    segment = abandoned(disk, lines(1), 0)
    abandoned(disk, lines(2), 1)
    disk.directory.chmod(0o700)
    planted = segment.with_name(segment.name + suffix)
    planted.unlink(missing_ok=True)
    plant(planted)
    ledger = Ledger()
    spool = disk.spool(observer=ledger)
    assert ids(read(spool)) == [2]
    spool.close()
    assert ledger.failures > 0
    assert os.path.lexists(planted)


def test_another_user_s_acknowledgements_settle_nothing(tmp_path: Path) -> None:
    """A directory that others can write to is not used at all; the message says so."""
    disk = Disk(tmp_path / "spool" / "destination")
    abandoned(disk, lines(1))
    disk.directory.chmod(0o777)
    spool = disk.spool()
    assert read(spool) == []
    assert "other users can write to" in (spool.problem or "")


# -- nobody else opens files ---------------------------------------------------------------------------------

_OPENING = {"open", "openat", "mkfifo", "mknod", "touch"} | {
    f"{verb}_{what}" for verb in ("read", "write") for what in ("bytes", "text")
}
_ROOMS = ("engine", "prompts", "cli/spool")


def opening_calls(source: str) -> set[str]:
    """Calls that open files, but for `self.….open()`, which is the spool's own word."""
    calls = {node.func for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)}
    found = {
        ast.unparse(call)
        for call in calls
        if (isinstance(call, ast.Name) and call.id in _OPENING)
        or (isinstance(call, ast.Attribute) and call.attr in _OPENING)
    }
    return {call for call in found if call not in {"self._spool.open", "self.spool.open", "spool.open"}}


def test_every_file_is_opened_by_the_one_careful_function() -> None:
    """In spool and prompt cache nothing but `files` opens one, or reads or writes one by its path."""
    package = Path(banyan_hp.__file__).parent
    found = {
        f"{path.relative_to(package).as_posix()}: {call}"
        for room in _ROOMS
        for path in (package / room).rglob("*.py")
        for call in opening_calls(path.read_text("utf-8"))
    }
    assert not found
    assert opening_calls((package / "files.py").read_text("utf-8")) == {"os.open"}
    assert opening_calls("open(x); io.open(x); p.read_bytes(); p.open(); self.spool.open()") == {
        "open",
        "io.open",
        "p.read_bytes",
        "p.open",
    }
