"""The results of experiments, on each database: segments, metrics, the decision, and what is left out."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import update

from banyan_hp.server.store.tables import experiments
from tests.support.app import LocalApp
from tests.support.experimented import (
    EXPOSED,
    ID,
    NOW,
    STARTED,
    called,
    change,
    likes,
    make,
    results,
    scored,
    send,
    settle,
    version,
)

Patch = pytest.MonkeyPatch


def test_a_clear_winner_is_named(app: LocalApp, monkeypatch: Patch) -> None:
    """With intervals for it, the primary metric first, the measures of calls beside it."""
    make(app, STARTED, monkeypatch, primary_metric="thumbs")
    send(app, likes(100, {"a": 0.4, "b": 0.8}))
    found = results(app)
    assert found["decision"] == {
        "state": "winner", "winner": "b", "version": "v-b", "more_users": None, "effect": 0.1
    }  # fmt: skip
    assert (found["trusted"], found["warnings"], found["segment"]) == (True, [], 1)
    assert [each["name"] for each in found["metrics"]][:2] == ["thumbs", "latency"]
    assert [each["exposed"] for each in found["versions"]] == [100, 100]
    control, other = found["metrics"][0]["versions"]
    assert (control["mean"], other["mean"], other["users"]) == (0.4, 0.8, 100)
    assert control["difference"] is None
    assert other["difference"]["estimate"] == pytest.approx(0.4)
    assert 0 < other["difference"]["low"] < other["difference"]["high"]
    assert other["relative"]["estimate"] == pytest.approx(1.0)
    assert (other["better"], other["probability_best"]) == (True, pytest.approx(1, abs=1e-6))


def test_less_may_be_better(app: LocalApp, monkeypatch: Patch) -> None:
    """Of a score, if the experiment says so: then the control wins here."""
    make(app, STARTED, monkeypatch, primary_metric="toxic", directions={"toxic": "lower"})
    send(app, likes(100, {"a": 0.2, "b": 0.7}, "toxic"))
    found = results(app)
    assert found["decision"]["winner"] == "a"
    assert found["metrics"][0]["versions"][1]["better"] is False


def test_too_few_users_are_said_with_how_many_more_it_takes(app: LocalApp, monkeypatch: Patch) -> None:
    """For the effect that is asked about; a small effect takes more users."""
    make(app, STARTED, monkeypatch, primary_metric="thumbs")
    send(app, likes(30, {"a": 0.3, "b": 0.6}))
    found = results(app)["decision"]
    assert (found["state"], found["winner"]) == ("not enough data yet", None)
    small = results(app, effect="0.01")["decision"]["more_users"]
    assert 1_000 < found["more_users"] < small


def test_users_count_when_their_window_is_over(app: LocalApp, monkeypatch: Patch) -> None:
    """Until then they are exposed, and no part of the analysis."""
    make(app, STARTED, monkeypatch, primary_metric="thumbs")
    send(app, [called("old", "a"), called("new", "a", NOW - timedelta(hours=1))])
    first, _ = results(app)["versions"]
    assert (first["exposed"], first["analysed"], first["calls"]) == (2, 1, 1)


def test_a_mismatch_is_said_before_any_result(app: LocalApp, monkeypatch: Patch) -> None:
    """There is no winner then, however clear the numbers are."""
    make(app, STARTED, monkeypatch, primary_metric="thumbs")
    lost = [record for record in likes(150, {"a": 0.3, "b": 0.9}) if _number(record) % 2 or not _is_b(record)]
    send(app, lost)
    found = results(app)
    assert (found["trusted"], found["decision"]["state"]) == (False, "not to be trusted")
    assert found["decision"]["winner"] is None
    assert found["sample_ratio"]["observed"] == {"a": 150, "b": 75}
    (warning,) = found["warnings"]
    assert warning.startswith("Sample ratio mismatch (p = ")
    assert "a got 150 where 112 were expected; b got 75 where 112 were expected" in warning


def _user(record: dict[str, dict[str, object]]) -> str:
    body = record["body"]
    metadata = body["metadata"]
    assert isinstance(metadata, dict)
    return str(body.get("sticky_value") or metadata["banyan_hp"]["sticky_value"])


def _is_b(record: dict[str, dict[str, object]]) -> bool:
    return _user(record).startswith("b")


def _number(record: dict[str, dict[str, object]]) -> int:
    return int(_user(record)[1:])


def test_users_of_several_versions_are_left_out(app: LocalApp, monkeypatch: Patch) -> None:
    """They are counted, and belong to the sample ratio by their first assignment."""
    make(app, STARTED, monkeypatch, primary_metric="thumbs")
    send(app, [*likes(60, {"a": 0.5, "b": 0.5}), called("b1", "a", EXPOSED + timedelta(minutes=1))])
    found = results(app)
    assert found["left_out"]["users_in_several_versions"] == 1
    assert [each["exposed"] for each in found["versions"]] == [60, 59]
    assert found["sample_ratio"]["observed"] == {"a": 60, "b": 60}


def test_other_traffic_begins_a_segment(app: LocalApp, monkeypatch: Patch) -> None:
    """Results are for the last one; earlier ones can be asked for. The first call decides about a user."""
    make(app, STARTED, monkeypatch, primary_metric="thumbs")
    send(app, likes(60, {"a": 0.3, "b": 0.6}))
    change(app, EXPOSED + timedelta(hours=1), monkeypatch, versions=[version("a", 20), version("b", 80)])
    later = EXPOSED + timedelta(hours=2)
    send(
        app,
        [
            called("late", "b", later),
            called("a1", "b", later),
            called("early", "b", later - timedelta(minutes=58)),
        ],
    )
    found = results(app)
    assert [each["why"] for each in found["segments"]] == [
        "the experiment was started",
        "the traffic was changed",
    ]
    assert found["segment"] == 2
    assert found["sample_ratio"]["expected"] == {"a": 0.2, "b": 0.8}
    assert [each["exposed"] for each in found["versions"]] == [0, 1]
    first = results(app, segment="1")
    assert [each["exposed"] for each in first["versions"]] == [59, 60]
    refused = app.call("GET", f"/api/experiments/{ID}/results", query=[("segment", "3")])
    assert refused.status_code == 400
    assert refused.json()["error"] == "segment must be one of experiment 'tone', from 1 to 2"


def test_one_metric_can_be_asked_for(app: LocalApp, monkeypatch: Patch) -> None:
    """The primary one comes along; without a primary one it decides itself."""
    make(app, STARTED, monkeypatch)
    send(app, [*likes(100, {"a": 0.1, "b": 0.9}), scored("a1", "tone", "rude")])
    assert results(app)["decision"]["state"] == "no primary metric"
    found = results(app, metric="thumbs")
    assert [each["name"] for each in found["metrics"]] == ["thumbs"]
    assert found["decision"]["winner"] == "b"
    (category,) = results(app, metric="tone=rude")["metrics"]
    assert category["proportion"]
    change(app, NOW, monkeypatch, primary_metric="thumbs")
    assert [each["name"] for each in results(app, metric="cost")["metrics"]] == ["thumbs", "cost"]
    refused = app.call("GET", f"/api/experiments/{ID}/results", query=[("metric", "nothing")])
    assert refused.status_code == 400
    assert refused.json()["error"].startswith("metric must be one of thumbs, tone=rude, latency, ")


def test_fixed_intervals_are_narrower(app: LocalApp, monkeypatch: Patch) -> None:
    """For one look; a larger alpha narrows them further."""
    make(app, STARTED, monkeypatch, primary_metric="thumbs")
    send(app, likes(100, {"a": 0.4, "b": 0.5}))
    widths = []
    for asked in ({}, {"interval": "fixed"}, {"interval": "fixed", "alpha": "0.2"}):
        difference = results(app, **asked)["metrics"][0]["versions"][1]["difference"]
        widths.append(difference["high"] - difference["low"])
    assert widths == sorted(widths, reverse=True)
    assert len(set(widths)) == 3


def test_a_draft_has_results_without_users(app: LocalApp, monkeypatch: Patch) -> None:
    """And without a segment."""
    make(app, STARTED, monkeypatch, status="draft", primary_metric="thumbs")
    found = results(app)
    assert (found["segment"], found["segments"], found["decision"]["state"]) == (
        None,
        [],
        "nothing to compare",
    )


def test_a_control_that_nobody_named_is_said(app: LocalApp, monkeypatch: Patch) -> None:
    """It is the first version."""
    make(app, STARTED, monkeypatch, control=None)
    found = results(app)
    assert found["control"] == "a"
    assert "names no control, so the others are compared with its first version, v-a" in found["warnings"][0]


def test_a_rebuild_gives_the_same(app: LocalApp, monkeypatch: Patch) -> None:
    """Of all users."""
    make(app, STARTED, monkeypatch, primary_metric="thumbs")
    send(app, likes(60, {"a": 0.3, "b": 0.6}))
    before = results(app)
    rebuilt = app.call("POST", f"/api/experiments/{ID}/rebuild", {})
    assert (rebuilt.status_code, rebuilt.json()) == (200, {"experiment_id": ID, "users": 120})
    settle(app)
    assert results(app) == before


@pytest.mark.parametrize("path", ["results", "rebuild"])
def test_what_is_not_there_is_a_404(app: LocalApp, path: str) -> None:
    """An experiment of another project is not there either."""
    answer = app.call("POST" if path == "rebuild" else "GET", f"/api/experiments/nobodys/{path}")
    assert (answer.status_code, answer.json()) == (404, {"error": "experiment 'nobodys' not found"})


def test_what_retention_removed_is_named(app: LocalApp, monkeypatch: Patch) -> None:
    """Where it reaches into the segment."""
    make(app, STARTED, monkeypatch)
    for at, named in ((STARTED - timedelta(days=1), False), (EXPOSED, True)):
        removed = {"removed_until": round(at.timestamp() * 1e6)}
        mine = update(experiments).where(experiments.c.project == app.project).values(removed)
        app.database.write(lambda connection, mine=mine: connection.execute(mine))  # type: ignore[misc]
        assert any("were removed for their age" in each for each in results(app)["warnings"]) is named


def test_every_score_is_a_metric_by_its_name(app: LocalApp, monkeypatch: Patch) -> None:
    """Of a category each one."""
    make(app, STARTED, monkeypatch)
    send(
        app,
        [called("a1", "a"), *(scored("a1", "tone", "rude") for _ in range(3)), scored("a1", "stars", 4.5)],
    )
    names = [each["name"] for each in results(app)["metrics"]]
    assert names[:2] == ["stars", "tone=rude"]


def test_scores_with_the_name_of_a_measure_are_said(app: LocalApp, monkeypatch: Patch) -> None:
    """They are hidden behind it, whatever metric is asked for; a category has a name of its own."""
    make(app, STARTED, monkeypatch)
    send(app, [called("a1", "a"), scored("a1", "latency", "long"), scored("a1", "stars", 4.5)])
    assert not any("scores called" in each for each in results(app)["warnings"])
    send(app, [scored("a1", "cost", 5)])
    for asked in ({}, {"metric": "cost"}, {"metric": "stars"}):
        (said,) = [each for each in results(app, **asked)["warnings"] if "scores called" in each]
        assert said == (
            "There are scores called 'cost', and they are not in these results: 'cost' here is measured of "
            "the calls. Send these scores under another name, such as 'cost_score'; those that are stored "
            "stay in the list of scores"
        )
    names = [each["name"] for each in results(app)["metrics"]]
    assert (names.count("cost"), "latency=long" in names) == (1, True)
