"""Two texts side by side."""

from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st

from banyan_hp.server.ui.differences import Side, side_by_side

TEXTS = st.text(alphabet="ab \n", max_size=60)


def joined(sides: list[Side | None]) -> list[str]:
    return ["".join(piece.text for piece in side) for side in sides if side is not None]


@given(TEXTS, TEXTS)
def test_each_side_is_its_whole_text(left: str, right: str) -> None:
    pairs = side_by_side(left, right)
    assert joined([pair.left for pair in pairs]) == left.splitlines()
    assert joined([pair.right for pair in pairs]) == right.splitlines()


@given(TEXTS)
def test_equal_texts_have_no_difference(text: str) -> None:
    assert not any(piece.changed for pair in side_by_side(text, text) for piece in pair.left or ())


def test_a_changed_word_is_marked_and_nothing_else() -> None:
    (pair,) = side_by_side("Answer kindly, in two sentences.", "Answer kindly, in three sentences.")
    assert [piece.text for piece in pair.left or () if piece.changed] == ["two"]
    assert [piece.text for piece in pair.right or () if piece.changed] == ["three"]


def test_words_that_differ_in_a_row_are_one_piece() -> None:
    """A space that both have between them is no reason to mark each by itself."""
    (pair,) = side_by_side("  be brief and kind: yes", "  answer at length now: yes")
    assert [piece.text for piece in pair.left or () if piece.changed] == ["be brief and kind"]
    assert [piece.text for piece in pair.right or () if piece.changed] == ["answer at length now"]


def test_a_line_that_was_added_has_nothing_beside_it() -> None:
    pairs = side_by_side("one\nthree", "one\ntwo\nthree")
    assert [(pair.left is None, pair.right is None) for pair in pairs] == [(0, 0), (1, 0), (0, 0)]


def test_a_megabyte_on_one_line_is_compared_as_a_line() -> None:
    began = time.thread_time()
    (pair,) = side_by_side("word " * 200_000, "other " * 200_000)
    assert pair.left is not None
    assert [piece.changed for piece in pair.left] == [True]
    assert time.thread_time() - began < 5
