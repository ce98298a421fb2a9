"""What came of the demo's experiments: users who came once each, and most of them scored what they got."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from random import Random
from typing import Any

from .models import Entry, Models

WARM = "warm"
_SCORED_WITHIN = 1800.0  # seconds after the call
_OFFER = "{plant}: this week 20 % off, with the pot. Light: {light}. Order by Sunday."

Routing = Callable[[str], Mapping[str, str]]
"""The fields that name what a user got: prompt, version, experiment, sticky value."""


class Trial:
    """One experiment's users.

    Args:
        shop: what is in `shop.json`.
        trial: one of its `trials`.
        routing: who gets what.
        now: no record is later.
    """

    def __init__(self, shop: Mapping[str, Any], trial: Mapping[str, Any], routing: Routing, now: datetime):
        self._shop = shop
        self._trial = trial
        self._routing = routing
        self._random = Random(f"larkspur's {trial['experiment_id']}")
        self._models = Models(shop, self._random)
        self._now = now

    def records(self) -> tuple[list[Entry], list[Entry]]:
        """The calls, and the scores."""
        began, ended = times_of(self._trial, self._now)
        users = self._trial["users"]
        calls, scores = [], []
        for number in range(users):
            when = began + (ended - began) * ((number + self._random.random()) / users)
            user = f"{self._trial['experiment_id']}-{number:04d}"
            fields = self._routing(user)
            calls.append(self._visit(user, when, fields))
            scores += list(self._score(user, when, fields))
        return calls, scores

    def _visit(self, user: str, when: datetime, fields: Mapping[str, str]) -> Entry:
        plant = self._random.choice(self._shop["plants"])
        question, answer = self._random.choice(self._shop["topics"])["turns"][0]
        if fields["prompt_name"] != "support-answer":
            question, answer = "{plant}", _OFFER
        text = in_tone(answer.format(**plant), self._shop, user, fields, self._random)
        return self._models.call(when, question.format(**plant), text, {"user_id": user}, fields)

    def _score(self, user: str, when: datetime, fields: Mapping[str, str]) -> Iterator[Entry]:
        drawn, scored = self._random.random(), self._random.random() < self._trial["scored"]
        after = timedelta(seconds=self._random.uniform(20, _SCORED_WITHIN))
        if scored:
            value = drawn < self._trial["yes"][fields["experiment_version_id"]]
            about = {"sticky_key": fields["sticky_key"], "sticky_value": user}
            score = {"kind": "score", "v": 1, "name": self._trial["score"], "value": value, **about}
            body = {"input": "", "output": "", "metadata": {"banyan_hp": score}}
            yield {"ts": when + after, "body": body}


def times_of(trial: Mapping[str, Any], now: datetime) -> list[datetime]:
    """When an experiment began, and when it ended; one that runs, at this moment."""
    days = (trial["began_days_ago"], trial.get("ended_days_ago", 0))
    return [now - timedelta(days=each) for each in days]


def in_tone(
    answer: str, shop: Mapping[str, Any], user: str, fields: Mapping[str, str], random: Random
) -> str:
    """An answer in the tone of the version that gave it."""
    if not fields.get("experiment_version_id", "").endswith(WARM):
        return answer
    names = shop["users"]
    name = names[int(user.rpartition("-")[2]) % len(names) - 1]
    return str(random.choice(shop["warm"]).format(user=name, answer=answer))
