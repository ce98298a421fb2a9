"""Prompts and versions, as the backend has them; nothing else passes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..api import Api, pages, quoted
from ..terminal import BROKEN, WRONG, CommandError

MANAGED = "/api/logs/cli/prompts"
PRODUCTION = "production"

Message = Mapping[str, str]
Content = str | tuple[Message, ...]
Config = Mapping[str, Any] | None
_MESSAGE = ("role", "content", "name")


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One version.

    Attributes:
        revision: stands for what it says; opaque.
        current: it is the released one.
    """

    version: str
    revision: str
    content: Content
    config: Config = None
    change_message: str = ""
    author: str = ""
    created_at: str = ""
    released_at: str = ""
    current: bool = False
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A prompt; without its versions, unless it was asked for them. The last version is the newest."""

    prompt_id: str
    name: str
    branch: str
    released: str | None
    newest: str | None
    labels: Mapping[str, str]
    versions: tuple[Version, ...] = ()

    def named(self, version: str) -> Version | None:
        """The version of that name."""
        return next((each for each in self.versions if each.version == version), None)


def prompts(api: Api, branch: str | None = None, name: str | None = None) -> list[Prompt]:
    """The prompts of the key's project, without versions, by branch and name."""
    chosen = {key: value for key, value in (("branch", branch), ("name", name)) if value is not None}
    listed = pages(api.get, MANAGED, **chosen)
    found = [_prompt(each) for page in listed for each in objects(page, "prompts")]
    return sorted(found, key=lambda each: (each.branch, each.name))


def with_versions(api: Api, prompt: Prompt) -> Prompt:
    """The prompt with all its versions."""
    listed = pages(api.get, f"{MANAGED}/{quoted(prompt.prompt_id)}/versions")
    versions = tuple(_version(each) for page in listed for each in objects(page, "versions"))
    if not versions:
        raise _nonsense(f"prompt {prompt.name!r} has no version")
    return Prompt(
        prompt_id=prompt.prompt_id,
        name=prompt.name,
        branch=prompt.branch,
        released=prompt.released,
        newest=versions[-1].version,
        labels=prompt.labels,
        versions=versions,
    )


def one(api: Api, name: str, branch: str) -> Prompt:
    """The prompt of that name, with all its versions.

    Raises:
        CommandError: there is none.
    """
    found = [each for each in prompts(api, branch, name) if (each.name, each.branch) == (name, branch)]
    if not found:
        raise CommandError(f"there is no prompt {name!r} on branch {branch!r} at {api.url}", WRONG)
    return with_versions(api, found[0])


# -- checked -------------------------------------------------------------------------------------------------


def _prompt(body: Mapping[str, Any]) -> Prompt:
    labels = body.get("labels")
    return Prompt(
        prompt_id=_text(body, "id"),
        name=_text(body, "name"),
        branch=_text(body, "branch"),
        released=_text(body, "released", needed=False) or None,
        newest=_text(body, "newest", needed=False) or None,
        labels={str(key): str(value) for key, value in labels.items()} if isinstance(labels, dict) else {},
    )


def _version(body: Mapping[str, Any]) -> Version:
    config, labels = body.get("config"), body.get("labels")
    return Version(
        version=_text(body, "version"),
        revision=_text(body, "revision"),
        content=_content(body),
        config=config if isinstance(config, dict) else None,
        change_message=_text(body, "change_message", needed=False),
        author=_text(body, "author", needed=False),
        created_at=_text(body, "created_at", needed=False),
        released_at=_text(body, "released_at", needed=False),
        current=body.get("current") is True,
        labels=tuple(map(str, labels)) if isinstance(labels, list) else (),
    )


def _content(body: Mapping[str, Any]) -> Content:
    messages = body.get("messages")
    if messages is None:
        content = body.get("content")
        if not isinstance(content, str):
            raise _nonsense("a version has no content")
        return content
    if not isinstance(messages, list) or not messages or not all(map(_is_message, messages)):
        raise _nonsense("a version has messages other than texts with a role")
    return tuple(messages)


def _is_message(message: object) -> bool:
    return (
        isinstance(message, dict)
        and {"role", "content"} <= set(message) <= set(_MESSAGE)
        and all(isinstance(value, str) for value in message.values())
    )


def _text(body: Mapping[str, Any], name: str, *, needed: bool = True) -> str:
    value = body.get(name)
    if isinstance(value, str) and (value or not needed):
        return value
    if value is None and not needed:
        return ""
    raise _nonsense(f"{name} is missing")


def objects(body: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """The objects that a response has in a list.

    Raises:
        CommandError: it has no such list.
    """
    found = body.get(name)
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise _nonsense(f"it has no list of {name}")
    return found


def _nonsense(what: str) -> CommandError:
    return CommandError(f"the backend's response can't be used: {what}", BROKEN)
