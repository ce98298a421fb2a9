"""How an experiment is to be analysed: a part of its configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

WINDOW_SECONDS = 86_400
"""After their first call users are watched for so long, by default: a day."""


@dataclass(frozen=True, slots=True)
class Guard:
    """A metric that no version may be much worse in than the control.

    Attributes:
        worse_by: the bound, as a part of the control's mean: 0.1 is 10 %.
    """

    metric: str
    worse_by: float


@dataclass(frozen=True, slots=True)
class Analysis:
    """The settings.

    Attributes:
        window_seconds: how long a user counts, from the first call in the experiment on. The user enters the
            analysis when that time is over, so that what was counted does not change afterwards.
        directions: by metric, ``lower`` or ``higher``: what is better, where it is not as usual.
    """

    window_seconds: int = WINDOW_SECONDS
    guards: tuple[Guard, ...] = ()
    directions: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Analysis:
        """From what `as_json` made; what is missing is as usual."""
        return cls(
            fields.get("window_seconds", WINDOW_SECONDS),
            tuple(Guard(each["metric"], each["worse_by"]) for each in fields.get("guards", ())),
            dict(fields.get("directions", {})),
        )

    def as_json(self) -> dict[str, Any]:
        """The settings as JSON, for the database and for the API."""
        guards = [{"metric": each.metric, "worse_by": each.worse_by} for each in self.guards]
        return {
            "window_seconds": self.window_seconds,
            "guards": guards,
            "directions": dict(self.directions),
        }
