"""A page of a segment: what is read of it at once, in the order in which it was logged."""

from __future__ import annotations

from .segment import FREE, IN_MEMORY, Line, Segment, parse_line


class Page:
    """Whole lines of a segment from `start` on, and the stragglers that belong before some of them.

    Parsing needs no lock; `fetch_stragglers` and `take` are called with the lock that guards the segment.
    """

    def __init__(self, segment: Segment, start: int, content: bytes) -> None:
        self._segment = segment
        self._start = start
        self._end = start + len(content)
        self._lines: list[tuple[int, Line]] = []
        self._late: list[Line] = []
        for raw in content[:-1].split(b"\n"):
            line = parse_line(raw)
            if line is not None and start not in segment.rejected:
                self._lines.append((start, line))
            start += len(raw) + 1

    def fetch_stragglers(self, at_most: int) -> None:
        """Read what stands further behind but was logged before some of this page.

        Raises:
            OSError: it can't be read.
        """
        if not self._segment.stragglers:
            return
        last = dict(sorted(line.call for _, line in self._lines))
        here = {line.number for _, line in self._lines}
        late = [s for s in self._segment.stragglers if s.call < last.get(s.process, -1)]
        late = [s for s in late if s.number not in here and self._is_free(s.number)]
        for straggler in sorted(late, key=lambda s: (s.process, s.call))[:at_most]:
            line = parse_line(self._segment.whole_lines(straggler.offset, 4096).partition(b"\n")[0])
            if line is not None:
                self._late.append(line)

    def take(self, max_records: int, max_bytes: int) -> list[Line]:
        """The oldest records that are on disk only, so many or about so many bytes: now in memory, too.

        The segment's cursor moves to the first that is left, unless something was released meanwhile.
        """
        lines = self._late + [line for _, line in self._lines]
        free = [line for line in lines if self._is_free(line.number)]
        taken = []
        for line in sorted(free, key=_by_call)[:max_records]:
            if max_bytes <= 0:
                break
            max_bytes -= len(line.body)
            self._segment.set_state(line.number, IN_MEMORY)
            taken.append(line)
        if self._segment.cursor == self._start:
            left = (offset for offset, line in self._lines if self._is_free(line.number))
            self._segment.cursor = next(left, self._end)
        return taken

    def _is_free(self, number: int) -> bool:
        states = self._segment.states
        return number < len(states) and states[number] == FREE


def _by_call(line: Line) -> tuple[str, int]:
    return line.call
