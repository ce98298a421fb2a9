"""What came of an experiment, and having its sums computed anew."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Response
from fastapi import Query as FromQuery
from pydantic import Field

from ..analysis.comparison import Method
from ..analysis.course import Course
from ..analysis.verdicts import ALPHA, EFFECT
from ..results import Asked, NoMetricError, NoSegmentError, ResultsOf
from ..store.experiments import Experiment
from .auth import Administering, Caller, Reading
from .models import Query, Words
from .requests import JsonRoute
from .responses import BAD_QUERY, Json
from .result_response_models import ExperimentResults, Rebuilding
from .state import Backend, Stores

_METHODS = tuple(each.value for each in Method)

router = APIRouter(route_class=JsonRoute, tags=["experiments"])


class Wanted(Query):
    """Which results."""

    metric: Annotated[Words | None, Field(description="a metric: the others are left out")] = None
    segment: Annotated[int | None, Field(description="the number of a segment", ge=1, le=10**9)] = None
    interval: Annotated[
        str, Field(description=" or ".join(_METHODS), pattern=f"^({'|'.join(_METHODS)})$")
    ] = Method.ALWAYS.value
    alpha: Annotated[float, Field(description="a number from 0.0001 to 0.5", ge=0.0001, le=0.5)] = ALPHA
    effect: Annotated[float, Field(description="a number above 0, at most 10", gt=0, le=10)] = EFFECT


@router.get("/api/experiments/{experiment_id:path}/results", response_model=ExperimentResults)
def results(
    experiment_id: str, query: Annotated[Wanted, FromQuery()], caller: Reading, backend: Backend
) -> Response:
    """The versions beside the control in each metric: which one won, or why none did."""
    return Json(reckoned(_found(caller, experiment_id, backend), query, backend))


def reckoned(experiment: Experiment, query: Wanted, backend: Stores) -> dict[str, Any]:
    """The results that a query asks for.

    Raises:
        HTTPException: 400, there is no such segment or metric.
    """
    with _answering():
        return ResultsOf(backend.outcomes, backend.audit)(experiment, _asked(query), datetime.now(UTC))


def moved(experiment: Experiment, query: Wanted, metric: str | None, backend: Stores) -> Course | None:
    """How the results that a query asks for have moved in a metric; see `ResultsOf.over_time`.

    Raises:
        HTTPException: 400, there is no such segment or metric.
    """
    asked = _asked(query)
    with _answering():
        of = ResultsOf(backend.outcomes, backend.audit)
        return of.over_time(experiment, replace(asked, metric=metric or asked.metric), datetime.now(UTC))


def _asked(query: Wanted) -> Asked:
    return Asked(query.metric or None, query.segment, Method(query.interval), query.alpha, query.effect)


@contextmanager
def _answering() -> Iterator[None]:
    try:
        yield
    except (NoSegmentError, NoMetricError) as error:
        raise HTTPException(BAD_QUERY, str(error)) from error


@router.post("/api/experiments/{experiment_id:path}/rebuild", response_model=Rebuilding)
def rebuild(experiment_id: str, caller: Administering, backend: Backend) -> Response:
    """Have the sums over users computed anew, from the calls and scores that are stored."""
    experiment = _found(caller, experiment_id, backend)
    users = backend.outcomes.rebuild(caller.project, experiment.experiment_id)
    return Json({"experiment_id": experiment_id, "users": users})


def _found(caller: Caller, experiment_id: str, backend: Backend) -> Experiment:
    experiment = backend.experiments.get(caller.project, experiment_id)
    if experiment is None:
        raise HTTPException(404, f"experiment {experiment_id!r} not found")
    return experiment
