"""The last known good answers on disk: their files, bounds, and everything that can be wrong with them."""

from __future__ import annotations

import errno
import json
import logging
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from banyan_hp.prompts import store as store_module
from banyan_hp.prompts.store import WRITE_AGAIN_SECONDS, Kept, Store
from tests.support.prompts import all_at_once

QUESTION = ("p", None, "main", None, (("", ""),))
ANSWER = {"content": "Hello ä", "metadata": {"a": [1, None]}}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "state" / "prompts" / "destination"


def kept_in(directory: Path, **changes: Any) -> Path:
    """A store's one file, with its object changed."""
    Store(directory).keep(QUESTION, ANSWER, '"tag"', 100.0)
    (path,) = directory.iterdir()
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return path


def test_what_was_kept_is_there_for_the_next_process(directory: Path) -> None:
    """Question, answer, tag and time come back; another question has nothing."""
    Store(directory).keep(QUESTION, ANSWER, '"tag"', 100.0)
    assert Store(directory).load(QUESTION) == Kept(
        ["p", None, "main", None, [["", ""]]], 100.0, '"tag"', ANSWER
    )
    assert Store(directory).load(("q", *QUESTION[1:])) is None
    assert Store(directory).load(("p", None, "main", None, ())) is None


def test_only_the_owner_can_read_it(directory: Path) -> None:
    """Directories that are made are 0700, files 0600, whatever the umask."""
    earlier = os.umask(0)
    try:
        Store(directory).keep(QUESTION, ANSWER, None, 100.0)
    finally:
        os.umask(earlier)
    (path,) = directory.iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for each in (directory, directory.parent, directory.parent.parent):
        assert stat.S_IMODE(each.stat().st_mode) == 0o700


def test_no_link_is_followed(directory: Path, tmp_path: Path) -> None:
    """A file that is a link is not read, and replaced, not written through."""
    path = kept_in(directory)
    elsewhere = tmp_path / "elsewhere"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)
    before = elsewhere.read_bytes()
    assert Store(directory).load(QUESTION) is None
    Store(directory).keep(QUESTION, {"content": "new"}, None, 200.0)
    assert not path.is_symlink()
    assert elsewhere.read_bytes() == before


def test_a_linked_directory_is_neither_read_nor_written_nor_cleared(directory: Path, tmp_path: Path) -> None:
    """Somebody else may have put the link there."""
    path = kept_in(directory)
    linked = tmp_path / "linked"
    linked.symlink_to(directory)
    store = Store(linked)
    assert store.load(QUESTION) is None
    store.keep(("other",), ANSWER, None, 100.0)
    store.clear()
    assert list(directory.iterdir()) == [path]


def test_what_belongs_to_another_user_is_not_touched(
    directory: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One warning names the directory."""
    path = kept_in(directory)
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    store = Store(directory)
    with caplog.at_level(logging.WARNING, "banyan_hp"):
        assert store.load(QUESTION) is None
        store.keep(("other",), ANSWER, None, 100.0)
        store.keep(("third",), ANSWER, None, 100.0)
        store.clear()
    assert list(directory.iterdir()) == [path]
    assert len(caplog.records) == 1
    assert str(directory) in caplog.text


def test_a_pipe_in_the_place_of_a_file_blocks_nobody(directory: Path) -> None:
    """Only plain files are read."""
    path = kept_in(directory)
    path.unlink()
    os.mkfifo(path)
    assert Store(directory).load(QUESTION) is None


def test_a_file_in_the_place_of_the_directory_does_no_harm(tmp_path: Path) -> None:
    """Nothing is remembered, nothing raised, the file stays."""
    in_the_way = tmp_path / "file"
    in_the_way.write_text("mine")
    for directory in (in_the_way, in_the_way / "below"):
        store = Store(directory)
        store.keep(QUESTION, ANSWER, None, 100.0)
        store.renew(QUESTION, None, 9_999.0)
        store.forget(QUESTION)
        store.clear()
        assert store.load(QUESTION) is None
    assert in_the_way.read_text() == "mine"


@pytest.mark.parametrize("failing", ["write", "replace", "mkdir"])
def test_a_disk_that_fails_costs_a_warning(
    directory: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, failing: str
) -> None:
    """On a full or read-only disk the earlier answer stays, no half-written file does; it is tried again."""
    store = Store(directory)
    if failing != "mkdir":
        store.keep(QUESTION, ANSWER, None, 100.0)

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as broken, caplog.at_level(logging.WARNING, "banyan_hp"):
        if failing == "write":
            broken.setattr(os, "write", fail)
        else:
            broken.setattr(Path, failing, fail)
        store.keep(QUESTION, {"content": "new"}, None, 200.0)
    assert "No space left" in caplog.text
    earlier = store.load(QUESTION)
    assert (earlier is None) if failing == "mkdir" else (earlier is not None and earlier.answer == ANSWER)
    assert len(list(directory.iterdir()) if directory.exists() else []) == (failing != "mkdir")
    store.keep(QUESTION, {"content": "new"}, None, 201.0)
    now = store.load(QUESTION)
    assert now is not None
    assert now.answer == {"content": "new"}


@pytest.mark.parametrize(
    "changes",
    [
        {"answer": None},
        {"answer": [1]},
        {"fetched_at": "yesterday"},
        {"fetched_at": None},
        {"question": ["q"]},
        {"etag": 5},
        {"etag": "two\nlines"},
        {"etag": "schräg"},
        {"unknown": 1},
    ],
    ids=str,
)
def test_a_damaged_or_foreign_file_is_nothing(directory: Path, changes: dict[str, Any]) -> None:
    """Whatever it holds, it does not raise, and it is replaced by the next answer."""
    kept_in(directory, **changes)
    store = Store(directory)
    assert store.load(QUESTION) is None
    store.keep(QUESTION, ANSWER, None, 200.0)
    assert store.load(QUESTION) is not None


def test_a_file_cut_short_anywhere_is_nothing(directory: Path) -> None:
    """Truncated at each byte, or full of other bytes."""
    path = kept_in(directory)
    whole = path.read_bytes()
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        assert Store(directory).load(QUESTION) is None
    for content in (b"\xff\xfe\x00", b"[" * 100_000, b"[]", b"5", b"null"):
        path.write_bytes(content)
        assert Store(directory).load(QUESTION) is None


def test_a_file_of_another_format_version_is_left_alone(directory: Path) -> None:
    """The version is in the name: an older or newer library finds its own."""
    foreign = kept_in(directory)
    foreign = foreign.rename(directory / foreign.name.replace(".v1.", ".v2."))
    store = Store(directory)
    assert store.load(QUESTION) is None
    store.clear()
    assert foreign.exists()


def test_the_oldest_go_when_there_are_too_many(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Remains of interrupted writes go with them."""
    monkeypatch.setattr(store_module, "MAX_FILES", 3)
    directory.mkdir(parents=True)
    remains = directory / ".x.v1.json.0123.tmp"
    remains.write_text("half")
    os.utime(remains, (1, 1))
    store = Store(directory)
    for number in range(5):
        before = set(directory.iterdir())
        store.keep((str(number),), ANSWER, None, 100.0)
        for path in set(directory.iterdir()) - before:
            os.utime(path, (10 + number, 10 + number))
    assert [store.load((str(number),)) is not None for number in range(5)] == [False, False, True, True, True]
    assert not remains.exists()


def test_the_bytes_are_bounded(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All together, and each: an answer that is too large replaces the earlier one by nothing."""
    monkeypatch.setattr(store_module, "MAX_TOTAL_BYTES", 2_500)
    monkeypatch.setattr(store_module, "MAX_BYTES", 2_000)
    store = Store(directory)
    for number in range(4):
        store.keep((str(number),), {"content": "x" * 1_000}, None, 100.0)
    assert sum(path.stat().st_size for path in directory.iterdir()) <= 2_500
    assert store.load(("3",)) is not None
    store.keep(("3",), {"content": "x" * 2_000}, None, 200.0)
    assert store.load(("3",)) is None


def test_the_bytes_stay_bounded_while_answers_grow(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that gets longer makes room as a new one does."""
    monkeypatch.setattr(store_module, "MAX_TOTAL_BYTES", 3000)
    store = Store(directory)
    for size in (1, 1000):
        for number in range(5):
            store.keep((f"p{number}",), {"content": "x" * size}, None, 100.0)
    assert sum(path.stat().st_size for path in directory.iterdir()) <= 3000


def test_the_same_answer_is_seldom_written_again(directory: Path) -> None:
    """Only when the time that it tells has become too old; another answer or tag at once."""
    store = Store(directory)

    def time_after(answer: dict[str, Any], etag: str | None, at: float) -> float:
        store.keep(QUESTION, answer, etag, at)
        kept = Store(directory).load(QUESTION)
        assert kept is not None
        return kept.fetched_at

    assert time_after(ANSWER, None, 100.0) == 100.0
    assert time_after(ANSWER, None, 200.0) == 100.0
    assert time_after(ANSWER, '"tag"', 200.0) == 200.0
    assert time_after({"content": "new"}, '"tag"', 201.0) == 201.0
    assert time_after({"content": "new"}, '"tag"', 201.0 + WRITE_AGAIN_SECONDS) == 201.0 + WRITE_AGAIN_SECONDS


def test_a_confirmation_renews_the_time(directory: Path) -> None:
    """Seldom, and only of what was given under the same tag."""
    store = Store(directory)
    store.keep(QUESTION, ANSWER, '"tag"', 100.0)
    for etag, at, expected in (
        ('"tag"', 101.0, 100.0),
        ('"other"', 5_000.0, 100.0),
        ('"tag"', 5_000.0, 5_000.0),
    ):
        store.renew(QUESTION, etag, at)
        kept = Store(directory).load(QUESTION)
        assert kept is not None
        assert (kept.fetched_at, kept.answer) == (expected, ANSWER)


def test_many_writers_leave_one_whole_file(directory: Path) -> None:
    """Several processes write the same answer at once; readers see one or the other, never a mix."""
    torn: list[int] = []

    def write(number: int) -> None:
        store = Store(directory)
        for turn in range(20):
            store.keep(QUESTION, {"content": str(number) * 3_000, "turn": turn}, None, float(turn))
            kept = store.load(QUESTION)
            if kept is None or len(set(kept.answer["content"])) != 1:
                torn.append(number)

    all_at_once(6, write)
    assert torn == []
    assert len(list(directory.iterdir())) == 1


def test_clearing_while_others_write_raises_nothing(directory: Path) -> None:
    """What was kept after the last clearing may stay; nothing else does."""

    def work(number: int) -> None:
        store = Store(directory)
        for turn in range(20):
            if number % 2:
                store.clear()
            else:
                store.keep((str(number), str(turn)), ANSWER, None, 1.0)
                store.forget((str(number), str(turn)))

    all_at_once(6, work)
    Store(directory).clear()
    assert list(directory.iterdir()) == []


def test_without_a_directory_nothing_is_remembered(monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
    """Nor on a system without owners and modes."""
    monkeypatch.delattr(os, "geteuid")
    for store in (Store(None), Store(directory)):
        store.keep(QUESTION, ANSWER, None, 1.0)
        store.renew(QUESTION, None, 1.0)
        store.forget(QUESTION)
        store.clear()
        assert store.load(QUESTION) is None
    assert not directory.exists()
