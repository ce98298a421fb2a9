"""The page of decisions can be trusted by somebody who has nothing but a clone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "banyan_hp" / "DECISIONS.md"
TEXT = PAGE.read_text(encoding="utf-8")
ENTRIES = re.split(r"^## ", TEXT, flags=re.MULTILINE)[1:]
PARTS = ["Status", "Context", "Decision", "Consequence"]


def test_the_entries_are_numbered() -> None:
    """A number stays with its decision: others refer to it."""
    numbers = [int(entry.partition(".")[0]) for entry in ENTRIES]
    assert numbers == list(range(1, len(ENTRIES) + 1))


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.partition("\n")[0])
def test_each_entry_has_its_parts(entry: str) -> None:
    """Status, context, decision, consequence, in this order; the status is one of two."""
    assert re.findall(r"^- \*\*(\w+):\*\*", entry, flags=re.MULTILINE) == PARTS
    assert re.search(r"\*\*Status:\*\* (in force|planned)\b", entry)
