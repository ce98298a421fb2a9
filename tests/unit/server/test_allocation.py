"""Allocation in the local backend: which rule an experiment has, and what a change of traffic moves."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from banyan_hp.experiments import experiment_from_config
from banyan_hp.server.api.experiments import with_slots
from banyan_hp.server.api.forms import configuration
from banyan_hp.server.moves import moves
from banyan_hp.server.starting import RoutingMode
from banyan_hp.server.store.experiments import Experiment, Variant
from tests.conftest import NewDatabase
from tests.support.app import LocalApp

PATH = "/api/experiments/tone"
PROMPTS = "/api/logs/cli/prompts"
USERS = [f"user_{number}" for number in range(20_000)]


@pytest.fixture
def app(application: LocalApp) -> LocalApp:
    caller = application.in_new_project()
    assert caller.call("POST", PROMPTS, {"name": "email", "content": "default"}).is_success
    return caller


def versions(**percentages: float) -> list[dict[str, Any]]:
    return [
        {"experiment_version_id": name, "version": name, "content": name, "traffic_percentage": percentage}
        for name, percentage in percentages.items()
    ]


def make(app: LocalApp, **fields: Any) -> Any:
    body = {"experiment_id": "tone", "prompt_name": "email", "sticky_type": "user_id", **fields}
    made = app.call("POST", "/api/experiments", body)
    assert made.status_code == 201, made.text
    return made.json()


def change(app: LocalApp, **fields: Any) -> Any:
    changed = app.call("PUT", PATH, fields)
    assert changed.status_code == 200, changed.text
    return changed.json()


def assignments(app: LocalApp, users: list[str]) -> list[str | None]:
    """By the server's routing."""
    sticky = [[("sticky_key", "user_id"), ("sticky_value", user)] for user in users]
    return [app.get("/api/logs/prompt/email", *each).get("experiment_version_id") for each in sticky]


def by_client(configuration: Any, users: list[str]) -> list[str | None]:
    experiment = experiment_from_config(configuration)
    found = [experiment.version_for(user) for user in users]
    return [None if version is None else version.experiment_version_id for version in found]


# -- which rule ----------------------------------------------------------------------------------------------


def test_new_experiments_have_slots_and_old_ones_can_be_made(app: LocalApp) -> None:
    """Without slots the configuration is what it was, but for the number of its rule."""
    assert make(app, versions=versions(a=10, b=20))["slots"] == {
        "a": [[0, 100_000]],
        "b": [[100_000, 300_000]],
    }
    old = make(app, experiment_id="old", versions=versions(a=10, b=20), allocation=1)
    assert (old["allocation"], "slots" in old) == (1, False)


@pytest.mark.parametrize("allocation", [0, 3, "2", True, 2.0])
def test_a_rule_that_does_not_exist_is_refused(app: LocalApp, allocation: Any) -> None:
    """So is a change of the rule: it would deal all users anew."""
    body = {"prompt_name": "email", "sticky_type": "user_id", "versions": versions(a=1)}
    refused = app.call("POST", "/api/experiments", {**body, "allocation": allocation})
    assert refused.status_code == 422
    assert "allocation must be 1 or 2, was" in refused.json()["error"]
    make(app, versions=versions(a=1))
    assert app.call("PUT", PATH, {"allocation": 1}).status_code == 422


@pytest.mark.parametrize("allocation", [1, 2])
def test_the_server_and_its_clients_agree(app: LocalApp, allocation: int) -> None:
    """By either rule, whoever routes, after a change as well."""
    users = USERS[:60]
    make(app, versions=versions(a=30, b=30), allocation=allocation)
    change(app, versions=versions(a=20, b=45, c=10))
    got = assignments(app, users)
    assert got == by_client(app.get(PATH), users)
    assert set(got) == {"a", "b", "c", None}


def test_slots_survive_a_restart(new_database: NewDatabase) -> None:
    """Who has which slots can't be computed again from the percentages: it is stored."""
    url = new_database()
    for routing in RoutingMode.CLIENT, RoutingMode.SERVER:
        with LocalApp(url, routing) as app:
            if routing is RoutingMode.CLIENT:
                app.call("POST", PROMPTS, {"name": "email", "content": "default"})
                make(app, versions=versions(a=10, b=10))
                change(app, versions=versions(a=5, b=20))
            assert app.get(PATH)["slots"] == {
                "a": [[0, 50_000]],
                "b": [[100_000, 200_000], [50_000, 100_000], [200_000, 250_000]],
            }


# -- changes of traffic --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "kept"),
    [
        ({"a": 10, "b": 10}, {"a": 10, "b": 20}, {"a", "b"}),
        ({"a": 25, "b": 25, "c": 25, "d": 25}, {"a": 25, "b": 0, "c": 25, "d": 0}, {"a", "c"}),
        ({"a": 25, "b": 25, "c": 25, "d": 25}, {"d": 25, "c": 25}, {"c", "d"}),
        ({"a": 50, "b": 50}, {"a": 30, "b": 70}, {"b"}),
        ({"a": 1}, {"a": 100}, {"a"}),
    ],
)
def test_a_version_that_stays_or_grows_keeps_its_users(
    app: LocalApp, before: dict[str, float], after: dict[str, float], kept: set[str]
) -> None:
    """All of them; who joins a version was in none, or in one that shrank."""
    old = by_client(make(app, versions=versions(**before)), USERS)
    new = by_client(change(app, versions=versions(**after)), USERS)
    assert all(was == now for was, now in zip(old, new, strict=True) if was in kept)
    assert set(old) - {None} == set(before)


# -- what a change moves -------------------------------------------------------------------------------------


def test_a_dry_run_tells_what_a_change_moves_and_changes_nothing(app: LocalApp) -> None:
    """In percent of all users, by version, with the experiment as it would be."""
    stored = make(app, versions=versions(a=10, b=20))
    reported = change(app, versions=versions(a=10, b=10, c=30), dry_run=True)
    assert app.get(PATH) == stored
    assert reported["dry_run"] is True
    assert reported["moves"] == {
        "moved_percentage": 10.0,
        "new_percentage": 20.0,
        "versions": {
            "a": {"stay": 10.0, "leave": 0.0, "join": 0.0},
            "b": {"stay": 10.0, "leave": 10.0, "join": 0.0},
            "c": {"stay": 0.0, "leave": 0.0, "join": 30.0},
        },
    }
    assert reported["experiment"] == change(app, versions=versions(a=10, b=10, c=30), dry_run=False)


def test_a_dry_run_that_is_misspelt_changes_nothing(app: LocalApp) -> None:
    """It is refused, as any change that could not be made."""
    stored = make(app, versions=versions(a=10))
    for fields in ({"dryrun": True}, {"dry_run": "yes"}, {"dry_run": True, "versions": versions(a=101)}):
        assert app.call("PUT", PATH, {"status": "paused", **fields}).status_code == 422
    assert app.get(PATH) == stored


def test_what_the_first_rule_moves() -> None:
    """From 10/10 to 10/20 a third of the first version's users move, from 25 % each to two of four a half."""
    third: Any = moves(fitted(1, a=10, b=10), fitted(1, a=10, b=20)).as_json()["versions"]
    assert third["a"] == {"stay": 6.666667, "leave": 3.333333, "join": 3.333333}
    half: Any = moves(fitted(1, a=25, b=25, c=25, d=25), fitted(1, a=25, b=0, c=25, d=0)).as_json()[
        "versions"
    ]
    assert (half["a"]["leave"], half["c"]["leave"]) == (12.5, 12.5)


CHANGES: list[dict[str, Any]] = [
    {"status": "paused"},
    {"salt": "other"},
    {"sticky_type": "session_id"},
    {"a": 100},
    {"a": 0, "b": 0},
    {"c": 33.33, "b": 33.33, "a": 33.33},
    {"b": 50.01, "a": 50},
    {"a": 5, "b": 25, "c": 5},
]


@pytest.mark.parametrize("allocation", [1, 2])
@pytest.mark.parametrize("changed", CHANGES, ids=str)
def test_the_moves_are_those_of_the_users(allocation: int, changed: dict[str, Any]) -> None:
    """What is computed is what twenty thousand users show, forth and back, within what chance allows."""
    fields: dict[str, Any] = {name: value for name, value in changed.items() if isinstance(value, str)}
    percentages = {name: value for name, value in changed.items() if name not in fields}
    one = fitted(allocation, a=20, b=30)
    other = replace(fitted(allocation, one, **percentages) if percentages else one, **fields)
    for before, after in (one, other), (other, one):
        reported: Any = moves(before, after).as_json()
        pairs = list(zip(given(before), given(after), strict=True))
        expected = {
            "moved": sum(was is not None and was != now for was, now in pairs),
            "new": sum(was is None and now is not None for was, now in pairs),
            "stay": sum(was is not None and was == now for was, now in pairs),
        }
        stay = sum(each["stay"] for each in reported["versions"].values())
        computed = {"moved": reported["moved_percentage"], "new": reported["new_percentage"], "stay": stay}
        shares = {name: 100 * number / len(USERS) for name, number in expected.items()}
        assert computed == pytest.approx(shares, abs=1.5)


def fitted(allocation: int, before: Experiment | None = None, **percentages: float) -> Experiment:
    variants = tuple(
        Variant(experiment_version_id=name, version=name, content=name, traffic_percentage=each)
        for name, each in percentages.items()
    )
    made = Experiment(
        project="p",
        experiment_id="tone",
        prompt_id="p",
        status="running",
        sticky_type="user_id",
        salt="tone",
        variants=variants,
        allocation=allocation,
    )
    return with_slots(made, before)


def given(experiment: Experiment) -> list[str | None]:
    """What users get; by another sticky key a user has another value."""
    other = "" if experiment.sticky_type == "user_id" else "session of "
    if not experiment.running:
        return [None] * len(USERS)
    sent = json.loads(json.dumps(configuration(experiment)))
    return by_client(sent, [other + user for user in USERS])
