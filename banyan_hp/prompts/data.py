"""A prompt, as applications get it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, Literal

from ..engine.records.freeze import freeze
from ..errors import RenderError
from ..placeholders import filled, unfilled_in

__all__ = ["PromptData"]

Source = Literal["backend", "cache", "stale", "disk", "fallback", "given"]


class ReadOnlyDict(dict[str, Any]):
    """A dict that can't be changed, for one that many callers share. `dict(it)` makes one that can."""

    def _refuse(self, *_: object, **__: object) -> Any:
        raise TypeError("what a prompt holds is shared and can't be changed; make a copy with dict(…)")

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> tuple[type[ReadOnlyDict], tuple[dict[str, Any]]]:
        return ReadOnlyDict, (dict(self),)


def read_only(value: Any) -> Any:
    """A JSON value whose objects and arrays can't be changed."""
    if isinstance(value, dict):
        return ReadOnlyDict({key: read_only(each) for key, each in value.items()})
    if isinstance(value, list):
        return tuple(map(read_only, value))
    return value


@dataclass(frozen=True, slots=True)
class PromptData:
    """A prompt as the backend gave it. Frozen; can be pickled; shared by all who ask for it.

    Attributes:
        prompt_id, name, content, version, branch, project: as the backend names them. `prompt_id` is empty
            for a text given as `fallback`. The content is a text for chats, too: "system: …", a blank line,
            "user: …".
        enable_logging: False means that the backend wants no usage records of this prompt; `log_prompt`
            then returns True and sends nothing.
        metadata: the prompt's own, a dict that can't be changed.
        experiment_id, experiment_version_id, sticky_key, sticky_value: set when an experiment chose this
            version; they go along with `log_prompt(prompt_data=…)`.
        routed_by: who chose: "server", or "local/1" and "local/2", the library by that allocation (see
            `banyan_hp.experiments`); None when no experiment did.
        source: "backend" (just fetched), "cache" (confirmed within `prompt_cache_ttl`, a version asked
            for by name within `prompt_pinned_ttl`), "stale" (older, and
            being fetched again), "disk" (an earlier process's, the backend has not answered yet),
            "fallback" (the caller's), "given" (made by the application).
        fetched_at: when the backend last confirmed it: UTC, seconds since 1970; None if it never did.
        config: what the version is to be used with (model, temperature, tools, …), as it was released; a dict
            that can't be changed. None: it has none.
        messages: a chat's messages, dicts with `role` and `content` that can't be changed; None for a text.
        label: the label under which the backend gave it; None: it was asked for without one.
    """

    prompt_id: str
    name: str
    content: str
    version: str | None = None
    branch: str | None = None
    project: str | None = None
    enable_logging: bool = True
    metadata: Mapping[str, Any] = field(default_factory=ReadOnlyDict, hash=False)
    experiment_id: str | None = None
    experiment_version_id: str | None = None
    sticky_key: str | None = None
    sticky_value: str | None = None
    routed_by: str | None = None
    source: Source = field(default="given", compare=False)
    fetched_at: float | None = field(default=None, compare=False)
    config: Mapping[str, Any] | None = field(default=None, hash=False)
    messages: Sequence[Mapping[str, Any]] | None = field(default=None, hash=False)
    label: str | None = None

    @property
    def age_s(self) -> float | None:
        """Seconds since the backend last confirmed it, now; None if it never did."""
        return None if self.fetched_at is None else max(0.0, time.time() - self.fetched_at)

    def get_experiment_context(self) -> dict[str, str | None] | None:
        """The experiment's assignment, or None when no experiment chose this version.

        It is what `log_prompt(experiment_context=…)` takes, where the prompt itself is not at hand.
        """
        if self.experiment_id is None:
            return None
        return {
            "experiment_id": self.experiment_id,
            "experiment_version_id": self.experiment_version_id,
            "sticky_key": self.sticky_key,
            "sticky_value": self.sticky_value,
        }

    def render(
        self, values: Mapping[str, object] | None = None, /, *, strict: bool = True, **variables: object
    ) -> str:
        """The content with each `{{name}}` replaced by the variable of exactly that name; of a chat, too.

        A text goes in as it is, any other value as the JSON it has in a record (a date or a UUID without
        quotes). A name is letters, digits, `_`, `.` and `-`, beginning with a letter or `_`. Nothing is
        evaluated: no attributes, no expressions, no sections, and what is put in is not looked at again.

        Args:
            values: variables as a dict, for names that are not Python's; keywords win over it.
            strict: False leaves each `{{…}}` that can't be filled as it is.
            variables: the same, by keyword.

        Raises:
            RenderError: a `{{…}}` can't be filled, since its variable is missing or it is no name; it names
                them all.
        """
        given = {**(values or {}), **variables}
        if strict and (unfilled := unfilled_in((self.content,), given)):
            raise RenderError(self.name, unfilled)
        return _rendered(self.content, given)

    def render_messages(
        self, values: Mapping[str, object] | None = None, /, *, strict: bool = True, **variables: object
    ) -> list[dict[str, Any]]:
        """A chat's messages, as models take them, each content rendered as by `render`.

        A text becomes one message of the role "user". The messages are the caller's own, and can be changed.

        Args:
            values: as in `render`, like the others.
            strict: likewise.
            variables: likewise.

        Raises:
            RenderError: as in `render`, for all messages together.
        """
        given = {**(values or {}), **variables}
        messages = (
            self.messages if self.messages is not None else ({"role": "user", "content": self.content},)
        )
        contents = [each["content"] for each in messages if isinstance(each.get("content"), str)]
        if strict and (unfilled := unfilled_in(contents, given)):
            raise RenderError(self.name, unfilled)
        return [_rendered_message(each, given) for each in messages]


def _rendered(content: str, given: Mapping[str, object]) -> str:
    return filled(content, given, _text)


def _rendered_message(message: Mapping[str, Any], given: Mapping[str, object]) -> dict[str, Any]:
    """What is no text in it, as another backend may send it, stays as it is."""
    content = message.get("content")
    return {**message, "content": _rendered(content, given)} if isinstance(content, str) else dict(message)


def _text(value: object) -> str:
    frozen = value if type(value) is str else freeze(value).value
    return frozen if isinstance(frozen, str) else json.dumps(frozen, ensure_ascii=False)


class _Unset(Enum):
    UNSET = "UNSET"


UNSET: Final = _Unset.UNSET
"""No fallback was given; None is one."""
Unset = Literal[_Unset.UNSET]
FallbackValue = str | PromptData | None
Fallback = FallbackValue | Callable[[], FallbackValue]
