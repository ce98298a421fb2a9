"""What responses about the results of experiments hold, for the API's document: see `response_models`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from .response_models import Time

_State = Literal[
    "winner",
    "no winner yet",
    "not enough data yet",
    "no primary metric",
    "nothing to compare",
    "not to be trusted",
]


class Decision(BaseModel):
    """What the primary metric decides."""

    state: _State
    winner: Annotated[str | None, Field(description="an `experiment_version_id`")]
    version: Annotated[str | None, Field(description="the winner's, of the prompt")]
    more_users: Annotated[int | None, Field(description="about so many show a difference of `effect`")]
    effect: Annotated[float, Field(description="as a part of the control's mean")]


class SegmentShown(BaseModel):
    """A stretch between two changes."""

    number: int
    start: Time
    until: Time | None
    why: str
    shares: Annotated[dict[str, float], Field(description="of the routed users, by version")]


class SampleRatio(BaseModel):
    """Whether users were dealt out as configured."""

    p_value: float
    level: Annotated[float, Field(description="below it the results are not to be trusted")]
    expected: Annotated[dict[str, float], Field(description="shares, by version")]
    observed: Annotated[dict[str, int], Field(description="users by their first call, by version")]


class VersionUsers(BaseModel):
    """A version and its users."""

    experiment_version_id: str
    version: str
    control: bool
    exposed: int
    analysed: Annotated[int, Field(description="users whose window is over")]
    calls: int


class IntervalShown(BaseModel):
    """An estimate and its bounds."""

    estimate: float
    low: float
    high: float


class Measured(BaseModel):
    """A version in a metric."""

    experiment_version_id: str
    users: Annotated[int, Field(description="with a value")]
    mean: float | None
    standard_error: float | None
    probability_best: float | None
    difference: Annotated[IntervalShown | None, Field(description="to the control's mean")]
    relative: Annotated[IntervalShown | None, Field(description="as a part of the control's mean")]
    p_value: float | None
    better: Annotated[bool | None, Field(description="than the control with certainty; false: worse")]


class MetricShown(BaseModel):
    """All versions in a metric."""

    name: str
    primary: bool
    unit: str
    proportion: bool
    lower_is_better: bool
    versions: list[Measured]


class ExperimentResults(BaseModel):
    """What came of an experiment."""

    experiment_id: str
    status: str
    window_seconds: int
    segments: list[SegmentShown]
    segment: Annotated[int | None, Field(description="the number of the one that this is about")]
    pending: Annotated[int, Field(description="calls and scores that are not reckoned in yet")]
    decision: Decision
    first_figures_at: Annotated[
        Time | None, Field(description="when the first user's window is over, as long as nobody's is")
    ]
    trusted: bool
    warnings: list[str]
    interval: Literal["always", "fixed"]
    alpha: float
    comparisons: int
    control: str
    primary_metric: str | None
    sample_ratio: SampleRatio
    versions: list[VersionUsers]
    left_out: Annotated[dict[str, int], Field(description="users and scores, by the reason")]
    metrics: list[MetricShown]


class Rebuilding(BaseModel):
    """Sums that are computed anew."""

    experiment_id: str
    users: int
