"""Fetching prompts: what a prompt is, and a small cache in front of the backend.

Knows the prompt calls of the wire format; nothing of logging.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import requests
from requests.adapters import HTTPAdapter

from .engine.log import warn
from .engine.pooling import POOL_CLASSES
from .engine.transport import route_from_environment

CACHE_SECONDS = 60.0
MAX_CACHED = 1000
PROMPT_PATH = "/api/logs/prompt/"


@dataclass(frozen=True, slots=True)
class PromptData:
    """A prompt as the backend gave it. Frozen; can be pickled.

    Attributes:
        prompt_id, name, content, version, branch, project: as the backend names them.
        enable_logging: False means that the backend wants no usage records of this prompt; `log_prompt`
            then returns True and sends nothing.
        metadata: the prompt's own, a dict.
        experiment_id, experiment_version_id, sticky_key, sticky_value: set when an experiment chose this
            version; they go along with `log_prompt(prompt_data=…)`.
    """

    prompt_id: str
    name: str
    content: str
    version: str | None = None
    branch: str | None = None
    project: str | None = None
    enable_logging: bool = True
    metadata: dict[str, Any] = field(default_factory=dict)
    experiment_id: str | None = None
    experiment_version_id: str | None = None
    sticky_key: str | None = None
    sticky_value: str | None = None

    def get_experiment_context(self) -> dict[str, str | None] | None:
        """The experiment's assignment, or None when no experiment chose this version."""
        if self.experiment_id is None:
            return None
        return {
            "experiment_id": self.experiment_id,
            "experiment_version_id": self.experiment_version_id,
            "sticky_key": self.sticky_key,
            "sticky_value": self.sticky_value,
        }


def prompt_from_answer(answer: Mapping[str, Any]) -> PromptData:
    """A prompt from the backend's JSON.

    Raises:
        ValueError: it lacks an id, a name or a content.
    """
    missing = [name for name in ("prompt_id", "name", "content") if not isinstance(answer.get(name), str)]
    if missing:
        raise ValueError(f"the answer has no {' and no '.join(missing)}")
    metadata = answer.get("metadata")
    return PromptData(
        prompt_id=answer["prompt_id"],
        name=answer["name"],
        content=answer["content"],
        version=_text(answer.get("version")),
        branch=_text(answer.get("branch")),
        project=_text(answer.get("project")),
        enable_logging=answer.get("enable_logging") is not False,
        metadata=dict(metadata) if isinstance(metadata, dict) else {},
        experiment_id=_text(answer.get("experiment_id")),
        experiment_version_id=_text(answer.get("experiment_version_id")),
        sticky_key=_text(answer.get("sticky_key")),
        sticky_value=_text(answer.get("sticky_value")),
    )


def _text(value: object) -> str | None:
    return None if value is None else str(value)


@dataclass(slots=True)
class PromptCounters:
    """What `get_stats()` tells of prompts."""

    prompts_fetched: int = 0
    cache_hits: int = 0
    cache_misses: int = 0
    prompt_errors: int = 0


Key = tuple[str, str | None, str, str | None, tuple[tuple[str, str], ...]]


class PromptClient:
    """Fetches prompts and keeps each for `CACHE_SECONDS`. Thread-safe.

    `get` never raises for network trouble: it then returns the last answer it has, or None, and counts.
    """

    def __init__(
        self,
        base_url: str,
        headers: Mapping[str, str],
        timeout: float,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._base_url = base_url
        self._headers = dict(headers)
        self._timeout = timeout
        self._monotonic = monotonic
        self._lock = threading.RLock()
        self._cache: dict[Key, tuple[float, PromptData | None]] = {}
        self._session: requests.Session | None = None
        self._pid = os.getpid()
        self.counters = PromptCounters()

    def get(
        self,
        name: str,
        version: str | None,
        branch: str,
        project_id: str | None,
        sticky: Mapping[str, str],
        *,
        use_cache: bool,
    ) -> PromptData | None:
        if os.getpid() != self._pid:
            self._after_fork()
        key: Key = (name, version, branch, project_id, tuple(sticky.items()))
        cached = self._cached(key) if use_cache else None
        if cached is not None:
            return cached[1]
        answer = self._fetch(key)
        if isinstance(answer, Exception):
            self._count_error(name, answer)
            with self._lock:
                return self._cache.get(key, (0.0, None))[1]
        self._keep(key, answer)
        return answer

    def _cached(self, key: Key) -> tuple[float, PromptData | None] | None:
        with self._lock:
            entry = self._cache.get(key)
            fresh = entry is not None and self._monotonic() - entry[0] < CACHE_SECONDS
            self.counters.cache_hits += fresh
            self.counters.cache_misses += not fresh
            return entry if fresh else None

    def _keep(self, key: Key, prompt: PromptData | None) -> None:
        with self._lock:
            self.counters.prompts_fetched += prompt is not None
            self._cache.pop(key, None)
            self._cache[key] = (self._monotonic(), prompt)
            while len(self._cache) > MAX_CACHED:
                del self._cache[next(iter(self._cache))]

    def _fetch(self, key: Key) -> PromptData | Exception | None:
        name, version, branch, project_id, sticky = key
        query = [("branch", branch)] + ([("version", version)] if version is not None else [])
        for sticky_key, sticky_value in sticky:
            query += [("sticky_key", sticky_key), ("sticky_value", sticky_value)]
        headers = dict(self._headers)
        if project_id is not None:
            headers["X-Project-Id"] = project_id
        try:
            url = self._base_url + PROMPT_PATH + quote(name, safe="")
            response = self._opened_session().get(
                url, params=query, headers=headers, timeout=self._timeout, allow_redirects=False
            )
            return self._read(response)
        except (requests.RequestException, OSError, ValueError, RecursionError) as error:
            return error

    def _read(self, response: requests.Response) -> PromptData | None:
        """A prompt, or None when the API itself says that there is none.

        Raises:
            ValueError: any other answer.
        """
        if response.status_code == 404 and isinstance(response.json(), dict):
            return None
        if response.status_code != 200:
            raise ValueError(f"HTTP status {response.status_code} from {response.url}")
        answer = response.json()
        if not isinstance(answer, dict):
            raise ValueError("the answer is not a JSON object")
        return prompt_from_answer(answer)

    def _opened_session(self) -> requests.Session:
        with self._lock:
            if self._session is None:
                route = route_from_environment(self._base_url)
                self._session = requests.Session()
                for adapter in self._session.adapters.values():
                    if isinstance(adapter, HTTPAdapter):
                        adapter.poolmanager.pool_classes_by_scheme = POOL_CLASSES
                self._session.trust_env = False  # ~/.netrc would replace our credentials
                self._session.verify = route.ca_bundle
                if route.proxy is not None:
                    self._session.proxies = {"http": route.proxy, "https": route.proxy}
            return self._session

    def _count_error(self, name: str, error: Exception) -> None:
        with self._lock:
            self.counters.prompt_errors += 1
        warn("prompt", "the prompt %r could not be fetched: %s", name, error)

    def close(self) -> None:
        if os.getpid() != self._pid:
            self._after_fork()
        with self._lock:
            session, self._session = self._session, None
        if session is not None:
            session.close()

    def _after_fork(self) -> None:
        """In a forked child: the parent's connections are not ours; what is cached stays."""
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._session = None
