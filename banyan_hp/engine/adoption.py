"""Segments that others have left behind: found, and taken over when their turn comes.

Looks into the destination's directory, and into those of the same URL and project whose keys the application
named itself (`previous_keys`). Nothing else makes one key's records leave under another. What is found may
still have a living owner: that shows when it is to be taken over. Guarded by the spool's lock, which is not
held while a segment is read for the first time.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from .address import short_directory
from .aside import Aside
from .clock import Clock
from .condition import Condition
from .directory import Directory, segments_in, sizes
from .guard import Guard
from .holdings import Holdings
from .news import News
from .segment import Segment


class Adoption:
    """What may be taken over.

    Attributes:
        candidates: others' segments that have not been tried since the last look, the oldest first.
        size: bytes of others' segments in our directory at the last look, less what was taken over.
        scanned_at: the last look, on the monotonic clock.
        remark: something that people should know of, though all works.
    """

    def __init__(
        self,
        directory: Directory,
        previous: Sequence[Path],
        guard: Guard,
        clock: Clock,
        holdings: Holdings,
        aside: Aside,
        condition: Condition,
        news: News,
    ) -> None:
        self._directory = directory
        self._previous = tuple(previous)
        self._guard = guard
        self._clock = clock
        self._holdings = holdings
        self._aside = aside
        self._condition = condition
        self._news = news
        self.candidates: list[Path] = []
        self.size = 0
        self.scanned_at = float("-inf")
        self.remark: str | None = None

    def turn_to(self, directory: Directory, previous: Sequence[Path]) -> None:
        self._directory = directory
        self._previous = tuple(previous)
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
        for directory in self._previous:
            self._condition.in_passing(partial(self._look_into, directory, held))
        self.candidates.sort(key=lambda path: path.name)

    def _look_into(self, previous: Path, held: set[Path]) -> None:
        self.candidates += [path for path in segments_in(previous) if path not in held]

    def _report(self, unknown: list[str]) -> None:
        self.remark = None
        if unknown:
            self.remark = f"{len(unknown)} segments of another format version are left alone: {unknown[0]}, …"
            self._news.warn("in %s %s", self._directory.path, self.remark, kind="unknown format")
        self._condition.in_passing(self._report_short_directory)

    def _report_short_directory(self) -> None:
        """Records of the first versions, which never leave by themselves: somebody has to know of them."""
        directory = short_directory(self._directory.path)
        if directory == self._directory.path or not segments_in(directory):
            return
        self.remark = (
            f"{directory} holds records of an earlier version of banyan_hp; to send them: "
            f"banyan-hp spool replay --from-key {directory.name.rpartition('-')[2]}"
        )
        self._news.warn("%s", self.remark, kind="earlier version")

    # -- taking over ------------------------------------------------------------------------------------

    def next_before(self, name: str | None) -> Path | None:
        """The next candidate, if it is older than the segment of that name; no longer one from here on."""
        if self.candidates and (name is None or self.candidates[0].name < name):
            return self.candidates.pop(0)
        return None

    def adopt(self, path: Path) -> None:
        """Take over a segment whose owner is gone, and read it for the first time."""
        segment = None
        try:
            segment = self._lease(path)
            damaged = segment.index() if segment is not None else []
        except OSError as error:
            with self._guard:
                self._condition.segment_failed(path, error)
            if segment is not None:
                segment.close()
            return
        if segment is not None:
            self._take_over(segment, damaged)

    def _lease(self, path: Path) -> Segment | None:
        if path.parent not in (self._directory.path, *self._previous):
            return None  # it was found before the spool turned to another key
        return Segment.adopt(path)

    def _take_over(self, segment: Segment, damaged: list[bytes]) -> None:
        with self._guard:
            if self._holdings.closed:
                segment.close()
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
