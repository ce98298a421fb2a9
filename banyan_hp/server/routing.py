"""Which version of an experiment a sticky value gets: by the rules that clients route by themselves with.

So a user keeps a version when a backend goes from routing itself to handing out the experiments.
"""

from __future__ import annotations

from collections.abc import Sequence

from banyan_hp.experiments import Range, Slots, Split


def choose(salt: str, sticky_value: str, percentages: Sequence[float]) -> int | None:
    """The index of the version that the value gets, or None where the percentages leave it out."""
    return Split(salt, percentages).choose(sticky_value)


def choose_by_slot(salt: str, sticky_value: str, slots: Sequence[Sequence[Range]]) -> int | None:
    """The same by the slots that each version has."""
    return Slots(salt, slots).choose(sticky_value)
