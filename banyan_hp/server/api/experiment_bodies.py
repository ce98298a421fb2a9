"""What bodies and queries about experiments may hold."""

from __future__ import annotations

from decimal import Context, Decimal, localcontext
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from ...experiments import MAX_DECIMALS, MAX_VERSIONS
from ..store.experiments import ALLOCATIONS, RUNNING, STATUSES
from ..store.prompts import DEFAULT_BRANCH
from .models import Json as JsonObject
from .models import Name, Paged, Strict, Words, inconsistent, shown
from .prompts import ContentField

MOST_GUARDS = 100
MOST_WINDOW = 90 * 86_400
MOST_PERCENT = Decimal("100.01")  # thirds, written as 33.33, 33.34 and 33.34
_BEHIND = ("/usage", "/results", "/rebuild")  # what ends so is the path of something else of an experiment


def _no_path(experiment_id: str) -> str:
    if experiment_id.endswith(_BEHIND):
        raise ValueError("it ends like a path below an experiment")
    return experiment_id


def _fine_enough(percentage: float) -> float:
    if int(Decimal(str(percentage)).as_tuple().exponent) < -MAX_DECIMALS:
        raise ValueError("it has too many decimals")
    return percentage


def _consistent(versions: list[ExperimentVersion]) -> list[ExperimentVersion]:
    seen: set[str] = set()
    for index, each in enumerate(versions):
        if each.experiment_version_id in seen:
            named = shown(each.experiment_version_id)
            raise inconsistent(f"[{index}].experiment_version_id is there twice: {named}")
        seen.add(each.experiment_version_id)
    with localcontext(Context(prec=MAX_DECIMALS + 10)):  # exact, as in the formula
        total = sum((Decimal(str(each.traffic_percentage)) for each in versions), Decimal(0))
    if total > MOST_PERCENT:
        most = f" must have traffic_percentage of at most {MOST_PERCENT} together"
        raise inconsistent(f"{most}, was {total.normalize():f}")
    return versions


_ID = Annotated[
    Name,
    Field(description=f"a string that isn't empty and doesn't end in {' or '.join(map(repr, _BEHIND))}"),
    AfterValidator(_no_path),
]
_Percentage = Annotated[
    float,
    Field(description=f"a number from 0 to 100 of at most {MAX_DECIMALS} decimals", ge=0, le=100),
    AfterValidator(_fine_enough),
]
_Status = Annotated[
    str,
    Field(description=f"one of {', '.join(STATUSES)}", pattern=f"^({'|'.join(STATUSES)})$"),
]


_Allocation = Annotated[int, Field(description=" or ".join(map(str, ALLOCATIONS)), ge=1, le=2)]


class ExperimentVersion(Strict):
    """A version within an experiment; without `content` it is the prompt's version, configuration and all."""

    called: ClassVar[str] = "version"

    experiment_version_id: Name
    version: Name
    traffic_percentage: _Percentage
    content: ContentField | None = None
    config: JsonObject | None = None


_Versions = Annotated[
    list[ExperimentVersion],
    Field(description=f"a list of 1 to {MAX_VERSIONS} versions", min_length=1, max_length=MAX_VERSIONS),
    AfterValidator(_consistent),
]


class ExperimentGuard(Strict):
    """A metric that no version may be worse in than the control by more than a part of it."""

    called: ClassVar[str] = "guard"

    metric: Name
    worse_by: Annotated[float, Field(description="a number from 0 to 10; 0.1 is 10 %", ge=0, le=10)]


_Guards = Annotated[
    list[ExperimentGuard],
    Field(description=f"a list of at most {MOST_GUARDS} guards", max_length=MOST_GUARDS),
]
_Directions = Annotated[
    dict[Name, Literal["lower", "higher"]],
    Field(description="an object: by metric, lower or higher, whichever is better", max_length=MOST_GUARDS),
]
_Window = Annotated[
    int, Field(description=f"a whole number of seconds from 1 to {MOST_WINDOW}", ge=1, le=MOST_WINDOW)
]


class NewExperiment(Strict):
    """An experiment to be made."""

    prompt_name: Name
    sticky_type: Name
    versions: _Versions
    experiment_id: _ID | None = None
    project_id: Name | None = None
    branch: Name = DEFAULT_BRANCH
    status: _Status = RUNNING
    salt: Name | None = None
    allocation: _Allocation | None = None
    control: Name | None = None
    primary_metric: Name | None = None
    window_seconds: _Window | None = None
    guards: _Guards | None = None
    directions: _Directions | None = None


class ExperimentChange(Strict):
    """What to change about an experiment; with `dry_run` only what that would move is said."""

    status: _Status | None = None
    sticky_type: Name | None = None
    salt: Name | None = None
    versions: _Versions | None = None
    control: Name | None = None
    primary_metric: Name | None = None
    window_seconds: _Window | None = None
    guards: _Guards | None = None
    directions: _Directions | None = None
    dry_run: Annotated[bool, Field(description="true or false")] = False


class RouteRequest(Strict):
    """A sticky value to route, in the words of the published client."""

    experimentId: Name  # noqa: N815
    stickyKey: Name  # noqa: N815
    stickyValue: Annotated[str, Field(description="a string")]  # noqa: N815
    apiKey: Annotated[str, Field(description="a string")]  # noqa: N815


class Listed(Paged):
    """Which experiments, and which page of them."""

    prompt_name: Words | None = None
    branch: Words | None = None
    status: _Status | None = None
    project_id: Words | None = None
