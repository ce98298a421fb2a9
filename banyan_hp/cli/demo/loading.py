"""Putting the demo in: prompts, experiments and records, by the calls that any client may make."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any
from urllib.parse import quote

import requests

from ...experiments import experiment_from_config
from .models import Entry
from .trials import Routing, times_of
from .week import Served, Week

Redate = Callable[[str, Sequence[datetime]], None]
"""Has the changes of an experiment, by its id, been made at these times."""

_BATCH = 500
_SECONDS = 30.0
_FIRST_VERSION = "1.0"


class LoadingError(Exception):
    """The backend did not take the demo; the message says what it did not take, and why."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What was put in.

    Attributes:
        name: of the made-up application.
        days: how far back its records go.
        prompts: the names of its prompts.
        versions: how many versions they have.
        experiments: their ids.
        users: how many users the records name.
        calls: how many calls were logged.
        interactions: how many interactions were logged.
        sessions: how many sessions these are in.
    """

    name: str
    days: int
    prompts: Sequence[str]
    versions: int
    experiments: Sequence[str]
    users: int
    calls: int
    interactions: int
    sessions: int


def read_shop() -> dict[str, Any]:
    """The demo's data, which come with the package."""
    text = files(__package__).joinpath("shop.json").read_text("utf-8")
    shop: dict[str, Any] = json.loads(text)
    return shop


def load(url: str, key: str, *, redate: Redate, now: datetime | None = None) -> Loaded:
    """Put the demo into the empty backend at a URL.

    Experiments have results only of users who came after they began, and the API knows no other beginning
    than now: so `redate` gives them a past.

    Raises:
        LoadingError: it did not take it.
    """
    shop = read_shop()
    with requests.Session() as session:
        session.trust_env = False  # no proxy is to see the way to this machine
        session.headers.update({"X-API-Key": key, "Authorization": f"Bearer {key}"})
        return _Loader(_Api(session, url), shop, redate).load(now or datetime.now(UTC))


class _Api:
    """The backend's calls."""

    def __init__(self, session: requests.Session, url: str) -> None:
        self._session = session
        self._url = url

    def post(self, path: str, body: object) -> dict[str, Any]:
        return self._call("POST", path, body)

    def get(self, path: str) -> dict[str, Any]:
        return self._call("GET", path, None)

    def put(self, path: str, body: object) -> dict[str, Any]:
        return self._call("PUT", path, body)

    def log(self, path: str, entries: Sequence[Entry]) -> None:
        """Log records under their ids and times."""
        for start in range(0, len(entries), _BATCH):
            some = entries[start : start + _BATCH]
            said = self.post(f"{path}/batch", {"records": some})
            if said.get("accepted") != len(some):
                raise LoadingError(f"POST {path}/batch: not all records were accepted")

    def _call(self, method: str, path: str, body: object) -> dict[str, Any]:
        try:
            response = self._session.request(method, self._url + path, json=body, timeout=_SECONDS)
            content = response.json()
        except (requests.RequestException, ValueError) as error:
            raise LoadingError(f"{method} {path}: {error}") from error
        if not response.ok or not isinstance(content, dict):
            raise LoadingError(f"{method} {path}: {response.status_code} {response.text[:300]}")
        return content


class _Loader:
    def __init__(self, api: _Api, shop: Mapping[str, Any], redate: Redate) -> None:
        self._api = api
        self._shop = shop
        self._redate = redate

    def load(self, now: datetime) -> Loaded:
        for prompt in self._shop["prompts"]:
            self._put_prompt(prompt)
        made = {}
        for experiment in self._shop["experiments"]:
            made[experiment["experiment_id"]] = self._api.post("/api/experiments", experiment)
        routing = [self._routing(made[each["experiment_id"]]) for each in self._shop["trials"]]
        week = Week(self._shop, self._served(routing), now)
        for trial in self._shop["trials"]:
            self._give_a_past(trial, now)
        self._api.log("/api/logs/prompt-usage", week.logs)
        self._api.log("/api/logs/prompt-usage", week.scores)
        self._api.log("/v2/chatgpt/store_generated_response", week.interactions)
        return self._loaded(week)

    def _put_prompt(self, prompt: Mapping[str, Any]) -> None:
        branch = {"branch": prompt["branch"]} if "branch" in prompt else {}
        common = {"name": prompt["name"], "metadata": prompt["metadata"], **branch}
        first, *later = prompt["versions"]
        if first["version"] != _FIRST_VERSION:
            raise LoadingError(f"the first version of a prompt is {_FIRST_VERSION}, was {first['version']}")
        self._api.post("/api/logs/cli/prompts", {**common, "content": first["content"]})
        for version in later:
            self._api.post("/api/logs/cli/prompts/version", {**common, **version})

    def _give_a_past(self, trial: Mapping[str, Any], now: datetime) -> None:
        """Before there are records: their sums are computed by when it began."""
        experiment_id = trial["experiment_id"]
        changes = 1
        if "ended_days_ago" in trial:
            self._api.put(f"/api/experiments/{quote(experiment_id)}", {"status": "finished"})
            changes = 2
        self._redate(experiment_id, times_of(trial, now)[:changes])

    def _served(self, routing: Sequence[Routing]) -> Served:
        current = {each: self._named(each) for each in self._shop["models"]}
        return Served(current, self._named("support-answer", "1.1"), routing)

    def _named(self, name: str, version: str | None = None) -> dict[str, str]:
        """The fields by which a record names a prompt."""
        asked = "" if version is None else f"?version={quote(version)}"
        return _fields(self._api.get(f"/api/logs/prompt/{quote(name)}{asked}"))

    def _routing(self, made: Mapping[str, Any]) -> Routing:
        """What the backend chooses for a user, computed here: it takes the same rule."""
        experiment = experiment_from_config(made)
        named = self._named(made["prompt_name"])

        def routed(user: str) -> Mapping[str, str]:
            chosen = experiment.version_for(user)
            if chosen is None:
                raise LoadingError(f"experiment {experiment.experiment_id} gives nothing to {user}")
            return {
                **named,
                "version": chosen.version,
                "experiment_id": experiment.experiment_id,
                "experiment_version_id": chosen.experiment_version_id,
                "sticky_key": experiment.sticky_type,
                "sticky_value": user,
            }

        return routed

    def _loaded(self, week: Week) -> Loaded:
        prompts = self._shop["prompts"]
        metadata = [entry["body"]["metadata"] for entry in week.logs]
        return Loaded(
            name=self._shop["name"],
            days=self._shop["days"],
            prompts=list(dict.fromkeys(prompt["name"] for prompt in prompts)),
            versions=sum(len(prompt["versions"]) for prompt in prompts),
            experiments=[each["experiment_id"] for each in self._shop["experiments"]],
            users=len({each["user_id"] for each in metadata if "user_id" in each}),
            calls=len(week.logs),
            interactions=len(week.interactions),
            sessions=len({entry["body"]["session_id"] for entry in week.interactions}),
        )


def _fields(prompt: Mapping[str, Any]) -> dict[str, str]:
    return {
        "prompt_id": prompt["prompt_id"],
        "prompt_name": prompt["name"],
        "version": prompt["version"],
        "branch_name": prompt["branch"],
    }
