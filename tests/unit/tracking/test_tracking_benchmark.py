"""The benchmark of tracking counts right; nothing here looks at the clock."""

from __future__ import annotations

from tests.benchmarks import tracking


def test_every_way_logs_and_every_record_arrives() -> None:
    """Twenty of each, by the plain call and by the way beside it."""
    figures, whole = tracking.run(20)
    assert whole
    assert "interaction, text" in figures
    assert all(set(each) == {"plain_us", "tracked_us", "beyond_us"} for each in figures.values())
