"""A file and the backend: which of the two has changed since the file was pulled."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum

from .backend import Prompt, Version
from .files import PromptFile, to_text

FIRST_VERSION = "1.0"


class State(Enum):
    """What there is between a file and its prompt."""

    SAME = "unchanged"
    NEW_HERE = "new"
    NEW_THERE = "only on the backend"
    CHANGED_HERE = "changed"
    CHANGED_THERE = "changed on the backend"
    UNKNOWN = "not pulled from the prompt that is on the backend"
    REMOVED_THERE = "removed from the backend"
    CONFLICT = "changed here and on the backend"

    @property
    def is_conflict(self) -> bool:
        """Whether neither may replace the other."""
        return self in (State.UNKNOWN, State.REMOVED_THERE, State.CONFLICT)


@dataclass(frozen=True, slots=True)
class Pair:
    """A file, a prompt, or both, in the place of the file."""

    where: str
    file: PromptFile | None
    prompt: Prompt | None

    @property
    def name(self) -> str:
        """The prompt's name."""
        return (
            self.file.name if self.file is not None else self.prompt.name if self.prompt is not None else ""
        )

    @property
    def branch(self) -> str:
        """Its branch."""
        known = self.file or self.prompt
        return known.branch if known is not None else ""

    @property
    def newest(self) -> Version | None:
        """The backend's newest version, draft or not."""
        return self.prompt.versions[-1] if self.prompt is not None else None

    @property
    def state(self) -> State:
        """Which of the two has changed."""
        if self.file is None:
            return State.NEW_THERE
        newest = self.newest
        if self.prompt is None or newest is None:
            return State.NEW_HERE if self.file.revision is None else State.REMOVED_THERE
        if self.file.says(newest.content, newest.config):
            return State.SAME
        if self.file.revision is None:
            return State.UNKNOWN
        if self.file.revision == newest.revision:
            return State.CHANGED_HERE
        pulled = next((each for each in self.prompt.versions if each.revision == self.file.revision), None)
        untouched = pulled is not None and self.file.says(pulled.content, pulled.config)
        return State.CHANGED_THERE if untouched else State.CONFLICT

    @property
    def is_draft(self) -> bool:
        """Whether the file is the newest version, and that was never released.

        One that was, and is not any more, has been rolled back, and stays so.
        """
        newest = self.newest
        return self.state is State.SAME and newest is not None and not newest.released_at

    def difference(self) -> Iterator[str]:
        """From the backend's newest version to the file, as a unified diff."""
        here = [] if self.file is None else _lines(self.file)
        pulled = self.as_pulled()
        there = [] if pulled is None else _lines(pulled)
        newest = self.newest
        version = "" if newest is None else f" {newest.version}"
        names = (f"backend: {self.branch}/{self.name}{version}", f"file: {self.where}")
        return difflib.unified_diff(there, here, *names, lineterm="")

    def as_pulled(self) -> PromptFile | None:
        """The file for the backend's newest version."""
        if self.prompt is None or self.newest is None:
            return None
        return file_of(self.prompt, self.newest)


def next_version(file: PromptFile, prompt: Prompt | None) -> str:
    """The name of the version that a file becomes: its own, if that is new, else the next number."""
    if prompt is None:
        return file.version or FIRST_VERSION
    taken = {each.version for each in prompt.versions}
    if file.version is not None and file.version not in taken:
        return file.version
    return following(prompt.versions[-1].version, taken)


def file_of(prompt: Prompt, version: Version) -> PromptFile:
    """The file for a version."""
    return PromptFile(
        name=prompt.name,
        branch=prompt.branch,
        version=version.version,
        revision=version.revision,
        content=version.content,
        config=version.config,
    )


def following(version: str, taken: set[str]) -> str:
    """The name with its last number raised until it is free: `2` after `1`, `1.10` after `1.9`."""
    match = re.fullmatch(r"(.*?)(\d{1,18})(\D*)", version, re.DOTALL)
    before, number, after = (match[1], int(match[2]), match[3]) if match else (f"{version}-", 1, "")
    while (name := f"{before}{number + 1}{after}") in taken:
        number += 1
    return name


def _lines(file: PromptFile) -> list[str]:
    """What a review is about: where it was pulled from is not."""
    return to_text(replace(file, version=None, revision=None)).removesuffix("\n").split("\n")
