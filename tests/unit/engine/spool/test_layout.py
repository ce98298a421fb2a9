"""Where records lie: the directory's name, what it says of itself, and that it is private."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from banyan_hp.cli.main import main
from banyan_hp.engine.spool import layout as layout_module
from banyan_hp.engine.spool.layout import (
    ADDRESS_NAME,
    Address,
    destination_directory,
    spool_bases,
)
from tests.conftest import MakeLogger
from tests.support.clock import FakeClock
from tests.support.disk import (
    Disk,
    read,
    record,
    records,
    spooled,
)
from tests.support.prompts import prompt_json
from tests.support.scripted import ScriptedServer
from tests.support.scripted_answers import Reply, batching
from tests.support.stepped import FakeBackend, SteppedEngine, down

KEY = "psk_very_secret"
IDENTITY = ("banyan", "https://host", "acme")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    directory = destination_directory(tmp_path, IDENTITY, KEY)
    directory.mkdir(parents=True)
    return directory


def test_it_comes_back_as_it_was_written(directory: Path) -> None:
    """Private, in one file, without the key."""
    address = Address.of(IDENTITY, KEY)
    address.write(directory)
    assert Address.read(directory) == address
    (only,) = directory.iterdir()
    assert stat.S_IMODE(only.stat().st_mode) == 0o600
    assert KEY not in only.read_text()
    assert KEY not in repr(address)


def test_it_is_written_once(directory: Path) -> None:
    """What is there stays as it is."""
    (directory / ADDRESS_NAME).write_text("mine")
    Address.of(IDENTITY, KEY).write(directory)
    assert (directory / ADDRESS_NAME).read_text() == "mine"


@pytest.mark.parametrize(
    "said",
    [
        "",
        "[]",
        "null",
        "[" * 100_000,
        "{}",
        '{"client": 1, "base_url": 2, "project": 3, "key_fingerprint": 4}',
        json.dumps(Address.of(("banyan", "https://elsewhere", "acme"), KEY).fields()),
        json.dumps(Address.of(IDENTITY, "another key").fields()),
    ],
)
def test_what_does_not_fit_the_directory_is_not_believed(directory: Path, said: str) -> None:
    """Records and keys are not sent to where a stray file says."""
    (directory / ADDRESS_NAME).write_text(said)
    assert Address.read(directory) is None


def test_no_link_is_followed(directory: Path, tmp_path: Path) -> None:
    """Neither to read nor to write."""
    target = tmp_path / "target"
    (directory / ADDRESS_NAME).symlink_to(target)
    Address.of(IDENTITY, KEY).write(directory)
    assert not target.exists()
    target.write_text(json.dumps(Address.of(IDENTITY, KEY).fields()))
    assert Address.read(directory) is None


def test_records_are_spooled_where_it_can_t_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is for people only; and no half of it is left behind."""
    real = Path.replace

    def replace(path: Path, target: Path) -> Path:
        if ADDRESS_NAME in path.name:
            raise OSError(28, os.strerror(28))
        return real(path, target)

    monkeypatch.setattr(Path, "replace", replace)
    backend = FakeBackend()
    backend.behaviour = down
    engine = SteppedEngine(backend, FakeClock(), tmp_path, max_retries=0)
    engine.log()
    engine.shutdown(1.0)
    assert engine.stats()["logs_spooled"] == 1
    assert not list(tmp_path.rglob(f"*{ADDRESS_NAME}*"))


def test_a_spool_in_the_place_of_an_earlier_platformdirs_is_sent(
    server: ScriptedServer, make_logger: MakeLogger, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """On macOS, where XDG_STATE_HOME is set: an upgrade of platformdirs strands no records."""
    # private: the system that the tests run on
    monkeypatch.setattr(layout_module, "_ON_MACOS", True)
    monkeypatch.delenv("BANYAN_HP_SPOOL_DIR")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
    earlier = tmp_path / "Library" / "Application Support" / "banyan_hp"
    server.handler = lambda _: Reply(503)
    before = make_logger(server.url, spool_dir=earlier)
    assert before.log_prompt("q", "stranded")
    assert before.shutdown(0).spooled == 1
    server.handler = batching()
    after = make_logger(server.url)
    assert after.log_prompt("q", "new")
    assert after.flush(5)
    assert {body["output"] for _, body in server.records()} == {"stranded", "new"}


def test_the_command_and_the_prompts_find_the_earlier_place_too(
    server: ScriptedServer,
    make_logger: MakeLogger,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`spool replay` sends what lies there; a prompt that was kept there is served, until it is gone."""
    # private: the system that the tests run on
    monkeypatch.setattr(layout_module, "_ON_MACOS", True)
    monkeypatch.delenv("BANYAN_HP_SPOOL_DIR")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("BANYAN_API_KEY", "psk_test")
    server.handler = lambda request: Reply(200, prompt_json()) if request.method == "GET" else Reply(503)
    earlier = tmp_path / "Library" / "Application Support" / "banyan_hp"
    before = make_logger(server.url, api_key="psk_test", spool_dir=earlier)
    kept = before.get_prompt("p")
    assert kept is not None
    assert before.log_prompt("q", "stranded")
    assert before.shutdown(0).spooled == 1
    server.handler = lambda request: Reply(503) if request.method == "GET" else batching()(request)
    assert main(["spool", "replay"]) == 0
    assert "delivered 1, still on disk 0" in capsys.readouterr().out
    assert [body["output"] for _, body in server.records()][-1] == "stranded"
    found = make_logger(server.url, api_key="psk_test").get_prompt("p")
    assert found is not None
    assert (found.content, found.source) == (kept.content, "disk")


def test_the_earlier_place_is_looked_for_once_in_a_process(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where there was none at the first look, no later one looks there."""
    # private: the system that the tests run on
    monkeypatch.setattr(layout_module, "_ON_MACOS", True)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
    assert len(spool_bases(None)) == 1
    (tmp_path / "Library" / "Application Support" / "banyan_hp").mkdir(parents=True)
    assert len(spool_bases(None)) == 1


def test_only_the_default_place_on_macos_has_an_earlier_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Not a directory that was given, nor where XDG_STATE_HOME is not set."""
    earlier = tmp_path / "Library" / "Application Support" / "banyan_hp"
    earlier.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    assert earlier not in spool_bases(None)
    # private: the system that the tests run on
    monkeypatch.setattr(layout_module, "_ON_MACOS", True)
    assert spool_bases(None)[1:] == (earlier,)
    assert spool_bases("/given") == (Path("/given"),)
    monkeypatch.setenv("XDG_STATE_HOME", " ")
    assert earlier not in spool_bases(None)


# -- the directory -------------------------------------------------------------------------------------------


SECRET = "sk-very-secret-key"


def test_directory_and_files_are_private(disk: Disk) -> None:
    """Only the user may read what was logged."""
    spool = disk.spool()
    written = spooled(spool, 1, 2)
    spool.quarantine(record(3), "refused", 422, "bad")
    spool.acknowledge(written[:1])
    assert stat.S_IMODE(disk.directory.stat().st_mode) == 0o700
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in disk.directory.iterdir()}
    assert len(modes) == 3
    assert set(modes.values()) == {0o600}


def test_the_directories_above_are_private_too(disk: Disk) -> None:
    """What we make on the way to the directory is as private as the directory itself."""
    spooled(disk.spool(), 1)
    assert stat.S_IMODE(disk.directory.parent.stat().st_mode) == 0o700


def test_nothing_is_written_before_there_is_something_to_write(disk: Disk) -> None:
    """An application that never has trouble has an empty directory."""
    spool = disk.spool()
    assert spool.opened
    assert read(spool) == []
    assert disk.names() == []


def test_a_link_in_place_of_the_directory_is_refused(disk: Disk, tmp_path: Path) -> None:
    """Records must not go where a symbolic link points."""
    target = tmp_path / "target"
    target.mkdir()
    disk.directory.parent.mkdir()
    disk.directory.symlink_to(target)
    spool = disk.spool()
    assert not spool.usable
    assert "symbolic link" in (spool.problem or "")
    assert not spool.append(records(1))
    assert list(target.iterdir()) == []


def test_a_file_in_place_of_the_directory_is_refused(disk: Disk) -> None:
    """The problem is reported and nothing is raised."""
    disk.directory.parent.mkdir()
    disk.directory.touch()
    spool = disk.spool()
    assert not spool.usable
    assert "FileExistsError" in (spool.problem or "")
    assert read(spool) == []


def test_another_user_s_directory_is_refused(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else could read along or hand us records."""
    disk.directory.mkdir(parents=True)
    owner = disk.directory.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    assert "another user" in (disk.spool().problem or "")


def test_a_system_without_locks_has_no_spool(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without leases two processes would send the same records."""
    monkeypatch.setattr(layout_module, "can_lock", lambda: False)
    spool = disk.spool()
    assert "flock" in (spool.problem or "")
    assert disk.names() == []


def test_a_destination_s_directory_depends_on_url_project_and_key(tmp_path: Path) -> None:
    """One tenant's records must not leave under another's key; and the key is not in the name."""
    one = destination_directory(tmp_path, ("banyan", "https://host", "p"), SECRET)
    assert one == destination_directory(tmp_path, ("banyan", "https://host", "p"), SECRET)
    others = [
        destination_directory(tmp_path, ("banyan", "https://host", "p"), SECRET + "2"),
        destination_directory(tmp_path, ("banyan", "https://host", "q"), SECRET),
        destination_directory(tmp_path, ("banyan", "https://hostp", ""), SECRET),
        destination_directory(tmp_path, ("huggingplace", "https://host", "p"), SECRET),
    ]
    assert len({one, *others}) == 5
    assert one.parent == tmp_path / "spool"
    assert SECRET not in str(one)


def test_the_key_is_nowhere_on_disk(tmp_path: Path) -> None:
    """Neither in a name nor in a file, refused records included."""
    disk = Disk(destination_directory(tmp_path, ("banyan", "https://host", "p"), SECRET))
    spool = disk.spool()
    written = spooled(spool, 1, 2)
    spool.quarantine(record(3), "refused", 401, "no such key")
    spool.acknowledge(written[:1])
    paths = list(tmp_path.rglob("*"))
    contents = [path.read_bytes() for path in paths if path.is_file()]
    assert len(contents) == 3
    assert not any(SECRET.encode() in content for content in contents)
    assert not any(SECRET in str(path) for path in paths)
    spool.close()
