"""Prompts on pages: drafts, differences, releases, labels."""

from __future__ import annotations

import pytest

from banyan_hp.server.store.keys import Role
from tests.support.app import LocalApp
from tests.support.browsing import Browser, Page

PROMPTS = "/api/logs/cli/prompts"


@pytest.fixture
def prompt(app: LocalApp) -> str:
    """The page of a prompt with one released version."""
    made = app.call("POST", PROMPTS, {"name": "greet", "content": "Hello {{name}}, in two words."})
    return f"/prompts/{made.json()['id']}"


def served(app: LocalApp, **query: str) -> str:
    return str(app.get("/api/logs/prompt/greet", *query.items())["content"])


def save(browser: Browser, prompt: str, **fields: str) -> Page:
    return browser.send(browser.get(prompt), f"{prompt}/versions", **fields)


def test_a_draft_is_saved_compared_released_and_taken_back(
    app: LocalApp, browser: Browser, prompt: str
) -> None:
    saved = save(browser, prompt, version="1.1", content="Hello {{name}}, in three words.\r\n")
    assert saved.path == f"{prompt}?version=1.1"
    assert served(app) == "Hello {{name}}, in two words."
    compared = browser.get(f"{prompt}?version=1.1&against=1.0")
    assert "<mark>two</mark>" in compared.response.text
    assert "<mark>three</mark>" in compared.response.text
    browser.post(f"{prompt}/release", {**saved.form("/logout").fields, "version": "1.1"})
    assert served(app) == "Hello {{name}}, in three words.\n"
    browser.post(f"{prompt}/release", {**saved.form("/logout").fields, "version": "1.0"})
    assert served(app) == "Hello {{name}}, in two words."


def test_a_label_points_where_the_form_says(app: LocalApp, browser: Browser, prompt: str) -> None:
    save(browser, prompt, version="1.1", content="Hi")
    page = browser.send(browser.get(prompt), f"{prompt}/labels", label="staging", version="1.1")
    assert "staging" in page.text
    assert served(app, label="staging") == "Hi"
    browser.send(page, f"{prompt}/labels", label="staging", version="")
    assert app.call("GET", "/api/logs/prompt/greet", query=[("label", "staging")]).status_code == 404


def test_who_saves_second_is_told(browser: Browser, prompt: str) -> None:
    first = browser.get(prompt)
    save(browser, prompt, version="1.1", content="Hi")
    refused = browser.send(first, f"{prompt}/versions", version="1.2", content="Ho")
    assert refused.status == 409
    assert "has changed" in refused.text
    assert browser.send(refused, f"{prompt}/versions", content="Ho").path == f"{prompt}?version=1.2"


def test_variables_are_tried_without_saving(browser: Browser, prompt: str) -> None:
    page = browser.get(f"{prompt}?version=1.0&value.name=%3Cb%3EAda")
    assert "Hello <b>Ada, in two words." in page.text
    assert "<b>Ada" not in page.response.text


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"version": "2", "content": " "}, "The content must not be empty."),
        ({"version": "", "content": "x"}, "version must not be empty."),
        ({"version": "2", "content": "x", "config": "{"}, "config must be an object in JSON"),
        ({"version": "2", "content": "x", "config": "[1]"}, "The configuration must be a JSON object"),
        ({"version": "2", "content": "x", "kind": "chat"}, "content must be a list of messages in JSON"),
        ({"version": "2", "content": '[{"role": "user"}]', "kind": "chat"}, "The messages of a chat"),
    ],
)
def test_a_bad_draft_is_refused_in_words(
    browser: Browser, prompt: str, fields: dict[str, str], words: str
) -> None:
    """Beside its field, and what was written is not lost."""
    refused = save(browser, prompt, **fields, change_message="<why>")
    assert refused.status == 400
    assert words in refused.text
    form = refused.form(f"{prompt}/versions")
    assert (form.fields["version"], form.fields["change_message"]) == (fields["version"], "<why>")
    assert form.fields["kind"] == fields.get("kind", "text")
    assert f">\n{fields['content']}</textarea>".replace('"', "&#34;") in refused.response.text


def test_a_chat_stays_one(app: LocalApp, browser: Browser) -> None:
    messages = [{"role": "user", "content": "Hi {{name}}"}]
    made = app.call("POST", PROMPTS, {"name": "chat", "content": messages})
    prompt = f"/prompts/{made.json()['id']}"
    shown = browser.get(prompt).response.text
    assert "user: Hi {{name}}" in shown
    save(browser, prompt, version="2", content='[{"role": "user", "content": "Ho"}]')
    assert app.get("/api/logs/prompt/chat", ("version", "2"))["messages"] == [
        {"role": "user", "content": "Ho"}
    ]


def test_a_prompt_is_made_on_the_page(app: LocalApp, browser: Browser) -> None:
    assert "There is no prompt yet" in browser.get("/prompts").text
    page = browser.send(browser.get("/prompts"), "/prompts", name="greet", content="Hello")
    assert "draft" in page.text
    assert app.call("GET", "/api/logs/prompt/greet").status_code == 404


@pytest.mark.parametrize(("name", "status"), [(" ", 400), ("greet", 409)])
def test_a_prompt_that_is_refused_stays_in_the_form(
    browser: Browser, prompt: str, name: str, status: int
) -> None:
    page = browser.send(browser.get("/prompts"), "/prompts", name=name, branch="main", content="Dear <me>")
    assert (page.status, "Nothing was changed" in page.text) == (status, True)
    assert page.form("/prompts").fields["name"] == name
    assert "Dear &lt;me&gt;</textarea>" in page.response.text


def test_what_the_list_names_is_a_link(browser: Browser, prompt: str) -> None:
    """The version that is live, and where labels point."""
    browser.send(browser.get(prompt), f"{prompt}/labels", label="staging", version="1.0")
    page = browser.get("/prompts")
    assert page.links.count(f"{prompt}?version=1.0") == 3
    assert "all branches" not in page.text
    browser.send(page, "/prompts", name="greet", branch="other", content="Hi")
    assert "all branches" in browser.get("/prompts").text
    assert "version 1.0, before none" in browser.get(prompt).text


def test_readers_change_no_prompts(application: LocalApp) -> None:
    app = application.in_new_project()
    made = app.call("POST", PROMPTS, {"name": "greet", "content": "x"}).json()
    reader = Browser(application.in_project(app.project, Role.READ))
    reader.log_in()
    prompt = f"/prompts/{made['id']}"
    page = reader.get(prompt)
    assert {form.action for form in page.forms} == {"/logout", prompt}  # the latter tries variables
    for action in ("versions", "release", "labels"):
        fields = {**page.form("/logout").fields, "version": "1.0", "content": "x", "label": "l"}
        assert reader.post(f"{prompt}/{action}", fields).status == 403


def test_nobody_sees_another_project_s_prompt(application: LocalApp, browser: Browser) -> None:
    other = application.in_new_project()
    made = other.call("POST", PROMPTS, {"name": "greet", "content": "x"}).json()
    assert browser.get(f"/prompts/{made['id']}").status == 404


def test_many_versions_and_labels_are_bounded(app: LocalApp, browser: Browser, prompt: str) -> None:
    """The newest first, older ones a click away; any of them can be shown and compared."""
    for number in range(1, 61):
        body = {"name": "greet", "content": f"text {number}", "version": f"1.{number}", "release": False}
        assert app.call("POST", f"{PROMPTS}/version", body).is_success
        browser.post(
            f"{prompt}/labels",
            {**browser.get("/settings").form("/logout").fields, "label": f"l{number}", "version": "1.1"},
        )
    page = browser.get(prompt)
    assert f"{prompt}?version=1.60" in page.links
    assert f"{prompt}?version=1.5" not in page.links
    older = browser.get(next(each for each in page.links if "after=" in each))
    assert f"{prompt}?version=1.5" in older.links
    assert older.form(f"{prompt}/versions").fields["after"] == page.form(f"{prompt}/versions").fields["after"]
    assert "text 5" in browser.get(f"{prompt}?version=1.5&against=1.60").text
    assert page.text.count("points to") <= 50
    assert "55 more" in browser.get("/prompts").text
