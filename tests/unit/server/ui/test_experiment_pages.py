"""Experiments on pages: made, started, looked at, released."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest

from banyan_hp.server.guards import Guards
from banyan_hp.server.store.keys import Role
from banyan_hp.server.ui import forest
from tests.support.app import LocalApp
from tests.support.browsing import Browser, Page
from tests.support.experimented import (
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
    version,
)

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
    assert "b is paused, its traffic goes to the control: latency_p50 of users' first calls is" in shown
    assert "Nothing to compare" in shown
    page = browser.get(f"{HERE}?segment=1")
    assert "v-a won in latency: it is the control" in words(page)
    assert f"{HERE}/release" not in {form.action for form in page.forms}
    assert browser.get(f"{HERE}?segment=9").status == 400


def test_scores_behind_a_measure_are_told(won: LocalApp, browser: Browser) -> None:
    """With the name, and what to do."""
    send(won, [scored("a1", "cost", 5)])
    assert "scores called 'cost', and they are not in these results" in words(browser.get(HERE))


def test_it_is_paused_started_and_finished(app: LocalApp, browser: Browser, monkeypatch: Patch) -> None:
    make(app, STARTED, monkeypatch)
    for status in ("paused", "running", "finished"):
        page = browser.send(browser.get(HERE), f"{HERE}/status", status=status)
        assert (page.path, experiment(app)["status"]) == (HERE, status)
    assert browser.send(page, f"{HERE}/status", status="gone").status == 400
    assert "tone" in browser.get("/experiments").text


def test_what_a_course_shows_is_what_results_said(won: LocalApp, browser: Browser) -> None:
    """A drawing for each version that is compared, and the same as a table; of the metric that is chosen."""
    page = browser.get(HERE)
    found = results(won)["metrics"][0]["versions"][1]["difference"]
    low, high = (f"{100 * found[each]:.1f} points" for each in ("low", "high"))
    assert f"100 +40.0 points +{low} to +{high}" in words(page)
    assert page.response.text.count('<svg class="forest course good"') == 1
    chosen = browser.get(f"{HERE}?over_time=latency")
    assert '<svg class="forest course open"' in chosen.response.text or "No interval so far" in chosen.text
    assert f"{HERE}/release" in {form.action for form in chosen.forms}
    assert browser.get(f"{HERE}?over_time=gone").status == 400


def test_no_error_at_all_is_said_as_what_it_is(won: LocalApp, browser: Browser) -> None:
    """Not as too few users; with what it does say about the users to come."""
    shown = words(browser.get(HERE))
    assert "No call has failed so far, in any version. With 95 % (for one look) fewer than 3 %" in shown
    assert "takes about 20 users in each version who have one" in shown


def test_until_the_first_window_is_over_it_says_when_figures_come(
    app: LocalApp, browser: Browser, monkeypatch: Patch
) -> None:
    make(app, STARTED, monkeypatch, primary_metric="thumbs")
    at = NOW - timedelta(hours=2)
    send(app, [called("u", "a", at), called("v", "b", at + timedelta(hours=1))])
    comes = f"{at + timedelta(days=1):%Y-%m-%d %H:%M} UTC"
    assert (
        "Not enough data yet. 2 users have come, and are still within the 24 hours for which a user counts. "
        f"The first figures come at {comes}." in words(browser.get(HERE))
    )


def test_the_list_is_paged_and_says_how_far_each_is(
    app: LocalApp, browser: Browser, monkeypatch: Patch
) -> None:
    """Newest first, a link to either side; users, days, state."""
    make(app, STARTED, monkeypatch)
    change(app, NOW - timedelta(days=1), monkeypatch, status="paused")
    send(app, [called("u", "a"), called("v", "b")])
    for number in range(3):
        body = {"prompt_name": "email", "sticky_type": "user_id", "experiment_id": f"draft-{number}"}
        app.call("POST", "/api/experiments", {**body, "versions": [version("a", 50)], "status": "draft"})
    first = browser.get("/experiments?limit=2")
    assert "/experiments/draft-2#own-a" in first.links
    assert "#own-a" in browser.get("/experiments/draft-2").links
    assert 'id="own-a"><pre tabindex="0">a</pre>' in browser.get("/experiments/draft-2").response.text
    assert tuple(f"draft-{number}" in first.text for number in (2, 1, 0)) == (True, True, False)
    assert [each for each in first.links if "page=" in each] == ["/experiments?page=2&limit=2"]
    second = browser.get("/experiments?page=2&limit=2")
    assert "tone email paused v-a 50 %, v-b 50 % none 2 2.0 calls" in words(second)
    assert [each for each in second.links if each.endswith("limit=2")] == ["/experiments?limit=2"]
    assert "There are no more experiments" in browser.get("/experiments?page=9").text
    assert browser.get("/experiments?page=0").status == 400


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


def test_small_values_have_no_exponent() -> None:
    assert forest.value(0.00004512, {"unit": "USD", "proportion": False}) == "0.0000451 USD"


@pytest.mark.parametrize(
    ("users", "mean", "proportion", "why"),
    [
        (49, 0.0, True, "each needs 50 with a value, and one has 49"),
        (100, 1.0, True, "All so far, in every version"),
        (100, 0.1, True, "It takes about 20 users in each version who have one, and as many who have none"),
        (100, 0.0, False, "Every value so far is 0"),
        (100, 0.1, False, "the values of a few users make up most of it"),
    ],
)
def test_why_versions_are_not_compared(users: int, mean: float, proportion: bool, why: str) -> None:
    versions = [{"users": users, "mean": mean}, {"users": 100, "mean": mean}]
    assert why in forest.lacking({"name": "thumbs", "proportion": proportion, "versions": versions})


def test_plots_put_zero_in_the_middle_where_nothing_differs() -> None:
    """And nothing at all where nothing can be compared."""
    none = {"low": 0.0, "estimate": 0.0, "high": 0.0}
    plot = forest.forest([{"experiment_version_id": "b", "difference": none, "better": None}], {"b": "v-b"})
    assert plot is not None
    assert (plot.zero, plot.ends, plot.bars[0].version) == (forest.WIDTH / 2, [], "v-b")
    assert forest.forest([{"experiment_version_id": "a", "difference": None}], {}) is None
