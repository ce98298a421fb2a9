"""What a segment holds, found by reading all of it once: before that nothing in it is sent.

Needs no lock: reads an open file, and returns a value.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .lines import Content, has_right_crc, is_body, parse_line

Ranges = list[tuple[int, int]]  # numbers, each range with its last one

ON_DISK_ONLY, IN_MEMORY, ACKNOWLEDGED = 0, 1, 2
_MISSING = 3


@dataclass(frozen=True, slots=True)
class OutOfOrder:
    """A record that was logged before others that stand before it: a thread had it in hand."""

    process: str
    call: int
    number: int
    offset: int


@dataclass(slots=True)
class Index:
    """The records of a segment, and its damage.

    Attributes:
        states: for each record, by number: `ON_DISK_ONLY` or `ACKNOWLEDGED`.
        raw: the numbers of those that `before_send` has not seen.
        out_of_order: those to be sent before others that stand before them.
        rejected: the offsets of lines that are damaged, or make no sense; they are not to be sent.
        damaged: those of these lines that nobody has dealt with before,
        damaged_at: and their offsets.
        missing: numbers of records that must have been there, and can't be read.
        records_damaged: how many records can't be read, that nobody has dealt with before.
        lacks_end: only the line end of the last line is missing.
    """

    states: bytearray = field(default_factory=bytearray)
    raw: list[int] = field(default_factory=list)
    out_of_order: list[OutOfOrder] = field(default_factory=list)
    rejected: frozenset[int] = frozenset()
    damaged: list[bytes] = field(default_factory=list)
    damaged_at: list[int] = field(default_factory=list)
    missing: list[int] = field(default_factory=list)
    records_damaged: int = 0
    lacks_end: bool = False


def read_index(content: Content, acknowledged: Ranges, handled: set[int]) -> Index:
    """Read a segment.

    Args:
        content: its lines.
        acknowledged: the numbers that its ack log lists.
        handled: the offsets of damage that somebody has dealt with.

    Raises:
        OSError: it can't be read.
    """
    return _Reading(content).read(acknowledged, handled)


class _Reading:
    """One pass over a segment."""

    def __init__(self, content: Content) -> None:
        self._content = content
        self._index = Index()
        self._good_until = 0  # the end of the last whole line
        self._highest: dict[str, int] = {}  # the latest call so far, by process

    def read(self, acknowledged: Ranges, handled: set[int]) -> Index:
        index = self._index
        found = self._read_all()
        index.rejected = frozenset(offset for offset, _ in found)
        damaged = [(offset, raw) for offset, raw in found if offset not in handled]
        index.damaged_at, index.damaged = [at for at, _ in damaged], [raw for _, raw in damaged]
        beyond = self._apply(acknowledged)
        index.missing = [number for number, state in enumerate(index.states) if state == _MISSING]
        for number in index.missing:
            index.states[number] = ACKNOWLEDGED
        at_the_end = sum(offset >= self._good_until for offset in index.damaged_at)
        senseless = sum(map(has_right_crc, index.damaged))  # a record each, perhaps without a number
        index.records_damaged = max(len(index.missing) + max(0, at_the_end - beyond), senseless)
        return index

    def _read_all(self) -> list[tuple[int, bytes]]:
        """Find out which numbers there are; returns what is damaged, with its offset."""
        damaged = []
        end, size = 0, self._content.size
        for end, raw in self._content.lines():
            if not self._note(raw, end):
                damaged.append((end - len(raw) - 1, raw))
        if end < size:
            torn = self._content.read_at(end, size - end)
            self._index.lacks_end = self._note(torn, size + 1)
            if not self._index.lacks_end:
                damaged.append((end, torn))
        return damaged

    def _note(self, raw: bytes, end: int) -> bool:
        """Take note of the record in a line that ends there; False if it holds no record that can be sent."""
        index, states = self._index, self._index.states
        line = parse_line(raw)
        if line is None or line.number > self._content.size or not is_body(line.body):
            return False
        if line.number < len(states) and states[line.number] == ON_DISK_ONLY:
            return False  # its number is taken
        if line.number >= len(states):
            states += bytes([_MISSING]) * (line.number + 1 - len(states))
        states[line.number] = ON_DISK_ONLY
        if line.raw:
            index.raw.append(line.number)
        self._good_until = end
        if line.call is None:
            return True  # the caller's own id says nothing about the order
        process, call = line.call
        if call < self._highest.get(process, -1):
            index.out_of_order.append(OutOfOrder(process, call, line.number, end - len(raw) - 1))
        self._highest[process] = max(call, self._highest.get(process, -1))
        return True

    def _apply(self, acknowledged: Ranges) -> int:
        """Mark what is acknowledged; returns how many of these are beyond the last whole line."""
        states = self._index.states
        known, beyond = len(states), 0
        for first, last in acknowledged:
            end = min(last + 1, known)
            if first < end:
                states[first:end] = bytes([ACKNOWLEDGED]) * (end - first)
            beyond += last + 1 - max(first, end)
        return beyond
