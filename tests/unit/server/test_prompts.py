"""The local backend's prompts: their management, version by version, and the ETags of what is fetched."""

from __future__ import annotations

from typing import Any

import pytest

from banyan_hp.cli.api import pages
from tests.support.app import LocalApp

PATH = "/api/logs/cli/prompts"
FETCH = "/api/logs/prompt/email"
EXPERIMENT: dict[str, Any] = {
    "experiment_id": "tone",
    "prompt_name": "email",
    "sticky_type": "user_id",
    "versions": [
        {"experiment_version_id": "a", "version": "9", "content": "nine", "traffic_percentage": 100}
    ],
}
STICKY = (("sticky_key", "user_id"), ("sticky_value", "u"))


@pytest.fixture
def prompt_id(app: LocalApp) -> str:
    """A prompt with the versions 1.0, 2.0 and 3.0, in order; the last one is current."""
    made = app.call("POST", PATH, {"name": "email", "content": "one", "metadata": {"n": 1}})
    for version, content in (("2.0", "two"), ("3.0", "three")):
        add_version(app, version, content)
    return str(made.json()["id"])


def add_version(app: LocalApp, version: str, content: str) -> None:
    body = {"name": "email", "version": version, "content": content, "change_message": f"to {version}"}
    assert app.call("POST", f"{PATH}/version", body).status_code == 201


def change(app: LocalApp, prompt_id: str, **fields: Any) -> None:
    answer = app.call("PUT", f"{PATH}/{prompt_id}", fields)
    assert answer.status_code == 200, answer.text


class TestVersions:
    def test_the_versions_are_listed_in_order_of_their_making(self, app: LocalApp, prompt_id: str) -> None:
        """Each with its content, the message it came with, its time, and whether it is current."""
        answer = app.get(f"{PATH}/{prompt_id}/versions")
        assert answer["id"] == prompt_id
        for name in ("created_at", "released_at"):
            assert all(each.pop(name).endswith("+00:00") for each in answer["versions"])
        assert len({each.pop("revision") for each in answer["versions"]}) == 3
        (author,) = {each.pop("author") for each in answer["versions"]}
        assert [key["id"] for key in app.get("/api/keys")["keys"]] == [author]
        common: dict[str, Any] = {"config": None, "labels": []}
        assert answer["versions"] == [
            {"version": "1.0", "content": "one", "change_message": None, "current": False, **common},
            {"version": "2.0", "content": "two", "change_message": "to 2.0", "current": False, **common},
            {"version": "3.0", "content": "three", "change_message": "to 3.0", "current": True, **common},
        ]
        assert app.call("GET", f"{PATH}/none/versions").status_code == 404

    def test_an_older_version_is_made_current_again(self, app: LocalApp, prompt_id: str) -> None:
        """A roll-back: its content is what clients get, and no version is lost or written over."""
        change(app, prompt_id, version="1.0")
        fetched = app.get(FETCH)
        assert (fetched["version"], fetched["content"], fetched["metadata"]) == ("1.0", "one", {"n": 1})
        versions = app.get(f"{PATH}/{prompt_id}/versions")["versions"]
        assert [(each["content"], each["current"]) for each in versions] == [
            ("one", True),
            ("two", False),
            ("three", False),
        ]
        change(app, prompt_id, version="3.0")
        assert app.get(FETCH)["content"] == "three"

    def test_content_goes_to_the_version_that_is_named_with_it(self, app: LocalApp, prompt_id: str) -> None:
        """Version and content together: that version is current and corrected; the others stay."""
        change(app, prompt_id, version="2.0", content="two, corrected")
        assert app.get(FETCH)["content"] == "two, corrected"
        assert app.get(FETCH, ("version", "3.0"))["content"] == "three"

    def test_a_version_that_there_is_not_is_refused(self, app: LocalApp, prompt_id: str) -> None:
        """The refusal names prompt and version; nothing is made by the way."""
        answer = app.call("PUT", f"{PATH}/{prompt_id}", {"version": "9", "content": "nine"})
        assert answer.status_code == 422
        assert answer.json() == {"error": "version must be a stored version of prompt 'email', was '9'"}
        assert app.get(FETCH)["version"] == "3.0"


def test_the_command_line_follows_the_pages(app: LocalApp) -> None:
    """Of prompts, of versions, of changes and of keys: all of them, each once, in order."""
    asked: list[str] = []

    def get(path: str, **query: str | int) -> Any:
        asked.append(path)
        return app.get(path, *((name, str(value)) for name, value in query.items()))

    for number in range(5):
        ident = app.call("POST", PATH, {"name": f"p{number}", "content": "c"}).json()["id"]
    for number in range(4):
        app.call("POST", f"{PATH}/version", {"name": "p4", "version": f"v{number}", "content": "c"})
    names = [each["name"] for page in pages(get, PATH, limit=2) for each in page["prompts"]]
    assert names == [f"p{number}" for number in range(5)]
    versions = pages(get, f"{PATH}/{ident}/versions", limit=2)
    assert [each["version"] for page in versions for each in page["versions"]] == [
        *("1.0", "v0", "v1", "v2", "v3")
    ]
    changes = pages(get, "/api/audit", "before", limit=5)
    numbers = [each["seq"] for page in changes for each in page["changes"]]
    assert numbers == sorted(set(numbers), reverse=True)
    made = [app.call("POST", "/api/keys", {"role": "read"}).json()["id"] for _ in range(4)]
    parts = [[each["id"] for each in page["keys"]] for page in pages(get, "/api/keys", limit=2)]
    assert [len(part) for part in parts] == [2, 2, 1]  # the caller's is the first
    assert [each for part in parts for each in part][1:] == made
    assert len(numbers) == 5 * 3 + 4 * 2 + 1  # and the key
    assert len(asked) == 3 + 3 + 5 + 3


class TestNulls:
    def test_null_is_the_same_as_left_out(self, app: LocalApp) -> None:
        """banyan-sdk's create_prompt() and create_prompt_version() send it where they have no project."""
        optional: dict[str, Any] = {"branch": "main", "metadata": {}, "project_id": None}
        made = app.call("POST", PATH, {"name": "email", "content": "one", **optional})
        assert made.status_code == 201
        assert made.json()["project_id"] == app.project
        version = {"name": "email", "content": "two", "version": "2.0", "change_message": "two", **optional}
        newer = app.call("POST", f"{PATH}/version", version)
        assert (newer.status_code, newer.json()["version"]) == (201, "2.0")
        nothing = dict.fromkeys(["version", "content", "metadata", "branch", "enable_logging"])
        same = app.call("PUT", f"{PATH}/{made.json()['id']}", nothing)
        assert (same.status_code, same.json()) == (200, newer.json())

    def test_null_names_no_project_as_the_empty_header_does(self, app: LocalApp) -> None:
        """As where they are left out: the key's project is meant."""
        body = {"name": "email", "content": "one", "branch": None, "metadata": None, "project_id": None}
        made = app.call("POST", PATH, body, headers={"X-Project-Id": ""})
        assert (made.json()["project_id"], made.json()["branch"]) == (app.project, "main")

    @pytest.mark.parametrize("field", ["name", "content"])
    def test_what_must_be_there_must_not_be_null(self, app: LocalApp, field: str) -> None:
        """The refusal names it."""
        answer = app.call("POST", PATH, {"name": "email", "content": "one", field: None})
        assert answer.status_code == 422
        assert answer.json()["error"].endswith("was None")


class TestBranches:
    def test_one_name_on_two_branches_is_two_prompts(self, app: LocalApp, prompt_id: str) -> None:
        """Each has its own id, versions and settings; changing or deleting one leaves the other."""
        made = app.call("POST", PATH, {"name": "email", "content": "dev", "branch": "dev"}).json()
        version = {"name": "email", "content": "dev two", "version": "2.0", "branch": "dev"}
        assert app.call("POST", f"{PATH}/version", version).status_code == 201
        change(app, made["id"], enable_logging=False, metadata={"of": "dev"})
        on_dev = app.get(FETCH, ("branch", "dev"))
        assert (on_dev["content"], on_dev["enable_logging"], on_dev["metadata"]) == (
            "dev two",
            False,
            {"of": "dev"},
        )
        on_main = app.get(FETCH)
        assert (on_main["prompt_id"], on_main["content"], on_main["enable_logging"]) == (
            prompt_id,
            "three",
            True,
        )
        assert len(app.get(f"{PATH}/{made['id']}/versions")["versions"]) == 2

        assert app.call("DELETE", f"{PATH}/{made['id']}").json() == {"id": made["id"], "deleted": True}
        assert app.call("GET", FETCH, query=[("branch", "dev")]).status_code == 404
        assert app.call("GET", f"{PATH}/{made['id']}/versions").status_code == 404
        assert app.get(FETCH) == on_main

    def test_the_branches_of_a_prompt_are_its_names_list(self, app: LocalApp, prompt_id: str) -> None:
        """`name` leaves out all other prompts."""
        for name, branch in (("email", "dev"), ("sms", "main")):
            app.call("POST", PATH, {"name": name, "content": "c", "branch": branch})
        found = app.get(PATH, ("name", "email"))["prompts"]
        assert [(each["name"], each["branch"]) for each in found] == [("email", "main"), ("email", "dev")]

    def test_a_deleted_name_can_be_used_again(self, app: LocalApp, prompt_id: str) -> None:
        """The new prompt is another one, with none of the old versions."""
        app.call("DELETE", f"{PATH}/{prompt_id}")
        made = app.call("POST", PATH, {"name": "email", "content": "new"}).json()
        assert made["id"] != prompt_id
        assert app.call("GET", FETCH, query=[("version", "2.0")]).status_code == 404

    def test_logging_and_metadata_are_changed_apart_from_the_content(
        self, app: LocalApp, prompt_id: str
    ) -> None:
        """Each change shows at once in what clients fetch, and nothing else does."""
        before = app.get(FETCH)
        change(app, prompt_id, enable_logging=False)
        assert app.get(FETCH) == before | {"enable_logging": False}
        change(app, prompt_id, metadata={"owner": {"team": "é"}})
        assert app.get(FETCH) == before | {"enable_logging": False, "metadata": {"owner": {"team": "é"}}}


@pytest.mark.usefixtures("prompt_id")
class TestETags:
    def test_a_matching_tag_is_a_304_without_a_body(self, app: LocalApp) -> None:
        """Who has the answer is told so, with the tag again and nothing else."""
        tag = self._tag(app, FETCH)
        answer = self._conditional(app, FETCH, tag)
        assert (answer.status_code, answer.content, answer.headers["ETag"]) == (304, b"", tag)

    @pytest.mark.parametrize("form", ["{tag}", "W/{tag}", '"x", {tag}', '"a,b" ,W/{tag},', "*", " * "])
    def test_lists_weak_tags_and_the_star_match(self, app: LocalApp, form: str) -> None:
        """The forms of `If-None-Match`, compared weakly as it is defined."""
        assert self._conditional(app, FETCH, form.format(tag=self._tag(app, FETCH))).status_code == 304

    @pytest.mark.parametrize("form", ['"x"', "", "{bare}", "w/{tag}x", '"{bare}x"', "**", '"*"', '"'])
    def test_another_tag_or_none_gets_the_answer(self, app: LocalApp, form: str) -> None:
        """What does not match, or is no tag at all, is answered in full."""
        tag = self._tag(app, FETCH)
        condition = form.format(tag=tag[:-1], bare=tag.strip('"'))
        answer = self._conditional(app, FETCH, condition)
        assert (answer.status_code, answer.json()["content"]) == (200, "three")

    def test_whatever_changes_in_the_answer_changes_the_tag(self, app: LocalApp, prompt_id: str) -> None:
        """Content, version, metadata, logging, an experiment: a stale tag is never good."""
        seen = [self._tag(app, FETCH, *STICKY)]
        changes: list[tuple[str, str, Any]] = [
            ("PUT", f"{PATH}/{prompt_id}", {"content": "corrected"}),
            ("PUT", f"{PATH}/{prompt_id}", {"version": "1.0"}),
            ("PUT", f"{PATH}/{prompt_id}", {"metadata": {"n": 2}}),
            ("PUT", f"{PATH}/{prompt_id}", {"enable_logging": False}),
            ("POST", "/api/experiments", EXPERIMENT),
            ("PUT", "/api/experiments/tone", {"versions": [EXPERIMENT["versions"][0] | {"content": "ten"}]}),
        ]
        for method, path, body in changes:
            assert app.call(method, path, body).is_success
            seen.append(self._tag(app, FETCH, *STICKY))
        assert len(set(seen)) == len(seen)

    def test_an_answer_that_comes_back_has_its_tag_again(self, app: LocalApp, prompt_id: str) -> None:
        """The tag is of the answer, not of the time: a roll-back is recognised."""
        before = self._tag(app, FETCH)
        change(app, prompt_id, version="1.0")
        assert self._conditional(app, FETCH, before).status_code == 200
        change(app, prompt_id, version="3.0")
        assert self._conditional(app, FETCH, before).status_code == 304

    def test_an_experiments_page_has_a_tag_too(self, app: LocalApp) -> None:
        """The same for who polls an experiment's details."""
        app.call("POST", "/api/experiments", EXPERIMENT)
        page = "/api/experiments/tone"
        tag = self._tag(app, page)
        assert self._conditional(app, page, tag).status_code == 304
        app.call("PUT", page, {"status": "paused"})
        assert self._conditional(app, page, tag).status_code == 200

    def test_what_is_not_there_is_a_404_whatever_the_condition(self, app: LocalApp) -> None:
        """A deleted prompt is never "not modified"."""
        answer = self._conditional(app, "/api/logs/prompt/none", "*")
        assert (answer.status_code, "ETag" in answer.headers) == (404, False)

    def _tag(self, app: LocalApp, path: str, *query: tuple[str, str]) -> str:
        tag: str = app.call("GET", path, query=query).headers["ETag"]
        assert tag.startswith('"')
        return tag

    def _conditional(self, app: LocalApp, path: str, condition: str) -> Any:
        return app.call("GET", path, headers={"If-None-Match": condition})
