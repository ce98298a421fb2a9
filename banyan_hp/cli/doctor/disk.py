"""The spool: whether its directory can be used, what it lies on, and what waits in it."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ...engine.spool import survey
from ...engine.spool.layout import Address, destination_directory, spool_bases
from ...engine.spool.quarantine import Quarantine
from ...engine.spool.survey import Seen, State
from ...engine.sync import Clock
from ...files import can_lock, check_directory, check_own_directory, lock_file
from ...settings import MIB, Settings, env
from ..spool.places import Place
from ..terminal import age, counted, size
from .configuration import Target
from .findings import Finding, good, note, wrong
from .findings import State as Meaning

_LEAST_FREE = 64 * MIB
_OCTAL = re.compile(r"\\([0-7]{3})")  # how the system writes a space in a path
_MOUNTS = Path("/proc/self/mountinfo")
_NETWORK = frozenset({
    "9p", "afs", "afpfs", "ceph", "cifs", "fuse.gcsfuse", "fuse.glusterfs", "fuse.rclone", "fuse.s3fs",
    "fuse.sshfs", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "ocfs2", "smb3", "smbfs", "virtiofs",
})  # fmt: skip
_TEMPORARY = frozenset({"ramfs", "tmpfs"})
_MEMORY_ONLY = "Without it, records are kept in memory only"
_ANOTHER = "name another directory with BANYAN_HP_SPOOL_DIR or spool_dir="


class Disk:
    """One look at the spool.

    Args:
        target: whose records are ours; None: nobody knows.
        spool_dir: as the option says.
        everything: say of each other destination what waits there, not only how many there are.
        mounts: where the system lists its file systems.
    """

    def __init__(
        self,
        target: Target | None,
        spool_dir: Path | None,
        *,
        everything: bool = False,
        mounts: Path = _MOUNTS,
    ) -> None:
        self._target = target
        self._given = spool_dir or env("BANYAN_HP_SPOOL_DIR")
        self._source = "--dir" if spool_dir else "environment: BANYAN_HP_SPOOL_DIR"
        self._everything = everything
        self._mounts = mounts

    def findings(self) -> Iterator[Finding]:
        """The directory first; what waits in it last."""
        if not can_lock():
            yield note("spool", "this system has no flock: records are kept in memory only")
            return
        try:
            bases = spool_bases(self._given)
        except (RuntimeError, OSError, KeyError) as error:
            yield wrong("spool", f"no directory is known: {error}", f"{_MEMORY_ONLY}: {_ANOTHER}.")
            return
        yield self._directory(bases[0])
        yield from self._below(bases[0])
        yield from self._backlogs(bases)

    def _directory(self, base: Path) -> Finding:
        source = self._source if self._given else "default"
        try:
            _use(base, self._own(base))
        except OSError as error:
            reason = f"{base} ({source}): {error.strerror or error}"
            return wrong("spool", reason, f"{_MEMORY_ONLY}: make it writable, or {_ANOTHER}.")
        return good("spool", f"{base} can be written to ({source})")

    def _own(self, base: Path) -> Path | None:
        if self._target is None:
            return None
        destination = self._target.destination
        return destination_directory(base, destination.identity, destination.key)

    def _below(self, base: Path) -> Iterator[Finding]:
        """What the directory lies on."""
        with suppress(OSError):
            yield self._space(_existing(base))
        with suppress(OSError):
            kind = file_system(_existing(base).resolve(), self._mounts.read_text("utf-8", "replace"))
            yield _file_system_finding(kind)

    def _space(self, where: Path) -> Finding:
        free = shutil.disk_usage(where).free
        most = self._target.settings.spool_max_bytes if self._target else Settings().spool_max_bytes
        found = f"{size(free)}; the queue may take {size(most)} (spool_max_bytes)"
        if free < _LEAST_FREE:
            return wrong("free space", found, f"An outage's records need more: make room, or {_ANOTHER}.")
        return note("free space", found) if free < most else good("free space", found)

    # -- what waits ------------------------------------------------------------------------------------------

    def _backlogs(self, bases: tuple[Path, ...]) -> Iterator[Finding]:
        ours: list[Finding] = []
        foreign: list[Finding] = []
        for base in bases:
            own = self._own(base)
            try:
                places = [Place(each, Address.read(each)) for each in survey.destinations(base)]
            except OSError as error:
                yield wrong("backlog", f"{base / 'spool'} can't be listed: {error.strerror or error}")
                return
            for place in places:
                finding = self._backlog(place, own)
                if finding is not None:
                    others = _is_foreign(place, own) and finding.state is not Meaning.WRONG
                    (foreign if others else ours).append(finding)
        yield from ours
        if len(foreign) > 1 and not self._everything:
            found = f"{len(foreign)} other destinations have records waiting or in quarantine"
            yield note("backlog", found, "Their own applications send them; --all shows each.")
        else:
            yield from foreign
        if not ours and not foreign:
            yield good("backlog", "nothing waits to be sent")

    def _backlog(self, place: Place, own: Path | None) -> Finding | None:
        """None if nothing waits there."""
        try:
            check_own_directory(place.directory)
            seen = [each for each in survey.segments(place.directory) if each.unacknowledged or each.damaged]
            refused = len(Quarantine(place.directory, Clock()).entries())
        except OSError as error:
            return wrong("backlog", f"{place.title} can't be read: {error}")
        if seen:
            return self._waiting(place, own, seen, refused)
        if refused:
            advice = "Look at them with `banyan-hp spool quarantine show`."
            return note("backlog", f"{place.title}: {counted(refused, 'record')} in quarantine", advice)
        return None

    def _waiting(self, place: Place, own: Path | None, seen: list[Seen], refused: int) -> Finding:
        records = counted(sum(each.unacknowledged for each in seen), "record")
        oldest = age(time.time() - min(each.created for each in seen))
        bytes_ = size(sum(each.size for each in seen))
        found = f"{place.title}: {records} in {counted(len(seen), 'segment')}, {bytes_}, {oldest} old"
        if refused:
            found += f", and {counted(refused, 'record')} in quarantine"
        if any(each.state is State.HELD for each in seen):
            return good("backlog", f"{found}; a running application holds it")
        if own is None or place.directory == own:
            return note("backlog", found, "The next process sends it, or `banyan-hp spool replay`.")
        if not _is_foreign(place, own):
            return wrong("backlog", f"{found}; nobody uses this key", _of_another_key(place))
        return note("backlog", found, "Another destination: its own application sends it.")


def _is_foreign(place: Place, own: Path | None) -> bool:
    """Whether it has another URL or project than ours."""
    return own is not None and place.id.rpartition("-")[0] != own.name.rpartition("-")[0]


def _of_another_key(place: Place) -> str:
    replay = f"`banyan-hp spool replay --from-key {place.fingerprint}`"
    return f"Pass the old key in previous_keys= to send it under the new one, or run {replay}."


def _use(base: Path, own: Path | None) -> None:
    """Do what a spool does there: write, lock, remove. Leaves nothing behind.

    Raises:
        OSError: it can't be done, or the directories are not this user's alone.
    """
    if (base / "spool").exists():
        check_directory(base / "spool", shared=True)
    if own is not None and own.exists():
        check_own_directory(own)
    deepest = own if own is not None else base / "spool"
    descriptor, name = tempfile.mkstemp(prefix=".banyan-hp-doctor-", dir=_existing(deepest))
    try:
        os.write(descriptor, b"\n")
        lock_file(descriptor)
    finally:
        os.close(descriptor)
        Path(name).unlink(missing_ok=True)


def _existing(path: Path) -> Path:
    """The deepest directory that is there.

    Raises:
        NotADirectoryError: something else is in the way.
    """
    for each in (path, *path.parents):
        if each.is_dir():
            return each
        if os.path.lexists(each):
            raise NotADirectoryError(f"{each} is in the way: it is no directory")
    raise FileNotFoundError(f"{path} can't be made")


def _file_system_finding(kind: str) -> Finding:
    if kind in _NETWORK:
        advice = "The queue needs flock, which some of them only pretend to have: a local disk is safer."
        return note("file system", f"{kind}, on the network", advice)
    if kind in _TEMPORARY:
        return note("file system", f"{kind}, in memory", f"A restart of the machine empties it: {_ANOTHER}.")
    if kind == "overlay":
        return note("file system", "overlay, a container's own", "It goes away with it: use a volume.")
    return good("file system", kind or "not known")


def file_system(path: Path, mounts: str) -> str:
    """The kind of file system that a path lies on, by the system's list of mounts; empty if not found."""
    kind, deepest = "", -1
    for line in mounts.splitlines():
        fields, _, about = line.partition(" - ")
        columns, kinds = fields.split(" "), about.split(" ")
        if len(columns) < 5 or not kinds[0]:
            continue
        where = Path(_OCTAL.sub(lambda found: chr(int(found[1], 8)), columns[4]))
        if path.is_relative_to(where) and len(where.parts) >= deepest:
            kind, deepest = kinds[0], len(where.parts)
    return kind
