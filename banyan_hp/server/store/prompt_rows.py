"""A prompt and a version of it as values, and how rows hold them."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Row

from .calls import time_of

DEFAULT_BRANCH = "main"
PRODUCTION = "production"

Message = Mapping[str, Any]
Content = str | Sequence[Message]
"""A text, or the messages of a chat: objects with ``role`` and ``content``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A prompt, without its versions.

    Attributes:
        version: the released one; None while all are drafts.
        labels: the version that each points to, `PRODUCTION` aside.
    """

    project: str
    name: str
    prompt_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    branch: str = DEFAULT_BRANCH
    version: str | None = None
    enable_logging: bool = True
    metadata: Mapping[str, Any] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)

    def version_of(self, label: str | None) -> str | None:
        """The version to serve under a label; without one: the released one."""
        return self.version if label in (None, PRODUCTION) else self.labels.get(str(label))


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One version of a prompt.

    Attributes:
        config: model, temperature, tools and the like, released together with the text.
        author: the id of the key that posted it.
        released_at: when it was released first; None: it is a draft.
    """

    version: str
    content: Content
    config: Mapping[str, Any] | None = None
    change_message: str | None = None
    author: str = ""
    created_at: datetime | None = None
    released_at: datetime | None = None

    @property
    def revision(self) -> str:
        """Stands for what the version says; another content under the same name has another one."""
        text = json.dumps([self.version, self.content, self.config])
        return hashlib.sha256(text.encode("ascii")).hexdigest()[:16]


class Listed(NamedTuple):
    """A prompt in a list.

    Attributes:
        served: the released version; None: none is.
        newest: the name of the newest version, draft or not.
    """

    prompt: Prompt
    served: Version | None
    newest: str | None


def changeable(prompt: Prompt) -> dict[str, Any]:
    metadata = dict(prompt.metadata)
    return {"branch": prompt.branch, "enable_logging": prompt.enable_logging, "metadata": metadata}


def prompt_row(prompt: Prompt) -> dict[str, Any]:
    return {
        "project": prompt.project,
        "prompt_id": prompt.prompt_id,
        "name": prompt.name,
        "branch": prompt.branch,
        "version": prompt.version,
        "enable_logging": prompt.enable_logging,
        "metadata": json.dumps(dict(prompt.metadata)),
    }


def version_row(version: Version) -> dict[str, Any]:
    return {
        "version": version.version,
        "content": json.dumps(version.content),
        "config": json.dumps(version.config) if version.config is not None else None,
        "change_message": version.change_message,
    }


def prompt_of(row: Row[Any], labels: Mapping[str, str]) -> Prompt:
    return Prompt(
        project=row.project,
        prompt_id=row.prompt_id,
        name=row.name,
        branch=row.branch,
        version=row.version,
        enable_logging=row.enable_logging,
        metadata=json.loads(row.metadata),
        labels=labels,
    )


def version_of(row: Row[Any]) -> Version:
    return Version(
        version=row.version,
        content=json.loads(row.content),
        config=json.loads(row.config) if row.config is not None else None,
        change_message=row.change_message,
        author=row.author,
        created_at=time_of(row.created_at),
        released_at=time_of(row.released_at) if row.released_at is not None else None,
    )
