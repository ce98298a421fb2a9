"""Who may call, and projects: validation of keys, the keys of a project, what was changed by whom."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Response
from fastapi import Query as FromQuery
from pydantic import Field

from ..store.keys import Key, Project, Role
from . import response_models
from .auth import Administering, Ingesting, Reading
from .models import Limit, Paged, Query, Strict, Words
from .requests import JsonRoute
from .responses import Json
from .state import Backend

router = APIRouter(route_class=JsonRoute, tags=["projects"])
_ROLES = tuple(role.value for role in Role)


class NewKey(Strict):
    """A key to be made."""

    role: Annotated[str, Field(description=f"one of {', '.join(_ROLES)}", pattern=f"^({'|'.join(_ROLES)})$")]


_Before = Annotated[
    int, Field(description="the `next` of an earlier page, or a change's `seq`", ge=1, le=2**63 - 1)
]


class Changes(Query):
    """Which changes."""

    subject: Annotated[Words | None, Field(description="prompt:<id>, experiment:<id> or key:<id>")] = None
    limit: Limit = 100
    before: _Before | None = None


@router.get("/api/auth/validate", response_model=response_models.GoodKey)
def validate(caller: Ingesting) -> Response:
    """Whether the key is good: 200, else 401."""
    return Json({"valid": True, "project": caller.project, "role": caller.role.value})


@router.get("/api/projects", response_model=response_models.ProjectList)
def projects(caller: Ingesting, backend: Backend) -> Response:
    """The caller's project."""
    return Json({"projects": [asdict(_own(caller.project, backend))]})


@router.get("/api/projects/{project_id:path}", response_model=response_models.ShownProject)
def project(project_id: str, caller: Ingesting, backend: Backend) -> Response:
    """One project: the caller's, for nobody sees another one."""
    if project_id != caller.project:
        raise HTTPException(404, f"project {project_id!r} not found")
    return Json(asdict(_own(project_id, backend)))


@router.get("/api/keys", response_model=response_models.KeysPage)
def keys(query: Annotated[Paged, FromQuery()], caller: Administering, backend: Backend) -> Response:
    """The keys of the project, without their secrets, in order of their making. `next` is `after` of the
    following page.
    """
    found = backend.keys.page(caller.project, query.limit, query.after)
    return Json({"keys": [_as_json(key) for key in found.items], "next": found.next})


@router.post("/api/keys", status_code=201, response_model=response_models.MadeKey)
def create_key(body: NewKey, caller: Administering, backend: Backend) -> Response:
    """Make a key. Its secret is in this response, and nowhere else."""
    key, secret = backend.keys.create(caller.project, Role(body.role), caller.key_id)
    return Json({**_as_json(key), "key": secret}, 201)


@router.delete("/api/keys/{key_id}", response_model=response_models.RevokedKey)
def revoke_key(key_id: str, caller: Administering, backend: Backend) -> Response:
    """End a key; within seconds nobody gets in with it."""
    if not backend.keys.revoke(key_id, caller.project, caller.key_id):
        raise HTTPException(404, f"key {key_id!r} not found, or revoked before")
    return Json({"id": key_id, "revoked": True})


@router.get("/api/audit", response_model=response_models.ChangesPage)
def audit(query: Annotated[Changes, FromQuery()], caller: Reading, backend: Backend) -> Response:
    """What was changed, by which key, newest first. `next` is `before` of the following page."""
    found = backend.audit.of(caller.project, query.subject, query.limit, query.before)
    shown = [{**asdict(each), "at": each.at.isoformat(timespec="microseconds")} for each in found.items]
    return Json({"changes": shown, "next": found.next})


def _own(project_id: str, backend: Backend) -> Project:
    return backend.projects.get(project_id) or Project(project_id, project_id)


def _as_json(key: Key) -> dict[str, Any]:
    return {
        "id": key.id,
        "project": key.project,
        "role": key.role.value,
        "hint": f"…{key.hint}",
        "created_at": key.created_at.isoformat(timespec="seconds"),
        "revoked_at": key.revoked_at.isoformat(timespec="seconds") if key.revoked_at else None,
    }
