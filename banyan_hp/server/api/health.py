"""Whether the backend is well, for load balancers and supervisors: they have no key."""

from __future__ import annotations

from fastapi import APIRouter, Response

from . import response_models
from .requests import JsonRoute
from .responses import Json
from .state import Backend

MOST_COUNTED = 10_000  # of the results' lag: load balancers ask often

router = APIRouter(route_class=JsonRoute, tags=["health"])


@router.head("/healthz", include_in_schema=False)  # some supervisors ask so
@router.get("/healthz", response_model=response_models.Health)
async def healthz() -> Response:
    """Whether the process responds. It says nothing about the database."""
    return Json({"status": "ok"})


@router.head("/readyz", include_in_schema=False)
@router.get("/readyz", response_model=response_models.Readiness)
def readyz(backend: Backend) -> Response:
    """Whether the database responds, else 503; how many stored calls can't be found by text yet, and how many
    calls and scores are not in the results of experiments yet.
    """
    lags = {"search_lag": backend.calls.unindexed(), "results_lag": backend.outcomes.pending(MOST_COUNTED)}
    return Json({"status": "ok", **lags})
