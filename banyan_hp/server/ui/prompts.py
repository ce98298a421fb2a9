"""Prompts: what is live, versions side by side, drafts, releases and labels."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import quote

from fastapi import APIRouter, HTTPException, Request, Response
from pydantic import TypeAdapter, ValidationError

from ...placeholders import filled, names_in
from ..api.forms import said
from ..api.prompts import ContentField, stored_content
from ..api.requests import parse_json
from ..api.state import Backend, Stores
from ..store.hours import DAY, HOUR, Kind, Period, hour_of
from ..store.prompts import DEFAULT_BRANCH, FIRST_VERSION, Prompt, Version
from .differences import side_by_side
from .refusals import Refusal, RefusedError, refusing
from .rendering import PageRoute, page, redirect
from .visitors import Changing, Looking, Visitor

PAGE_VERSIONS = 50
_MOST_NAMED = 50  # labels, and experiments, on the page of a prompt
_MOST_LABELS = 5  # of one prompt in the list
_VALUE = "value."  # how the fields for values of placeholders begin
_CONTENT: TypeAdapter[Any] = TypeAdapter(ContentField)
router = APIRouter(route_class=PageRoute, include_in_schema=False)


class Entered(NamedTuple):
    """What was entered into a form that was refused, and why; nothing: there was none."""

    fields: Mapping[str, str] = MappingProxyType({})
    refusal: Refusal | None = None
    status: int = 200


@router.get("/prompts")
def listed(request: Request, visitor: Looking, backend: Backend, after: str | None = None) -> Response:
    """The prompts of the project."""
    return _list(request, visitor, backend, Entered(), after)


def _list(
    request: Request, visitor: Visitor, backend: Stores, entered: Entered, after: str | None = None
) -> Response:
    project = visitor.caller.project
    part = backend.prompts.listed(project, after=after)
    names = {prompt.name for prompt, _, _ in part.items}
    ends = hour_of(datetime.now(UTC)) + HOUR
    week = Period(since=ends - 7 * DAY, until=ends)
    done = dict(backend.hours.by(project, Kind.PROMPT, week, len(names), names)) if names else {}
    return page(
        request,
        "prompts",
        visitor,
        entered.status,
        entered=entered.fields,
        refusal=entered.refusal,
        prompts=part.items,
        next=part.next,
        done=done,
        shared=len(names) < len(part.items),
        most_labels=_MOST_LABELS,
    )


@router.post("/prompts")
def create(request: Request, post: Changing, backend: Backend) -> Response:
    """A prompt with its first version, a draft; what is refused stays in the form."""
    caller, fields = post.visitor.caller, post.fields
    try:
        with refusing(_no_field):
            name, branch = _named(fields, "name"), fields.get("branch") or DEFAULT_BRANCH
            prompt = Prompt(project=caller.project, name=name, branch=branch)
            backend.prompts.create(prompt, _version_of(fields, FIRST_VERSION), caller.actor, release=False)
    except RefusedError as error:
        return _list(request, post.visitor, backend, Entered(fields, error.refusal, error.status))
    return redirect(f"/prompts/{prompt.prompt_id}")


@router.get("/prompts/{prompt_id}")
def one(
    request: Request,
    prompt_id: str,
    visitor: Looking,
    backend: Backend,
    version: str | None = None,
    against: str | None = None,
    after: str | None = None,
) -> Response:
    """One prompt: its newest versions, or those behind a cursor, one in full, beside the one of `against`."""
    prompt = _prompt(prompt_id, visitor, backend)
    return _page(request, visitor, backend, prompt, Entered(), version, against, after)


def _page(
    request: Request,
    visitor: Visitor,
    backend: Stores,
    prompt: Prompt,
    entered: Entered,
    version: str | None = None,
    against: str | None = None,
    after: str | None = None,
) -> Response:
    (newest,) = backend.prompts.versions(prompt, limit=1, newest=True).items
    versions = backend.prompts.versions(prompt, limit=PAGE_VERSIONS, after=after, newest=True)
    shown = _version(version or prompt.version or newest.version, prompt, backend)
    other = _version(against, prompt, backend) if against is not None else None
    text = _text(shown)
    values = _values(request)
    return page(
        request,
        "prompt",
        visitor,
        entered.status,
        entered=entered.fields,
        refusal=entered.refusal,
        prompt=prompt,
        versions=versions.items,
        newest=newest,
        older=f"{_address(prompt, shown.version)}&after={quote(versions.next)}" if versions.next else None,
        first=after is None,
        labels=list(prompt.labels.items())[:_MOST_NAMED],
        shown=shown,
        text=text,
        other=other,
        pairs=side_by_side(_whole(other), _whole(shown)) if other is not None else [],
        names=names_in([text]),
        values=values,
        tried=filled(text, values, str) if values else None,
        experiments=backend.experiments.on(prompt.project, prompt.prompt_id)[:_MOST_NAMED],
        changes=backend.audit.of(prompt.project, f"prompt:{prompt.prompt_id}", 20).items,
    )


@router.post("/prompts/{prompt_id}/versions")
def save(request: Request, prompt_id: str, post: Changing, backend: Backend) -> Response:
    """Save a draft, unless somebody else has saved one meanwhile; what is refused stays in the form."""
    visitor, fields = post.visitor, post.fields
    prompt, after = _prompt(prompt_id, visitor, backend), fields.get("after") or None
    try:
        with refusing(_no_field):
            version = _version_of(fields)
            backend.prompts.add_version(prompt, version, visitor.caller.actor, release=False, after=after)
    except RefusedError as error:
        entered = Entered(fields, error.refusal, error.status)
        return _page(request, visitor, backend, prompt, entered, fields.get("shown"))
    return redirect(_address(prompt, version.version))


@router.post("/prompts/{prompt_id}/release")
def release(prompt_id: str, post: Changing, backend: Backend) -> Response:
    """Serve a version from now on."""
    prompt, version = _prompt(prompt_id, post.visitor, backend), post.fields.get("version", "")
    backend.prompts.release(prompt, version, post.visitor.caller.actor)
    return redirect(_address(prompt, version))


@router.post("/prompts/{prompt_id}/labels")
def label(prompt_id: str, post: Changing, backend: Backend) -> Response:
    """Have a label point to a version; without one: to none any more."""
    prompt, version = _prompt(prompt_id, post.visitor, backend), post.fields.get("version") or None
    name = post.fields.get("label", "").strip()
    if not name:
        raise HTTPException(400, "label must not be empty.")
    backend.prompts.label(prompt, name, version, post.visitor.caller.actor)
    return redirect(_address(prompt, version))


# -- read from forms -----------------------------------------------------------------------------------------


def _version_of(fields: Mapping[str, str], otherwise: str = "") -> Version:
    text = fields.get("content", "").replace("\r\n", "\n")  # as forms send the ends of lines
    if not text.strip():
        raise RefusedError("content", "The content must not be empty.")
    config = _json(fields, "config", "an object") if fields.get("config", "").strip() else None
    if config is not None and not isinstance(config, dict):
        raise RefusedError("config", 'The configuration must be a JSON object, such as {"temperature": 0.2}.')
    return Version(
        version=fields.get("version", "").strip() or otherwise or _named(fields, "version"),
        content=_messages(fields) if fields.get("kind") == "chat" else text,
        config=config,
        change_message=fields.get("change_message", "").strip() or None,
    )


def _messages(fields: Mapping[str, str]) -> Any:
    given = _json(fields, "content", "a list of messages")
    try:
        return stored_content(_CONTENT.validate_python(given))
    except ValidationError as error:
        raise RefusedError("content", f"The messages of a chat: {error.errors()[0]['msg']}") from None


def _json(fields: Mapping[str, str], name: str, what: str) -> Any:
    try:
        return parse_json(fields[name].encode())
    except ValueError as error:
        raise RefusedError(name, f"{name} must be {what} in JSON: {error}") from None


def _named(fields: Mapping[str, str], name: str) -> str:
    value = fields.get(name, "").strip()
    if not value:
        raise RefusedError(name, f"{name} must not be empty.")
    return value


def _no_field(_name: str, _index: int | None) -> None:
    """What the store refuses is about all of it."""


def _values(request: Request) -> dict[str, str]:
    """What the placeholders are to be replaced by."""
    given = request.query_params.items()
    return {name.removeprefix(_VALUE): value for name, value in given if name.startswith(_VALUE)}


# -- shown ---------------------------------------------------------------------------------------------------


def _prompt(prompt_id: str, visitor: Visitor, backend: Stores) -> Prompt:
    found = backend.prompts.get(visitor.caller.project, prompt_id)
    if found is None:
        raise HTTPException(404, f"There is no prompt {prompt_id!r} in project {visitor.caller.project!r}.")
    return found


def _version(name: str, prompt: Prompt, backend: Stores) -> Version:
    found = backend.prompts.version(prompt, name)
    if found is None:
        raise HTTPException(404, f"Prompt {prompt.name!r} has no version {name!r}.")
    return found


def _text(version: Version) -> str:
    return str(said(version.content, None)["content"])


def _whole(version: Version) -> str:
    """What is compared: the text and, below it, the configuration."""
    config = json.dumps(version.config, indent=2, sort_keys=True, ensure_ascii=False)
    return _text(version) + (f"\n\n{config}" if version.config is not None else "")


def _address(prompt: Prompt, version: str | None) -> str:
    shown = f"?version={quote(version, safe='')}" if version is not None else ""
    return f"/prompts/{prompt.prompt_id}{shown}"
