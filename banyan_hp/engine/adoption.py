"""Segments that others have left behind: found, and taken over when their turn comes.

Looks into the destination's directory and, once our key has been accepted, into those of the same URL and
project whose keys are refused. What is found may still have a living owner: that shows when it is to be
taken over. Guarded by the spool's lock, which is not held while a segment is read for the first time.
"""

from __future__ import annotations

from pathlib import Path

from .aside import Aside
from .clock import Clock
from .condition import Condition
from .directory import Directory, is_refused, sizes
from .guard import Guard
from .holdings import Holdings
from .news import News
from .segment import Known, Segment


class Adoption:
    """What may be taken over.

    Attributes:
        candidates: others' segments that have not been tried since the last look, the oldest first.
        size: bytes of others' segments in our directory at the last look, less what was taken over.
        scanned_at: the last look, on the monotonic clock.
        key_accepted: the destination takes records under our key, so those of refused keys may be sent.
        remark: something that people should know of, though all works.
    """

    def __init__(
        self,
        directory: Directory,
        guard: Guard,
        clock: Clock,
        holdings: Holdings,
        aside: Aside,
        condition: Condition,
        news: News,
    ) -> None:
        self._directory = directory
        self._guard = guard
        self._clock = clock
        self._holdings = holdings
        self._aside = aside
        self._condition = condition
        self._news = news
        self.candidates: list[Path] = []
        self.size = 0
        self.scanned_at = float("-inf")
        self.key_accepted = False
        self.remark: str | None = None

    def turn_to(self, directory: Directory) -> None:
        self._directory = directory
        self.key_accepted = False
        self.candidates.clear()

    # -- looking ----------------------------------------------------------------------------------------

    def look(self) -> None:
        """Find out what is there now.

        Raises:
            OSError: our directory can't be used.
        """
        self.scanned_at = self._clock.monotonic()
        listing = self._directory.listing()
        held = {segment.path for segment in self._holdings.segments}
        self.candidates = [path for path in listing.segments if path not in held]
        self.size = sizes(self.candidates)
        self._report(listing.unknown)
        if self.key_accepted:
            self._condition.in_passing(lambda: self._look_at_refused_keys(held))

    def _look_at_refused_keys(self, held: set[Path]) -> None:
        for other in self._directory.with_refused_keys():
            self.candidates += [path for path in other.listing().segments if path not in held]

    def _report(self, unknown: list[str]) -> None:
        self.remark = (
            f"{len(unknown)} segments of another format version are left alone: {unknown[0]}, …"
            if unknown
            else None
        )
        if self.remark is not None:
            self._news.warn("in %s %s", self._directory.path, self.remark, kind="unknown format")

    # -- taking over ------------------------------------------------------------------------------------

    def next_before(self, name: str | None) -> Path | None:
        """The next candidate, if it is older than the segment of that name; no longer one from here on."""
        if self.candidates and (name is None or self.candidates[0].name < name):
            return self.candidates.pop(0)
        return None

    def adopt(self, path: Path) -> None:
        """Take over a segment whose owner is gone, and read it for the first time."""
        try:
            with self._holdings.leasing() as known:
                self._adopt(path, known)
        except OSError as error:
            with self._guard:
                self._condition.segment_failed(path, error)

    def _adopt(self, path: Path, known: Known) -> None:
        """Whatever fails here, no descriptor stays open."""
        segment = self._lease(path, known)
        if segment is None:
            return
        try:
            self._take_over(segment, segment.index())
        finally:
            if segment not in self._holdings.segments:
                segment.close()

    def _lease(self, path: Path, known: Known) -> Segment | None:
        if path.parent != self._directory.path and not is_refused(path.parent):
            return None  # its key has been accepted again
        return Segment.adopt(path, known)

    def _take_over(self, segment: Segment, damaged: list[bytes]) -> None:
        with self._guard:
            if self._holdings.closed:
                return
            segment.made_at = self._clock.monotonic() - max(0.0, self._clock.wall() - segment.created)
            if segment.path.parent == self._directory.path:
                self.size = max(0, self.size - segment.size)
            self._holdings.segments.append(segment)
            self._tell(segment, kept=self._aside.damage(segment, damaged))
            self._holdings.retire_if_settled(segment)

    def _tell(self, segment: Segment, *, kept: bool) -> None:
        """Damaged records are in the quarantine, or lost where that could not be written."""
        found, damaged = segment.free, segment.records_damaged
        if kept:
            self._news.adopted(found, damaged)
        else:
            self._news.adopted(found + damaged, 0)
            self._news.lost(segment, damaged, "corrupt")
