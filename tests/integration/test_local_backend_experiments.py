"""The local backend's experiments in a process of its own: seed, command line, upgrade and many callers."""

from __future__ import annotations

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.conftest import NewDatabase
from tests.support.backend import Backend

PROMPT = "/api/logs/prompt/email"
EXPERIMENTS = "/api/experiments"
STICKY = {"sticky_key": "user_id", "sticky_value": "u"}
STATUSES = ("draft", "scheduled", "running", "paused", "finished")


def version(name: str, percentage: float = 100, **fields: Any) -> dict[str, Any]:
    return {"experiment_version_id": name, "traffic_percentage": percentage, "version": "2.0", **fields}


def experiment(experiment_id: str, *versions: dict[str, Any], **fields: Any) -> dict[str, Any]:
    own = {"experiment_id": experiment_id, "prompt_name": "email", "sticky_type": "user_id"}
    return {**own, "versions": list(versions) or [version(f"{experiment_id}-a")], **fields}


def seed_file(path: Path, *experiments: dict[str, Any], **fields: Any) -> Path:
    prompt = {
        "name": "email",
        "content": "one",
        "version": "1.0",
        "versions": [{"version": "2.0", "content": "two"}],
    }
    seed = {"prompts": [prompt], "experiments": list(experiments), **fields}
    path.write_text(json.dumps(seed), "utf-8")
    return path


def send(backend: Backend, method: str, path: str, body: object, **headers: str) -> requests.Response:
    sent = {"X-API-Key": backend.api_key, **headers}
    return requests.request(method, backend.url + path, json=body, headers=sent, timeout=10)


class TestRoutingMode:
    @pytest.mark.parametrize(
        ("seeded", "options", "fields"),
        [
            (None, [], {"experiment_id"}),
            ("client", [], {"experiments"}),
            ("client", ["--routing", "none"], set()),
            ("none", ["--routing", "server"], {"experiment_id"}),
        ],
    )
    def test_the_command_line_goes_before_the_seed_and_both_before_the_default(
        self, seeded: str | None, options: list[str], fields: set[str], tmp_path: Path
    ) -> None:
        """The server routes, unless the seed says otherwise, unless the command line does."""
        routing = {} if seeded is None else {"routing": seeded}
        seed = seed_file(tmp_path / "seed.json", experiment("tone"), **routing)
        with Backend(seed=seed, options=options) as backend:
            answer = backend.get(PROMPT, **STICKY)
        assert {"experiment_id", "experiments"} & set(answer) == fields
        assert answer["content"] == ("two" if "experiment_id" in fields else "one")


class TestSeed:
    def test_salt_statuses_and_versions_without_content_are_loaded(
        self, tmp_path: Path, new_database: NewDatabase
    ) -> None:
        """All that can be made over HTTP can be seeded."""
        experiments = [experiment(f"e-{status}", status=status, salt="s") for status in STATUSES]
        with Backend(db=new_database(), seed=seed_file(tmp_path / "seed.json", *experiments)) as backend:
            found = backend.get(EXPERIMENTS)["experiments"]
            assert [(each["status"], each["salt"]) for each in found] == [
                (status, "s") for status in STATUSES
            ]
            assert {each["versions"][0]["content"] for each in found} == {"two"}

    def test_an_edited_experiment_is_applied_again_and_no_other(
        self, tmp_path: Path, new_database: NewDatabase
    ) -> None:
        """What was changed over HTTP stays until its own entry in the file is edited."""
        seed = seed_file(tmp_path / "seed.json", experiment("kept"), experiment("edited"))
        with Backend(db=new_database(), seed=seed) as backend:
            for name in ("kept", "edited"):
                assert send(backend, "PUT", f"{EXPERIMENTS}/{name}", {"status": "paused"}).ok
            backend.stop()
            seed_file(seed, experiment("kept"), experiment("edited", salt="new"))
            backend.start()
            found = {each["experiment_id"]: each for each in backend.get(EXPERIMENTS)["experiments"]}
            assert found["kept"]["status"] == "paused"
            assert (found["edited"]["status"], found["edited"]["salt"]) == ("running", "new")

    def test_an_edited_experiment_keeps_its_users(self, tmp_path: Path, new_database: NewDatabase) -> None:
        """An entry with other percentages is a change of traffic like any other, by the rule it has."""
        old = experiment("old", version("a", 10), version("b", 10), allocation=1)
        new = experiment("new", version("a", 10), version("b", 10))
        seed = seed_file(tmp_path / "seed.json", old, new)
        with Backend(db=new_database(), seed=seed) as backend:
            backend.stop()
            seed_file(
                seed, *(experiment(name, version("b", 20), version("a", 10)) for name in ("old", "new"))
            )
            backend.start()
            assert backend.get(f"{EXPERIMENTS}/old")["allocation"] == 1
            slots = {"a": [[0, 100_000]], "b": [[100_000, 300_000]]}
            assert backend.get(f"{EXPERIMENTS}/new")["slots"] == slots

    @pytest.mark.parametrize(
        ("entry", "flaw"),
        [
            ({"routing": "both"}, "routing must be one of server, client, none, was 'both'"),
            (
                {"experiments": [experiment("e", status="completed")]},
                "experiments[0].status must be one of draft, scheduled, running, paused, finished, was ",
            ),
            (
                {"experiments": [experiment("e", version("a", version="9"))]},
                "experiments[0].versions[0].version must be a stored version of prompt 'email', or come with",
            ),
        ],
    )
    def test_a_flaw_is_named_with_its_place(
        self, entry: dict[str, Any], flaw: str, tmp_path: Path, new_database: NewDatabase
    ) -> None:
        """The start is refused, and says what is allowed."""
        with pytest.raises(AssertionError) as refused, Backend(seed=seed_file(tmp_path / "s.json", **entry)):
            pass
        assert flaw in str(refused.value)


class TestManyCallers:
    def test_of_many_who_make_one_experiment_one_does(
        self, tmp_path: Path, new_database: NewDatabase
    ) -> None:
        """One 201, all others a 409, and what is stored is whole."""
        with (
            Backend(db=new_database(), seed=seed_file(tmp_path / "seed.json")) as backend,
            ThreadPoolExecutor(16) as callers,
        ):

            def make(number: int) -> int:
                body = experiment("tone", *(version(f"{number}-{each}", 50) for each in "ab"))
                return send(backend, "POST", EXPERIMENTS, body).status_code

            assert Counter(callers.map(make, range(48))) == {201: 1, 409: 47}
            ids = [each["experiment_version_id"] for each in backend.get(f"{EXPERIMENTS}/tone")["versions"]]
            assert ids[0].removesuffix("-a") == ids[1].removesuffix("-b")

    def test_readers_see_one_change_or_the_other_never_a_mixture(
        self, tmp_path: Path, new_database: NewDatabase
    ) -> None:
        """While versions are replaced, each answer has both of one kind, and a tag that is its own."""
        kinds = [[version(f"{kind}-{each}", 50, content=kind) for each in "ab"] for kind in ("old", "new")]
        seed = seed_file(tmp_path / "seed.json", experiment("tone", *kinds[0]))
        with Backend(db=new_database(), seed=seed, options=["--routing", "client"]) as backend:

            def write(number: int) -> None:
                assert send(backend, "PUT", f"{EXPERIMENTS}/tone", {"versions": kinds[number % 2]}).ok

            def read(_number: int) -> tuple[str, bytes]:
                answer = requests.get(
                    backend.url + PROMPT, STICKY, headers={"X-API-Key": backend.api_key}, timeout=10
                )
                return answer.headers["ETag"], answer.content

            with ThreadPoolExecutor(2) as writers, ThreadPoolExecutor(6) as readers:
                writing = writers.map(write, range(60))
                answers = set(readers.map(read, range(150)))
                assert len(list(writing)) == 60
        seen = [json.loads(content)["experiments"][0]["versions"] for _, content in answers]
        assert all([each["content"] for each in versions] in (["old"] * 2, ["new"] * 2) for versions in seen)
        assert len(answers) == len({tag for tag, _ in answers}) == len({content for _, content in answers})

    def test_a_304_leaves_the_connection_good_for_the_next_request(
        self, tmp_path: Path, new_database: NewDatabase
    ) -> None:
        """On one kept connection: answer, 304, answer; nothing of one is read as the other's."""
        with (
            Backend(db=new_database(), seed=seed_file(tmp_path / "seed.json")) as backend,
            requests.Session() as session,
        ):
            session.headers["X-API-Key"] = backend.api_key
            first = session.get(backend.url + PROMPT, timeout=10)
            known = {"If-None-Match": first.headers["ETag"]}
            for _ in range(3):
                again = session.get(backend.url + PROMPT, headers=known, timeout=10)
                assert (again.status_code, again.content) == (304, b"")
                assert session.get(backend.url + PROMPT, timeout=10).json() == first.json()

    def test_the_split_that_arrived_adds_up(self, tmp_path: Path, new_database: NewDatabase) -> None:
        """Users routed and logged from many threads are all in the summary, each at its version."""
        seed = seed_file(tmp_path / "seed.json", experiment("tone", version("a", 30), version("b", 70)))
        with Backend(db=new_database(), seed=seed) as backend, ThreadPoolExecutor(8) as users:

            def use(number: int) -> str:
                sticky = {"sticky_key": "user_id", "sticky_value": f"user {number}"}
                routed = backend.get(PROMPT, **sticky)
                chosen = {name: routed[name] for name in ("experiment_id", "experiment_version_id")}
                usage = {"input": "i", "output": "o", "metadata": {}, **chosen}
                assert send(backend, "POST", "/api/logs/prompt-usage", usage).status_code == 201
                return str(chosen["experiment_version_id"])

            logged = Counter(users.map(use, range(120)))
            assert set(logged) == {"a", "b"}
            assert backend.get(f"{EXPERIMENTS}/tone/usage")["versions"] == dict(logged)
