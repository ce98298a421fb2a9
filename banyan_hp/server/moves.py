"""How many users a change of an experiment moves, as shares of all users: computed, not counted.

Pure functions. An assignment is a line, parts of which belong to versions. Two lines by the same
values can be laid over each other; two by different ones (another salt, another sticky key) are independent.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from itertools import accumulate, chain, pairwise

from ..experiments import SLOTS
from .store.experiments import Experiment

Share = Fraction
Shares = Mapping[str, Share]

_NOTHING = Share(0)
_ALL_BUT = Share(9999, 10000)  # from here on an experiment of allocation 1 counts as everybody's


@dataclass(frozen=True, slots=True)
class Moves:
    """Shares of all users by version: before a change, after it, and of the users who have it both times."""

    before: Shares
    after: Shares
    staying: Shares
    new: Share
    """Users who had no version of the experiment and get one."""

    def as_json(self) -> dict[str, object]:
        """In percent."""
        moved = _sum(self.before) - _sum(self.staying)
        versions = {each: self._of(each) for each in dict.fromkeys([*self.before, *self.after])}
        return {
            "moved_percentage": _percent(moved),
            "new_percentage": _percent(self.new),
            "versions": versions,
        }

    def _of(self, version: str) -> dict[str, float]:
        stay = self.staying.get(version, _NOTHING)
        return {
            "stay": _percent(stay),
            "leave": _percent(self.before.get(version, _NOTHING) - stay),
            "join": _percent(self.after.get(version, _NOTHING) - stay),
        }


def moves(before: Experiment, after: Experiment) -> Moves:
    """What a change moves."""
    have, get = _shares(before), _shares(after)
    if not _deal_alike(before, after):
        return _independent(have, get)
    return _by_slots(before, after, have, get) if before.has_slots else _by_shares(have, get)


def _deal_alike(before: Experiment, after: Experiment) -> bool:
    """Whether a user's place is the same in both."""
    return (before.salt, before.sticky_type, before.allocation) == (
        after.salt,
        after.sticky_type,
        after.allocation,
    )


def _shares(experiment: Experiment) -> dict[str, Share]:
    """Of all users, by version; only a running experiment gives anybody anything."""
    running = 1 if experiment.running else 0
    if experiment.has_slots:
        return {
            each.experiment_version_id: Share(sum(end - start for start, end in each.slots), SLOTS) * running
            for each in experiment.variants
        }
    shares = [Share(Decimal(str(each.traffic_percentage))) / 100 for each in experiment.variants]
    total = sum(shares, _NOTHING)
    scale = running / total if total >= _ALL_BUT else Share(running)
    return {
        each.experiment_version_id: share * scale
        for each, share in zip(experiment.variants, shares, strict=True)
    }


def _independent(have: Shares, get: Shares) -> Moves:
    staying = {each: share * get.get(each, _NOTHING) for each, share in have.items()}
    return Moves(have, get, staying, (1 - _sum(have)) * _sum(get))


def _by_slots(before: Experiment, after: Experiment, have: Shares, get: Shares) -> Moves:
    joint = _overlaid(_line_of_slots(before), _line_of_slots(after))
    new = _sum({now: joint[None, now] for now in get})
    return Moves(have, get, {each: joint[each, each] / SLOTS for each in have}, new / SLOTS)


def _by_shares(have: Shares, get: Shares) -> Moves:
    """Taking part goes by one number, picking by another: users in both are picked for twice."""
    in_before, in_after = _sum(have), _sum(get)
    in_both = min(in_before, in_after)
    picked = _overlaid(_line_of_picks(have), _line_of_picks(get)) if in_both else Joint(Share)
    staying = {each: picked[each, each] * in_both for each in have}
    return Moves(have, get, staying, max(in_after - in_before, _NOTHING))


# -- lines ---------------------------------------------------------------------------------------------------

Line = list[tuple[Share | int, str | None]]  # where each part ends, and whose it is; of slots, or from 0 to 1
Joint = defaultdict[tuple[str | None, str | None], Share]


def _line_of_slots(experiment: Experiment) -> Line:
    if not experiment.running:
        return [(SLOTS, None)]
    owned = sorted((*part, each.experiment_version_id) for each in experiment.variants for part in each.slots)
    line: Line = []
    for start, end, version in owned:
        line += [(start, None), (end, version)]
    return [*line, (SLOTS, None)]


def _line_of_picks(shares: Shares) -> Line:
    total = _sum(shares)
    return [(upto / total, each) for each, upto in zip(shares, accumulate(shares.values()), strict=True)]


def _overlaid(one: Line, other: Line) -> Joint:
    joint = Joint(Share)
    ends = sorted({0, *(end for end, _ in chain(one, other))})
    for start, end in pairwise(ends):
        joint[_owner(one, start), _owner(other, start)] += end - start
    return joint


def _owner(line: Line, place: Share | int) -> str | None:
    """Whose the part is that begins at, or goes over, a place before the line's end."""
    return line[bisect_right(line, place, key=lambda part: part[0])][1]


def _sum(shares: Shares) -> Share:
    return sum(shares.values(), _NOTHING)


def _percent(share: Share) -> float:
    return float(round(share * 100, 6))
