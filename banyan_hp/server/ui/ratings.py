"""What people think of calls and sessions: scores, as applications send them, with the rater's name."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import TimeoutError as LateError
from datetime import UTC, datetime
from typing import Any, cast

from fastapi import APIRouter, HTTPException, Request, Response

from ..api.committer import Committer
from ..api.intake import BANYAN, unstorable
from ..api.state import Stores
from ..prices import Prices
from ..store.calls import Call, Stored
from ..store.scores import SCORE, VERSION, Score
from .rendering import PageRoute, is_local, page, redirect
from .visitors import Post, Posting

THUMBS, NUMBER, CATEGORY = "thumbs", "rating", "category"
MOST_SHOWN = 100  # scores on a page
_STORE_SECONDS = 30.0
_TARGETS = ("record_id", "session_id")
_NUMBERS = tuple("12345")
router = APIRouter(route_class=PageRoute, include_in_schema=False)


class Ratings:
    """Stores ratings by the way that all records take."""

    def __init__(self, committer: Committer[Call], prices: Prices) -> None:
        self._committer = committer
        self._prices = prices

    def store(self, project: str, scores: list[dict[str, Any]]) -> None:
        """Store scores, all or none of which are good.

        Raises:
            HTTPException: 400, one is not; 503, they could not be stored in time.
        """
        bodies = [{"input": "", "output": "", "metadata": {"banyan_hp": score}} for score in scores]
        for body in bodies:
            if (refusal := BANYAN.refusal(body)) is not None:
                raise HTTPException(400, refusal)
        now = datetime.now(UTC)
        calls = [BANYAN.call(project, str(uuid.uuid4()), now, body, self._prices, None) for body in bodies]
        try:
            verdicts = self._committer.store(calls).result(_STORE_SECONDS)
        except LateError:
            raise HTTPException(503, "the rating could not be stored in time; send it again") from None
        for verdict in verdicts:
            if not isinstance(verdict, Stored):
                raise HTTPException(400, unstorable(verdict))


@router.post("/scores")
def rate(request: Request, post: Posting) -> Response:
    """Rate a call or a session, and go on where the form says."""
    fields = post.fields
    about = {name: fields[name] for name in _TARGETS if fields.get(name)}
    if len(about) != 1:
        raise HTTPException(400, "A rating must be about one call or one session.")
    wanted = fields.get("next", "")
    following = wanted if is_local(wanted) else "/review"
    values = dict(_values(fields))
    if not values:
        missing = (
            "Nothing was stored yet: choose a thumb, a number or a category, which the comment goes with."
        )
        return _asked_again(request, post, about, following, missing)
    comment = {"comment": fields["comment"].strip()} if fields.get("comment", "").strip() else {}
    common = {"kind": SCORE, "v": VERSION, **about, **comment, "rater": post.visitor.name}
    scores = [{**common, "name": name, "value": value} for name, value in values.items()]
    cast("Ratings", request.app.state.ratings).store(post.visitor.caller.project, scores)
    return redirect(following)


def _asked_again(
    request: Request, post: Post, about: Mapping[str, str], following: str, missing: str
) -> Response:
    """The form with what was written into it, and what is missing."""
    ((target, name),) = about.items()
    comment = post.fields.get("comment", "")
    values = {"target": target, "name": name, "following": following, "comment": comment}
    return page(request, "rating_again", post.visitor, 400, missing=missing, **values)


def scores_about(project: str, target: str, name: str, backend: Stores) -> list[Score]:
    """The newest scores of a record or a session."""
    return list(backend.calls.scores(project, {target: name}, MOST_SHOWN).scores)


def _values(fields: Mapping[str, str]) -> Iterator[tuple[str, bool | int | str]]:
    """What was pressed and written: several scores, where a category was written and a button pressed."""
    if (thumb := fields.get(THUMBS)) is not None:
        yield THUMBS, thumb == "up"
    if (number := fields.get(NUMBER)) is not None:
        if number not in _NUMBERS:
            raise HTTPException(400, f"The number must be from 1 to 5, was {number[:40]!r}.")
        yield NUMBER, int(number)
    if category := fields.get(CATEGORY, "").strip():
        yield CATEGORY, category
