"""What the routes work with, made once for an application."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, Request

from ..starting import RoutingMode
from ..store.audit import Audit
from ..store.calls import Calls
from ..store.experiments import Experiments
from ..store.hours import Hours
from ..store.keys import Keys, Projects
from ..store.outcomes import Outcomes
from ..store.prompts import Prompts
from ..store.sessions import Sessions
from ..store.spans import Spans
from ..store.traces import Traces


@dataclass(frozen=True, slots=True)
class Stores:
    """The stores, and how prompts are routed."""

    calls: Calls
    spans: Spans
    prompts: Prompts
    experiments: Experiments
    projects: Projects
    keys: Keys
    audit: Audit
    hours: Hours
    sessions: Sessions
    traces: Traces
    outcomes: Outcomes
    routing: RoutingMode


def _stores(request: Request) -> Stores:
    return cast("Stores", request.app.state.stores)


Backend = Annotated[Stores, Depends(_stores)]
