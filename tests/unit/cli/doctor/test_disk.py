"""What the spool lies on: file systems by the system's list, and free space."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from banyan_hp.cli.doctor.disk import Disk, file_system
from banyan_hp.cli.doctor.findings import Finding, State

MOUNTS = r"""
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
30 22 0:26 / /tmp rw,nosuid - tmpfs tmpfs rw,size=8G
31 22 0:27 / /srv/shared\040data rw - nfs4 server:/export rw,vers=4.2
32 31 254:1 / /srv/shared\040data/local rw shared:1 master:2 - xfs /dev/vdb rw
33 22 0:28 / /var/lib/app rw - fuse.sshfs host:/ rw
34 33 0:29 / /var/lib/app rw - ceph host:/ rw
a line that is none
"""


class Usage(NamedTuple):
    total: int
    used: int
    free: int


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/home/ada", "ext4"),
        ("/tmp/spool", "tmpfs"),
        ("/tmpfoo", "ext4"),
        ("/srv/shared data/spool", "nfs4"),
        ("/srv/shared data/local/spool", "xfs"),
        ("/var/lib/app", "ceph"),  # mounted over another one
    ],
)
def test_the_deepest_and_last_mount_counts(path: str, kind: str) -> None:
    """As the kernel sees it; a space in a path is written in octal."""
    assert file_system(Path(path), MOUNTS) == kind


def test_a_list_that_says_nothing() -> None:
    """No guess is made."""
    assert file_system(Path("/home"), "") == ""


def look(base: Path, mounts: str) -> Sequence[Finding]:
    listed = base / "mounts"
    listed.write_text(mounts, "utf-8")
    return list(Disk(None, base / "state", mounts=listed).findings())


@pytest.mark.parametrize(
    ("kind", "state", "found"),
    [
        ("ext4", State.GOOD, "ext4"),
        ("nfs4", State.NOTE, "nfs4, on the network"),
        ("tmpfs", State.NOTE, "tmpfs, in memory"),
        ("overlay", State.NOTE, "overlay, a container's own"),
    ],
)
def test_a_file_system_that_needs_care_is_no_fault(
    kind: str, state: State, found: str, tmp_path: Path
) -> None:
    """It works there; what to know about it is said."""
    (finding,) = [
        each for each in look(tmp_path, f"22 1 0:1 / / rw - {kind} x rw") if each.topic == "file system"
    ]
    assert (finding.state, finding.found) == (state, found)
    assert bool(finding.advice) == (state is State.NOTE)


@pytest.mark.parametrize(
    ("free", "state"),
    [(10 * 1024**3, State.GOOD), (200 * 1024**2, State.NOTE), (1024**2, State.WRONG)],
)
def test_free_space_is_compared_with_what_the_queue_may_take(
    free: int, state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Less than that is worth knowing; next to nothing is wrong."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: Usage(2 * free, free, free))
    (finding,) = [each for each in look(tmp_path, "") if each.topic == "free space"]
    assert finding.state is state
    assert "the queue may take 512.0 MiB" in finding.found
