"""Whether the backend is well, for load balancers and supervisors: they have no key, and ask often."""

from __future__ import annotations

import time

from fastapi import APIRouter, Request, Response

from ..store.calls import Calls
from . import response_models
from .requests import JsonRoute
from .responses import Json
from .state import Backend

FEW = 10_000  # calls, which are counted at once
COUNT_SECONDS = 10.0  # for which the number of more of them holds
MOST_COUNTED = 10_000  # of the results' lag: load balancers ask often

router = APIRouter(route_class=JsonRoute, tags=["health"])


class SearchLag:
    """How many stored calls can't be found by text yet: few as of now, many as of a moment ago."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._counted = 0
        self._until = 0.0

    def calls(self) -> int:
        """How many. Whoever asks finds out, too, whether the database responds."""
        few = self._calls.unindexed(FEW)
        if few < FEW:
            return few
        if time.monotonic() >= self._until:
            self._until = time.monotonic() + COUNT_SECONDS  # before: others don't count at the same time
            self._counted = self._calls.unindexed()
        return max(few, self._counted)


@router.head("/healthz", include_in_schema=False)  # some supervisors ask so
@router.get("/healthz", response_model=response_models.Health)
async def healthz() -> Response:
    """Whether the process responds. It says nothing about the database."""
    return Json({"status": "ok"})


@router.head("/readyz", include_in_schema=False)
@router.get("/readyz", response_model=response_models.Readiness)
def readyz(request: Request, backend: Backend) -> Response:
    """Whether the database responds, else 503; how many stored calls can't be found by text yet, and how many
    calls and scores are not in the results of experiments yet.
    """
    lag: SearchLag = request.app.state.search_lag
    lags = {"search_lag": lag.calls(), "results_lag": backend.outcomes.pending(MOST_COUNTED)}
    return Json({"status": "ok", **lags})
