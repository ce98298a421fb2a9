"""Segments that others have left behind: found, and taken over when their turn comes.

Looks into the destination's directory, and into those of the same URL and project whose keys the application
named itself (`previous_keys`). Nothing else makes one key's records leave under another. What is found may
still have a living owner: that shows when it is to be taken over.

    state         in                      who owns the file                   what a crash leaves
    candidate     `candidates`            whoever leased it, or nobody        the file as it was
    under way     `under_way`             the thread that adopts it           the file; damage may be in the
                                                                              quarantine already, see below
    held          `HeldSegments`          the spool, under its lock           what is not acknowledged
    candidate     `candidates`, last      nobody: it was handed back          what is not acknowledged

A segment is leased, read and its damage quarantined while it is under way, with no lock held: the first takes
milliseconds, the second as long as its bytes take, the third may wait for another process. Then one section
of the spool's lock makes it held. Damage is noted in the ack log only when it is in the quarantine; a crash
between the two brings it there again, where it stays once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from .disk import Disk
from .held_segments import HeldSegments
from .layout import Directory, segments_in, short_directory, size_of
from .lease import Register, take_over
from .quarantine import QuarantineWriter
from .segment import Segment

HELD_AT_MOST = 16  # each is a descriptor or two that the application can't have


class Adoption:
    """What may be taken over. Guarded by the spool's lock, but for `look` and `adopt`, which take it.

    `leaves_raw`: what `before_send` has not seen is not read back.
    """

    def __init__(
        self,
        disk: Disk,
        held: HeldSegments,
        quarantine: QuarantineWriter,
        directory: Directory,
        previous: Sequence[Path],
        *,
        leaves_raw: bool,
    ) -> None:
        self._lock = disk.lock
        self._disk = disk
        self._held = held
        self._quarantine = quarantine
        self._directory = directory
        self._previous = tuple(previous)
        self._leaves_raw = leaves_raw
        self.candidates: dict[
            Path, int
        ] = {}  # their bytes; the oldest first, behind them what was handed back
        self.under_way: set[Path] = set()  # what is being adopted, by any thread
        self._handed_back: set[Path] = set()
        self.size = 0  # of others' segments in our directory at the last look, less what was taken over
        self.scanned_at = float("-inf")  # when the last look began, on the monotonic clock
        self.looked = False  # a look has ended
        self.warning: str | None = None  # something that people should know of, though all works

    def reconfigure(self, directory: Directory, previous: Sequence[Path]) -> None:
        self._lock.assert_held()
        self._directory, self._previous = directory, tuple(previous)
        self.candidates = {}

    @property
    def unread(self) -> int:
        """Bytes of the candidates. Needs no lock: the copy is atomic."""
        return sum(tuple(self.candidates.values()))

    # -- looking ----------------------------------------------------------------------------------------

    def look(self) -> None:
        """Find out what is there now. Call without the lock: directories may be long. Raises `OSError`."""
        with self._lock:
            self.scanned_at = self._disk.clock.monotonic()
            directory, previous = self._directory, self._previous
        try:
            segments, unknown = directory.listing()
            here = {path: size_of(path) for path in segments}
            elsewhere: dict[Path, int] = {}
            for each in previous:
                self._disk.in_passing(partial(_look_into, each, elsewhere))
            warning = self._warned_of(directory, unknown)
            with self._lock:
                if directory is self._directory and not self._held.closed:
                    self.warning = warning
                    self._found(here, elsewhere)
        finally:
            self.looked = True

    def _found(self, here: dict[Path, int], elsewhere: dict[Path, int]) -> None:
        held = {segment.path for segment in self._held.segments}
        self.size = sum(size for path, size in here.items() if path not in held)
        taken = held | self.under_way
        sizes = {path: size for path, size in (here | elsewhere).items() if path not in taken}
        self._handed_back &= sizes.keys()
        if len(self._handed_back) == len(sizes):
            self._handed_back.clear()  # all had their turn: once more from the start
        in_order = sorted(sizes, key=lambda path: (path in self._handed_back, path.name))
        self.candidates = {path: sizes[path] for path in in_order}

    def _warned_of(self, directory: Directory, unknown: list[str]) -> str | None:
        """What people should know of, reported. Records of the first versions never leave by themselves."""
        warning = None
        if unknown:
            warning = f"{len(unknown)} segments of another format version are left alone: {unknown[0]}, …"
            self._disk.warn("in %s %s", directory.path, warning, kind="unknown format")
        earlier, found = short_directory(directory.path), dict[Path, int]()
        if earlier != directory.path:
            self._disk.in_passing(lambda: _look_into(earlier, found))
        if found:
            warning = (
                f"{earlier} holds records of an earlier version of banyan_hp; to send them: "
                f"banyan-hp spool replay --from-key {earlier.name.rpartition('-')[2]}"
            )
            self._disk.warn("%s", warning, kind="earlier version")
        return warning

    # -- taking over ------------------------------------------------------------------------------------

    def next_before(self, name: str | None) -> Path | None:
        """The candidate to adopt next, if its turn is before the segment of that name, and there is a place.

        What was handed back comes when all else is read.
        """
        self._lock.assert_held()
        path = next(iter(self.candidates), None)
        sooner = path is not None and (name is None or (path.name < name and path not in self._handed_back))
        return path if sooner and self._make_place() else None

    def oldest_before(self, name: str | None) -> Path | None:
        """The oldest candidate, if it is older than the segment of that name."""
        self._lock.assert_held()
        path = min(self.candidates, key=lambda path: path.name, default=None)
        older = path is not None and (name is None or path.name < name)
        return path if older and self._make_place() else None

    def adopt(self, path: Path) -> None:
        """Try to take a candidate over; it is no longer one then. Call without the lock."""
        mine = False
        try:
            with self._lock:
                if path not in self.candidates:
                    return  # another thread was faster
                mine = True
                self.under_way.add(path)
                del self.candidates[path]
            with self._held.leasing() as register:
                self._adopt(path, register)
        except OSError as error:
            self._disk.segment_failed(path, error)
        finally:
            if mine:
                with self._lock:
                    self.under_way.discard(path)

    def _adopt(self, path: Path, register: Register) -> None:
        """Whatever fails here, no descriptor stays open."""
        if path.parent not in (self._directory.path, *self._previous):
            return  # it was found before the spool turned to another key
        segment = take_over(path, register)
        if segment is None:
            return
        try:
            kept = self._quarantine.damage(segment, segment.read_index().damaged)
            with self._lock:
                self._hold(segment, kept=kept)
        finally:
            if segment not in self._held.segments:
                segment.close()

    def _hold(self, segment: Segment, *, kept: bool) -> None:
        if self._held.closed:  # meanwhile; only of its damage was anything made
            self._report(segment, 0, kept=kept)
            return
        clock = self._disk.clock
        segment.made_at = clock.monotonic() - max(0.0, clock.wall() - segment.created)
        if segment.path.parent == self._directory.path:
            self.size = max(0, self.size - segment.size)
        if self._leaves_raw:
            segment.leave_raw()
        self._held.segments.append(segment)
        self._report(segment, segment.on_disk_only, kept=kept)
        if not self._held.remove_if_done(segment) and segment.left_raw == segment.unacknowledged > 0:
            self._held.hand_back(segment)

    def _report(self, segment: Segment, found: int, *, kept: bool) -> None:
        """Damaged records are in the quarantine, or lost where that could not be written."""
        damaged = segment.index.records_damaged
        if kept:
            self._disk.adopted(found, damaged)
        else:
            self._disk.adopted(found + damaged, 0)
            self._disk.lost(segment, damaged, "corrupt")

    # -- handing back -----------------------------------------------------------------------------------

    def _make_place(self) -> bool:
        """Whether one more may be held. One that has had its turn, with nothing in hand, makes place."""
        if sum(not segment.own for segment in self._held.segments) < HELD_AT_MOST:
            return True
        idle = (segment for segment in self._held.idle() if not segment.own)
        had_their_turn = [s for s in idle if s.cursor >= s.size or not s.unacknowledged]
        self.hand_back(had_their_turn[:1])
        return bool(had_their_turn)

    def hand_back(self, segments: Iterable[Segment]) -> None:
        """Give up the leases on adopted segments of which nothing is in hand: the last candidates now."""
        self._lock.assert_held()
        for segment in segments:
            if segment.own or segment.in_hand or self._held.is_removed(segment):
                continue
            self._held.hand_back(segment)
            if segment.on_disk_only:
                if segment.readable:  # else all is set aside: the next look is soon enough
                    self.candidates[segment.path] = segment.size
                self._handed_back.add(segment.path)
                if segment.path.parent == self._directory.path:
                    self.size += segment.size
                self._disk.handed_back(segment.on_disk_only)


def _look_into(previous: Path, found: dict[Path, int]) -> None:
    found.update((path, size_of(path)) for path in segments_in(previous))
