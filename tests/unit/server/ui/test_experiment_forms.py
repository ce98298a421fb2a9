"""Forms of experiments: made, and their traffic changed; what is refused stays, with the reason beside it."""

from __future__ import annotations

import re
from typing import Any

import pytest

from banyan_hp.server.store.keys import Role
from tests.support.app import LocalApp
from tests.support.browsing import Browser, Page
from tests.support.experimented import ID, NOW, STARTED, called, make, results, send

Patch = pytest.MonkeyPatch
PROMPTS = "/api/logs/cli/prompts"
HERE = f"/experiments/{ID}"


def words(page: Page) -> str:
    return " ".join(page.text.split())


def experiment(app: LocalApp, name: str = ID) -> Any:
    return app.get(f"/api/experiments/{name}")


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
        ({"share.1.0": "90", "share.2": "20"}, "adds up to 110 %: at most 100 %"),
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


def test_many_prompts_and_versions_are_not_all_read(
    app: LocalApp, browser: Browser, monkeypatch: Patch
) -> None:
    """The oldest prompts are listed, others are found by name; of versions the newest, and the live one."""
    monkeypatch.setattr("banyan_hp.server.ui.experiment_forms.PROMPTS", 2)
    monkeypatch.setattr("banyan_hp.server.ui.experiment_forms.VERSIONS", 2)
    for name in ("one", "two", "three"):
        app.call("POST", PROMPTS, {"name": name, "content": "Hi"})
    for version in ("2", "3", "4"):
        body = {"name": "three", "version": version, "content": version, "release": False}
        app.call("POST", f"{PROMPTS}/version", body)
    offered = browser.get("/experiments-new")
    assert ("found by its name" in offered.text, "three" in offered.text) == (True, False)
    fields = browser.get("/experiments-new?name=three").form("/experiments").fields
    assert fields["prompt_name"] == "three"
    assert [f"exact.{each}" in fields for each in ("1.0", "2", "3", "4")] == [True, False, True, True]
    lacking = browser.get("/experiments-new?name=four")
    assert (lacking.status, "no prompt 'four'" in lacking.text) == (404, True)


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


def marked(page: Page) -> list[str]:
    """The fields that are marked as wrong."""
    found = re.findall(r'name="([^"]+)"[^>]* aria-invalid="true"', page.response.text)
    assert page.response.text.count('aria-describedby="refused"') == len(found)
    return found


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"exact.2": "many"}, "exact.2"),
        ({"exact.2": "-1"}, "exact.2"),
        ({"experiment_id": "x/results"}, "experiment_id"),
        ({"experiment_id": "taken"}, "experiment_id"),
        ({"sticky_type": ""}, "sticky_type"),
        ({"window_hours": "0.0001"}, "window_hours"),
        ({"guard.3": "cost", "worse.3": "-5"}, "worse.3"),
        ({"primary_metric": "x" * 300}, "primary_metric"),
    ],
)
def test_a_refused_form_keeps_its_input_and_marks_the_field(
    app: LocalApp, browser: Browser, wrong: dict[str, str], field: str
) -> None:
    form = browser.get(prompt_of(app))
    assert browser.send(form, "/experiments", experiment_id="taken", **{"share.1.0": "10"}).status == 200
    entered = {"experiment_id": "mine", "share.1.0": "60", "exact.2": "12.5", "control": "2"}
    more = {
        "guard.1": "cost",
        "worse.1": "33",
        "primary_metric": "toxic",
        "better": "lower",
        "window_hours": "2",
    }
    sent = {**entered, **more, **wrong}
    refused = browser.send(form, "/experiments", **sent)
    assert refused.status in (400, 409)
    assert marked(refused) == [field]
    again = refused.form("/experiments").fields
    for name in ("experiment_id", "exact.2", "guard.1", "worse.1", "primary_metric", "window_hours"):
        assert again[name] == sent[name]
    assert re.search(r'value="2"[^>]* checked', refused.response.text)
    assert "<option selected>lower</option>" in refused.response.text
    assert browser.get("/experiments/mine").status == 404


def test_a_form_without_any_traffic_is_not_started(app: LocalApp, browser: Browser) -> None:
    """As a draft it is made."""
    form = browser.get(prompt_of(app))
    refused = browser.send(form, "/experiments", experiment_id="mine", status="running")
    assert (refused.status, "No version has traffic" in refused.text) == (400, True)
    assert browser.send(form, "/experiments", experiment_id="mine", status="draft").status == 200


# -- the traffic of one that runs ----------------------------------------------------------------------------


def test_traffic_is_changed_and_a_segment_begins(app: LocalApp, browser: Browser, monkeypatch: Patch) -> None:
    """The content of versions stays as it is; the results of before can still be had."""
    made = make(app, STARTED, monkeypatch, shares={"a": 50, "b": 25})
    send(app, [called("u", "a")])
    page = browser.get(HERE)
    assert "results start again from no user" in words(page)
    fields = {"exact.a": "", "share.a": "30", "exact.b": "33.3", "preview": ""}
    page = browser.send(page, f"{HERE}/shares", **fields)
    assert page.path == HERE
    now = experiment(app)
    assert [each["traffic_percentage"] for each in now["versions"]] == [30, 33.3]
    assert [each["content"] for each in now["versions"]] == [each["content"] for each in made["versions"]]
    assert [each["why"] for each in results(app)["segments"]] == [
        "the experiment was started",
        "the traffic was changed",
    ]
    assert [each["exposed"] for each in results(app, segment="1")["versions"]] == [1, 0]


def test_what_a_change_would_move_is_said_before(app: LocalApp, browser: Browser, monkeypatch: Patch) -> None:
    """And nothing is changed yet; what was entered stays."""
    make(app, STARTED, monkeypatch, shares={"a": 50, "b": 25})
    fields = {"exact.a": "30", "exact.b": "45", "preview": "yes"}
    page = browser.send(browser.get(HERE), f"{HERE}/shares", **fields)
    assert "another version than now to 20 % of all users, and a version to 0 %" in words(page)
    assert page.form(f"{HERE}/shares").fields["exact.b"] == "45"
    assert [each["traffic_percentage"] for each in experiment(app)["versions"]] == [50, 25]


@pytest.mark.parametrize(
    ("fields", "field", "reason"),
    [
        ({"exact.b": "much"}, ["exact.b"], "This must be a number, was 'much'"),
        ({"exact.b": "101"}, ["exact.b"], "This must be a number from 0 to 100"),
        ({"exact.a": "80", "exact.b": "30"}, [], "adds up to 110 %: at most 100 % can be dealt out"),
        ({"exact.a": "0", "exact.b": "0"}, [], "To route nobody, pause the experiment"),
    ],
)
def test_refused_traffic_stays_in_the_form(
    app: LocalApp, browser: Browser, monkeypatch: Patch, fields: dict[str, str], field: list[str], reason: str
) -> None:
    make(app, STARTED, monkeypatch, shares={"a": 50, "b": 25})
    refused = browser.send(browser.get(HERE), f"{HERE}/shares", **fields)
    assert (refused.status, marked(refused)) == (400, field)
    assert reason in words(refused)
    assert refused.form(f"{HERE}/shares").fields.items() >= fields.items()
    assert [each["traffic_percentage"] for each in experiment(app)["versions"]] == [50, 25]


def test_versions_of_the_prompt_go_on_following_it(
    app: LocalApp, browser: Browser, monkeypatch: Patch
) -> None:
    """Only the traffic is another one."""
    browser.send(
        browser.get(prompt_of(app)), "/experiments", experiment_id=ID, status="running", **{"share.1.0": "40"}
    )
    page = browser.send(browser.get(HERE), f"{HERE}/shares", preview="", **{"exact.1.0": "60"})
    assert page.status == 200
    assert [each["traffic_percentage"] for each in experiment(app)["versions"]] == [60]
    assert len(results(app)["segments"]) == 2
    assert results(app)["segments"][1]["why"] == "the traffic was changed"


def test_readers_change_no_traffic(application: LocalApp, monkeypatch: Patch) -> None:
    app = application.in_new_project()
    make(app, NOW, monkeypatch)
    reader = Browser(application.in_project(app.project, Role.READ))
    reader.log_in()
    page = reader.get(HERE)
    assert f"{HERE}/shares" not in {form.action for form in page.forms}
    assert reader.post(f"{HERE}/shares", page.form("/logout").fields).status == 403


def test_metric_and_guards_are_changed_and_users_keep_their_versions(
    app: LocalApp, browser: Browser, monkeypatch: Patch
) -> None:
    """No segment begins; a row that is emptied is a guard less, and what is refused stays in the form."""
    made = make(app, STARTED, monkeypatch, guards=[{"metric": "cost", "worse_by": 0.2}])
    send(app, [called("u", "a")])
    page = browser.get(HERE)
    assert page.form(f"{HERE}/aims").fields["worse.1"] == "20"
    wrong = {"guard.2": "latency_50", "worse.2": "5"}
    refused = browser.send(page, f"{HERE}/aims", primary_metric="error_rate", **wrong)
    assert (refused.status, refused.form(f"{HERE}/aims").fields["guard.2"]) == (400, "latency_50")
    assert "did you mean latency_p50?" in words(refused)
    assert experiment(app)["guards"] == made["guards"]
    fields = {"guard.1": "", "guard.2": "latency_p50", "worse.2": "5", "better": "lower"}
    assert browser.send(page, f"{HERE}/aims", primary_metric="error_rate", **fields).path == HERE
    now = experiment(app)
    assert now["guards"] == [{"metric": "latency_p50", "worse_by": 0.05}]
    assert (now["primary_metric"], now["directions"]) == ("error_rate", {"error_rate": "lower"})
    assert (now["versions"], len(results(app)["segments"])) == (made["versions"], 1)
