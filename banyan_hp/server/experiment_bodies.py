"""An experiment as people write it, in a request's body or in a seed: its fields, and what they make.

Storing one, and assigning versions, are in `experiments.py`.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Context, Decimal, localcontext
from typing import Any

from ..experiments import MAX_DECIMALS, MAX_VERSIONS
from .experiments import (
    ALLOCATIONS,
    NEWEST_ALLOCATION,
    RUNNING,
    STATUSES,
    Experiment,
    Variant,
)
from .prompts import DEFAULT_BRANCH, Prompt, Prompts
from .validation import (
    BOOLEAN,
    NAME,
    PERCENTAGE,
    STRING,
    Field,
    is_name,
    object_refusal,
    one_of,
    required,
    shown,
)

MOST_PERCENT = Decimal("100.01")  # thirds, written as 33.33, 33.34 and 33.34
_USAGE = "/usage"  # what ends so is the path of an experiment's usage

STATUS = one_of(*STATUSES)
_ALLOCATION = Field(
    " or ".join(map(str, ALLOCATIONS)), lambda value: type(value) is int and value in ALLOCATIONS
)
_VERSIONS = Field(
    f"a list of 1 to {MAX_VERSIONS} versions",
    lambda value: isinstance(value, list) and 1 <= len(value) <= MAX_VERSIONS,
)
_ID = Field(
    f"a string that isn't empty and doesn't end in {_USAGE!r}",
    lambda value: is_name(value) and not str(value).endswith(_USAGE),
)
_VARIANT: Mapping[str, Field] = {
    "experiment_version_id": required(NAME),
    "version": required(NAME),
    "content": STRING,
    "traffic_percentage": required(PERCENTAGE),
}

DRY_RUN = "dry_run"
_CHANGEABLE: Mapping[str, Field] = {
    "status": STATUS,
    "sticky_type": NAME,
    "salt": NAME,
    "versions": _VERSIONS,
}
EXPERIMENT_CHANGE: Mapping[str, Field] = {**_CHANGEABLE, DRY_RUN: BOOLEAN}
_NEW: Mapping[str, Field] = {
    "prompt_name": required(NAME),
    "branch": NAME,
    **_CHANGEABLE,
    "allocation": _ALLOCATION,
    "sticky_type": required(NAME),
    "versions": required(_VERSIONS),
}
NEW_EXPERIMENT: Mapping[str, Field] = {"experiment_id": _ID, "project_id": NAME, **_NEW}
SEED_EXPERIMENT: Mapping[str, Field] = {"experiment_id": required(_ID), "project": NAME, **_NEW}


class UnfitError(Exception):
    """A body that is good in itself does not fit what is stored; the message says what and where."""


def experiment_refusal(
    body: object, fields: Mapping[str, Field], what: str = "body", at: str = ""
) -> str | None:
    """Why `body` is not an experiment, or a change of one, of these fields; or None."""
    if (refusal := object_refusal(body, fields, what, at)) is not None or not isinstance(body, dict):
        return refusal
    return _versions_refusal(body["versions"], at) if "versions" in body else None


def _versions_refusal(versions: Sequence[Any], at: str) -> str | None:
    ids: set[str] = set()
    for index, each in enumerate(versions):
        place = f"{at}versions[{index}]"
        if (refusal := object_refusal(each, _VARIANT, place, at=f"{place}.")) is not None:
            return refusal
        version_id = each["experiment_version_id"]
        if version_id in ids:
            return f"{place}.experiment_version_id is there twice: {shown(version_id)}"
        ids.add(version_id)
    return _total_refusal(versions, at)


def _total_refusal(versions: Sequence[Mapping[str, Any]], at: str) -> str | None:
    with localcontext(Context(prec=MAX_DECIMALS + 10)):  # exact, as in the formula
        total = sum((Decimal(str(each["traffic_percentage"])) for each in versions), Decimal(0))
    if total <= MOST_PERCENT:
        return None
    expected = f"{at}versions must have traffic_percentage of at most {MOST_PERCENT} together"
    return f"{expected}, was {total.normalize():f}"


def new_experiment(
    body: Mapping[str, Any],
    project: str | None,
    prompts: Prompts,
    at: str = "",
    before: Experiment | None = None,
) -> Experiment:
    """The experiment that a good body makes on the prompt that `project` sees.

    In the place of one that was there `before` it keeps that one's users, as far as the body lets it.

    Raises:
        UnfitError: there is no such prompt, or it lacks a version that is to be taken from it.
    """
    branch = body.get("branch", DEFAULT_BRANCH)
    prompt = prompts.find(body["prompt_name"], branch, project)
    if prompt is None:
        name = shown(body["prompt_name"])
        raise UnfitError(f"{at}prompt_name must be a prompt on branch {branch!r}, was {name}")
    experiment_id = body.get("experiment_id") or str(uuid.uuid4())
    usual = before.allocation if before is not None else NEWEST_ALLOCATION
    experiment = Experiment(
        experiment_id,
        prompt.prompt_id,
        status=body.get("status", RUNNING),
        sticky_type=body["sticky_type"],
        salt=body.get("salt", experiment_id),
        variants=_variants(body["versions"], prompt, prompts, at),
        allocation=body.get("allocation", usual),
    )
    return experiment.allocated(before)


def changed_experiment(
    experiment: Experiment, prompt: Prompt, body: Mapping[str, Any], prompts: Prompts
) -> Experiment:
    """What a good body of changes makes of the experiment on `prompt`.

    Raises:
        UnfitError: the prompt lacks a version that is to be taken from it.
    """
    changes = {name: value for name, value in body.items() if name != DRY_RUN}
    if "versions" in changes:
        changes["variants"] = _variants(changes.pop("versions"), prompt, prompts, at="")
    return replace(experiment, **changes).allocated(experiment)


def _variants(
    versions: Sequence[Mapping[str, Any]], prompt: Prompt, prompts: Prompts, at: str
) -> tuple[Variant, ...]:
    return tuple(
        _variant(each, prompt, prompts, f"{at}versions[{index}]") for index, each in enumerate(versions)
    )


def _variant(version: Mapping[str, Any], prompt: Prompt, prompts: Prompts, place: str) -> Variant:
    if "content" in version:
        return Variant(**version)
    content = prompts.content_of(prompt, version["version"])
    if content is None:
        expected = f"a stored version of prompt {prompt.name!r}, or come with content"
        raise UnfitError(f"{place}.version must be {expected}, was {shown(version['version'])}")
    return Variant(**version, content=content, follows_prompt=True)
