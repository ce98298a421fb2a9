"""The keys of a backend: given ones, the one that it makes on a laptop, and those of the command line."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
import requests

import banyan_hp as banyan
from banyan_hp import HuggingPlace, local_keys
from banyan_hp.errors import MissingKeyError
from banyan_hp.server.api.auth import CACHE_SECONDS
from banyan_hp.server.starting import KEYS_VARIABLE
from tests.conftest import NewDatabase
from tests.support.backend import Backend
from tests.support.nursery import run
from tests.support.timing import assert_in_time

COUNT = "/api/logs/count"
VALIDATE = "/api/auth/validate"


def status(backend: Backend, key: str, path: str = COUNT) -> int:
    return requests.get(backend.url + path, headers={"X-API-Key": key}, timeout=10).status_code


def validated(backend: Backend, key: str) -> dict[str, Any]:
    answer = requests.get(backend.url + VALIDATE, headers={"X-API-Key": key}, timeout=10)
    assert answer.status_code == 200
    return dict(answer.json())


def refused(*arguments: str) -> str:
    ended = run(*arguments)
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (2, "", 1)
    return ended.stderr


class TestGiven:
    def test_the_environment_gives_the_keys(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Several, separated by commas; they are neither shown nor joined by another one."""
        monkeypatch.setenv(KEYS_VARIABLE, "psk_one, psk two,team a:read:psk:three")
        with Backend(api_keys=()) as backend:
            assert [status(backend, key) for key in ("psk_one", "psk two", "psk_local")] == [200, 200, 401]
            assert validated(backend, "psk:three") == {"valid": True, "project": "team a", "role": "read"}
            assert "one of the 3 given" in backend.banner
            assert "psk_one" not in backend.banner

    def test_a_file_gives_the_keys_and_wins(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """As an option wins over the environment everywhere; a plain key is an admin's of "default"."""
        monkeypatch.setenv(KEYS_VARIABLE, "psk_environment")
        with Backend(api_keys=("# of ours", "", "psk_file", "p1:ingest:psk_p1")) as backend:
            assert validated(backend, "psk_file") == {"valid": True, "project": "default", "role": "admin"}
            assert validated(backend, "psk_p1") == {"valid": True, "project": "p1", "role": "ingest"}
            assert [status(backend, key) for key in ("psk_p1", "psk_environment")] == [403, 401]

    def test_options_give_keys_that_are_what_they_look_like(self) -> None:
        """They are keys, and no entries, whatever characters they have."""
        options = ["--api-key", "psk_option", "--api-key", "p1:read:psk"]
        with Backend(api_keys=(), options=options) as backend:
            assert [status(backend, key) for key in ("psk_option", "p1:read:psk", "psk")] == [200, 200, 401]

    @pytest.mark.parametrize(
        ("line", "flaw"),
        [
            ("p1:owner:psk_secret", "line 2 of the keys file"),
            ("p1:psk_secret", "line 2 of the keys file"),
            ("p1:read:", "line 2 of the keys file"),
        ],
    )
    def test_a_wrong_entry_is_named_and_not_shown(self, tmp_path: Path, line: str, flaw: str) -> None:
        """It holds a secret."""
        file = tmp_path / "keys"
        file.write_text(f"psk_good\n{line}\n", "utf-8")
        said = refused("serve", "--port", "0", "--db", str(tmp_path / "db"), "--keys-file", str(file))
        assert flaw in said
        assert "must be KEY or PROJECT:ROLE:KEY, with a role of ingest, read, admin" in said
        assert "secret" not in said

    def test_a_key_of_two_projects_is_refused(self, tmp_path: Path) -> None:
        """Its records would go to one of them; the line is named, the key is not shown."""
        file = tmp_path / "keys"
        serve = ("serve", "--port", "0", "--db", str(tmp_path / "db"), "--keys-file", str(file))
        for line in ("p2:read:psk_secret", "p1:ingest:psk_secret"):
            file.write_text(f"p1:read:psk_secret\np1:read:psk_secret\n{line}\n", "utf-8")
            said = refused(*serve)
            assert "line 3 of the keys file" in said
            assert "is there before, for another project or role" in said
            assert "secret" not in said

    def test_a_file_with_a_byte_order_mark_gives_the_keys(self, tmp_path: Path) -> None:
        """As Windows writes it: the mark is no part of the first entry, and one key is not one of many."""
        file = tmp_path / "keys"
        file.write_bytes(b"\xef\xbb\xbfp1:read:psk_p1\r\n")
        with Backend(api_keys=(), options=["--keys-file", str(file)]) as backend:
            assert validated(backend, "psk_p1")["project"] == "p1"
            assert "X-API-Key: the one given" in backend.banner

    @pytest.mark.parametrize(("other", "shown"), [("p1", True), ("p2", False)])
    def test_the_projects_of_given_keys_are_known(self, other: str, shown: bool) -> None:
        """Nobody of one of several projects sees how large the database is that they share."""
        with Backend(api_keys=("p1:admin:psk_p1", f"{other}:ingest:psk_other")) as backend:
            with requests.Session() as browser:
                form = browser.get(f"{backend.url}/login", timeout=10).text
                hidden = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', form))
                browser.post(f"{backend.url}/login", data={**hidden, "key": "psk_p1"}, timeout=10)
                settings = browser.get(f"{backend.url}/settings", timeout=10).text
            assert ("On disk" in settings) is shown
            known = json.loads(run("db", "status", "--json", "--db", str(backend.db)).stdout)
        assert known["projects"] == len({"p1", other})

    def test_a_file_without_keys_is_refused(self, tmp_path: Path) -> None:
        """A mistake in it does not open the backend in another way."""
        file = tmp_path / "keys"
        file.write_text("# none yet\n", "utf-8")
        serve = ("serve", "--port", "0", "--db", str(tmp_path / "db"), "--keys-file")
        assert "must hold keys, one a line; it holds none" in refused(*serve, str(file))
        assert "No such file or directory" in refused(*serve, str(tmp_path / "missing"))


class TestExposed:
    OPEN = ("serve", "--host", "0.0.0.0", "--port", "0")

    def test_a_key_that_everybody_knows_opens_nothing_to_others(self, tmp_path: Path) -> None:
        """It is in each README; another one has to be made."""
        said = refused(*self.OPEN, "--db", str(tmp_path / "db"), "--api-key", "psk_local")
        assert "with a key that everybody knows" in said

    def test_without_a_key_nothing_is_opened_to_others(self, tmp_path: Path) -> None:
        """The refusal says how to make one; then it starts."""
        db = tmp_path / "db"
        assert "banyan-hp keys create" in refused(*self.OPEN, "--db", str(db))
        made = json.loads(run("keys", "create", "--project", "p", "--db", str(db), "--json").stdout)
        with Backend(db=db, api_keys=(), options=["--host", "0.0.0.0"]) as backend:
            assert validated(backend, made["key"])["project"] == "p"
            assert "one of 'banyan-hp keys ls'" in backend.banner
            assert local_keys.find(backend.url) is None


class TestOfALaptop:
    def test_clients_find_the_key_that_the_backend_has_made(self, new_database: NewDatabase) -> None:
        """Without any key in code or environment, at each name of this machine."""
        with Backend(db=new_database(), api_keys=()) as backend:
            assert backend.api_key.startswith("psk_")
            assert len(backend.api_key) == len("psk_") + 43
            for url in (backend.url, backend.url.replace("127.0.0.1", "localhost") + "/"):
                banyan.configure(base_url=url)
                assert banyan.log_prompt(input="i", output="o")
                assert banyan.flush(timeout=10)
            with HuggingPlace(org_id="o", base_url=backend.url) as huggingplace:
                huggingplace.log({"user_prompt": "q", "response": "a"}).result(timeout=10)
            assert (backend.count(), backend.interactions_count()) == (2, 1)

    def test_the_key_stays_the_same(self, tmp_path: Path) -> None:
        """After a restart, and on another port: what clients hold on disk stays under its key."""
        with Backend(api_keys=()) as backend:
            before = backend.api_key
            backend.kill()
            backend.start()
            assert backend.api_key == before
            with Backend(db=backend.file(), api_keys=()) as second:
                assert second.port != backend.port
                assert second.api_key == before

    def test_the_file_is_its_owners_alone(self, tmp_path: Path) -> None:
        """It is a secret as good as a password."""
        with Backend(api_keys=()):
            (file,) = (tmp_path / "state" / "keys").iterdir()
            assert file.stat().st_mode & 0o777 == 0o600
            assert file.parent.stat().st_mode & 0o777 == 0o700

    def test_a_database_with_keys_of_its_operator_gets_no_other(self, tmp_path: Path) -> None:
        """Behind a proxy a backend listens on loopback, too."""
        db = tmp_path / "db"
        made = json.loads(run("keys", "create", "--project", "p", "--db", str(db), "--json").stdout)
        with Backend(db=db, api_keys=()) as backend:
            assert status(backend, made["key"], VALIDATE) == 200
            assert "one of 'banyan-hp keys ls'" in backend.banner
            assert local_keys.find(backend.url) is None

    def test_a_key_that_cannot_be_kept_is_said(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The backend serves all the same."""
        (tmp_path / "file").touch()
        monkeypatch.setenv(local_keys.DIRECTORY_VARIABLE, str(tmp_path / "file" / "keys"))
        with Backend(api_keys=()) as backend:
            assert status(backend, backend.api_key) == 200
            assert "clients have to be given the key" in backend.stderr

    @pytest.mark.parametrize("url", ["http://10.0.0.1:8787", "https://127.0.0.1:8787", "http://127.0.0.1:1"])
    def test_a_key_is_for_its_url_alone(self, url: str) -> None:
        """Another machine, another scheme, another port: nothing is sent there."""
        local_keys.keep("http://127.0.0.1:8787", "psk_kept")
        assert local_keys.find("http://127.0.0.1:8787") == "psk_kept"
        assert local_keys.find(url) is None
        with pytest.raises(MissingKeyError):
            banyan.PromptStackLogger(base_url=url)

    def test_a_file_that_others_could_write_is_not_believed(self, tmp_path: Path) -> None:
        """Whoever can write there could have records sent under a key of theirs."""
        local_keys.keep("http://127.0.0.1:8787", "psk_kept")
        (tmp_path / "state" / "keys").chmod(0o777)
        assert local_keys.find("http://127.0.0.1:8787") is None


class TestCommands:
    def test_a_key_from_its_making_to_its_end(self, new_database: NewDatabase) -> None:
        """Made on the database itself, shown once, listed without its secret, good for 5 s after its end."""
        db = new_database()
        made = json.loads(run("keys", "create", "--project", "team", "--db", db, "--json").stdout)
        assert (made["project"], made["role"]) == ("team", "ingest")
        with Backend(db=db) as backend:
            assert validated(backend, made["key"])["role"] == "ingest"
            listed = run("keys", "ls", "--db", db, "--project", "team").stdout
            assert made["id"] in listed
            assert made["key"] not in listed
            ended = run("keys", "revoke", made["id"], "--db", db)
            assert (ended.returncode, ended.stdout) == (0, f"key {made['id']} of project team is revoked\n")
            revoked = time.monotonic()
            while status(backend, made["key"], VALIDATE) == 200:
                assert_in_time(time.monotonic() - revoked, CACHE_SECONDS + 1)
                time.sleep(0.1)
            assert status(backend, made["key"], VALIDATE) == 401
        found = [json.loads(line) for line in run("keys", "ls", "--db", db, "--json").stdout.splitlines()]
        assert [(each["id"], each["revoked_at"] is None) for each in found] == [(made["id"], False)]
        assert "was revoked before" in run("keys", "revoke", made["id"], "--db", db).stdout

    def test_a_key_is_the_same_in_the_api_and_on_the_command_line(self, tmp_path: Path) -> None:
        """In JSON, its hint too; a person sees that hint in the list."""
        db = str(tmp_path / "db")
        made = json.loads(
            run("keys", "create", "--project", "p", "--role", "admin", "--db", db, "--json").stdout
        )
        (listed,) = (json.loads(line) for line in run("keys", "ls", "--db", db, "--json").stdout.splitlines())
        with Backend(db=db) as backend:
            (shown,) = requests.get(
                f"{backend.url}/api/keys", headers={"X-API-Key": made["key"]}, timeout=10
            ).json()["keys"]
        assert listed == shown == {name: value for name, value in made.items() if name != "key"}
        assert listed["hint"] == f"…{made['key'][-4:]}"
        assert listed["hint"] in run("keys", "ls", "--db", db).stdout

    def test_for_people_the_key_is_on_a_line_of_its_own(self, tmp_path: Path) -> None:
        """And what it opens on the one before."""
        db = str(tmp_path / "db")
        made = run("keys", "create", "--project", "p", "--role", "admin", "--db", db)
        said, key = made.stdout.splitlines()
        assert said.endswith(" of project p, role admin; it is not shown again:")
        with Backend(db=db) as backend:
            assert validated(backend, key) == {"valid": True, "project": "p", "role": "admin"}

    def test_a_database_that_there_is_not_is_not_made_by_looking(self, tmp_path: Path) -> None:
        """Only `create` makes one."""
        db = tmp_path / "db"
        for arguments in (("ls",), ("revoke", "x")):
            assert f"there is no database {db}" in refused("keys", *arguments, "--db", str(db))
        assert not db.exists()

    def test_an_unknown_id_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """And the database may be in the environment."""
        monkeypatch.setenv("BANYAN_HP_DB", str(tmp_path / "db"))
        assert run("keys", "create", "--project", "p").returncode == 0
        assert "there is no key 'x'" in refused("keys", "revoke", "x")


class TestHealth:
    def test_a_supervisor_needs_no_key(self, new_database: NewDatabase) -> None:
        """The process responds; the database does, and says how far search is behind."""
        with Backend(db=new_database()) as backend:
            healthy = requests.get(f"{backend.url}/healthz", timeout=10)
            assert (healthy.status_code, healthy.json()) == (200, {"status": "ok"})
            ready = requests.get(f"{backend.url}/readyz", timeout=10)
            assert (ready.status_code, ready.json()) == (
                200,
                {"status": "ok", "search_lag": 0, "results_lag": 0},
            )
            heads = [requests.head(f"{backend.url}/{path}", timeout=10) for path in ("healthz", "readyz")]
            assert [(each.status_code, each.content) for each in heads] == [(200, b"")] * 2
