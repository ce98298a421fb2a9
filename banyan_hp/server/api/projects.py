"""Who may call, and projects: validation of keys, the keys of a project, what was changed by whom."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Response
from fastapi import Query as FromQuery
from pydantic import Field

from ..store.keys import Key, Project, Role
from .auth import Administering, Ingesting, Reading
from .models import Query, Strict, Words
from .requests import JsonRoute
from .responses import Json
from .state import Backend

router = APIRouter(route_class=JsonRoute, tags=["projects"])
_ROLES = tuple(role.value for role in Role)


class NewKey(Strict):
    """A key to be made."""

    role: Annotated[str, Field(description=f"one of {', '.join(_ROLES)}", pattern=f"^({'|'.join(_ROLES)})$")]


class Changes(Query):
    """Which changes."""

    subject: Annotated[Words | None, Field(description="prompt:<id>, experiment:<id> or key:<id>")] = None
    limit: Annotated[int, Field(description="a whole number from 1 to 1000", ge=1, le=1000)] = 100
    before: Annotated[int | None, Field(description="the `seq` of a change", ge=1, le=2**63 - 1)] = None


@router.get("/api/auth/validate")
def validate(caller: Ingesting) -> Response:
    """Whether the key is good: 200, else 401."""
    return Json({"valid": True, "project": caller.project, "role": caller.role.value})


@router.get("/api/projects")
def projects(caller: Ingesting, backend: Backend) -> Response:
    """The caller's project."""
    return Json({"projects": [asdict(_own(caller.project, backend))]})


@router.get("/api/projects/{project_id:path}")
def project(project_id: str, caller: Ingesting, backend: Backend) -> Response:
    """One project: the caller's, for nobody sees another one."""
    if project_id != caller.project:
        raise HTTPException(404, f"project {project_id!r} not found")
    return Json(asdict(_own(project_id, backend)))


@router.get("/api/keys")
def keys(caller: Administering, backend: Backend) -> Response:
    """The keys of the project, without their secrets."""
    return Json({"keys": [_as_json(key) for key in backend.keys.listed(caller.project)]})


@router.post("/api/keys", status_code=201)
def create_key(body: NewKey, caller: Administering, backend: Backend) -> Response:
    """Make a key. Its secret is in this response, and nowhere else."""
    key, secret = backend.keys.create(caller.project, Role(body.role), caller.key_id)
    return Json({**_as_json(key), "key": secret}, 201)


@router.delete("/api/keys/{key_id}")
def revoke_key(key_id: str, caller: Administering, backend: Backend) -> Response:
    """End a key; within seconds nobody gets in with it."""
    if not backend.keys.revoke(key_id, caller.project, caller.key_id):
        raise HTTPException(404, f"key {key_id!r} not found, or revoked before")
    return Json({"id": key_id, "revoked": True})


@router.get("/api/audit")
def audit(query: Annotated[Changes, FromQuery()], caller: Reading, backend: Backend) -> Response:
    """What was changed, by which key, newest first."""
    changes = backend.audit.of(caller.project, query.subject, query.limit, query.before)
    shown = [{**asdict(each), "at": each.at.isoformat(timespec="microseconds")} for each in changes]
    return Json({"changes": shown})


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
