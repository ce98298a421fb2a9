"""`ls`, `show`, `history` and `release`."""

from __future__ import annotations

import shlex
from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from ..api import Api, pages, quoted
from ..terminal import DONE, WRONG, CommandError, say, say_json, table
from .backend import MANAGED, PRODUCTION, Prompt, Version, objects, one, prompts
from .compare import file_of
from .files import to_text

CHANGES_AT_ONCE = 1000


def ls(api: Api, arguments: Namespace) -> int:
    """The prompts: what is released, what is newest, where labels point."""
    found = prompts(api, arguments.branch)
    if arguments.json:
        for each in found:
            say_json({**_known(each), "labels": dict(each.labels)})
    elif found:
        rows = [("PROMPT", "BRANCH", "RELEASED", "NEWEST", "LABELS")]
        rows += [
            (each.name, each.branch, each.released or "-", each.newest or "-", _pointing(each.labels))
            for each in found
        ]
        table(rows, indent="")
    else:
        say(f"no prompts at {api.url}")
    return DONE


def show(api: Api, arguments: Namespace) -> int:
    """One version of a prompt: the released one, that of a label, or one by name."""
    prompt = one(api, arguments.name, arguments.branch)
    version = _chosen(prompt, arguments.version, arguments.label)
    if arguments.json:
        say_json({**_known(prompt), **_version_as_json(version)})
        return DONE
    for line in to_text(file_of(prompt, version)).removesuffix("\n").split("\n"):
        say(line)
    return DONE


def history(api: Api, arguments: Namespace) -> int:
    """The versions of a prompt, and who changed what and when."""
    prompt = one(api, arguments.name, arguments.branch)
    subject = f"prompt:{prompt.prompt_id}"
    audit = pages(api.get, "/api/audit", "before", subject=subject, limit=CHANGES_AT_ONCE)
    changes = [each for page in audit for each in objects(page, "changes")]
    if arguments.json:
        for version in prompt.versions:
            say_json({"version": version.version, **_version_as_json(version)})
        for change in changes:
            say_json(change)
        return DONE
    versions = [_version_row(each) for each in reversed(prompt.versions)]
    table([("VERSION", "MADE", "RELEASED", "LABELS", "BY", "MESSAGE"), *versions], indent="")
    say()
    done = [(_second(each.get("at")), str(each.get("key_id")), _described(each)) for each in changes]
    table([("CHANGED", "BY", "WHAT"), *done], indent="")
    return DONE


def release(api: Api, arguments: Namespace) -> int:
    """Serve a version from now on, or have a label point to it."""
    prompt = one(api, arguments.name, arguments.branch)
    if prompt.named(arguments.version) is None:
        known = ", ".join(each.version for each in prompt.versions)
        raise CommandError(
            f"{prompt.name} has no version {arguments.version}; its versions are {known}", WRONG
        )
    label = arguments.label or PRODUCTION
    before = prompt.released if label == PRODUCTION else prompt.labels.get(label)
    path = f"{MANAGED}/{quoted(prompt.prompt_id)}"
    path += "/release" if label == PRODUCTION else f"/labels/{quoted(label)}"
    api.put(path, {"version": arguments.version})
    if arguments.json:
        say_json({**_known(prompt), "label": label, "version": arguments.version, "before": before})
        return DONE
    where = f"{label} of {prompt.name} on branch {prompt.branch}"
    say(f"{where} is {arguments.version}, was {before or 'nothing'}")
    if before is not None and before != arguments.version:
        say(f"  to undo it: {_undo(prompt, before, arguments)}")
    return DONE


def _undo(prompt: Prompt, before: str, arguments: Namespace) -> str:
    words = ["banyan-hp", "prompts", "release", prompt.name, before]
    words += ["--branch", arguments.branch] if arguments.branch != "main" else []
    words += ["--label", arguments.label] if arguments.label else []
    return shlex.join(words)


def _chosen(prompt: Prompt, version: str | None, label: str | None) -> Version:
    if version is None and label in (None, PRODUCTION):
        named, what = prompt.released, "no released version; --version names a draft"
    elif version is None:
        named, what = prompt.labels.get(str(label)), f"no label {label!r}"
    else:
        named, what = version, f"no version {version!r}"
    found = prompt.named(named) if named is not None else None
    if found is None:
        raise CommandError(f"prompt {prompt.name!r} on branch {prompt.branch!r} has {what}", WRONG)
    return found


# -- shown ---------------------------------------------------------------------------------------------------


def _known(prompt: Prompt) -> dict[str, Any]:
    return {
        "id": prompt.prompt_id,
        "name": prompt.name,
        "branch": prompt.branch,
        "released": prompt.released,
        "newest": prompt.newest,
    }


def _version_as_json(version: Version) -> dict[str, Any]:
    chat = not isinstance(version.content, str)
    return {
        "version": version.version,
        "revision": version.revision,
        ("messages" if chat else "content"): version.content,
        "config": version.config,
        "change_message": version.change_message,
        "author": version.author,
        "created_at": version.created_at,
        "released_at": version.released_at or None,
        "labels": list(version.labels),
    }


def _version_row(version: Version) -> tuple[str, ...]:
    labels = [PRODUCTION] * version.current + list(version.labels)
    return (
        version.version,
        _second(version.created_at),
        _second(version.released_at) or "draft",
        ", ".join(labels),
        version.author,
        version.change_message,
    )


def _pointing(labels: Mapping[str, str]) -> str:
    return ", ".join(f"{label}={version}" for label, version in sorted(labels.items()))


def _second(time: object) -> str:
    """`2026-11-28T14:03:11.123456+00:00` without what is below a second."""
    text = time if isinstance(time, str) else ""
    return f"{text[:19]}Z" if text.endswith("+00:00") else text


def _described(change: Mapping[str, Any]) -> str:
    action = str(change.get("action")).removeprefix("prompt.")
    found = change.get("detail")
    detail: Mapping[str, Any] = found if isinstance(found, dict) else {}
    before = detail.get("before")
    words = [action, *(str(detail[key]) for key in ("label", "version") if detail.get(key) is not None)]
    if action in ("release", "label"):
        words += ["nothing"] * (detail.get("version") is None) + [f"(was {before or 'nothing'})"]
    return " ".join(words)
