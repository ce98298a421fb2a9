"""What the made-up application logged in the last days: the same for the same time and the same prompts.

The chat of a plant shop classifies each question and answers it, in sessions of one to five turns; a nightly
job describes plants; an advisor logs interactions with steps to HuggingPlace.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from .models import Entry, Models
from .trials import Routing, Trial, in_tone, times_of

CHATS = 90
CONSULTATIONS = 40
DESCRIPTIONS_A_NIGHT = 8
_DAY, _HOUR = 86_400.0, 3_600.0
_NIGHT_WEIGHT = 0.15  # of a quiet hour, beside the busiest
_ORGANISATION = "larkspur"
_ADVISOR = "claude-sonnet-4-5"


@dataclass(frozen=True, slots=True)
class Served:
    """What the backend has given out.

    Attributes:
        current: of each prompt's name, the fields that name its current version on a record.
        before: the same, of the version before the experiment on the support's answers.
        routing: of each of the shop's trials, who gets what.
    """

    current: Mapping[str, Mapping[str, str]]
    before: Mapping[str, str]
    routing: Sequence[Routing]


def user_ids(shop: Mapping[str, Any]) -> list[str]:
    """The ids of the application's users."""
    return [f"u-{number:03d}" for number in range(1, len(shop["users"]) + 1)]


class Week:
    """The records of the last days.

    Args:
        shop: what is in `shop.json`.
        served: prompts and the experiments' choices.
        now: no record is later.
    """

    def __init__(self, shop: Mapping[str, Any], served: Served, now: datetime) -> None:
        self._shop = shop
        self._served = served
        self._now = now
        self._random = Random("larkspur")
        self._times = Random("larkspur's days")  # apart: how many are drawn depends on the time of day
        self._models = Models(shop, self._random)
        chats = [entry for number in range(CHATS) for entry in self._chat(f"chat-{number:03d}")]
        trials = [
            Trial(shop, each, routing, now).records()
            for each, routing in zip(shop["trials"], served.routing, strict=True)
        ]
        visits = [entry for calls, _ in trials for entry in calls]
        self.logs = _numbered("demo-call", [*chats, *self._descriptions(), *visits], now)
        self.scores = _numbered("demo-score", [entry for _, scores in trials for entry in scores], now)
        talks = [self._consultation(f"advice-{number:03d}") for number in range(CONSULTATIONS)]
        self.interactions = _numbered("demo-talk", [turn for talk in talks for turn in talk], now)

    # -- when ------------------------------------------------------------------------------------------------

    def _some_time(self) -> datetime:
        """A time within the days, all of which the overview shows; most are in the evening."""
        while True:
            when = self._now - timedelta(seconds=self._times.uniform(600, self._shop["days"] * _DAY - _HOUR))
            daylight = (1 - math.cos((when.hour - 4) / 24 * 2 * math.pi)) / 2
            if self._times.random() < max(_NIGHT_WEIGHT, daylight):
                return when

    # -- Banyan: questions and answers -----------------------------------------------------------------------

    def _chat(self, session_id: str) -> Iterator[Entry]:
        """One user's session: each question is classified, then answered."""
        when = self._some_time()
        about, turns, user = self._conversation()
        context = {"user_id": user, "session_id": session_id, "channel": self._random.choice(["web", "app"])}
        for question, answer in turns:
            yield self._call("classify-ticket", when, question, about, context)
            when += timedelta(seconds=0.3)
            yield self._answer(when, question, answer, context)
            when += timedelta(seconds=self._random.uniform(20, 240))

    def _conversation(self) -> tuple[str, list[tuple[str, str]], str]:
        """A topic, some of its questions and answers about one plant, and who asks."""
        topic = self._random.choice(self._shop["topics"])
        plant = self._random.choice(self._shop["plants"])
        least = 1 + (self._random.random() < 0.5)
        turns = topic["turns"][: self._random.randint(least, len(topic["turns"]))]
        texts = [(question.format(**plant), answer.format(**plant)) for question, answer in turns]
        return topic["topic"], texts, self._random.choice(user_ids(self._shop))

    def _answer(self, when: datetime, question: str, answer: str, context: Mapping[str, str]) -> Entry:
        user = context["user_id"]
        began, _ = times_of(self._shop["trials"][0], self._now)
        fields = self._served.before if when < began else self._served.routing[0](user)
        text = in_tone(answer, self._shop, user, fields, self._random)
        resolved = self._random.random() < (0.68 if text == answer else 0.8)
        entry = self._models.call(when, question, text, context, fields)
        if entry["body"]["output"]:
            entry["body"]["metadata"]["resolved"] = resolved
        return entry

    def _descriptions(self) -> Iterator[Entry]:
        """The nightly job: no user, no session."""
        midnight = self._now.replace(hour=0, minute=0, second=0, microsecond=0)
        for night in range(self._shop["days"]):
            when = midnight - timedelta(days=night) + timedelta(hours=2, seconds=self._random.uniform(0, 300))
            for plant in self._random.sample(self._shop["plants"], DESCRIPTIONS_A_NIGHT):
                text = self._shop["description"].format(**plant)
                yield self._call("product-description", when, plant["plant"], text, {"job": "catalogue"})
                when += timedelta(seconds=3)

    def _call(
        self, prompt: str, when: datetime, asked: str, answered: str, context: Mapping[str, str]
    ) -> Entry:
        return self._models.call(when, asked, answered, context, self._served.current[prompt])

    # -- HuggingPlace: interactions with steps ---------------------------------------------------------------

    def _consultation(self, session_id: str) -> list[Entry]:
        """One session with the advisor, which looks facts up before it answers."""
        when = self._some_time()
        about, turns, user = self._conversation()
        entries = []
        for question, answer in turns[:3]:
            entries.append({"ts": when, "body": self._interaction(session_id, about, user, question, answer)})
            when += timedelta(seconds=self._random.uniform(30, 300))
        return entries

    def _interaction(
        self, session_id: str, about: str, user: str, question: str, answer: str
    ) -> dict[str, Any]:
        found = f"3 passages about {about}"
        steps = [
            self._step(1, "retrieval", question, found, 0, 0.08),
            self._step(2, "rerank", found, "passage 2, passage 1", 90, 0.19),
            self._step(3, "generation", question, answer, 60 + len(question + answer) // 4, 1.2),
        ]
        return {
            "user_prompt": question,
            "response": answer,
            "llm_model": _ADVISOR,
            "token_count": sum(step["token"] for step in steps),
            "response_time": round(sum(step["response_time"] for step in steps), 3),
            "session_id": session_id,
            "step_data": steps,
            "metadata": {"topic": about},
            "user_metadata": {"user_id": user},
            "org_id": _ORGANISATION,
            "mode": "prod",
        }

    def _step(
        self, number: int, kind: str, question: str, response: str, tokens: int, median: float
    ) -> dict[str, Any]:
        return {
            "id": number,
            "type": kind,
            "user_question": question,
            "prompt_response": response,
            "token": tokens,
            "response_time": round(median * self._random.lognormvariate(0, 0.3), 3),
            **({"llm_model": _ADVISOR} if kind == "generation" else {}),
        }


def _numbered(prefix: str, entries: Sequence[Entry], now: datetime) -> list[Entry]:
    """In the order of time, each with an id; without those that would be in the future."""
    past = sorted((entry for entry in entries if entry["ts"] <= now), key=lambda entry: entry["ts"])
    return [
        {"id": f"{prefix}-{number:04d}", "ts": _text(entry["ts"]), "body": entry["body"]}
        for number, entry in enumerate(past, 1)
    ]


def _text(when: datetime) -> str:
    return when.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
