"""Scores: what makes a record one, its fields, and reading them back."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Self

from fastapi import APIRouter, Response
from fastapi import Query as FromQuery
from pydantic import Field, ValidationError, model_validator

from ..store.calls import MAX_PAGE, UNDATED, Call
from ..store.scores import (
    MAX_CATEGORY,
    MAX_COMMENT,
    MAX_NAME,
    MAX_NUMBER,
    SCORE,
    TARGETS,
    VERSION,
    Score,
    stated_in,
)
from .auth import Reading
from .models import Query, Strict, Words, checked, inconsistent, is_storable
from .requests import JsonRoute
from .response_models import ScoresPage
from .responses import Json
from .state import Backend
from .values import Body, object_of, text_of

MARK = "metadata.banyan_hp"
MOST_SHOWN = 100  # scores of one call

router = APIRouter(route_class=JsonRoute, tags=["scores"])


def _is_value(value: Any) -> bool:
    if isinstance(value, str):
        return 1 <= len(value) <= MAX_CATEGORY and is_storable(value)
    return isinstance(value, bool | int | float) and -MAX_NUMBER <= value <= MAX_NUMBER


def _is_comment(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= MAX_COMMENT


def _is_some_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


_Name = Annotated[
    str,
    Field(description=f"a string of 1 to {MAX_NAME} characters", min_length=1, max_length=MAX_NAME),
    checked(is_storable),
]
_Value = Annotated[
    Any,
    Field(
        description=f"true, false, a number from -1e15 to 1e15, or a string of 1 to {MAX_CATEGORY} characters"
    ),
    checked(_is_value),
]
# `Any`, as pydantic's own strings refuse the lone surrogates that the ids of calls may hold, too.
_Text = Annotated[Any, Field(description="a string that isn't empty"), checked(_is_some_text)]
_Comment = Annotated[
    Any, Field(description=f"a string of at most {MAX_COMMENT} characters"), checked(_is_comment)
]


class Stated(Strict):
    """What a score says, in `metadata.banyan_hp`."""

    called: ClassVar[str] = "score"

    kind: Annotated[str, Field(description=SCORE)]
    v: Annotated[int, Field(description=str(VERSION))]
    name: _Name
    value: _Value
    record_id: _Text | None = None
    session_id: _Text | None = None
    sticky_key: _Text | None = None
    sticky_value: _Text | None = None
    experiment_id: _Text | None = None
    experiment_version_id: _Text | None = None
    comment: _Comment | None = None
    rater: _Text | None = None

    @model_validator(mode="after")
    def _about_something(self) -> Self:
        if self.record_id is self.session_id is self.sticky_value is None:
            raise inconsistent(" must have a record_id, a session_id or a sticky_value, was without any")
        return self


def score_refusal(body: Body) -> str | None:
    """Why a body is not a good score, or None; also None if it is no score."""
    stated = stated_in(body)
    if stated is None:
        return None
    try:
        Stated.model_validate(stated)
    except ValidationError as error:
        return f"{MARK}{error.errors()[0]['ctx']['flaw']}"
    return None


def call_of_score(project: str, call_id: str, time: datetime | None, body: Body) -> Call | None:
    """The call that a good score is; None: the body is no score. Its experiment is only the score's."""
    stated = stated_in(body)
    if stated is None:
        return None
    arrived = datetime.now(UTC)
    user = text_of(object_of(body.get("metadata")).get("user_id"))
    return Call(
        project=project,
        id=call_id,
        day=time.date() if time is not None else UNDATED,
        event_time=time or arrived,
        received_at=arrived,
        source=SCORE,
        body=body,
        session=stated.get("session_id"),
        user=user or stated.get("sticky_value"),
        prompt_id=text_of(body.get("prompt_id")),
        prompt_name=text_of(body.get("prompt_name")),
        version=text_of(body.get("version")),
        branch=text_of(body.get("branch_name")),
    )


class Scores(Query):
    """Which scores, and which page of them."""

    record_id: Words | None = None
    session_id: Words | None = None
    user: Words | None = None
    limit: Annotated[int, Field(description=f"a whole number from 1 to {MAX_PAGE}", ge=1, le=MAX_PAGE)] = 100
    after: Annotated[str | None, Field(description="the `next` of an earlier page")] = None


@router.get("/api/scores", response_model=ScoresPage)
def page(query: Annotated[Scores, FromQuery()], caller: Reading, backend: Backend) -> Response:
    """Scores, newest first: of a record, a session, a user (a sticky value), or all. All that were given are
    there; of a name, the last one about the same and of the same rater counts.
    """
    given = dict(zip(TARGETS, (query.record_id, query.session_id, query.user), strict=True))
    equal = {name: value for name, value in given.items() if value is not None}
    found = backend.calls.scores(caller.project, equal, query.limit, query.after)
    return Json({"scores": [score_as_json(score) for score in found.scores], "next": found.next})


def score_as_json(score: Score) -> dict[str, Any]:
    """A score in the words of the wire."""
    shown = asdict(score)
    return {
        **{("session_id" if name == "session" else name): value for name, value in shown.items()},
        "at": score.at.isoformat(timespec="microseconds"),
    }


def scores_of(record_id: str, project: str, backend: Backend) -> list[dict[str, Any]]:
    """The newest scores of a record."""
    found = backend.calls.scores(project, {"record_id": record_id}, MOST_SHOWN)
    return [score_as_json(score) for score in found.scores]
