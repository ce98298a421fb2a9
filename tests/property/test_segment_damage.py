"""A segment with any damage gives back what is whole, and nothing that never was."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from banyan_hp.engine.spool.index import ON_DISK_ONLY
from banyan_hp.engine.spool.layout import segment_name
from banyan_hp.engine.spool.lease import take_over
from banyan_hp.engine.spool.lines import Line, format_line, parse_line
from banyan_hp.engine.spool.segment import Segment, format_entry, format_ranges

QUICK = settings(max_examples=80, deadline=None)
NAME = segment_name(1_767_225_600.0, "abc", 0)
BODIES = st.sampled_from([b"{}", b'{"a":1}', b'{"text":"\\n,\\"body\\":"}', '{"é":"日本"}'.encode()])
IDS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=12)
LINES = st.lists(st.tuples(IDS, st.floats(0, 4e9), BODIES), min_size=1, max_size=8)
Made = list[tuple[str, float, bytes]]


def formatted(made: Made) -> list[bytes]:
    return [format_line(number, *fields) for number, fields in enumerate(made)]


@contextmanager
def adopted(content: bytes, acknowledgements: bytes = b"") -> Iterator[Segment]:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / NAME
        path.write_bytes(content)
        path.with_name(NAME + ".ack").write_bytes(acknowledgements)
        segment = take_over(path)
        assert segment is not None
        try:
            yield segment
        finally:
            segment.close()


def found(segment: Segment) -> tuple[list[Line], list[bytes]]:
    damaged = segment.read_index().damaged
    lines = [line for _, raw in segment.content.lines() if (line := parse_line(raw))]
    known = bytes(segment.states).ljust(len(lines), b"\xff")  # settled ones at the end have no state
    return [line for line in lines if known[line.number] == ON_DISK_ONLY], damaged


@QUICK
@given(LINES)
def test_an_undamaged_segment_comes_back_whole(made: Made) -> None:
    """Every record, in order, with its id, its time and its bytes."""
    with adopted(b"".join(formatted(made))) as segment:
        lines, damaged = found(segment)
    assert damaged == []
    assert [(line.number, line.id, line.body) for line in lines] == [
        (number, ident, body) for number, (ident, _, body) in enumerate(made)
    ]
    assert all(abs(line.time - time) < 2e-6 for line, (_, time, _) in zip(lines, made, strict=True))


@QUICK
@given(LINES, st.data())
def test_one_damaged_byte_costs_at_most_its_line_and_the_next(made: Made, data: st.DataObject) -> None:
    """Only a lost line end takes the next line with it; no record comes back changed."""
    raw = formatted(made)
    content = bytearray(b"".join(raw))
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    number = next(n for n in range(len(raw)) if at < len(b"".join(raw[: n + 1])))
    with adopted(bytes(content)) as segment:
        lines, damaged = found(segment)
    survivors = [line.number for line in lines]
    assert damaged
    assert [n for n in range(len(made)) if n not in (number, number + 1)] == [
        n for n in survivors if n not in (number, number + 1)
    ]
    assert number not in survivors
    assert all((line.id, line.body) == (made[line.number][0], made[line.number][2]) for line in lines)


@QUICK
@given(LINES, st.data())
def test_a_cut_keeps_all_lines_before_it(made: Made, data: st.DataObject) -> None:
    """Whole lines survive, also without their line end, and a torn one is kept aside to the byte."""
    raw = formatted(made)
    content = b"".join(raw)
    size = data.draw(st.integers(0, len(content)))
    whole = max(n for n in range(len(raw) + 1) if len(b"".join(raw[:n])) - bool(n) <= size)
    with adopted(content[:size]) as segment:
        lines, damaged = found(segment)
    assert [line.number for line in lines] == list(range(whole))
    assert b"".join(damaged) == content[len(b"".join(raw[:whole])) : size]


@QUICK
@given(LINES, st.lists(st.integers(0, 30)), st.data())
def test_torn_acknowledgements_never_lose_a_record(
    made: Made, numbers: list[int], data: st.DataObject
) -> None:
    """However the list of numbers was cut, a record that is not in it comes back."""
    whole = b"".join(format_entry(format_ranges([number])) for number in numbers)
    cut = data.draw(st.integers(0, len(whole)))
    with adopted(b"".join(formatted(made)), whole[:cut]) as segment:
        lines, _ = found(segment)
    assert {line.number for line in lines} >= set(range(len(made))) - set(numbers)


@QUICK
@given(st.binary(max_size=300))
def test_any_bytes_are_read_without_an_exception(content: bytes) -> None:
    """A file of anything has no records and stops nobody."""
    with adopted(content, content) as segment:
        lines, damaged = found(segment)
    assert lines == []
    assert len(b"".join(damaged)) >= len(content.replace(b"\n", b""))
