"""What a segment holds, found by reading all of it once: before that nothing in it is sent.

Needs no lock: reads an open file, and returns a value.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from .lines import Content, has_right_crc, is_body, parse_line

Ranges = list[tuple[int, int]]  # numbers, each range with its last one

ON_DISK_ONLY, IN_MEMORY, ACKNOWLEDGED, SET_ASIDE = 0, 1, 2, 3
_MISSING = 4


class OutOfOrder(NamedTuple):
    """A record that was logged before others that stand before it: a thread had it in hand."""

    process: str
    call: int
    number: int
    offset: int


@dataclass(slots=True)
class Index:
    """The records of a segment, and its damage."""

    states: bytearray = field(default_factory=bytearray)  # by number: `ON_DISK_ONLY` or `ACKNOWLEDGED`
    raw: list[int] = field(default_factory=list)  # the numbers of those that `before_send` has not seen
    out_of_order: list[OutOfOrder] = field(default_factory=list)  # to be sent before what stands before them
    rejected: frozenset[int] = frozenset()  # the offsets of lines that are damaged or make no sense: not sent
    damaged: list[bytes] = field(default_factory=list)  # those of these lines that nobody has dealt with,
    damaged_at: list[int] = field(default_factory=list)  # their offsets,
    records_damaged: int = 0  # and how many records they were
    missing: list[int] = field(default_factory=list)  # numbers that must have been there, and can't be read
    lacks_end: bool = False  # only the line end of the last line is missing
    good_until: int = 0  # the end of the last whole line
    _highest: dict[str, int] = field(default_factory=dict)  # the latest call so far, by process

    def read_all(self, content: Content) -> list[tuple[int, bytes]]:
        """Find out which numbers there are; returns what is damaged, with its offset."""
        damaged = []
        end = 0
        for end, raw in content.lines():
            if not self._note(raw, end, content.size):
                damaged.append((end - len(raw) - 1, raw))
        if end < content.size:
            torn = content.read_at(end, content.size - end)
            self.lacks_end = self._note(torn, content.size + 1, content.size)
            if not self.lacks_end:
                damaged.append((end, torn))
        return damaged

    def _note(self, raw: bytes, end: int, highest_number: int) -> bool:
        """Take note of the record in a line that ends there; False if it holds no record that can be sent."""
        states = self.states
        line = parse_line(raw)
        if line is None or line.number > highest_number or not is_body(line.body):
            return False
        if line.number < len(states) and states[line.number] == ON_DISK_ONLY:
            return False  # its number is taken
        if line.number >= len(states):
            states += bytes([_MISSING]) * (line.number + 1 - len(states))
        states[line.number] = ON_DISK_ONLY
        if line.raw:
            self.raw.append(line.number)
        self.good_until = end
        if line.call is None:
            return True  # the caller's own id says nothing about the order
        process, call = line.call
        if call < self._highest.get(process, -1):
            self.out_of_order.append(OutOfOrder(process, call, line.number, end - len(raw) - 1))
        self._highest[process] = max(call, self._highest.get(process, -1))
        return True


def read_index(content: Content, acknowledged: Ranges, handled: set[int]) -> Index:
    """Read a segment; its ack log lists `acknowledged` numbers, and offsets of damage that was `handled`."""
    index = Index()
    found = index.read_all(content)
    index.rejected = frozenset(offset for offset, _ in found)
    damaged = [(offset, raw) for offset, raw in found if offset not in handled]
    index.damaged_at, index.damaged = [at for at, _ in damaged], [raw for _, raw in damaged]
    beyond = _apply(acknowledged, index.states)
    index.missing = [number for number, state in enumerate(index.states) if state == _MISSING]
    for number in index.missing:
        index.states[number] = ACKNOWLEDGED
    at_the_end = sum(offset >= index.good_until for offset in index.damaged_at)
    senseless = sum(map(has_right_crc, index.damaged))  # a record each, perhaps without a number
    index.records_damaged = max(len(index.missing) + max(0, at_the_end - beyond), senseless)
    return index


def _apply(acknowledged: Ranges, states: bytearray) -> int:
    """Mark what is acknowledged; returns how many of these are beyond the last whole line."""
    known, beyond = len(states), 0
    for first, last in acknowledged:
        end = min(last + 1, known)
        if first < end:
            states[first:end] = bytes([ACKNOWLEDGED]) * (end - first)
        beyond += last + 1 - max(first, end)
    return beyond
