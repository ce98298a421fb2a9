"""The local backend's experiments: their management, what each routing mode answers, and their usage."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from banyan_hp.cli.api import pages
from banyan_hp.server.starting import RoutingMode
from tests.conftest import NewDatabase
from tests.support.app import LocalApp

PATH = "/api/experiments"
PROMPTS = "/api/logs/cli/prompts"
PERCENTAGE = "a number from 0 to 100 of at most 30 decimals"
STATUSES = ("draft", "scheduled", "running", "paused", "finished")
HALVES = {"a": [[0, 500_000]], "b": [[500_000, 1_000_000]]}
OTHERS = [[0, 500_000], [600_000, 1_000_000]]
ASSIGNMENT = ("experiment_id", "experiment_version_id", "sticky_key", "sticky_value", "experiments")


@pytest.fixture
def app(application: LocalApp) -> LocalApp:
    caller = application.in_new_project()
    make_prompt(caller, "email")
    return caller


def make_prompt(app: LocalApp, name: str, **fields: Any) -> dict[str, Any]:
    """A prompt with the versions 1.0 and 2.0, of which the second is the current one."""
    made = app.call("POST", PROMPTS, {"name": name, "content": f"{name} one", **fields})
    assert made.status_code == 201
    version = {"name": name, "content": f"{name} two", "version": "2.0", **fields}
    newer = app.call("POST", f"{PROMPTS}/version", version)
    assert newer.status_code == 201
    return dict(newer.json())


def variant(name: str, percentage: float = 50, **fields: Any) -> dict[str, Any]:
    own = {"experiment_version_id": name, "version": f"v-{name}", "content": f"content of {name}"}
    return own | {"traffic_percentage": percentage} | fields


def body(*versions: dict[str, Any], **fields: Any) -> dict[str, Any]:
    chosen = list(versions) or [variant("a"), variant("b")]
    return {"prompt_name": "email", "sticky_type": "user_id", "versions": chosen, **fields}


def make(app: LocalApp, *versions: dict[str, Any], **fields: Any) -> dict[str, Any]:
    made = app.call("POST", PATH, body(*versions, **fields))
    assert made.status_code == 201, made.text
    return dict(made.json())


def fetch(app: LocalApp, user: str | None = None, *more: tuple[str, str], name: str = "email") -> Any:
    sticky = [("sticky_key", "user_id"), ("sticky_value", user)] if user is not None else []
    return app.get(f"/api/logs/prompt/{quote(name)}", *sticky, *more)


def _listed_by_pages(app: LocalApp, limit: int, *query: tuple[str, str]) -> list[list[str]]:
    def get(path: str, **params: str | int) -> Any:
        return app.get(path, *query, *((name, str(value)) for name, value in params.items()))

    return [[each["experiment_id"] for each in page["experiments"]] for page in pages(get, PATH, limit=limit)]


def without_content(version: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in version.items() if name != "content"}


def log(app: LocalApp, **fields: Any) -> None:
    record = {"input": "i", "output": "o", "metadata": {}, **fields}
    assert app.call("POST", "/api/logs/prompt-usage", record).status_code == 201


class TestManaging:
    def test_an_experiment_is_made_with_all_its_fields(self, app: LocalApp) -> None:
        """The answer is the experiment as its own page shows it."""
        made = make(app, experiment_id="tone/é", status="paused", salt="s", branch="main")
        assert made == {
            "experiment_id": "tone/é",
            "status": "paused",
            "sticky_type": "user_id",
            "prompt_name": "email",
            "branch": "main",
            "project_id": app.project,
            "control": None,
            "primary_metric": None,
            "window_seconds": 86_400,
            "guards": [],
            "directions": {},
            "salt": "s",
            "allocation": 2,
            "versions": [variant("a"), variant("b")],
            "slots": HALVES,
        }
        assert app.get(f"{PATH}/{quote('tone/é', safe='')}") == made

    def test_what_is_left_out_has_a_default(self, app: LocalApp) -> None:
        """A fresh id, which is the salt as well, and a status that routes."""
        first, second = make(app), make(app)
        assert first["experiment_id"] != second["experiment_id"]
        assert (first["status"], first["salt"]) == ("running", first["experiment_id"])

    def test_a_list_is_read_by_pages(self, app: LocalApp) -> None:
        """`next` leads through all, in order of their making, also of those that a filter chooses."""
        make_prompt(app, "letter")
        names = [make(app, prompt_name=("letter", "email")[index % 2])["experiment_id"] for index in range(7)]
        assert _listed_by_pages(app, 3) == [names[:3], names[3:6], names[6:]]
        assert _listed_by_pages(app, 2, ("prompt_name", "letter")) == [names[:4:2], names[4::2]]
        whole = app.get(PATH)
        assert ([each["experiment_id"] for each in whole["experiments"]], whole["next"]) == (names, None)
        refused = app.call("GET", PATH, query=[("after", "x")])
        assert (refused.status_code, "after" in refused.json()["error"]) == (400, True)

    def test_a_page_of_large_experiments_is_short(self, app: LocalApp) -> None:
        """Also where the contents are those of the prompt's versions."""
        large = {"name": "email", "version": "large", "content": "x" * 5_000_000}
        assert app.call("POST", f"{PROMPTS}/version", large).status_code == 201
        own = make(app, variant("a", content="y" * 5_000_000))
        following = make(app, {**without_content(variant("b")), "version": "large"})
        small = make(app)
        rest = [following["experiment_id"], small["experiment_id"]]
        assert _listed_by_pages(app, 1000) == [[own["experiment_id"]], rest]

    def test_each_field_can_be_changed_alone(self, app: LocalApp) -> None:
        """What a change does not name stays."""
        current = make(app, experiment_id="tone")
        changes: list[dict[str, Any]] = [
            {"status": "paused"},
            {"sticky_type": "customer_id"},
            {"salt": "other"},
            {"versions": [variant("b", 10), variant("c", 90)]},
            {},
        ]
        for change in changes:
            slots = {"slots": {"b": [[500_000, 600_000]], "c": OTHERS}} if "versions" in change else {}
            current |= change | slots
            changed = app.call("PUT", f"{PATH}/tone", change)
            assert (changed.status_code, changed.json()) == (200, current)
        assert app.get(f"{PATH}/tone") == current

    def test_a_removed_experiment_is_gone_and_its_records_stay(self, app: LocalApp) -> None:
        """Removing routes nobody any more; what was logged was logged."""
        make(app, variant("a", 100), experiment_id="tone")
        log(app, experiment_id="tone", experiment_version_id="a")
        removed = app.call("DELETE", f"{PATH}/tone")
        assert (removed.status_code, removed.json()) == (200, {"experiment_id": "tone", "deleted": True})
        assert fetch(app, "u")["experiment_id"] is None
        assert app.get("/api/logs/count", ("experiment_id", "tone"))["count"] == 1
        assert app.call("DELETE", f"{PATH}/tone").status_code == 404

    def test_the_list_is_filtered_by_prompt_branch_project_and_status(self, app: LocalApp) -> None:
        """Each filter alone, and all together; the project can only be the key's."""
        make_prompt(app, "sms", branch="dev", project_id=app.project)
        make(app, experiment_id="1")
        make(app, experiment_id="2", status="draft")
        make(app, experiment_id="3", prompt_name="sms", branch="dev")

        def listed(**filters: str) -> list[str]:
            found = app.get(PATH, *filters.items())["experiments"]
            return [each["experiment_id"] for each in found]

        assert listed() == ["1", "2", "3"]
        assert listed(prompt_name="email") == ["1", "2"]
        assert listed(branch="dev") == ["3"]
        assert listed(project_id=app.project) == ["1", "2", "3"]
        assert app.call("GET", PATH, query=[("project_id", "p1")]).status_code == 403
        assert listed(status="running") == ["1", "3"]
        assert listed(prompt_name="sms", branch="dev", project_id=app.project, status="running") == ["3"]
        assert listed(prompt_name="sms", status="draft") == []

    def test_the_list_shows_what_each_page_shows(self, app: LocalApp) -> None:
        """One form of an experiment, wherever it is read."""
        make(app, experiment_id="tone")
        assert app.get(PATH) == {"experiments": [app.get(f"{PATH}/tone")], "next": None}

    def test_an_id_may_be_in_several_projects(self, app: LocalApp, application: LocalApp) -> None:
        """Each key finds the prompt and the experiment of its own project."""
        other = application.in_new_project()
        make_prompt(other, "email")
        for caller in (app, other):
            assert make(caller, experiment_id="tone", salt=caller.project)["project_id"] == caller.project
        assert app.get(f"{PATH}/tone")["salt"] == app.project

    def test_null_is_the_same_as_left_out(self, app: LocalApp) -> None:
        """For each field that need not be there, in what is new and in what is changed."""
        optional = dict.fromkeys(["experiment_id", "project_id", "branch", "status", "salt"])
        made = make(app, **optional)
        assert (made["status"], made["salt"]) == ("running", made["experiment_id"])
        fields = dict.fromkeys(["status", "sticky_type", "salt", "versions"])
        changed = app.call("PUT", f"{PATH}/{made['experiment_id']}", fields)
        assert (changed.status_code, changed.json()) == (200, made)

    def test_an_id_that_is_taken_is_a_409(self, app: LocalApp) -> None:
        """No experiment is written over by making another."""
        before = make(app, experiment_id="tone")
        again = app.call("POST", PATH, body(variant("x", 1), experiment_id="tone"))
        assert (again.status_code, again.json()) == (409, {"error": "experiment 'tone' already exists"})
        assert app.get(f"{PATH}/tone") == before

    def test_an_experiment_goes_with_its_prompt(self, app: LocalApp) -> None:
        """There is none without the prompt that it is on."""
        make(app, experiment_id="tone")
        assert app.call("DELETE", f"{PROMPTS}/{fetch(app)['prompt_id']}").status_code == 200
        assert app.get(PATH)["experiments"] == []

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("GET", ""),
            ("POST", ""),
            ("GET", "/e"),
            ("PUT", "/e"),
            ("DELETE", "/e"),
            ("GET", "/e/usage"),
        ],
    )
    def test_without_a_good_key_nothing_is_told_or_done(self, app: LocalApp, method: str, path: str) -> None:
        """The key is looked at first."""
        before = make(app, experiment_id="e")
        answer = app.call(method, PATH + path, body(), headers={"X-API-Key": "psk_wrong"})
        assert answer.status_code == 401
        assert app.get(PATH)["experiments"] == [before]

    @pytest.mark.parametrize(
        ("method", "path"), [("GET", ""), ("PUT", ""), ("DELETE", ""), ("GET", "/usage")]
    )
    def test_what_is_not_there_is_a_404_that_names_it(self, app: LocalApp, method: str, path: str) -> None:
        """An unknown id is told apart from an unknown path."""
        answer = app.call(method, f"{PATH}/none{path}", {"status": "paused"})
        assert (answer.status_code, answer.json()) == (404, {"error": "experiment 'none' not found"})


class TestRefusals:
    @pytest.mark.parametrize(
        ("fields", "reason"),
        [
            (
                {"status": "completed"},
                "status must be one of draft, scheduled, running, paused, finished, was 'completed'",
            ),
            ({"status": ["running"]}, "status must be one of draft, "),
            ({"sticky_type": ""}, "sticky_type must be a string of 1 to 255 characters, was ''"),
            ({"salt": ""}, "salt must be a string of 1 to 255 characters, was ''"),
            ({"versions": []}, "versions must be a list of 1 to 1000 versions, was []"),
            ({"versions": "a"}, "versions must be a list of 1 to 1000 versions, was 'a'"),
            ({"versions": [variant("a")] * 1001}, "versions must be a list of 1 to 1000 versions, was [{'"),
            ({"versions": [5]}, "versions[0] must be a JSON object, was 5"),
            (
                {"versions": [{}]},
                "versions[0].experiment_version_id must be a string of 1 to 255 characters, was miss",
            ),
            (
                {"versions": [variant("a", -0.01)]},
                f"versions[0].traffic_percentage must be {PERCENTAGE}, was -0.01",
            ),
            (
                {"versions": [variant("a"), variant("b", 100.5)]},
                f"versions[1].traffic_percentage must be {PERCENTAGE}, was 100.5",
            ),
            (
                {"versions": [variant("a", 1e-300)]},
                f"versions[0].traffic_percentage must be {PERCENTAGE}, was 1e-300",
            ),
            (
                {"versions": [variant("a", 60.01), variant("b", 40), variant("c", 1e-10)]},
                "versions must have traffic_percentage of at most 100.01 together, was 100.0100000001",
            ),
            (
                {"versions": [variant("a"), variant("a", 1)]},
                "versions[1].experiment_version_id is there twice: 'a'",
            ),
            (
                {"versions": [variant("a", 60), variant("b", 40.02)]},
                "versions must have traffic_percentage of at most 100.01 together, was 100.02",
            ),
            (
                {"versions": [variant("a", weight=1)]},
                "versions[0].weight is no field of the version, was 1",
            ),
            ({"color": "red"}, "color is no field of the body, was 'red'; the fields are "),
            (
                {"versions": [{"experiment_version_id": "a", "version": "9", "traffic_percentage": 1}]},
                "versions[0].version must be a stored version of prompt 'email', or come with content, ",
            ),
        ],
    )
    @pytest.mark.parametrize("method", ["POST", "PUT"])
    def test_a_wrong_field_is_named_with_what_it_was(
        self, app: LocalApp, method: str, fields: dict[str, Any], reason: str
    ) -> None:
        """A new experiment and a change are held to the same rules; what is refused changes nothing."""
        before = make(app, experiment_id="tone")
        sent, path = (body() | fields, PATH) if method == "POST" else (fields, f"{PATH}/tone")
        answer = app.call(method, path, sent)
        assert answer.status_code == 422
        assert answer.json()["error"].startswith(reason)
        assert app.get(PATH)["experiments"] == [before]

    @pytest.mark.parametrize(
        ("fields", "reason"),
        [
            ({"prompt_name": "none"}, "prompt_name must be a stored prompt on branch 'main', was 'none'"),
            ({"branch": "dev"}, "prompt_name must be a stored prompt on branch 'dev', was 'email'"),
            (
                {"experiment_id": ""},
                "experiment_id must be a string that isn't empty and doesn't end in '/us",
            ),
            ({"experiment_id": "a/usage"}, "experiment_id must be a string that isn't empty and doesn't end"),
        ],
    )
    def test_a_new_experiment_needs_a_prompt_and_an_id_of_its_own(
        self, app: LocalApp, fields: dict[str, Any], reason: str
    ) -> None:
        """What makes the paths ambiguous, or belongs to no prompt, is not made."""
        answer = app.call("POST", PATH, body() | fields)
        assert answer.status_code == 422
        assert answer.json()["error"].startswith(reason)

    @pytest.mark.parametrize("missing", ["prompt_name", "sticky_type", "versions"])
    def test_a_missing_field_is_named(self, app: LocalApp, missing: str) -> None:
        """Each required field is asked for by name."""
        sent = {name: value for name, value in body().items() if name != missing}
        reason = app.call("POST", PATH, sent).json()["error"]
        assert reason.startswith(f"{missing} must be ")
        assert reason.endswith(", was missing")

    @pytest.mark.parametrize("fixed", ["experiment_id", "prompt_name", "branch", "project_id"])
    def test_who_an_experiment_is_cannot_be_changed(self, app: LocalApp, fixed: str) -> None:
        """Its id and its prompt are for life."""
        make(app, experiment_id="tone")
        answer = app.call("PUT", f"{PATH}/tone", {fixed: "x"})
        assert answer.json()["error"].startswith(f"{fixed} is no field of the body")

    def test_a_filter_for_a_status_that_there_is_not_is_refused(self, app: LocalApp) -> None:
        """A misspelled status is not an empty list."""
        answer = app.call("GET", PATH, query=[("status", "runing")])
        assert answer.status_code == 400
        assert answer.json()["error"].endswith("paused, finished, was 'runing'")

    @pytest.mark.parametrize(
        "percentages",
        [[0, 0], [100], [33.33, 33.34, 33.34], [31.14, 32.88, 35.99], [0.1] * 1000, [33.34, 66.67]],
    )
    def test_percentages_up_to_a_hundredth_over_100_are_good(
        self, app: LocalApp, percentages: list[float]
    ) -> None:
        """Thirds may be rounded up, and binary fractions may add up as they do."""
        made = make(app, *(variant(str(index), each) for index, each in enumerate(percentages)))
        assert [each["traffic_percentage"] for each in made["versions"]] == percentages


class TestVersionsOfThePrompt:
    STORED = ({"experiment_version_id": "old", "version": "1.0", "traffic_percentage": 100},)

    def test_a_version_without_content_has_that_of_the_stored_version(self, app: LocalApp) -> None:
        """Whoever is routed there gets the text that is stored under that version."""
        made = make(app, *self.STORED)
        assert made["versions"] == [{**self.STORED[0], "content": "email one"}]
        routed = fetch(app, "u")
        assert (routed["version"], routed["content"]) == ("1.0", "email one")

    def test_it_follows_a_correction_of_the_stored_version(self, app: LocalApp) -> None:
        """One version has one content; another change of the experiment does not cut the tie."""
        made = make(app, *self.STORED, experiment_id="tone")
        app.call("PUT", f"{PATH}/tone", {"salt": "other"})
        prompt_id = fetch(app)["prompt_id"]
        assert app.call(
            "PUT", f"{PROMPTS}/{prompt_id}", {"version": "1.0", "content": "corrected"}
        ).is_success
        assert fetch(app, "u")["content"] == "corrected"
        assert app.get(f"{PATH}/{made['experiment_id']}")["versions"][0]["content"] == "corrected"

    def test_content_of_its_own_stays_its_own(self, app: LocalApp) -> None:
        """A version that came with content is not looked up, whatever it is called."""
        make(app, variant("a", 100, version="1.0"))
        assert fetch(app, "u")["content"] == "content of a"


class TestRoutingByTheServer:
    def test_only_a_running_experiment_routes(self, app: LocalApp) -> None:
        """All other statuses: evaluated, and the default version; a change shows at once."""
        make(app, variant("a", 100), experiment_id="tone")
        for status in STATUSES:
            app.call("PUT", f"{PATH}/tone", {"status": status})
            routed = fetch(app, "u")
            assert routed["experiment_id"] == ("tone" if status == "running" else None)
            assert routed["version"] == ("v-a" if status == "running" else "2.0")

    @pytest.mark.parametrize(("percentage", "share"), [(0, 0), (100, 200)])
    def test_nobody_and_everybody_are_exact(self, app: LocalApp, percentage: float, share: int) -> None:
        """0 % routes none of the users, 100 % all of them."""
        make(app, variant("a", percentage), experiment_id="tone")
        routed = [fetch(app, f"user {number}")["experiment_id"] for number in range(200)]
        assert routed.count("tone") == share

    def test_the_salt_deals_the_users_anew(self, app: LocalApp) -> None:
        """The same users, asked twice, stay; after a change of the salt they are mixed; and back again."""
        make(app, experiment_id="tone")
        first, again = self._assignments(app), self._assignments(app)
        app.call("PUT", f"{PATH}/tone", {"salt": "other"})
        dealt = self._assignments(app)
        app.call("PUT", f"{PATH}/tone", {"salt": "tone"})
        assert first == again == self._assignments(app)
        assert dealt != first

    def test_two_experiments_of_one_salt_agree(self, app: LocalApp) -> None:
        """An experiment can go on where another one ended, with the same users in the same places."""
        make(app, experiment_id="first", salt="s")
        before = self._assignments(app)
        app.call("DELETE", f"{PATH}/first")
        make(app, experiment_id="second", salt="s")
        assert self._assignments(app) == before

    def _assignments(self, app: LocalApp) -> list[str]:
        return [fetch(app, f"user {number}")["experiment_version_id"] for number in range(60)]


class TestRoutingByTheClient:
    @pytest.fixture
    def app(self, new_database: NewDatabase) -> Iterator[LocalApp]:
        with LocalApp(new_database(), RoutingMode.CLIENT) as running:
            make_prompt(running, "email")
            yield running

    def test_the_answer_carries_all_experiments_of_the_prompt(self, app: LocalApp) -> None:
        """Whatever their status, in order of their making, with salt, below the default version."""
        make_prompt(app, "other")
        make(app, prompt_name="other")
        for status in STATUSES:
            make(app, experiment_id=f"e-{status}", status=status, salt="s")
        answer = fetch(app, "u")
        assert (answer["version"], answer["content"]) == ("2.0", "email two")
        assert answer["experiments"] == [
            {
                "experiment_id": f"e-{status}",
                "status": status,
                "sticky_type": "user_id",
                "salt": "s",
                "allocation": 2,
                "versions": [variant("a"), variant("b")],
                "slots": HALVES,
            }
            for status in STATUSES
        ]
        assert "experiment_id" not in answer

    def test_it_does_not_depend_on_who_asks(self, app: LocalApp) -> None:
        """One configuration, and one ETag, for all users and all keys."""
        make(app)
        answers = [
            app.call("GET", "/api/logs/prompt/email", query=[("sticky_key", key), ("sticky_value", value)])
            for key, value in (("user_id", "a"), ("user_id", "b"), ("session_id", "c"))
        ]
        assert len({answer.content for answer in answers}) == 1
        assert len({answer.headers["ETag"] for answer in answers}) == 1

    def test_a_prompt_without_experiments_says_so(self, app: LocalApp) -> None:
        """An empty list is an answer: there is nothing to choose from."""
        assert fetch(app, "u")["experiments"] == []

    def test_without_sticky_values_nothing_is_added(self, app: LocalApp) -> None:
        """Who does not ask for routing gets the prompt alone."""
        make(app)
        assert not set(ASSIGNMENT) & set(fetch(app))

    def test_a_version_asked_for_by_name_is_not_routed(self, app: LocalApp) -> None:
        """There is nothing left to choose: no experiment, not the configuration either."""
        make(app, variant("a", 100))
        answer = fetch(app, "u", ("version", "1.0"))
        assert (answer["content"], answer["experiment_id"]) == ("email one", None)
        assert "experiments" not in answer


def test_without_routing_the_answer_has_none_of_its_fields(new_database: NewDatabase) -> None:
    """As from a backend that does not know the query, with a version by name and without."""
    with LocalApp(new_database(), RoutingMode.NONE) as app:
        make_prompt(app, "email")
        make(app, variant("a", 100))
        for query in ((), (("version", "1.0"),)):
            assert not set(ASSIGNMENT) & set(fetch(app, "u", *query))
        assert fetch(app, "u")["content"] == "email two"


class TestUsage:
    def test_records_are_counted_by_version(self, app: LocalApp) -> None:
        """Each version has its number, 0 included; so has one that the experiment no longer has."""
        make(app, variant("a"), variant("b"), variant("silent", 0), experiment_id="tone")
        for version, times in (("a", 3), ("b", 1), ("former", 2)):
            for _ in range(times):
                log(app, experiment_id="tone", experiment_version_id=version)
        log(app, experiment_id="other", experiment_version_id="a")
        log(app, experiment_version_id="a")
        log(app, experiment_id="tone")
        assert app.get(f"{PATH}/tone/usage") == {
            "experiment_id": "tone",
            "versions": {"a": 3, "b": 1, "silent": 0, "former": 2},
        }

    def test_a_batch_counts_and_a_repeat_does_not(self, app: LocalApp) -> None:
        """What is counted is records, as the database holds them."""
        make(app, variant("a", 100), experiment_id="tone")
        record = {"input": "", "output": "", "metadata": {}}
        record |= {"experiment_id": "tone", "experiment_version_id": "a"}
        entries = [
            {"id": record_id, "ts": "2026-01-02T03:04:05Z", "body": record} for record_id in ("1", "2", "2")
        ]
        app.call("POST", "/api/logs/prompt-usage/batch", {"records": entries})
        assert app.get(f"{PATH}/tone/usage")["versions"] == {"a": 2}

    def test_records_can_be_chosen_by_experiment(self, app: LocalApp) -> None:
        """The pages and the count are of one experiment's records only, page after page."""
        for number in range(6):
            log(app, experiment_id=f"e{number % 2}", input=str(number))
        chosen = ("experiment_id", "e1")
        first = app.get("/api/logs", chosen, ("limit", "2"))
        rest = app.get("/api/logs", chosen, ("limit", "2"), ("after", first["next"]))
        assert [each["body"]["input"] for each in first["logs"] + rest["logs"]] == ["1", "3", "5"]
        assert rest["next"] is None
        assert app.get("/api/logs/count", chosen) == {"count": 3, "deliveries": 3}
        assert app.get("/api/logs/count", ("experiment_id", "none"))["count"] == 0

    def test_ids_that_no_experiment_can_have_are_stored_all_the_same(self, app: LocalApp) -> None:
        """A lone surrogate fits no column; the record is kept whole, and read back as it came."""
        log(app, experiment_id="\ud800", experiment_version_id="\udfff")
        (stored,) = app.get("/api/logs")["logs"]
        assert stored["body"]["experiment_id"] == "\ud800"
        assert stored["body"]["experiment_version_id"] == "\udfff"
