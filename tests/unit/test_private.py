"""How far the tests reach into the library's private names."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.private import TESTS, all_places, private_uses

MOST_PLACES = 46  # fewer is better; for one more, find a parameter or a public reading first

REACHES = """
import banyan_hp.logs as logs
from collections import namedtuple

{above}def test(monkeypatch):
    {inside}client._engine.flush(1){beside}
    other()
"""


def test_each_place_says_why_there_is_no_other_way() -> None:
    """`# private: …` at the place; `tests/support/private.py` says where that may be."""
    places = [(path, place) for path, found in all_places([str(TESTS)]).items() for place in found]
    silent = [f"{path.relative_to(TESTS)}:{place.line}" for path, place in places if not place.has_reason]
    assert silent == []
    assert len(places) <= MOST_PLACES


@pytest.mark.parametrize(
    ("above", "inside", "beside", "expected"),
    [
        ("", "", "", False),
        ("", "", "  # flushes", False),
        ("", "", "  # private:", False),
        ("", "", "  # private: a reason", True),
        ("", "# private: a reason\n    ", "", True),
        ("# private: a reason\n# that goes on\n", "", "", True),
        ("", "pass  # private: another statement's\n    ", "", False),
    ],
)
def test_a_reason_covers_its_statement_or_function(
    above: str, inside: str, beside: str, expected: bool
) -> None:
    """And nothing behind it."""
    (place,) = private_uses(REACHES.format(above=above, inside=inside, beside=beside))
    assert place.has_reason is expected


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("from banyan_hp.logs import _ending", 1),
        ('monkeypatch.setattr(logs, "_ending", True)', 1),
        ("os._exit(0)\nimport os", 0),
        ("query._replace(name='a')", 0),
        ("self._own = other._own", 0),
        ("if client._engine:\n    pass", 1),
    ],
)
def test_what_counts_as_a_place(source: str, count: int) -> None:
    """Attributes, imports and patches; not what a file has itself, nor what documentation makes public."""
    assert len(list(private_uses(source))) == count


def test_all_tests_are_looked_at(tmp_path: Path) -> None:
    """In any folder below."""
    (tmp_path / "room").mkdir()
    (tmp_path / "room" / "test_x.py").write_text("client._engine", "utf-8")
    assert list(all_places([str(tmp_path)])) == [tmp_path / "room" / "test_x.py"]
