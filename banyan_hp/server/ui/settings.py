"""Settings: the project, its keys, how long calls are kept, what the database takes, what is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import cast

from fastapi import APIRouter, HTTPException, Request, Response

from ..api.hosts import is_loopback
from ..api.state import Backend, Stores
from ..store.database import Database
from ..store.hours import DAY, Of, Period, day_of
from ..store.keys import Key, Role
from ..store.status import Condition, condition_of
from .filters import address_with
from .rendering import PageRoute, page, redirect
from .visitors import Changing, Looking, Visitor

PAGE_KEYS = 50
_EVER = datetime(1970, 1, 1, tzinfo=UTC)
_MOST_LAG = 10_000  # calls that can't be found by text yet, beyond which something is wrong
router = APIRouter(route_class=PageRoute, include_in_schema=False)


@dataclass(frozen=True, slots=True)
class Served:
    """What the pages say of the server itself.

    Attributes:
        database: where all is kept.
        retain: how long calls are kept; None: for ever.
        archived: whether calls are written to files before they are removed.
    """

    database: Database
    retain: timedelta | None
    archived: bool


@router.get("/settings")
def shown(request: Request, visitor: Looking, backend: Backend, after: str | None = None) -> Response:
    """The page, with the newest keys or those behind a cursor."""
    return _page(request, visitor, backend, after=after)


@router.post("/settings/keys")
def create_key(request: Request, post: Changing, backend: Backend) -> Response:
    """Make a key. Its secret is on this page, and nowhere else: not behind a redirect, in no address."""
    caller = post.visitor.caller
    role = post.fields.get("role", "")
    if role not in {each.value for each in Role}:
        raise HTTPException(400, f"role must be ingest, read or admin, was {role[:40]!r}")
    key, secret = backend.keys.create(caller.project, Role(role), caller.key_id)
    return _page(request, post.visitor, backend, made=(key, secret))


@router.post("/settings/keys/{key_id}/revoke")
def revoke_key(key_id: str, post: Changing, backend: Backend) -> Response:
    """End a key."""
    caller = post.visitor.caller
    if not backend.keys.revoke(key_id, caller.project, caller.key_id):
        raise HTTPException(
            404, f"There is no key {key_id[:40]!r} in this project, or it was revoked before."
        )
    return redirect("/settings")


def _page(
    request: Request,
    visitor: Visitor,
    backend: Stores,
    *,
    made: tuple[Key, str] | None = None,
    after: str | None = None,
) -> Response:
    caller, served = visitor.caller, cast("Served", request.app.state.served)
    # Of a database with several projects, its size and its lag would say how much the others log.
    shared = backend.projects.has_others(caller.project)
    condition = condition_of(served.database) if visitor.may_change and not shared else None
    keys = backend.keys.page(caller.project, PAGE_KEYS, after, newest=True) if visitor.may_change else None
    lag = backend.calls.unindexed(_MOST_LAG + 1) if condition is not None else 0
    return page(
        request,
        "settings",
        visitor,
        keys=keys.items if keys is not None else None,
        more=address_with("/settings", {"after": keys.next}) if keys is not None and keys.next else None,
        first=after is None,
        made=made,
        project=backend.projects.get(caller.project),
        calls=backend.hours.total(Of(project=caller.project), _until_tomorrow()).calls,
        served=served,
        state=condition,
        lag=f"{lag:,}" if lag <= _MOST_LAG else f"more than {_MOST_LAG:,}",
        flaws=list(_flaws(request, condition, lag)) if visitor.may_change else [],
        roles=[role.value for role in Role],
    )


def _until_tomorrow() -> Period:
    """All days: calls may be dated a little ahead of this machine's clock."""
    return Period(since=_EVER, until=day_of(datetime.now(UTC)) + 2 * DAY)


def _flaws(request: Request, status: Condition | None, lag: int) -> Iterator[str]:
    """What `banyan-hp doctor` would say of this server, as far as the server itself can see it."""
    if status is not None:
        yield from _flaws_of_database(status, lag)
    if request.url.scheme == "http" and not is_loopback(request.headers.get("host", "")):
        yield "Keys and texts travel unencrypted: put a proxy with TLS in front of this server."


def _flaws_of_database(status: Condition, lag: int) -> Iterator[str]:
    if status.revision != status.newest:
        yield f"The database is at revision {status.revision}, this release at {status.newest}: restart it."
    if lag > _MOST_LAG:
        yield f"More than {_MOST_LAG:,} calls can't be found by their words yet: indexing is behind."
    if status.outside and status.partitions is not None:
        yield f"{status.outside:,} calls are in no day's partition: their clocks are wrong, or they are old."
