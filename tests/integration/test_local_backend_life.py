"""The local backend as a process: errors, starts and stops, seeds, and starts that it refuses."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from banyan_hp.server.store.database import Database
from tests.conftest import NewDatabase
from tests.support.backend import Backend
from tests.support.local_backend import (
    EXAMPLE_SEED,
    HALF_A_REQUEST,
    KEYS,
    RECORD,
    SEED,
    call,
    entry,
    new_id,
    post,
    post_batch,
    prompt,
    seeded_backend,
    sticky,
)
from tests.support.nursery import run


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """Over SQLite: this is about the process; what depends on the database is tested on both below."""
    with seeded_backend(tmp_path_factory.mktemp("seed")) as backend:
        yield backend


class TestErrors:
    @pytest.mark.parametrize(
        ("method", "path", "status"),
        [
            ("GET", "/nothing", 404),
            ("GET", "/api/nothing", 404),
            ("GET", "/api/logs/", 404),
            ("DELETE", "/api/logs", 405),
        ],
    )
    def test_an_unknown_path_or_method_is_told_in_json(
        self, backend: Backend, method: str, path: str, status: int
    ) -> None:
        """No HTML and no redirect, whatever is asked."""
        answer = call(backend, method, path)
        assert answer.status_code == status
        assert answer.json()["error"].endswith(f": {method} {path}")

    def test_a_request_broken_off_is_no_error_of_the_backend(self, backend: Backend) -> None:
        """Clients die; the next one is served, and the log has no traceback."""
        with socket.create_connection(("127.0.0.1", backend.port)) as broken:
            broken.sendall(HALF_A_REQUEST)
        assert post(backend, RECORD).status_code == 201  # and the fixture's end looks for tracebacks

    def test_an_unexpected_exception_is_a_500_in_json_with_a_logged_traceback(self) -> None:
        """Rows that are not what the backend wrote: the client gets JSON, the log the traceback."""
        with Backend() as backend:
            assert post(backend, RECORD).status_code == 201
            with sqlite3.connect(backend.file()) as meddler:
                meddler.execute("UPDATE call_bodies SET body = 'damaged'")
            meddler.close()
            answer = call(backend, "GET", "/api/logs")
            assert answer.status_code == 500
            assert answer.json() == {"error": "internal error; the backend's log has the traceback"}
            backend.stop()  # the traceback is logged after the answer has gone out
            assert "Traceback" in backend.stderr

    def test_a_database_in_trouble_is_a_503(self, new_database: NewDatabase) -> None:
        """A client is told to try again, since the trouble may pass; no record is blamed for it."""
        with Backend(db=new_database()) as backend:
            meddler = Database(str(backend.db))
            meddler.write(
                lambda connection: connection.exec_driver_sql("ALTER TABLE call_bodies RENAME TO x")
            )
            meddler.close()
            for answer in (post(backend, RECORD), post_batch(backend, {"records": [entry(), entry()]})):
                assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
                assert "call_bodies" in answer.json()["error"]

    def test_a_locked_database_is_a_503_and_no_later_record_is_lost(self) -> None:
        """While another program holds the file nothing is promised; after that all is well."""
        with Backend() as backend:
            holder = sqlite3.connect(backend.file(), isolation_level=None)
            holder.execute("BEGIN IMMEDIATE")
            assert post(backend, RECORD).status_code == 503
            holder.rollback()
            holder.close()
            assert post(backend, RECORD).status_code == 201
            backend.kill()
            backend.start()
            assert backend.count() == 1


class TestLife:
    @pytest.mark.parametrize("how", ["stop", "kill"])
    def test_what_was_answered_is_there_after_a_restart(self, how: str, new_database: NewDatabase) -> None:
        """Neither SIGTERM nor SIGKILL takes a record, a prompt or a repeat's memory."""
        with Backend(db=new_database()) as backend:
            record_id, url = new_id(), backend.url
            assert post(backend, RECORD, Idempotency_Key=record_id).status_code == 201
            post_batch(backend, {"records": [entry() for _ in range(100)]})
            assert call(backend, "POST", "/api/logs/cli/prompts", json={"name": "n", "content": "c"}).ok
            getattr(backend, how)()
            with pytest.raises(requests.ConnectionError):
                requests.get(url, timeout=2)
            backend.start()
            assert (backend.url, backend.count()) == (url, 101)
            assert post(backend, RECORD, Idempotency_Key=record_id).status_code == 200
            assert prompt(backend, "n").json()["content"] == "c"

    @pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
    def test_a_wanted_stop_is_a_success_and_silent(self, signum: signal.Signals) -> None:
        """SIGTERM and Ctrl-C end with 0, with nothing on stderr, even while a client keeps its connection."""
        with Backend() as backend, requests.Session() as session:
            session.get(backend.url + "/api/logs/count", headers={"X-API-Key": backend.api_key}, timeout=5)
            assert backend.stop(signum) == 0
            assert backend.stderr == ""

    def test_a_body_that_never_comes_does_not_hold_up_the_stop(self) -> None:
        """A request that is still arriving is given up after a while, answered and not a traceback."""
        with Backend() as backend, socket.create_connection(("127.0.0.1", backend.port), timeout=10) as slow:
            slow.sendall(HALF_A_REQUEST)
            assert backend.count() == 0  # so that the half request has been seen
            assert backend.stop() == 0
            assert slow.recv(1000).startswith(b"HTTP/1.1 503 ")
            assert "Traceback" not in backend.stderr

    def test_the_banner_tells_address_database_and_key(self, backend: Backend) -> None:
        """The first line is the address alone; keys that were given are not shown."""
        first, *others = backend.banner.splitlines()
        assert first == f"banyan-hp local backend on {backend.url}"
        assert str(backend.db) in others[0]
        assert not any(key in backend.banner for key in KEYS)

    def test_the_database_is_its_owners_alone(self, backend: Backend) -> None:
        """Records are personal data: no other user can read the file or its log."""
        modes = {path.name: path.stat().st_mode & 0o777 for path in backend.file().parent.glob("*.sqlite3*")}
        assert len(modes) >= 2
        assert set(modes.values()) == {0o600}

    def test_requests_are_logged_only_when_verbose(self, backend: Backend) -> None:
        """No access log, unless asked for; then on stderr."""
        assert "GET /api/" not in backend.stderr
        with Backend(options=["--verbose"]) as talkative:
            talkative.count()
            assert "GET /api/logs/count" in talkative.stderr


class TestSeed:
    def test_the_examples_seed_is_good(self) -> None:
        """The file that the README starts the backend with has the prompts of the examples."""
        with Backend(seed=EXAMPLE_SEED) as backend:
            assert "{{name}}" in prompt(backend, "quickstart").json()["content"]
            for name in ("marketing-email", "my-prompt", "prompt_name"):
                assert prompt(backend, name).status_code == 200
            routed = prompt(backend, "marketing-email", *sticky("user_id", "u")).json()
            assert routed["experiment_version_id"] is not None

    def test_the_same_seed_again_changes_nothing_and_an_edited_entry_counts(self, tmp_path: Path) -> None:
        """A restart keeps what was changed through the API; an edit of the file comes through."""
        seed = tmp_path / "seed.json"
        shutil.copy(EXAMPLE_SEED, seed)
        with Backend(seed=seed) as backend:
            version = {"name": "quickstart", "content": "newer", "version": "9"}
            assert call(backend, "POST", "/api/logs/cli/prompts/version", json=version).status_code == 201
            before = self._everything(backend)
            backend.stop()
            backend.start()
            assert self._everything(backend) == before

            backend.stop()
            seed.write_text(json.dumps({"prompts": [{"name": "quickstart", "content": "edited"}]}), "utf-8")
            backend.start()
            assert prompt(backend, "quickstart").json()["content"] == "edited"
            assert prompt(backend, "my-prompt").status_code == 200

    def _everything(self, backend: Backend) -> list[Any]:
        paths = ("/api/logs/cli/prompts", "/api/experiments/marketing-email-tone", "/api/projects")
        return [backend.get(path) for path in paths]


def refused_start(*arguments: str) -> str:
    """Start the backend with something wrong, and return its one line on stderr."""
    ended = run("serve", *arguments)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.count("\n") == 1
    return ended.stderr


class TestRefusedStarts:
    def test_a_busy_port_is_named(self, backend: Backend, tmp_path: Path) -> None:
        """Two backends on one port: the second says which."""
        line = refused_start("--port", str(backend.port), "--db", str(tmp_path / "db"))
        assert line.startswith(f"banyan-hp: can't listen on 127.0.0.1:{backend.port}: ")

    @pytest.mark.parametrize("path", ["seed.json/db", "."])
    def test_an_unusable_database_path_is_named(self, path: str, tmp_path: Path) -> None:
        """A file in a directory's place, or a directory in the file's."""
        (tmp_path / "seed.json").touch()
        line = refused_start("--port", "0", "--db", str(tmp_path / path))
        assert line.startswith(f"banyan-hp: can't use the database {tmp_path / path}: ")

    def test_a_file_that_is_no_database_is_left_alone(self, tmp_path: Path) -> None:
        """Somebody's notes are not written over."""
        notes = tmp_path / "notes.txt"
        notes.write_text("my notes " * 100, "utf-8")
        assert "file is not a database" in refused_start("--port", "0", "--db", str(notes))
        assert notes.read_text("utf-8") == "my notes " * 100

    def test_another_programs_database_is_left_alone(self, tmp_path: Path) -> None:
        """Somebody's tables get no company."""
        path = tmp_path / "other.sqlite3"
        with sqlite3.connect(path) as other:
            other.execute("CREATE TABLE logs (x)")
        other.close()
        before = path.read_bytes()
        assert "it holds tables of another program" in refused_start("--port", "0", "--db", str(path))
        assert path.read_bytes() == before

    @pytest.mark.parametrize(
        ("seed", "flaw"),
        [
            ("{", "isn't valid JSON: "),
            ("[]", "seed must be a JSON object, was []"),
            ({"prompt": []}, "prompt is no field of the seed, was []"),
            (
                {"prompts": [{"name": "n", "content": "c"}, {"name": "m"}]},
                "prompts[1].content must be a string",
            ),
            ({"prompts": [{"name": "n", "content": "c", "branch": 5}]}, "prompts[0].branch must be a string"),
            ({"prompts": [{"name": "n", "content": "c"}] * 2}, "prompts[1] is there twice: prompt n main"),
            (
                {"prompts": [{"name": "n", "content": "c", "versions": [{"version": "1"}]}]},
                "prompts[0].versions[0].content must be a string",
            ),
            ({"projects": [{}]}, "projects[0].id must be a string"),
            ({"experiments": [{"experiment_id": "e"}]}, "experiments[0].prompt_name must be a string"),
            (
                {"experiments": [SEED["experiments"][0]]},
                "experiments[0].prompt_name must be a prompt on branch 'main', was 'tested'",
            ),
            (
                {
                    "experiments": [
                        SEED["experiments"][0] | {"versions": SEED["experiments"][1]["versions"] * 2}
                    ]
                },
                "experiments[0].versions[1].experiment_version_id is there twice: 'over-a'",
            ),
            (
                {
                    "experiments": [
                        SEED["experiments"][0]
                        | {
                            "versions": SEED["experiments"][0]["versions"]
                            + SEED["experiments"][1]["versions"]
                        }
                    ]
                },
                "experiments[0].versions must have traffic_percentage of at most 100.01 together, was 150",
            ),
        ],
    )
    def test_a_flaw_in_the_seed_is_named_with_file_entry_and_field(
        self, seed: Any, flaw: str, tmp_path: Path
    ) -> None:
        """Whoever wrote the file can go to the place."""
        path = tmp_path / "seed.json"
        path.write_text(seed if isinstance(seed, str) else json.dumps(seed), "utf-8")
        line = refused_start("--port", "0", "--db", str(tmp_path / "db"), "--seed", str(path))
        assert str(path) in line
        assert flaw in line

    def test_a_host_that_is_no_name_is_named(self, tmp_path: Path) -> None:
        """What can't be looked up is told as what can't be bound."""
        line = refused_start("--host", "a..b", "--port", "0", "--db", str(tmp_path / "db"))
        assert line.startswith("banyan-hp: can't listen on a..b:0: ")

    def test_a_missing_seed_is_named(self, tmp_path: Path) -> None:
        """A wrong path is told as such."""
        line = refused_start(
            "--port", "0", "--db", str(tmp_path / "db"), "--seed", str(tmp_path / "none.json")
        )
        assert line == f"banyan-hp: can't read the seed {tmp_path / 'none.json'}: No such file or directory\n"
