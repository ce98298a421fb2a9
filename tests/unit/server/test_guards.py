"""Guarded rollout, on each database: a worse version loses its traffic, once, and the audit says why."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from banyan_hp.server.guards import Guards
from tests.support.app import LocalApp
from tests.support.experimented import (
    EXPOSED,
    ID,
    NOW,
    STARTED,
    called,
    change,
    make,
    results,
    send,
)

Patch = pytest.MonkeyPatch
GUARDS = [{"metric": "latency_p50", "worse_by": 0.1}, {"metric": "error_rate", "worse_by": 0.1}]


@pytest.fixture(scope="module", autouse=True)
def only_when_asked() -> Iterator[None]:
    """The application's own guards look once, before there is anything, and not again."""
    with pytest.MonkeyPatch.context() as never:
        never.setattr("banyan_hp.server.guards.SECONDS", 1e9)
        yield


def guards(app: LocalApp) -> Guards:
    stores = app.app.state.stores
    return Guards(app.database, stores.experiments, stores.outcomes, stores.audit)


def slow(b: float, users: int = 200) -> Iterator[dict[str, Any]]:
    """Users whose calls take 100 to 200 ms, and so many times that with b."""
    for number in range(users):
        for got, times in (("a", 1.0), ("b", b)):
            took = times * (100 + number % 100)
            yield called(f"{got}{number}", got, duration_ms=took)


def shares(app: LocalApp) -> dict[str, float]:
    found = app.get(f"/api/experiments/{ID}")["versions"]
    return {each["experiment_version_id"]: each["traffic_percentage"] for each in found}


def changes(app: LocalApp) -> list[dict[str, Any]]:
    found = app.get("/api/audit", ("subject", f"experiment:{ID}"))["changes"]
    return [each for each in found if each["action"] == "experiment.guard"]


def test_a_worse_version_is_paused_once(app: LocalApp, monkeypatch: Patch) -> None:
    """Its slots go to the control; the audit has the numbers; a new segment begins, and results say so."""
    made = make(app, STARTED, monkeypatch, guards=GUARDS, primary_metric="thumbs")
    assert made["guards"] == GUARDS
    send(app, slow(1.5))
    assert guards(app).look(NOW) == 1
    assert shares(app) == {"a": 100, "b": 0}
    assert app.get(f"/api/experiments/{ID}")["slots"] == {"a": [[0, 1_000_000]], "b": []}
    (entry,) = changes(app)
    assert entry["key_id"] == "guard"
    paused = entry["detail"]["reason"]["paused"]["b"]
    assert (paused["metric"], paused["worse_by"], paused["version_users"]) == ("latency_p50", 0.1, 200)
    assert paused["version_mean"] == pytest.approx(1.5 * paused["control_mean"])
    assert 0 < paused["least"] < paused["beyond"]
    assert guards(app).look(NOW + timedelta(hours=1)) == 0
    found = results(app)
    assert (found["segment"], found["decision"]["state"]) == (2, "nothing to compare")
    assert any("v-b was paused by its guard" in each for each in found["warnings"])


def test_a_broken_version_is_paused_before_any_window_is_over(app: LocalApp, monkeypatch: Patch) -> None:
    """By the users' first calls, of which nothing changes later; the audit and the results say so."""
    make(app, STARTED, monkeypatch, guards=GUARDS)
    failing: dict[str, Any] = {"metadata": {"error": "refused"}, "at": NOW - timedelta(minutes=2)}
    send(
        app,
        [
            called(f"{got}{number}", got, **(failing if got == "b" else {"at": failing["at"]}))
            for got in "ab"
            for number in range(100)
        ],
    )
    assert [each["analysed"] for each in results(app)["versions"]] == [0, 0]
    assert guards(app).look(NOW) == 1
    paused = changes(app)[0]["detail"]["reason"]["paused"]["b"]
    assert (paused["metric"], paused["of"]) == ("error_rate", "first calls")
    assert (paused["version_mean"], paused["version_users"], paused["control_users"]) == (1.0, 100, 100)
    assert shares(app) == {"a": 100, "b": 0}
    assert any(
        "error_rate of users' first calls was 1, 0 in the" in each for each in results(app)["warnings"]
    )


def test_what_fails_later_in_a_conversation_is_seen_when_windows_are_over(
    app: LocalApp, monkeypatch: Patch
) -> None:
    """The first calls are all good."""
    make(app, STARTED, monkeypatch, guards=GUARDS)
    for minutes, failing in ((0, "none"), (5, "b")):
        at = EXPOSED + timedelta(minutes=minutes)
        metadata = {got: {"error": "refused"} if got == failing else {} for got in "ab"}
        send(app, [called(f"{v}{n}", v, at, metadata=metadata[v]) for v in "ab" for n in range(100)])
    assert guards(app).look(EXPOSED + timedelta(minutes=10)) == 0
    assert guards(app).look(NOW) == 1
    assert changes(app)[0]["detail"]["reason"]["paused"]["b"]["of"] == "windows"


def test_a_harmless_version_goes_on(app: LocalApp, monkeypatch: Patch) -> None:
    """Slower, but within the bound; and one that is far beyond it, of which there are too few users."""
    make(app, STARTED, monkeypatch, guards=GUARDS)
    send(app, slow(1.05))
    assert guards(app).look(NOW) == 0
    assert shares(app) == {"a": 50, "b": 50}


def test_too_few_users_pause_nothing(app: LocalApp, monkeypatch: Patch) -> None:
    """However slow it is."""
    make(app, STARTED, monkeypatch, guards=GUARDS)
    send(app, slow(5, users=30))
    assert guards(app).look(NOW) == 0


def test_errors_are_seen_where_the_control_has_none(app: LocalApp, monkeypatch: Patch) -> None:
    """10 % of nothing is nothing."""
    make(app, STARTED, monkeypatch, guards=GUARDS)
    failing: dict[str, Any] = {"metadata": {"error": "refused"}}
    send(
        app,
        [
            called(f"{got}{number}", got, **(failing if got == "b" and number % 3 == 0 else {}))
            for got in "ab"
            for number in range(300)
        ],
    )
    assert guards(app).look(NOW) == 1
    assert changes(app)[0]["detail"]["reason"]["paused"]["b"]["metric"] == "error_rate"


def test_only_what_runs_is_guarded(app: LocalApp, monkeypatch: Patch) -> None:
    """A paused experiment stays as it is."""
    make(app, STARTED, monkeypatch, guards=GUARDS)
    send(app, slow(1.5))
    change(app, EXPOSED + timedelta(hours=1), monkeypatch, status="paused")
    assert guards(app).look(NOW) == 0


def test_somebodys_change_wins(app: LocalApp, monkeypatch: Patch) -> None:
    """Of a guard and a person who change the same experiment at the same time."""
    make(app, STARTED, monkeypatch, guards=GUARDS)
    send(app, slow(1.5))
    stores = app.app.state.stores
    stale = stores.experiments.guarded()
    monkeypatch.setattr(type(stores.experiments), "guarded", lambda _: stale)
    change(app, NOW, monkeypatch, status="finished")
    assert guards(app).look(NOW) == 0
    assert changes(app) == []


def test_one_process_looks_at_a_time(app: LocalApp, monkeypatch: Patch) -> None:
    """While another one is elected, nobody else decides."""
    from banyan_hp.server.store.election import GUARDS as OFFICE
    from banyan_hp.server.store.election import elected

    make(app, STARTED, monkeypatch, guards=GUARDS)
    send(app, slow(1.5))
    with elected(app.database, OFFICE) as still:
        assert still is not None
        assert guards(app).look(NOW) == 0
    assert guards(app).look(NOW) == 1


def test_a_misspelt_metric_is_refused(app: LocalApp, monkeypatch: Patch) -> None:
    """Scores have any name: what nothing is called yet may come, but what is nearly a built-in one won't."""
    make(app, STARTED, monkeypatch, guards=GUARDS)
    path = f"/api/experiments/{ID}"
    built_in = "latency, latency_p50, input_tokens, output_tokens, cost, error_rate, output_length"
    for wrong, meant in (("latency_50", "latency_p50"), ("costs", "cost"), ("Error_Rate", "error_rate")):
        answer = app.call("PUT", path, {"guards": [*GUARDS, {"metric": wrong, "worse_by": 0.1}]})
        assert answer.status_code == 422
        assert answer.json()["error"] == (
            f"guards[2].metric must be one of {built_in}, or the name of a score, was {wrong!r}, which no "
            f"score is called (did you mean {meant}?)"
        )
    named = {"guards": [{"metric": "tone", "worse_by": 0.1}], "primary_metric": "tone"}
    said = "No score is called 'tone' yet: what goes by it waits for one."
    assert app.call("PUT", path, named).json()["warnings"] == [said]
    score = {
        "id": "s",
        "ts": "2026-01-01T00:00:00Z",
        "body": {"input": "", "output": "", "metadata": {"banyan_hp": COSTS}},
    }
    send(app, [score])
    named = {"guards": [{"metric": "costs", "worse_by": 0.1}], "primary_metric": "cost"}
    assert "warnings" not in app.call("PUT", path, named).json()


COSTS = {"kind": "score", "v": 1, "name": "costs", "value": 1.0, "record_id": "r"}
