"""One call of a model, as the made-up application logs it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from random import Random
from typing import Any

_FAILED = 0.04
_CHARACTERS_A_TOKEN = 4

Entry = dict[str, Any]
"""A record as a batch carries it: `id`, `ts`, `body`; until it has its number, without the id."""


class Models:
    """The application's models.

    Args:
        shop: what is in `shop.json`.
        random: what durations and failures are drawn from.
    """

    def __init__(self, shop: Mapping[str, Any], random: Random) -> None:
        self._shop = shop
        self._random = random

    def call(
        self, when: datetime, asked: str, answered: str, context: Mapping[str, str], fields: Mapping[str, str]
    ) -> Entry:
        """One call, by the prompt that `fields` name: one in 25 fails."""
        kind = self._shop["models"][fields["prompt_name"]]
        asked_tokens = 40 + len(asked) // _CHARACTERS_A_TOKEN
        details: dict[str, Any] = {**context, "input_tokens": asked_tokens, "output_tokens": 0}
        duration = self._milliseconds(kind["median_ms"], kind["spread"], answered)
        if self._random.random() < _FAILED:
            failure = self._random.choice(self._shop["errors"])
            answered, duration = "", failure["ms"] + self._random.randint(0, 90)
            details |= {"error": failure["error"], "error_type": failure["error_type"]}
        else:
            details["output_tokens"] = 2 + len(answered) // _CHARACTERS_A_TOKEN
            details["finish_reason"] = "stop"
        details["token_count"] = details["input_tokens"] + details["output_tokens"]
        body = {"input": asked, "output": answered, "metadata": details, **fields}
        return {"ts": when, "body": {**body, "model": kind["model"], "duration_ms": duration}}

    def _milliseconds(self, median: float, spread: float, text: str) -> int:
        longer = 0.7 + len(text) / 300
        return round(median * longer * self._random.lognormvariate(0, spread))
