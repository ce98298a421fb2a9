"""Drafts, releases, labels, configurations, chats and their history, by HTTP, on each database."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.backend import Backend
from tests.support.local_backend import call, prompt, sticky

MANAGED = "/api/logs/cli/prompts"
CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "{{question}}"}]
CONFIG = {"model": "m-1", "temperature": 0.5, "tools": [{"name": "look_up"}]}


@pytest.fixture
def name() -> str:
    """A prompt's name that no other test has."""
    return f"prompt-{uuid.uuid4().hex[:8]}"


def created(backend: Backend, name: str, content: Any = "Hello", **more: Any) -> dict[str, Any]:
    response = call(backend, "POST", MANAGED, json={"name": name, "content": content, **more})
    assert response.status_code == 201, response.text
    made: dict[str, Any] = response.json()
    return made


def add(backend: Backend, name: str, version: str, content: Any = "Hello again", **more: Any) -> Any:
    body = {"name": name, "version": version, "content": content, **more}
    return call(backend, "POST", f"{MANAGED}/version", json=body)


def versions(backend: Backend, ident: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = backend.get(f"{MANAGED}/{ident}/versions")["versions"]
    return found


def served(backend: Backend, name: str, *pairs: tuple[str, str]) -> tuple[str, str] | None:
    response = prompt(backend, name, *pairs)
    if response.status_code == 404:
        return None
    body = response.json()
    return body["version"], body["content"]


def test_a_draft_is_served_to_who_names_it_only(backend: Backend, name: str) -> None:
    """Until it is released; then it is what everybody gets."""
    ident = created(backend, name, "Draft", release=False)["id"]
    assert served(backend, name) is None
    assert "has no released version" in prompt(backend, name).json()["error"]
    assert served(backend, name, ("version", "1.0")) == ("1.0", "Draft")
    call(backend, "PUT", f"{MANAGED}/{ident}/release", json={"version": "1.0"})
    assert served(backend, name) == ("1.0", "Draft")
    add(backend, name, "2", release=False)
    assert served(backend, name) == ("1.0", "Draft")


def test_a_version_of_the_published_client_is_released(backend: Backend, name: str) -> None:
    """Its calls know nothing of drafts."""
    created(backend, name)
    assert add(backend, name, "2", "New", change_message="why").status_code == 201
    assert served(backend, name) == ("2", "New")


def test_a_release_is_undone_by_releasing_the_earlier_version(backend: Backend, name: str) -> None:
    """Or, where there is none, by releasing nothing. When a version was released first stays known."""
    ident = created(backend, name)["id"]
    add(backend, name, "2", "New")
    undone = call(backend, "PUT", f"{MANAGED}/{ident}/release", json={"version": "1.0"})
    assert (undone.status_code, undone.json()["released"]) == (200, "1.0")
    assert served(backend, name) == ("1.0", "Hello")
    assert all(each["released_at"] for each in versions(backend, ident))
    assert [each["current"] for each in versions(backend, ident)] == [True, False]
    call(backend, "PUT", f"{MANAGED}/{ident}/release", json={"version": None})
    assert served(backend, name) is None
    wrong = call(backend, "PUT", f"{MANAGED}/{ident}/release", json={"version": "9"})
    assert (wrong.status_code, wrong.json()["error"]) == (
        422,
        f"version must be a stored version of prompt '{name}', was '9'",
    )


def test_a_label_is_echoed_and_points_to_a_version(backend: Backend, name: str) -> None:
    """`production` is the released one; labels are those of the branch's prompt."""
    ident = created(backend, name)["id"]
    created(backend, name, "On dev", branch="dev")
    add(backend, name, "2", "New", release=False)
    labelled = call(backend, "PUT", f"{MANAGED}/{ident}/labels/staging", json={"version": "2"})
    assert labelled.json()["labels"] == {"staging": "2"}
    response = prompt(backend, name, ("label", "staging")).json()
    assert (response["label"], response["version"], response["content"]) == ("staging", "2", "New")
    response = prompt(backend, name, ("label", "production")).json()
    assert (response["label"], response["version"]) == ("production", "1.0")
    assert "label" not in prompt(backend, name).json()
    assert served(backend, name, ("label", "staging"), ("branch", "dev")) is None
    assert versions(backend, ident)[1]["labels"] == ["staging"]
    call(backend, "PUT", f"{MANAGED}/{ident}/labels/staging", json={"version": None})
    gone = prompt(backend, name, ("label", "staging"))
    assert (gone.status_code, gone.json()["error"]) == (
        404,
        f"prompt '{name}' on branch 'main' has no label 'staging'",
    )


def test_wrong_labels_are_refused(backend: Backend, name: str) -> None:
    """Each with what is wrong."""
    ident = created(backend, name)["id"]
    path = f"{MANAGED}/{ident}/labels"
    for label, version, status in (
        ("production", "1.0", 422),
        ("staging", "9", 422),
        ("x" * 256, "1.0", 400),
        ("a%00b", "1.0", 404),
    ):
        response = call(backend, "PUT", f"{path}/{label}", json={"version": version})
        assert response.status_code == status, response.text
        assert response.json()["error"]
    both = prompt(backend, name, ("label", "staging"), ("version", "1.0"))
    assert (both.status_code, both.json()["error"]) == (
        400,
        "version and label exclude each other; give one of them",
    )


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/logs/prompt/a%00b"),
        ("GET", f"{MANAGED}/a%00b/versions"),
        ("PUT", f"{MANAGED}/a%00b/release"),
        ("GET", "/api/experiments/a%00b"),
    ],
)
def test_no_name_is_too_strange_for_a_database(backend: Backend, method: str, path: str) -> None:
    """PostgreSQL takes no NUL: there is no prompt and no experiment of such a name."""
    response = call(backend, method, path, **({"json": {"version": "1"}} if method == "PUT" else {}))
    assert response.status_code == 404, response.text


def test_a_configuration_comes_with_its_version(backend: Backend, name: str) -> None:
    """A version without one has none: nothing is taken from another version."""
    created(backend, name, config=CONFIG)
    add(backend, name, "2", release=False)
    assert prompt(backend, name).json()["config"] == CONFIG
    assert "config" not in prompt(backend, name, ("version", "2")).json()
    wrong = add(backend, name, "3", config="m-1")
    assert wrong.status_code == 422
    assert wrong.json()["error"].startswith("config must be ")


def test_a_chat_has_messages_and_a_text(backend: Backend, name: str) -> None:
    """`content` is a text on the wire in any case, for clients that know no messages."""
    ident = created(backend, name, CHAT)["id"]
    body = prompt(backend, name).json()
    assert body["messages"] == CHAT
    assert body["content"] == "system: Be brief.\n\nuser: {{question}}"
    assert versions(backend, ident)[0]["messages"] == CHAT
    add(backend, name, "2", "A text again")
    assert "messages" not in prompt(backend, name).json()


@pytest.mark.parametrize(
    "content",
    [[], [{"role": "user"}], [{"role": "", "content": "x"}], [{"role": "user", "content": 1}], {"a": 1}, 1],
)
def test_what_is_no_chat_is_refused(backend: Backend, name: str, content: Any) -> None:
    """Not stored, and not a 500."""
    response = call(backend, "POST", MANAGED, json={"name": name, "content": content})
    assert response.status_code == 422
    assert response.json()["error"].startswith("content")


def test_a_version_follows_the_one_that_its_author_has_seen(backend: Backend, name: str) -> None:
    """`after` is the newest version's revision; where that has changed, nothing is stored."""
    ident = created(backend, name)["id"]
    seen = versions(backend, ident)[-1]["revision"]
    assert add(backend, name, "2", after=seen).status_code == 201
    late = add(backend, name, "3", after=seen)
    assert late.status_code == 409
    assert "its newest version is '2'" in late.json()["error"]
    seen = versions(backend, ident)[-1]["revision"]
    call(backend, "PUT", f"{MANAGED}/{ident}", json={"content": "Rewritten in place"})
    assert add(backend, name, "3", after=seen).status_code == 409
    assert [each["version"] for each in versions(backend, ident)] == ["1.0", "2"]


def test_of_many_that_follow_the_same_version_one_is_stored(backend: Backend, name: str) -> None:
    """Also when they come at the same time."""
    ident = created(backend, name)["id"]
    seen = versions(backend, ident)[-1]["revision"]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: add(backend, name, f"v{n}", after=seen).status_code, range(8)))
    assert sorted(answers) == [201, *[409] * 7]
    assert len(versions(backend, ident)) == 2


@pytest.mark.parametrize("what", ["release", "labels/staging"])
def test_nothing_is_taken_away_without_saying_so(backend: Backend, name: str, what: str) -> None:
    """Only `null` serves none, or removes a label: a body without a version is refused."""
    ident = created(backend, name)["id"]
    call(backend, "PUT", f"{MANAGED}/{ident}/labels/staging", json={"version": "1.0"})
    refused = call(backend, "PUT", f"{MANAGED}/{ident}/{what}", json={})
    why = "version must be a string of 1 to 255 characters, or null for none, was missing"
    assert (refused.status_code, refused.json()["error"]) == (422, why)
    left = call(backend, "PUT", f"{MANAGED}/{ident}", json={}).json()
    assert (left["released"], left["labels"]) == ("1.0", {"staging": "1.0"})


def test_who_changed_what_and_when_is_kept(backend: Backend, name: str) -> None:
    """Newest first, with what was there before, so that anything can be undone."""
    ident = created(backend, name, metadata={"a": 1})["id"]
    add(backend, name, "2")
    call(backend, "PUT", f"{MANAGED}/{ident}/labels/staging", json={"version": "1.0"})
    call(backend, "PUT", f"{MANAGED}/{ident}", json={"content": "Rewritten", "metadata": {"a": 2}})
    call(backend, "PUT", f"{MANAGED}/{ident}/release", json={"version": "1.0"})
    changes = backend.get("/api/audit", subject=f"prompt:{ident}")["changes"]
    assert [each["action"] for each in changes] == [
        "prompt.release",
        "prompt.rewrite",
        "prompt.change",
        "prompt.label",
        "prompt.release",
        "prompt.version",
        "prompt.release",
        "prompt.version",
        "prompt.create",
    ]
    assert changes[0]["detail"] == {"version": "1.0", "before": "2"}
    assert changes[1]["detail"] == {"version": "2", "before": {"content": "Hello again", "config": None}}
    assert changes[2]["detail"]["before"]["metadata"] == {"a": 1}
    assert changes[3]["detail"] == {"label": "staging", "version": "1.0", "before": None}
    assert all(each["key_id"] and each["at"].endswith("+00:00") for each in changes)
    assert changes == sorted(changes, key=lambda each: -each["seq"])


def test_lists_name_the_released_and_the_newest_version(backend: Backend, name: str) -> None:
    """So that one sees which prompts have drafts."""
    created(backend, name)
    add(backend, name, "2", release=False)
    (listed,) = backend.get(MANAGED, name=name)["prompts"]
    assert (listed["released"], listed["newest"], listed["labels"]) == ("1.0", "2", {})


# -- experiments ---------------------------------------------------------------------------------------------


def experiment(backend: Backend, name: str, *versions: dict[str, Any], **more: Any) -> dict[str, Any]:
    body = {"experiment_id": f"e-{name}", "prompt_name": name, "sticky_type": "user_id", **more}
    response = call(backend, "POST", "/api/experiments", json={**body, "versions": versions})
    assert response.status_code == 201, response.text
    made: dict[str, Any] = response.json()
    return made


def share(version: str, percentage: float = 50.0, **more: Any) -> dict[str, Any]:
    return {
        "experiment_version_id": f"e-{version}",
        "version": version,
        "traffic_percentage": percentage,
        **more,
    }


def test_an_experiment_serves_a_version_with_its_messages_and_configuration(
    backend: Backend, name: str
) -> None:
    """Nothing of the default version is mixed into it."""
    created(backend, name, CHAT, config={"model": "default"})
    add(backend, name, "2", "A text", release=False)
    experiment(backend, name, share("2", 100))
    body = prompt(backend, name, *sticky("user_id", "u")).json()
    assert (body["version"], body["content"]) == ("2", "A text")
    assert "messages" not in body
    assert "config" not in body
    routed = {"experimentId": f"e-{name}", "stickyKey": "user_id", "stickyValue": "u", "apiKey": "psk_local"}
    by_id = call(backend, "POST", "/api/experiments/route", json=routed).json()
    assert by_id["prompt"]["content"] == "A text"
    assert "config" not in by_id["prompt"]


def test_a_version_of_an_experiment_may_have_contents_of_its_own(backend: Backend, name: str) -> None:
    """A chat, too, with a configuration."""
    created(backend, name)
    experiment(backend, name, share("x", 100, content=CHAT, config=CONFIG))
    body = prompt(backend, name, *sticky("user_id", "u")).json()
    assert (body["messages"], body["config"]) == (CHAT, CONFIG)


def test_a_paused_experiment_goes_on_following_its_versions(backend: Backend, name: str) -> None:
    """What is served is what the version says now, not what it said when the experiment was changed."""
    ident = created(backend, name)["id"]
    experiment(backend, name, share("1.0", 100))
    path = f"/api/experiments/e-{name}"
    for status in ("paused", "running"):
        assert call(backend, "PUT", path, json={"status": status}).json()["status"] == status
    call(backend, "PUT", f"{MANAGED}/{ident}", json={"content": "Mended"})
    assert prompt(backend, name, *sticky("user_id", "u")).json()["content"] == "Mended"


def test_a_dry_run_shows_what_a_change_would_make(backend: Backend, name: str) -> None:
    """With the contents of versions that are taken from the prompt."""
    created(backend, name)
    add(backend, name, "2", "New", release=False)
    experiment(backend, name, share("1.0", 100))
    body = {"versions": [share("1.0", 60), share("2", 40)], "dry_run": True}
    tried = call(backend, "PUT", f"/api/experiments/e-{name}", json=body)
    assert tried.status_code == 200, tried.text
    contents = [each["content"] for each in tried.json()["experiment"]["versions"]]
    assert contents == ["Hello", "New"]


def test_each_change_of_an_experiment_is_kept_whole(backend: Backend, name: str) -> None:
    """With its time, control and primary metric, and all versions."""
    created(backend, name)
    add(backend, name, "2", release=False)
    made = experiment(
        backend, name, share("1.0"), share("2"), control="e-1.0", primary_metric="thumbs", status="draft"
    )
    assert (made["control"], made["primary_metric"], made["status"]) == ("e-1.0", "thumbs", "draft")
    path = f"/api/experiments/e-{name}"
    call(backend, "PUT", path, json={"status": "running"})
    call(backend, "PUT", path, json={"control": "e-2", "versions": [share("1.0", 10), share("2", 90)]})
    changes = backend.get("/api/audit", subject=f"experiment:e-{name}")["changes"]
    kept = [
        (
            each["detail"]["status"],
            each["detail"]["control"],
            [one["traffic_percentage"] for one in each["detail"]["variants"]],
        )
        for each in changes
    ]
    assert kept == [
        ("running", "e-2", [10, 90]),
        ("running", "e-1.0", [50, 50]),
        ("draft", "e-1.0", [50, 50]),
    ]
    assert [each["action"] for each in changes] == ["experiment.change"] * 2 + ["experiment.create"]
    assert all(each["at"] and each["detail"]["primary_metric"] == "thumbs" for each in changes)
    wrong = call(backend, "PUT", path, json={"control": "nobody"})
    assert (wrong.status_code, wrong.json()["error"]) == (
        422,
        "control must be one of e-1.0, e-2, was 'nobody'",
    )
