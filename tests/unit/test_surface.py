"""What applications build on changes only where somebody says so."""

from __future__ import annotations

from tests.support import surface


def test_the_public_surface_is_the_recorded_one() -> None:
    """Names, signatures, settings, keys, commands and routes are those in `tests/surface.txt`.

    After a wanted change: `python -m tests.support.surface --write`.
    """
    assert surface.surface() == surface.SNAPSHOT.read_text(encoding="utf-8")


def test_every_environment_variable_belongs_to_a_setting() -> None:
    """Which one the package reads is in the surface, too."""
    assert surface.variables_read() == set(surface.VARIABLES.values())
