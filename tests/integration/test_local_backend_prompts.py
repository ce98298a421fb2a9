"""The local backend's prompts over HTTP: fetched, routed by its experiments, and managed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.conftest import NewDatabase
from tests.support.backend import Backend
from tests.support.local_backend import (
    KEY_OF,
    SEED,
    call,
    new_id,
    prompt,
    seeded_backend,
    sticky,
)


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory, new_database: NewDatabase) -> Iterator[Backend]:
    with seeded_backend(tmp_path_factory.mktemp("seed"), new_database()) as backend:
        yield backend


class TestPrompts:
    def test_a_prompt_has_all_that_clients_read(self, backend: Backend) -> None:
        """The answer is the protocol's, without the fields of experiments when nobody asked."""
        found = prompt(backend, "greeting").json()
        assert found.pop("prompt_id")
        assert found == {
            "name": "greeting",
            "content": "Hello {{name}}",
            "version": "2",
            "branch": "main",
            "project": "default",
            "enable_logging": True,
            "metadata": {},
        }

    @pytest.mark.parametrize("name", ["a/b", "ä ö", "100%"])
    def test_any_name_is_found(self, backend: Backend, name: str) -> None:
        """Slashes, spaces, percent signs and umlauts come through quoting."""
        assert prompt(backend, name).json()["name"] == name

    def test_branch_and_version_select(self, backend: Backend) -> None:
        """The current version of a branch, or an older one by name."""
        assert prompt(backend, "greeting", ("branch", "dev")).json()["content"] == "Hello from dev"
        old = prompt(backend, "greeting", ("version", "1")).json()
        assert (old["version"], old["content"]) == ("1", "Hi")

    def test_a_key_gets_the_prompts_of_its_project(self, backend: Backend) -> None:
        """A name may be in several projects; which one is meant is up to the key."""
        assert prompt(backend, "shared").json()["content"] == "for all"
        own = prompt(backend, "shared", X_API_Key=KEY_OF["p1"]).json()
        assert (own["content"], own["project"]) == ("for p1", "p1")
        assert (own["enable_logging"], own["metadata"]) == (False, {"k": [1]})

    def test_another_projects_prompt_is_not_found(self, backend: Backend) -> None:
        """There is no prompt for all projects, and no key that sees all."""
        assert prompt(backend, "only-p2", X_API_Key=KEY_OF["p2"]).status_code == 200
        assert prompt(backend, "only-p2", X_API_Key=KEY_OF["p1"]).status_code == 404
        assert prompt(backend, "only-p2").status_code == 404

    @pytest.mark.parametrize(
        ("name", "query", "reason"),
        [
            ("x", [], "prompt 'x' not found on branch 'main'"),
            ("greeting", [("branch", "b")], "prompt 'greeting' not found on branch 'b'"),
            ("greeting", [("version", "7")], "prompt 'greeting' has no version '7' on branch 'main'"),
        ],
    )
    def test_what_is_not_there_is_a_404_in_json(
        self, backend: Backend, name: str, query: list[tuple[str, str]], reason: str
    ) -> None:
        """The reason tells prompt, branch and version apart."""
        answer = prompt(backend, name, *query)
        assert (answer.status_code, answer.json()) == (404, {"error": reason})


class TestRouting:
    def test_a_sticky_value_always_gets_the_same_version(self, backend: Backend) -> None:
        """The answer carries the version's content and says which experiment it is from."""
        user = self._user_with("A", backend)
        answers = [prompt(backend, "tested", *sticky("user_id", user)).json() for _ in range(2)]
        assert answers[0] == answers[1]
        expected = {
            "version": "1a",
            "content": "A",
            "experiment_id": "half",
            "experiment_version_id": "half-a",
            "sticky_key": "user_id",
            "sticky_value": user,
        }
        assert answers[0] | expected == answers[0]

    def test_who_is_outside_the_traffic_gets_the_default(self, backend: Backend) -> None:
        """Percentages below 100 leave the rest with the prompt's own version and a null experiment."""
        user = self._user_with("default", backend)
        answer = prompt(backend, "tested", *sticky("user_id", user)).json()
        assert (answer["version"], answer["experiment_id"]) == ("0", None)
        assert "experiment_version_id" not in answer

    def test_the_experiments_own_key_counts_among_several(self, backend: Backend) -> None:
        """Pairs for other keys come along and change nothing."""
        user = self._user_with("B", backend)
        pairs = [*sticky("customer_id", "c"), *sticky("user_id", user), *sticky("input_hash", "h")]
        answer = prompt(backend, "tested", *pairs).json()
        assert (answer["content"], answer["sticky_key"], answer["sticky_value"]) == ("B", "user_id", user)

    @pytest.mark.parametrize("name", ["tested", "greeting"])
    def test_where_no_experiment_applies_it_is_null(self, backend: Backend, name: str) -> None:
        """A key that only an ended experiment goes by, or a prompt without one: evaluated, and none."""
        answer = prompt(backend, name, *sticky("session_id", "s")).json()
        assert answer["experiment_id"] is None

    def test_a_version_asked_for_by_name_is_not_routed(self, backend: Backend) -> None:
        """Who pins a version gets it."""
        user = self._user_with("A", backend)
        answer = prompt(backend, "tested", ("version", "0"), *sticky("user_id", user)).json()
        assert (answer["content"], answer["experiment_id"]) == ("default", None)

    def test_half_a_sticky_pair_is_a_400(self, backend: Backend) -> None:
        """A key without a value is a mistake of the client, and is told so."""
        assert prompt(backend, "tested", ("sticky_key", "user_id")).status_code == 400

    def test_the_route_call_agrees_with_the_fetch(self, backend: Backend) -> None:
        """Both ways of routing give one value one version; outside the traffic none is selected."""
        for content, version_id in (("A", "half-a"), ("B", "half-b"), ("default", None)):
            answer = self._route(backend, stickyValue=self._user_with(content, backend))
            assert answer.status_code == 200
            assert answer.json()["selected_version_id"] == version_id
            assert answer.json()["prompt"]["content"] == content
            assert answer.json()["prompt"]["name"] == "tested"

    def test_an_ended_experiment_selects_nothing(self, backend: Backend) -> None:
        """Who still asks after the end gets the default version."""
        answer = self._route(backend, experimentId="over", stickyKey="session_id").json()
        assert (answer["selected_version_id"], answer["prompt"]["content"]) == (None, "default")

    @pytest.mark.parametrize(
        ("changes", "status"),
        [
            ({"experimentId": "none"}, 404),
            ({"stickyKey": "session_id"}, 422),
            ({"stickyValue": 5}, 422),
            ({"more": 1}, 422),
            ({"apiKey": "psk_wrong"}, 401),
            ({"apiKey": KEY_OF["p1"]}, 403),
        ],
    )
    def test_a_wrong_route_call_is_refused(
        self, backend: Backend, changes: dict[str, Any], status: int
    ) -> None:
        """Unknown experiment, a key it doesn't go by, a wrong type, an unknown field, a bad API key or
        another project's."""
        answer = self._route(backend, **changes)
        assert answer.status_code == status
        assert list(answer.json()) == ["error"]

    def test_an_experiment_tells_its_details(self, backend: Backend) -> None:
        """What a client needs to know before it routes."""
        assert backend.get("/api/experiments/half") == {
            "experiment_id": "half",
            "status": "running",
            "sticky_type": "user_id",
            "prompt_name": "tested",
            "branch": "main",
            "project_id": "default",
            "control": None,
            "primary_metric": None,
            "salt": "half",
            "allocation": 2,
            "versions": SEED["experiments"][0]["versions"],
            "slots": {"half-a": [[0, 250_000]], "half-b": [[250_000, 500_000]]},
            "window_seconds": 86_400,
            "guards": [],
            "directions": {},
        }
        assert call(backend, "GET", "/api/experiments/none").status_code == 404

    def _route(self, backend: Backend, **changes: Any) -> requests.Response:
        body = {"experimentId": "half", "stickyKey": "user_id", "stickyValue": "u", "apiKey": backend.api_key}
        return call(backend, "POST", "/api/experiments/route", json=body | changes)

    def _user_with(self, content: str, backend: Backend) -> str:
        for number in range(100):
            user = f"user {number}/ä"
            if prompt(backend, "tested", *sticky("user_id", user)).json()["content"] == content:
                return user
        raise AssertionError(f"none of 100 users gets {content!r}")


class TestManagingPrompts:
    PATH = "/api/logs/cli/prompts"

    def test_a_prompt_from_its_making_to_its_removal(self, backend: Backend) -> None:
        """Made, versioned, changed, moved and removed; each step shows in what clients fetch."""
        name = new_id()
        made = call(backend, "POST", self.PATH, json={"name": name, "content": "one", "metadata": {"a": 1}})
        assert made.status_code == 201
        prompt_id = made.json()["id"]
        assert prompt(backend, name).json()["content"] == "one"

        version = {"name": name, "content": "two", "version": "2", "change_message": "better"}
        assert call(backend, "POST", f"{self.PATH}/version", json=version).status_code == 201
        assert prompt(backend, name).json()["content"] == "two"
        assert prompt(backend, name, ("version", made.json()["version"])).json()["content"] == "one"

        change = {"content": "three", "branch": "dev", "enable_logging": False, "metadata": {"b": 2}}
        assert call(backend, "PUT", f"{self.PATH}/{prompt_id}", json=change).status_code == 200
        assert prompt(backend, name).status_code == 404
        changed = prompt(backend, name, ("branch", "dev")).json()
        assert changed | change | {"version": "2", "prompt_id": prompt_id} == changed

        assert call(backend, "DELETE", f"{self.PATH}/{prompt_id}").status_code == 200
        assert prompt(backend, name, ("branch", "dev")).status_code == 404
        assert call(backend, "DELETE", f"{self.PATH}/{prompt_id}").status_code == 404

    def test_the_list_is_of_a_project_and_a_branch(self, backend: Backend) -> None:
        """Management speaks of `id` and `project_id`; a filter leaves out the other branches' prompts."""
        everything = backend.get(self.PATH)["prompts"]
        assert {"greeting", "a/b"} <= {each["name"] for each in everything}
        assert {"id", "name", "content", "version", "branch", "project_id", "metadata"} <= set(everything[0])
        assert {each["project_id"] for each in everything} == {"default"}
        assert backend.get(self.PATH, project_id="default") == {"prompts": everything, "next": None}
        assert {each["branch"] for each in backend.get(self.PATH, branch="dev")["prompts"]} == {"dev"}

    def test_what_exists_is_a_409(self, backend: Backend) -> None:
        """Neither a prompt nor a version nor a branch's prompt is written over by accident."""
        name = new_id()
        for branch in ("main", "dev"):
            body = {"name": name, "content": "x", "branch": branch}
            assert call(backend, "POST", self.PATH, json=body).status_code == 201
            again = call(backend, "POST", self.PATH, json=body)
            assert again.status_code == 409
        version = {"name": name, "content": "y", "version": "1.0"}
        assert call(backend, "POST", f"{self.PATH}/version", json=version).status_code == 409
        prompt_id = prompt(backend, name).json()["prompt_id"]
        moved = call(backend, "PUT", f"{self.PATH}/{prompt_id}", json={"branch": "dev"})
        assert moved.status_code == 409
        assert prompt(backend, name).json()["content"] == "x"

    def test_a_project_may_have_a_name_that_another_has(self, backend: Backend) -> None:
        """Names are a project's own, which the key says; the body may, too."""
        name = new_id()
        for project_id, key in KEY_OF.items():
            for body in ({"project_id": project_id}, {"branch": "dev"}):
                body = {"name": name, "content": project_id, **body}
                made = call(backend, "POST", self.PATH, json=body, headers={"X-API-Key": key})
                assert (made.status_code, made.json()["project_id"]) == (201, project_id)
        assert prompt(backend, name, X_API_Key=KEY_OF["p2"]).json()["content"] == "p2"

    @pytest.mark.parametrize("how", ["body", "query", "header"])
    def test_naming_another_project_is_a_403_that_names_both(self, backend: Backend, how: str) -> None:
        """Whoever mixes up keys and projects learns which ones."""
        body = {"name": new_id(), "content": "c"}
        if how == "body":
            answer = call(backend, "POST", self.PATH, json={**body, "project_id": "p1"})
        elif how == "query":
            answer = call(backend, "GET", self.PATH, params={"project_id": "p1"})
        else:
            answer = call(backend, "POST", self.PATH, json=body, headers={"X-Project-Id": "p1"})
        name = "X-Project-Id" if how == "header" else "project_id"
        told = {"error": f"{name} is 'p1', the API key is for project 'default'"}
        assert (answer.status_code, answer.json()) == (403, told)

    @pytest.mark.parametrize(
        ("method", "path", "body", "status"),
        [
            ("POST", "", {"name": "n"}, 422),
            ("POST", "", {"name": "", "content": "c"}, 422),
            ("POST", "", {"name": "n", "content": "c", "color": "red"}, 422),
            ("POST", "/version", {"name": "greeting", "content": "c"}, 422),
            ("POST", "/version", {"name": "nobody", "content": "c", "version": "3"}, 404),
            ("PUT", "/nobody", {"content": "c"}, 404),
            ("PUT", "/nobody", {"enable_logging": "yes"}, 422),
        ],
    )
    def test_a_wrong_call_is_refused(
        self, backend: Backend, method: str, path: str, body: dict[str, Any], status: int
    ) -> None:
        """Missing, empty, unknown and mistyped fields, and prompts that aren't there."""
        assert call(backend, method, self.PATH + path, json=body).status_code == status

    def test_a_key_sees_its_own_project(self, backend: Backend) -> None:
        """Its name is what the seed says, else its id; no other one is to be seen."""
        default = {"id": "default", "name": "default"}
        assert backend.get("/api/projects") == {"projects": [default]}
        assert backend.get("/api/projects/default") == default
        assert call(backend, "GET", "/api/projects/p1").status_code == 404
        named = call(backend, "GET", "/api/projects/p1", headers={"X-API-Key": KEY_OF["p1"]})
        assert named.json() == {"id": "p1", "name": "Project One"}
