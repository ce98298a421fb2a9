"""The counters of prompts and experiments in `get_stats()`."""

from __future__ import annotations

from typing import Any

from ..engine.sync import Lock, ReleasingOnError

MAX_EXPOSURES = 1000
OTHERS = "others"


class CacheCounters:
    """The cache's."""

    __slots__ = (
        "cache_hits",
        "cache_misses",
        "prompt_errors",
        "prompts_fetched",
        "prompts_from_disk",
        "prompts_stale",
    )

    def __init__(self) -> None:
        self.prompts_fetched = 0
        self.cache_hits = 0
        self.cache_misses = 0
        self.prompts_stale = 0
        self.prompts_from_disk = 0
        self.prompt_errors = 0

    def stats(self) -> dict[str, int]:
        """Their part of `get_stats()`."""
        return {name: getattr(self, name) for name in self.__slots__}


class PromptCounters:
    """Counters under a lock of their own. `experiments` counts by experiment and version, up to a bound."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Zeroes, and a lock of its own: for a forked child."""
        self._lock = Lock()
        self._exposures: dict[tuple[str, str], int] = {}
        self._counts = {
            "experiment_key_missing": 0,
            "experiments_ignored": 0,
            "experiments_unrouted": 0,
            "prompts_fallback": 0,
            "fallback_errors": 0,
        }

    def count(self, what: str) -> None:
        with ReleasingOnError((self._lock,)), self._lock:
            self._counts[what] += 1

    def exposed(self, experiment_id: str, version_id: str | None) -> None:
        """A caller was given this version of an experiment."""
        key = (experiment_id, version_id or "")
        with ReleasingOnError((self._lock,)), self._lock:
            number = self._exposures.get(key)
            if number is None and len(self._exposures) >= MAX_EXPOSURES:
                key = (OTHERS, OTHERS)
                number = self._exposures.get(key)
            self._exposures[key] = 1 if number is None else number + 1

    def stats(self) -> dict[str, Any]:
        """Their part of `get_stats()`."""
        with ReleasingOnError((self._lock,)), self._lock:
            exposures = list(self._exposures.items())
            counts: dict[str, Any] = dict(self._counts)
        experiments: dict[str, dict[str, int]] = {}
        for (experiment_id, version_id), number in exposures:
            experiments.setdefault(experiment_id, {})[version_id] = number
        counts["experiments"] = experiments
        return counts


def unused() -> dict[str, Any]:
    """All of them where nobody has asked for a prompt."""
    return {**PromptCounters().stats(), **CacheCounters().stats()}
