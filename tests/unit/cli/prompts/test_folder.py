"""The directory of prompts: no name leads out of it, and no link is followed."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from banyan_hp.cli.prompts.folder import Folder, encoded, place
from banyan_hp.cli.terminal import CommandError

NAMES = st.text(
    st.one_of(st.sampled_from("./\\%~ aA\x00\n\ud800"), st.characters()), min_size=1, max_size=255
)


@given(name=NAMES)
def test_any_name_is_one_part_of_a_path(name: str) -> None:
    """Of plain characters, not hidden, and short enough for a file system."""
    part = encoded(name)
    assert part.isascii()
    assert part.isprintable()
    assert "/" not in part
    assert not part.startswith(".")
    assert 0 < len(part) < 240


@given(one=NAMES, other=NAMES)
def test_different_names_have_different_files(one: str, other: str) -> None:
    """Also where they are too long for a file's name."""
    assert (encoded(one) == encoded(other)) is (one == other)
    assert encoded("x" * 250 + one) != encoded("x" * 250 + other) or one == other


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("greeting", "greeting"),
        ("support/answer", "support%2Fanswer"),
        ("..", "%2E."),
        ("../../etc/passwd", "%2E.%2F..%2Fetc%2Fpasswd"),
        (".hidden", "%2Ehidden"),
        ("ä b", "%C3%A4%20b"),
        ("a%2Fb", "a%252Fb"),
        ("~x", "%7Ex"),
    ],
)
def test_unusual_characters_are_percent_encoded(name: str, part: str) -> None:
    """As in a URL; a dot at the beginning, too."""
    assert encoded(name) == part


def test_a_text_is_written_whole_and_read_back(tmp_path: Path) -> None:
    """With the mode that the user's files have, since it goes into git."""
    with Folder(tmp_path / "new" / "prompts", make=True) as folder:
        where = place("main", "a/b")
        assert folder.read(where) is None
        folder.write(where, "one\r\n\ud800")
        folder.write(where, "two\r\n\ud800")
        assert folder.read(where) == "two\r\n\ud800"
        assert folder.places() == ["main/a%2Fb.md"]
    made = tmp_path / "new" / "prompts" / "main"
    assert [each.name for each in made.iterdir()] == ["a%2Fb.md"]
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE((made / "a%2Fb.md").stat().st_mode) == 0o666 & ~umask


def test_what_is_no_file_of_a_prompt_is_not_looked_at(tmp_path: Path) -> None:
    """A README beside the branches, what is hidden, other kinds of files."""
    (tmp_path / "README.md").write_text("x")
    for name in (".git/main.md", "main/.a.md.swp", "main/.b.md", "main/notes.txt", "main/c.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    with Folder(tmp_path) as folder:
        assert folder.places() == ["main/c.md"]


def test_links_are_not_followed(tmp_path: Path) -> None:
    """Neither out of a branch's directory nor in its place; nothing is read or written behind them."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "a.md").write_text("outside")
    inside = tmp_path / "prompts"
    (inside / "main").mkdir(parents=True)
    (inside / "main" / "a.md").symlink_to(outside / "a.md")
    with Folder(inside) as folder:
        with pytest.raises(CommandError, match="links are not followed"):
            folder.read("main/a.md")
        (inside / "dev").symlink_to(outside)
        for use in (lambda: folder.read("dev/a.md"), lambda: folder.write("dev/b.md", "x"), folder.places):
            with pytest.raises(CommandError, match="links are not followed"):
                use()
    assert [each.name for each in outside.iterdir()] == ["a.md"]
    assert (outside / "a.md").read_text() == "outside"


def test_a_link_in_the_place_of_a_file_is_never_written_through(tmp_path: Path) -> None:
    """A whole file takes its place."""
    outside = tmp_path / "outside.md"
    outside.write_text("outside")
    (tmp_path / "main").mkdir()
    (tmp_path / "main" / "a.md").symlink_to(outside)
    with Folder(tmp_path) as folder:
        folder.write("main/a.md", "inside")
    assert outside.read_text() == "outside"
    assert not (tmp_path / "main" / "a.md").is_symlink()


def test_what_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    """A pipe is not waited for; what is no UTF-8 is named."""
    (tmp_path / "main").mkdir()
    os.mkfifo(tmp_path / "main" / "pipe.md")
    (tmp_path / "main" / "latin.md").write_bytes(b"\xff")
    with Folder(tmp_path) as folder:
        with pytest.raises(CommandError, match=r"main/pipe\.md can't be read: it is no regular file"):
            folder.read("main/pipe.md")
        with pytest.raises(CommandError, match=r"main/latin\.md can't be read"):
            folder.read("main/latin.md")


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    """A mistyped one is not taken for one without prompts."""
    with pytest.raises(CommandError, match="missing can't be used: No such file") as caught:
        Folder(tmp_path / "missing")
    assert caught.value.code == 3
