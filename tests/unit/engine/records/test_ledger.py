"""The ledger: each record in exactly one term."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from banyan_hp.engine.records.ledger import Book, Ledger, Term
from banyan_hp.engine.records.record import Record


def accepted(book: Book, count: int, term: Term = Term.QUEUED) -> list[Record]:
    book.accept(term, count)
    return [
        Record(id=str(number), time=0.0, value={}, size=1, queued_at=0.0, book=book, term=term)
        for number in range(count)
    ]


def test_a_new_book_is_empty_and_balanced() -> None:
    """Every term is there from the start, at 0."""
    book = Book()
    assert [book[term] for term in Term] == [0] * len(Term)
    assert book.balanced()


def test_accepting_counts_once() -> None:
    """A record is accepted into one term."""
    book = Book()
    book.accept(Term.QUEUED)
    book.accept(Term.SPOOLED, 3)
    assert (book.accepted, book[Term.QUEUED], book[Term.SPOOLED]) == (4, 1, 3)
    assert book.balanced()


def test_moving_records_of_several_terms() -> None:
    """Each leaves its own term, and knows where it is then."""
    book = Book()
    records = accepted(book, 2) + accepted(book, 1, Term.IN_FLIGHT)
    book.move(records, Term.DELIVERED)
    assert (book[Term.QUEUED], book[Term.IN_FLIGHT], book[Term.DELIVERED]) == (0, 0, 3)
    assert {record.term for record in records} == {Term.DELIVERED}
    assert book.balanced()


def test_moving_to_where_it_is_changes_nothing() -> None:
    """A record counts once, however often it is moved to the same term."""
    book = Book()
    records = accepted(book, 2)
    book.move(records, Term.QUEUED)
    assert book[Term.QUEUED] == 2
    assert book.balanced()


def test_shifting_by_number() -> None:
    """Records on disk are known by number only."""
    book = Book()
    book.accept(Term.SPOOLED, 5)
    book.shift(Term.SPOOLED, Term.DELIVERED, 2)
    assert (book[Term.SPOOLED], book[Term.DELIVERED], book.accepted) == (3, 2, 5)
    assert book.balanced()


def test_every_drop_needs_a_reason() -> None:
    """A loss without a name makes the book unbalanced."""
    book = Book()
    book.move(accepted(book, 2), Term.DROPPED)
    assert not book.balanced()
    book.drops["overflow"] += 2
    assert book.balanced()


@pytest.mark.parametrize("source", [Term.QUEUED, Term.SPOOLED])
def test_a_negative_term_is_not_balanced(source: Term) -> None:
    """A sum that holds by a negative number does not hold."""
    book = Book()
    book.accept(Term.DELIVERED)
    book.shift(source, Term.DELIVERED, 1)
    assert sum(book.counts.values()) == book.accepted
    assert not book.balanced()


def test_a_record_counted_nowhere_is_not_balanced() -> None:
    """What was accepted must be somewhere."""
    book = Book()
    book.accepted += 1
    assert not book.balanced()


def test_the_two_books_are_apart() -> None:
    """Adopted records don't count among the process's own, and ledgers share nothing."""
    ledger, other = Ledger(), Ledger()
    ledger.adopted.accept(Term.SPOOLED, 7)
    ledger.counters.requests_sent += 1
    assert (ledger.own.accepted, other.adopted.accepted, other.counters.requests_sent) == (0, 0, 0)
    assert set(asdict(other.counters).values()) == {0}
