"""Segments that others have left behind: found, and taken over when their turn comes.

Looks into the destination's directory, and into those of the same URL and project whose keys the application
named itself (`previous_keys`). Nothing else makes one key's records leave under another. What is found may
still have a living owner: that shows when it is to be taken over. Guarded by the spool's lock, which is not
held while a segment is read for the first time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from ..sync import Clock, EngineLock
from .address import short_directory
from .aside import Aside
from .disk_health import DiskHealth
from .events import Events
from .held_segments import HeldSegments
from .layout import Directory, segments_in, size_of, sizes
from .segment import Known, Segment

HELD_AT_MOST = 16  # each is a descriptor or two that the application can't have


class Adoption:
    """What may be taken over.

    Attributes:
        candidates: others' segments that have not been tried since the last look, the oldest first; behind
            them those that were let go.
        size: bytes of others' segments in our directory at the last look, less what was taken over.
        unread: bytes of the candidates.
        scanned_at: the last look, on the monotonic clock.
        remark: something that people should know of, though all works.
    """

    def __init__(
        self,
        directory: Directory,
        previous: Sequence[Path],
        lock: EngineLock,
        clock: Clock,
        held: HeldSegments,
        aside: Aside,
        disk_health: DiskHealth,
        events: Events,
        *,
        leaves_raw: bool,
    ) -> None:
        self._directory = directory
        self._leaves_raw = leaves_raw
        self._previous = tuple(previous)
        self._lock = lock
        self._clock = clock
        self._held = held
        self._aside = aside
        self._disk_health = disk_health
        self._events = events
        self.candidates: list[Path] = []
        self._let_go: set[Path] = set()
        self.size = 0
        self.unread = 0
        self.scanned_at = float("-inf")
        self.remark: str | None = None

    def reconfigure(self, directory: Directory, previous: Sequence[Path]) -> None:
        self._directory = directory
        self._previous = tuple(previous)
        self.candidates.clear()
        self.unread = 0

    # -- looking ----------------------------------------------------------------------------------------

    def look(self) -> None:
        """Find out what is there now.

        Raises:
            OSError: our directory can't be used.
        """
        self.scanned_at = self._clock.monotonic()
        listing = self._directory.listing()
        held = {segment.path for segment in self._held.segments}
        self.candidates = [path for path in listing.segments if path not in held]
        self.size = sizes(self.candidates)
        self._report(listing.unknown)
        for directory in self._previous:
            self._disk_health.in_passing(partial(self._look_into, directory, held))
        self.candidates.sort(key=lambda path: path.name)
        self._put_last_what_had_its_turn()
        self.unread = sizes(self.candidates)

    def _look_into(self, previous: Path, held: set[Path]) -> None:
        self.candidates += [path for path in segments_in(previous) if path not in held]

    def _put_last_what_had_its_turn(self) -> None:
        self._let_go &= set(self.candidates)
        if len(self._let_go) == len(self.candidates):
            self._let_go.clear()  # all had: once more from the start
        self.candidates.sort(key=self._let_go.__contains__)

    def _report(self, unknown: list[str]) -> None:
        self.remark = None
        if unknown:
            self.remark = f"{len(unknown)} segments of another format version are left alone: {unknown[0]}, …"
            self._events.warn("in %s %s", self._directory.path, self.remark, kind="unknown format")
        self._disk_health.in_passing(self._report_short_directory)

    def _report_short_directory(self) -> None:
        """Records of the first versions, which never leave by themselves: somebody has to know of them."""
        directory = short_directory(self._directory.path)
        if directory == self._directory.path or not segments_in(directory):
            return
        self.remark = (
            f"{directory} holds records of an earlier version of banyan_hp; to send them: "
            f"banyan-hp spool replay --from-key {directory.name.rpartition('-')[2]}"
        )
        self._events.warn("%s", self.remark, kind="earlier version")

    # -- taking over ------------------------------------------------------------------------------------

    def next_before(self, name: str | None) -> Path | None:
        """The candidate to read next, if that is before the segment of that name; no longer one from here on.

        What was let go comes when all else is read. None, too, while as many segments are held as may be.
        """
        if not self.candidates:
            return None
        path = self.candidates[0]
        sooner = name is None or (path.name < name and path not in self._let_go)
        return self._taken(path) if sooner and self._make_place() else None

    def oldest_before(self, name: str | None) -> Path | None:
        """The oldest candidate, if it is older than the segment of that name; no longer one from here on."""
        path = min(self.candidates, key=lambda path: path.name, default=None)
        older = path is not None and (name is None or path.name < name)
        return self._taken(path) if path is not None and older and self._make_place() else None

    def _taken(self, path: Path) -> Path:
        self.candidates.remove(path)
        self.unread = max(0, self.unread - size_of(path)) if self.candidates else 0
        return path

    def adopt(self, path: Path) -> None:
        """Take over a segment whose owner is gone, and read it for the first time."""
        try:
            with self._held.leasing() as known:
                self._adopt(path, known)
        except OSError as error:
            with self._lock:
                self._disk_health.segment_failed(path, error)

    def _adopt(self, path: Path, known: Known) -> None:
        """Whatever fails here, no descriptor stays open."""
        segment = self._lease(path, known)
        if segment is None:
            return
        try:
            self._take_over(segment, segment.index())
        finally:
            if segment not in self._held.segments:
                segment.close()

    def _lease(self, path: Path, known: Known) -> Segment | None:
        if path.parent not in (self._directory.path, *self._previous):
            return None  # it was found before the spool turned to another key
        return Segment.adopt(path, known)

    def _take_over(self, segment: Segment, damaged: list[bytes]) -> None:
        with self._lock:
            if self._held.closed:
                return
            segment.made_at = self._clock.monotonic() - max(0.0, self._clock.wall() - segment.created)
            if segment.path.parent == self._directory.path:
                self.size = max(0, self.size - segment.size)
            if self._leaves_raw:
                segment.leave_raw()
            self._held.segments.append(segment)
            self._tell(segment, kept=self._aside.damage(segment, damaged))
            if not self._held.retire_if_settled(segment) and segment.left == segment.unsettled > 0:
                self._held.let_go(segment)

    # -- letting go -------------------------------------------------------------------------------------

    def _make_place(self) -> bool:
        """Whether one more may be held. One that has had its turn, with nothing in hand, makes place."""
        if sum(not segment.own for segment in self._held.segments) < HELD_AT_MOST:
            return True
        idle = (segment for segment in self._held.idle() if not segment.own)
        had_their_turn = [s for s in idle if s.cursor >= s.size or not s.unsettled]
        self.let_go(had_their_turn[:1])
        return bool(had_their_turn)

    def let_go(self, segments: Iterable[Segment]) -> None:
        """Stop holding those that were adopted and of which nothing is in hand: the last candidates now.

        Until their turn comes again any process may take them over.
        """
        for segment in segments:
            if segment.own or segment.in_hand or self._held.is_removed(segment):
                continue
            self._held.let_go(segment)
            if segment.free:
                self._back_among_the_candidates(segment)

    def _back_among_the_candidates(self, segment: Segment) -> None:
        self.candidates.append(segment.path)
        self._let_go.add(segment.path)
        self.unread += segment.size
        if segment.path.parent == self._directory.path:
            self.size += segment.size
        self._events.let_go(segment.free)

    def _tell(self, segment: Segment, *, kept: bool) -> None:
        """Damaged records are in the quarantine, or lost where that could not be written."""
        found, damaged = segment.free, segment.records_damaged
        if kept:
            self._events.adopted(found, damaged)
        else:
            self._events.adopted(found + damaged, 0)
            self._events.lost(segment, damaged, "corrupt")
