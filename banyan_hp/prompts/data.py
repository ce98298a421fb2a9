"""A prompt, as applications get it."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ..errors import RenderError

Source = Literal["backend", "cache", "stale", "disk", "fallback", "given"]
_PLACEHOLDER = re.compile(r"\{\{\s*([^\W\d][\w.\-]*)\s*\}\}")


class ReadOnlyDict(dict[str, Any]):
    """A dict that can't be changed, for one that many callers share. `dict(it)` makes one that can."""

    def _refuse(self, *_: object, **__: object) -> Any:
        raise TypeError("a prompt's metadata is shared and can't be changed; make a copy with dict(metadata)")

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
            for a text given as `fallback`.
        enable_logging: False means that the backend wants no usage records of this prompt; `log_prompt`
            then returns True and sends nothing.
        metadata: the prompt's own, a dict that can't be changed.
        experiment_id, experiment_version_id, sticky_key, sticky_value: set when an experiment chose this
            version; they go along with `log_prompt(prompt_data=…)`.
        routed_by: who chose: "server", or "local/1", the version of the formula in
            `banyan_hp.experiments`; None when no experiment did.
        source: "backend" (just fetched), "cache" (fetched within `prompt_cache_ttl`), "stale" (older, and
            being fetched again), "disk" (an earlier process's, the backend has not answered yet),
            "fallback" (the caller's), "given" (made by the application).
        fetched_at: when the backend last confirmed it: UTC, seconds since 1970; None if it never did.
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
        """The content with each `{{name}}` replaced by the text of a variable of exactly that name.

        Nothing is evaluated: no attributes, no expressions, and what is put in is not looked at again.

        Args:
            values: variables as a dict, for names that are not Python's; keywords win over it.
            strict: False leaves placeholders without a variable as they are.
            variables: the same, by keyword.

        Raises:
            RenderError: variables are missing; it names them all.
        """
        given = {**(values or {}), **variables}
        missing = dict.fromkeys(name for name in _PLACEHOLDER.findall(self.content) if name not in given)
        if missing and strict:
            raise RenderError(self.name, tuple(missing))
        return _PLACEHOLDER.sub(
            lambda match: str(given[match[1]]) if match[1] in given else match[0], self.content
        )
