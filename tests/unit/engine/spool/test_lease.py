"""A lease belongs to this process alone: no forked child shares it, and no failure leaves it behind."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from banyan_hp.engine.spool import lease as module
from banyan_hp.engine.spool.index import Index
from banyan_hp.engine.spool.lease import create, take_over
from banyan_hp.engine.spool.segment import Segment
from banyan_hp.engine.spool.spool import Spool
from tests.support.disk import Disk, abandoned, ids, lines, read, records

pytestmark = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")


def descriptors(disk: Disk) -> list[str]:
    """The segments that this process has open."""
    paths = [os.path.realpath(path) for path in Path("/dev/fd").iterdir()]
    return [path for path in paths if path.startswith(str(disk.directory.resolve())) and ".jsonl" in path]


@contextmanager
def child(disk: Disk, spool: Spool | None = None) -> Iterator[list[bool]]:
    """A forked child that lives until the end; the first value is whether it has a segment open."""
    out, into = os.pipe()
    over, end = os.pipe()
    pid = os.fork()
    if pid == 0:
        if spool is not None:
            spool.abandon()
        os.write(into, b"1" if descriptors(disk) else b"0")
        os.close(end)
        os.read(over, 1)
        os._exit(0)
    try:
        yield [os.read(out, 1) == b"1"]
    finally:
        os.close(end)
        os.waitpid(pid, 0)
        for fd in (out, into, over):
            os.close(fd)


def forking(real: Callable[..., Any], disk: Disk, shares: list[bool], *, after: bool) -> Callable[..., Any]:
    """The same, with a fork before or after it."""

    (spool,) = disk.spools

    def call(*args: Any) -> Any:
        result = real(*args) if after else None
        with child(disk, spool) as shared:
            shares.extend(shared)
        return result if after else real(*args)

    return call


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("step", ["lock_file", "read_index"])
def test_a_child_forked_during_adoption_shares_no_lease(
    disk: Disk, monkeypatch: pytest.MonkeyPatch, step: str, after: bool
) -> None:
    """The segment is known to its holder before it is leased, so the child closes its copy."""
    abandoned(disk, lines(1, 2))
    spool = disk.spool()
    shares: list[bool] = []
    owner: Any = module if step == "lock_file" else Segment
    monkeypatch.setattr(owner, step, forking(getattr(owner, step), disk, shares, after=after))
    assert ids(read(spool)) == [1, 2]
    assert shares == [False]


def test_a_child_forked_while_a_segment_is_made_shares_no_lease(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same for the process's own segments."""
    spool = disk.spool()
    shares: list[bool] = []
    name = "lock_file"  # imported there: there is no other way in between
    monkeypatch.setattr(module, name, forking(getattr(module, name), disk, shares, after=True))
    assert spool.append(records(1)) == 1
    assert shares == [False]


@pytest.mark.parametrize("own", [False, True])
def test_a_descriptor_that_a_child_has_copied_unseen_is_never_leased(
    disk: Disk, monkeypatch: pytest.MonkeyPatch, own: bool
) -> None:
    """A fork between opening a file and noting its descriptor: the file is opened anew, then leased."""
    path = abandoned(disk, lines(1, 2))
    real = os.open
    with monkeypatch.context() as patched, _Forks(disk) as forks:

        def opened(name: Any, *args: Any) -> int:
            fd = real(name, *args)
            if ".jsonl" in os.fspath(name) and not forks.children:
                forks.fork()
            return fd

        patched.setattr(os, "open", opened)
        segment = create(disk.directory, path.name.replace("dead", "ab")) if own else take_over(path)
        assert forks.children
        assert segment is not None
        segment.close()
        again = take_over(segment.path)  # the child lives, and has a copy of what was opened first
        assert again is not None
        again.close()


class _Forks:
    """Children that live until the end, and know nothing of our descriptors."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self.children: list[Any] = []

    def __enter__(self) -> _Forks:
        return self

    def fork(self) -> None:
        each = child(self.disk)
        assert each.__enter__() == [True]
        self.children.append(each)

    def __exit__(self, *_: object) -> None:
        for each in self.children:
            each.__exit__(None, None, None)


@pytest.mark.parametrize("error", [IndexError, OSError, MemoryError])
def test_whatever_fails_during_adoption_leaves_no_descriptor_open(
    disk: Disk, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    """The segment can be adopted again, by whoever is able to."""
    path = abandoned(disk, lines(1, 2))
    spool = disk.spool()

    def fail(_segment: Segment) -> Index:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(Segment, "read_index", fail)
        try:
            assert read(spool) == []
        except error:
            assert error is not OSError
    assert descriptors(disk) == []
    segment = take_over(path)
    assert segment is not None
    segment.close()
