"""What responses hold, for the API's document.

Nothing is validated against these while the backend runs: routes make their JSON themselves. Tests hold both
together (`tests/unit/server/api/test_document.py`).

Fields with a default are not in every response.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

Time = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
Object = dict[str, Any]
Next = Annotated[str | None, Field(description="where the following page begins; null: there is none")]


# -- logged --------------------------------------------------------------------------------------------------


class Logged(BaseModel):
    """A record that is stored."""

    id: str
    repeat: Annotated[bool | None, Field(description="true: it was stored before")] = None
    message: Annotated[str | None, Field(description="only to HuggingPlace's clients")] = None


class Accepted(BaseModel):
    """A batch all of which is stored; `gzip` in the response to an empty one: compressed bodies are taken."""

    accepted: int
    gzip: bool | None = None


class Outcome(BaseModel):
    """What became of one record of a batch."""

    id: str
    status: Annotated[int, Field(description="as if the record had been sent alone")]
    error: str | None = None
    code: str | None = None


class Outcomes(BaseModel):
    """A batch not all of which is stored: what became of each record, in their order."""

    results: list[Outcome]


class Record(BaseModel):
    """A record as one client sent it."""

    seq: int
    id: str
    event_time: Time
    received_at: Time
    deliveries: int
    project: str
    session_id: str | None
    body: Object


class LogsPage(BaseModel):
    """Some of Banyan's records."""

    logs: list[Record]
    next: Next


class InteractionsPage(BaseModel):
    """Some of HuggingPlace's records."""

    interactions: list[Record]
    next: Next


class Count(BaseModel):
    """How many records there are."""

    count: int
    deliveries: Annotated[int, Field(description="repeats included")]


# -- calls ---------------------------------------------------------------------------------------------------


class LoggedCall(BaseModel):
    """A call, whichever client logged it."""

    project: str
    id: str
    day: Annotated[str, Field(json_schema_extra={"format": "date"})]
    event_time: Time
    received_at: Time
    source: str
    session: str | None
    user: str | None
    prompt_id: str | None
    prompt_name: str | None
    version: str | None
    branch: str | None
    model: str | None
    latency_ms: float | None
    input_tokens: int | None
    output_tokens: int | None
    cost: Annotated[float | None, Field(description="in USD")]
    error: str | None
    experiment_id: str | None
    experiment_version_id: str | None
    sticky_key: str | None
    sticky_value: str | None
    deliveries: int
    seq: int
    input: Any
    output: Any
    metadata: Any
    body: Object


class ShownScore(BaseModel):
    """A score, and what it is about."""

    project: str
    id: str
    at: Time
    name: str
    value: bool | float | str
    record_id: str | None
    session_id: str | None
    sticky_key: str | None
    sticky_value: str | None
    experiment_id: str | None
    experiment_version_id: str | None
    rater: Annotated[str | None, Field(description="null: the application; user: by a feedback token")]
    comment: str | None
    seq: int


class ScoresPage(BaseModel):
    """Some scores."""

    scores: list[ShownScore]
    next: Next


class ScoredCall(LoggedCall):
    """A call, and its newest scores."""

    scores: list[ShownScore]


class TakenFeedback(BaseModel):
    """Feedback that is stored."""

    stored: Literal[True]


class CallsPage(BaseModel):
    """Some calls; few or none of a search that `searched_to` says is not over."""

    calls: list[LoggedCall]
    next: Next
    searched_to: Annotated[
        str | None,
        Field(description="the time back to which a search got that took long; `next` goes on; else null"),
    ]


class Sums(BaseModel):
    """What calls with the same values amount to."""

    by: dict[str, str | None]
    calls: int
    deliveries: int
    errors: int
    latency_p50: float | None
    latency_p95: float | None
    input_tokens: Annotated[int | None, Field(description="the sum of the known ones")]
    output_tokens: Annotated[int | None, Field(description="the sum of the known ones")]
    cost: Annotated[float | None, Field(description="the sum of the known ones, in USD")]


class Summary(BaseModel):
    """Sums over calls."""

    groups: list[Sums]


class RemovedCalls(BaseModel):
    """How many calls were removed; `more`: ask again, some are left."""

    deleted: int
    more: bool


# -- projects, keys, health ----------------------------------------------------------------------------------


class GoodKey(BaseModel):
    """Whose the key is."""

    valid: Literal[True]
    project: str
    role: str


class ShownProject(BaseModel):
    """A project."""

    id: str
    name: str


class ProjectList(BaseModel):
    """Projects."""

    projects: list[ShownProject]


class ShownKey(BaseModel):
    """A key without its secret."""

    id: str
    project: str
    role: str
    hint: Annotated[str, Field(description="its last characters, behind an ellipsis")]
    created_at: Time
    revoked_at: Time | None


class KeysPage(BaseModel):
    """Some keys."""

    keys: list[ShownKey]
    next: Next


class MadeKey(ShownKey):
    """A key that was just made."""

    key: Annotated[str, Field(description="the secret, which no other response has")]


class RevokedKey(BaseModel):
    """A key that lets nobody in any more."""

    id: str
    revoked: bool


class ShownChange(BaseModel):
    """A change: which key made it, when, and what a reader needs besides."""

    seq: int
    at: Time
    key_id: str
    action: str
    subject: str
    detail: Object


class ChangesPage(BaseModel):
    """Some changes."""

    changes: list[ShownChange]
    next: Next


class Health(BaseModel):
    """The process responds."""

    status: str


class Readiness(Health):
    """The database responds."""

    search_lag: Annotated[int, Field(description="calls that can't be found by text yet")]
    results_lag: Annotated[
        int, Field(description="calls and scores that no experiment's results know of yet")
    ]


# -- OpenTelemetry -------------------------------------------------------------------------------------------


class PartialSuccess(BaseModel):
    """How much of a request was left out, and why."""

    rejectedSpans: str | None = None  # noqa: N815 - the standard's names
    rejectedLogRecords: str | None = None  # noqa: N815
    errorMessage: str  # noqa: N815


class Exported(BaseModel):
    """The standard's response to an export: empty, if all was taken."""

    partialSuccess: PartialSuccess | None = None  # noqa: N815


class ShownSpan(BaseModel):
    """A span. What it says is left out where a trace is very large."""

    span_id: str
    parent_id: str | None
    depth: Annotated[int, Field(description="0: a root, or one whose parent is not there")]
    name: str
    role: Annotated[str | None, Field(description="call, embedding, tool, agent, workflow, retrieval, step")]
    scope: str
    start_time: Time
    duration_ms: float
    failed: bool
    message: Annotated[str | None, Field(description="of its status")]
    call_id: Annotated[str | None, Field(description="the call that it tells of")]
    attributes: Object | None
    events: list[Object] | None
    resource: Object | None


class Trace(BaseModel):
    """A trace: each span before those inside it."""

    trace_id: str
    spans: list[ShownSpan]
