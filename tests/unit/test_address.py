"""What a spool directory says of itself."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from banyan_hp.engine.address import ADDRESS_NAME, Address, destination_directory
from tests.support.clock import FakeClock
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
        json.dumps(Address.of(("banyan", "https://elsewhere", "acme"), KEY).said()),
        json.dumps(Address.of(IDENTITY, "another key").said()),
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
    target.write_text(json.dumps(Address.of(IDENTITY, KEY).said()))
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
