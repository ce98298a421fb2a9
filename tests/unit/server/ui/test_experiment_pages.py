"""Experiments on pages: made, started, looked at, released."""

from __future__ import annotations

import re
from typing import Any

import pytest

from banyan_hp.server.guards import Guards
from banyan_hp.server.store.keys import Role
from banyan_hp.server.ui import forest
from tests.support.app import LocalApp
from tests.support.browsing import Browser, Page
from tests.support.experimented import ID, NOW, STARTED, called, likes, make, results, send

Patch = pytest.MonkeyPatch
PROMPTS = "/api/logs/cli/prompts"
HERE = f"/experiments/{ID}"


def words(page: Page) -> str:
    return " ".join(page.text.split())


def experiment(app: LocalApp, name: str = ID) -> Any:
    return app.get(f"/api/experiments/{name}")


@pytest.fixture
def won(app: LocalApp, monkeypatch: Patch) -> LocalApp:
    """An experiment that v-b has won."""
    make(app, STARTED, monkeypatch, primary_metric="thumbs")
    send(app, likes(100, {"a": 0.4, "b": 0.8}))
    return app


def test_results_are_those_of_the_api(won: LocalApp, browser: Browser) -> None:
    page = browser.get(HERE)
    assert (page.status, "style" in page.attributes) == (200, False)
    shown = words(page)
    assert "v-b won in thumbs: it is better than the control, v-a." in shown
    found = results(won)["metrics"][0]["versions"][1]["difference"]
    low, high = (f"{100 * found[each]:.1f} points" for each in ("low", "high"))
    assert "40.0 %" in shown
    assert f"+40.0 points +{low} to +{high}" in shown
    assert page.response.text.count('<svg class="forest"') == sum(
        any(version["difference"] for version in metric["versions"]) for metric in results(won)["metrics"]
    )
    assert shown.index("thumbs primary") < shown.index("latency lower is better")


def test_the_winner_is_released_in_one_click(won: LocalApp, browser: Browser) -> None:
    """Its content is the experiment's own, and becomes a version of the prompt."""
    page = browser.send(browser.get(HERE), f"{HERE}/release")
    assert page.path == HERE
    assert "It is live: v-b" in words(page)
    served = won.get("/api/logs/prompt/email")
    assert (served["version"], served["content"]) == ("v-b", "b")
    assert experiment(won)["status"] == "finished"
    assert f"{HERE}/release" not in {form.action for form in page.forms}


def test_another_version_of_the_winner_s_name_is_not_overwritten(won: LocalApp, browser: Browser) -> None:
    made = {"name": "email", "version": "v-b", "content": "another", "release": False}
    assert won.call("POST", f"{PROMPTS}/version", made).status_code in (200, 201)
    refused = browser.send(browser.get(HERE), f"{HERE}/release")
    assert refused.status == 409
    assert "whose content is not that which won" in refused.text
    assert experiment(won)["status"] == "running"


def test_only_who_has_won_is_released(won: LocalApp, browser: Browser) -> None:
    refused = browser.send(browser.get(HERE), f"{HERE}/release", winner="a")
    assert refused.status == 409
    assert "another winner now, or none" in refused.text


def test_too_little_is_said_with_how_many_more(app: LocalApp, browser: Browser, monkeypatch: Patch) -> None:
    make(app, STARTED, monkeypatch, primary_metric="thumbs")
    assert "Not enough data yet. No user has come yet" in words(browser.get(HERE))
    send(app, likes(30, {"a": 0.3, "b": 0.6}))
    more = results(app)["decision"]["more_users"]
    page = browser.get(HERE)
    assert f"Not enough data yet. About {more:,} more users are needed to see a difference of 10 %." in words(
        page
    )
    assert f"{HERE}/release" not in {form.action for form in page.forms}


def test_a_mismatch_is_said_before_any_result(app: LocalApp, browser: Browser, monkeypatch: Patch) -> None:
    make(app, STARTED, monkeypatch, primary_metric="thumbs")
    send(
        app,
        [
            each
            for each in likes(150, {"a": 0.3, "b": 0.9})
            if not re.search(r'"b\d*[02468]"', str(each).replace("'", '"'))
        ],
    )
    shown = words(browser.get(HERE))
    assert (
        shown.index("not to be trusted")
        < shown.index("a got 150 where 112 were expected")
        < shown.index("Metrics")
    )
    assert " won " not in shown


def test_what_a_guard_did_is_told_and_segments_can_be_chosen(
    app: LocalApp, browser: Browser, monkeypatch: Patch
) -> None:
    make(
        app,
        STARTED,
        monkeypatch,
        guards=[{"metric": "latency_p50", "worse_by": 0.1}],
        primary_metric="latency",
    )
    send(
        app,
        [
            called(f"{v}{n}", v, duration_ms=t * (100 + n % 100))
            for n in range(200)
            for v, t in (("a", 1), ("b", 2))
        ],
    )
    stores = app.app.state.stores
    Guards(app.database, stores.experiments, stores.outcomes, stores.audit).look(NOW)
    shown = words(browser.get(HERE))
    assert "latency_p50 may be at most 10 % worse than in the control" in shown
    assert "b is paused, its traffic goes to the control: latency_p50 is" in shown
    assert "Nothing to compare" in shown
    page = browser.get(f"{HERE}?segment=1")
    assert "v-a won in latency: it is the control" in words(page)
    assert f"{HERE}/release" not in {form.action for form in page.forms}
    assert browser.get(f"{HERE}?segment=9").status == 400


def test_it_is_paused_started_and_finished(app: LocalApp, browser: Browser, monkeypatch: Patch) -> None:
    make(app, STARTED, monkeypatch)
    for status in ("paused", "running", "finished"):
        page = browser.send(browser.get(HERE), f"{HERE}/status", status=status)
        assert (page.path, experiment(app)["status"]) == (HERE, status)
    assert browser.send(page, f"{HERE}/status", status="gone").status == 400
    assert "tone" in browser.get("/experiments").text


def prompt_of(app: LocalApp) -> str:
    made = app.call("POST", PROMPTS, {"name": "email", "content": "one"}).json()
    app.call(
        "POST", f"{PROMPTS}/version", {"name": "email", "version": "2", "content": "two", "release": False}
    )
    return f"/experiments-new?prompt={made['id']}"


def test_an_experiment_is_made_on_the_page(app: LocalApp, browser: Browser) -> None:
    assert "There is no experiment yet" in browser.get("/experiments").text
    fields = {
        "experiment_id": "a/b",
        "share.1.0": "60",
        "share.2": "10",
        "exact.2": "33.33",
        "control": "1.0",
    }
    more = {
        "primary_metric": "toxic",
        "better": "lower",
        "guard.1": "cost",
        "worse.1": "20",
        "window_hours": "2",
    }
    page = browser.send(browser.get(prompt_of(app)), "/experiments", **fields, **more, status="draft")
    assert page.path == "/experiments/a/b"
    assert "Not started yet." in page.text
    made = experiment(app, "a/b")
    assert {each["version"]: each["traffic_percentage"] for each in made["versions"]} == {
        "1.0": 60,
        "2": 33.33,
    }
    assert (made["status"], made["control"], made["window_seconds"]) == ("draft", "1.0", 7200)
    assert (made["directions"], made["guards"]) == ({"toxic": "lower"}, [{"metric": "cost", "worse_by": 0.2}])


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"share.1.0": "90", "share.2": "20"}, "at most 100.01 together, was 110"),
        ({"share.1.0": "90", "exact.2": "many"}, "This must be a number"),
        ({"experiment_id": "x/results"}, "must be a string that isn't empty and doesn't end"),
        ({"share.1.0": "100", "sticky_type": ""}, "This must be a string of 1 to 255 characters"),
    ],
)
def test_a_bad_experiment_is_refused_in_words(
    app: LocalApp, browser: Browser, fields: dict[str, str], reason: str
) -> None:
    refused = browser.send(browser.get(prompt_of(app)), "/experiments", **fields)
    assert refused.status in (400, 422)
    assert reason in refused.text


def test_how_many_users_it_takes(app: LocalApp, browser: Browser) -> None:
    """More for a small effect, for several versions; and for means, by their deviation."""
    form = prompt_of(app)
    asked = [
        "baseline=20&effect=20",
        "baseline=20&effect=10",
        "baseline=20&effect=10&versions=4",
        "baseline=100&deviation=50&effect=10",
    ]
    numbers = []
    for each in asked:
        said = re.search(r"([\d,]+) users in each version", browser.get(f"{form}&{each}").text)
        assert said is not None
        numbers.append(int(said[1].replace(",", "")))
    assert numbers[0] < numbers[1] < numbers[2]
    assert numbers[3] < numbers[1]
    assert browser.get(f"{form}&baseline=95&effect=20").status == 400


def test_readers_look_and_change_nothing(application: LocalApp, monkeypatch: Patch) -> None:
    app = application.in_new_project()
    make(app, STARTED, monkeypatch)
    reader = Browser(application.in_project(app.project, Role.READ))
    reader.log_in()
    page = reader.get(HERE)
    assert not {form.action for form in page.forms} & {f"{HERE}/status", f"{HERE}/release"}
    for path in (f"{HERE}/status", f"{HERE}/release", "/experiments"):
        assert reader.post(path, page.form("/logout").fields).status == 403


def test_nobody_sees_another_project_s_experiment(
    application: LocalApp, browser: Browser, monkeypatch: Patch
) -> None:
    make(application.in_new_project(), STARTED, monkeypatch)
    assert browser.get(HERE).status == 404


def test_values_are_told_with_sign_and_unit() -> None:
    metric = {"unit": "ms", "proportion": False}
    assert forest.difference(-1234.5, metric) == "−1,234 ms"
    assert forest.difference(0.041, {"unit": "", "proportion": True}) == "+4.1 points"
    assert [forest.chance(each) for each in (1e-9, 0.5, 1 - 1e-9)] == ["< 0.1 %", "50.0 %", "> 99.9 %"]


def test_plots_put_zero_in_the_middle_where_nothing_differs() -> None:
    """And nothing at all where nothing can be compared."""
    none = {"low": 0.0, "estimate": 0.0, "high": 0.0}
    plot = forest.forest([{"experiment_version_id": "b", "difference": none, "better": None}], {"b": "v-b"})
    assert plot is not None
    assert (plot.zero, plot.ends, plot.bars[0].version) == (forest.WIDTH / 2, [], "v-b")
    assert forest.forest([{"experiment_version_id": "a", "difference": None}], {}) is None
