"""Where in a record texts are looked through, and where nothing is changed.

Looked through are questions and answers, messages, steps, metadata (names within it, too), the comment of a
score, and every field that is not named here: a text that is JSON inside, value by value, so that it stays
JSON. Numbers, and what identifies or routes a record, stay as they are: with another value there the record
could not be found, joined with its score or session, or counted for its prompt, its model or its experiment.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any

INTACT = frozenset(
    {
        *("prompt_id", "prompt_name", "version", "branch_name"),
        *("experiment_id", "experiment_version_id", "sticky_key", "sticky_value"),
        *("model", "llm_model", "llm_model2"),
        *("record_id", "message_id", "session_id", "org_id", "org_uuid", "mode"),
        *("traceparent", "trace_id", "span_id"),
    }
)
"""Fields of a record that are never changed."""
CONTAINERS = frozenset({"metadata", "user_metadata", "step_data", "step_details"})
"""Fields whose values are changed, but not they themselves: a backend wants a dict or a list there."""
_INTACT_IN_METADATA = frozenset(
    {
        *("session_id", "record_id", "interaction_id", "parent_interaction_id"),
        *("trace_id", "span_id", "finish_reason", "error_type"),
    }
)
_INTACT_IN_STEPS = frozenset({"id", "parent", "type", "llm_model", "finish_reason", "error_type"})
_SCORE = "banyan_hp"
_JSON_BEGINS = re.compile(r"\s*[\[{]")
_DEEPEST = 4  # JSON in a text in JSON in a text; what is below is looked through as one text

Scrub = Callable[[str], str]


class Scrubber:
    """Looks through one record.

    Args:
        scrub: makes a text clean.
        field: says what replaces a value, by the name that it has and itself; None: nothing does.
    """

    def __init__(self, scrub: Scrub, field: Callable[[str, Any], str | None]) -> None:
        self._scrub = scrub
        self._field = field
        self._depth = 0

    def record(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """A clean copy."""
        return {name: self._top(name, value) for name, value in record.items()}

    def _top(self, name: str, value: Any) -> Any:
        if name in INTACT:
            return value
        if name in CONTAINERS:
            return self._container(value)
        return self._named(name, value)

    def _container(self, value: Any) -> Any:
        """The metadata, or a list of steps: what the library itself puts there stays as it is."""
        if isinstance(value, dict):
            return self._details(value, _INTACT_IN_METADATA)
        if isinstance(value, list):
            return [
                self._details(each, _INTACT_IN_STEPS) if isinstance(each, dict) else self._value(each)
                for each in value
            ]
        return self._value(value)

    def _details(self, details: Mapping[str, Any], intact: frozenset[str]) -> dict[str, Any]:
        clean = _Clean()
        for name, value in details.items():
            if name in intact:
                clean[name] = value
            elif name in CONTAINERS:
                clean[name] = self._container(value)
            elif name == _SCORE and isinstance(value, dict):
                clean[name] = self._score(value)
            else:
                clean.add(self._scrub(name), self._named(name, value))
        return dict(clean)

    def _score(self, score: Mapping[str, Any]) -> dict[str, Any]:
        """A score's name, value and what it is about stay; its comment is somebody's text."""
        return {
            name: self._named(name, value) if name == "comment" else value for name, value in score.items()
        }

    def _named(self, name: str, value: Any) -> Any:
        replacement = self._field(name, value)
        return self._value(value) if replacement is None else replacement

    def _value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, dict):
            clean = _Clean()
            for name, item in value.items():
                clean.add(self._scrub(name), self._named(name, item))
            return dict(clean)
        if isinstance(value, list):
            return [self._value(item) for item in value]
        return value

    def _text(self, text: str) -> str:
        if self._depth < _DEEPEST and _JSON_BEGINS.match(text) is not None:
            try:
                return self._json(text)
            except (ValueError, RecursionError):  # it only begins like JSON
                pass
        return self._scrub(text)

    def _json(self, text: str) -> str:
        """JSON whose values are clean; the same text if they were."""
        inside = json.loads(text, parse_float=_finite, parse_constant=_finite)
        self._depth += 1
        try:
            clean = self._value(inside)
        finally:
            self._depth -= 1
        return text if clean == inside else json.dumps(clean, ensure_ascii=False, separators=(",", ":"))


def _finite(number: str) -> float:
    value = float(number)
    if not isfinite(value):
        raise ValueError(number)  # JSON has no such number: the text would be another one afterwards
    return value


class _Clean(dict[str, Any]):
    """A dict in the making, in which two addresses as names become two names."""

    def __init__(self) -> None:
        self._numbers: Counter[str] = Counter()

    def add(self, name: str, value: Any) -> None:
        free = name
        while free in self:  # a number is tried once, so that many equal names take linear time
            self._numbers[name] += 1
            free = f"{name} {self._numbers[name] + 1}"
        self[free] = value
