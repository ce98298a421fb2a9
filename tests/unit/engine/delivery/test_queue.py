"""The bounded queue."""

from __future__ import annotations

from banyan_hp.engine.delivery.queue import Queue
from banyan_hp.engine.records.ledger import Book, Term
from banyan_hp.engine.records.record import Record


def record(ident: int, size: int = 10) -> Record:
    return Record(
        id=str(ident),
        time=0.0,
        value={},
        size=size,
        queued_at=100.0 + ident,
        book=Book(),
        term=Term.QUEUED,
    )


def filled(*sizes: int, max_records: int = 100, max_bytes: int = 1000) -> Queue:
    queue = Queue(max_records, max_bytes)
    for ident, size in enumerate(sizes):
        queue.append(record(ident, size))
    return queue


def ids(records: list[Record]) -> list[str]:
    return [each.id for each in records]


def test_an_empty_queue_has_nothing() -> None:
    """No records, no bytes, no oldest."""
    queue = filled()
    assert (len(queue), queue.bytes, queue.oldest_at(), queue.take(5, 100)) == (0, 0, None, [])


def test_records_come_out_in_order() -> None:
    """First in, first out, and the bytes are counted down."""
    queue = filled(10, 20, 30)
    assert queue.oldest_at() == 100.0
    assert ids(queue.take(2, 1000)) == ["0", "1"]
    assert (len(queue), queue.bytes, queue.oldest_at()) == (1, 30, 102.0)


def test_both_bounds_hold() -> None:
    """A record fits only if its count and its bytes both do, to the last byte."""
    assert filled(10, 10, max_records=3).fits(10)
    assert not filled(10, 10, 10, max_records=3).fits(0)
    assert filled(500, max_bytes=1000).fits(500)
    assert not filled(500, max_bytes=1000).fits(501)


def test_take_stops_at_the_bytes_of_a_batch() -> None:
    """A batch takes no more bytes than it may, and exactly as many."""
    assert ids(filled(40, 60, 1).take(10, 100)) == ["0", "1"]
    assert ids(filled(40, 61, 1).take(10, 100)) == ["0"]


def test_take_gives_at_least_one_record() -> None:
    """A record larger than a whole batch travels alone."""
    queue = filled(500, 10)
    assert ids(queue.take(10, 100)) == ["0"]
    assert queue.bytes == 10


def test_making_room_evicts_the_oldest_only_as_needed() -> None:
    """As many of the oldest as it takes for the new one to fit, and none where it fits already."""
    queue = filled(400, 300, 300)
    assert ids(queue.make_room(0)) == []
    assert ids(queue.make_room(401)) == ["0", "1"]
    assert (len(queue), queue.bytes) == (1, 300)
    assert ids(filled(1, 1, 1, max_records=3).make_room(1)) == ["0"]


def test_a_batch_is_full_by_count_or_by_bytes() -> None:
    """Either bound makes a batch that need not wait for more."""
    queue = filled(10, 10)
    assert not queue.full_batch(3, 21)
    assert queue.full_batch(2, 21)
    assert queue.full_batch(3, 20)


def test_the_high_water_mark_is_of_either_bound() -> None:
    """Above a share of the count or of the bytes; at the share is not above."""
    assert not filled(*[1] * 75).above(0.75)
    assert filled(*[1] * 76).above(0.75)
    assert not filled(750).above(0.75)
    assert filled(751).above(0.75)
