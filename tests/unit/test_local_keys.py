"""Where a backend leaves the key that it has made, and which clients find it."""

from __future__ import annotations

from pathlib import Path

import pytest

from banyan_hp import local_keys


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(local_keys.DIRECTORY_VARIABLE, str(tmp_path / "state" / "keys"))
    return tmp_path / "state" / "keys"


@pytest.mark.parametrize(
    ("kept", "asked", "found"),
    [
        ("http://127.0.0.1:8787", "http://127.0.0.1:8787", True),
        ("http://127.0.0.1:8787", "http://127.0.0.1:8787/", True),
        ("http://127.0.0.1:8787", "http://localhost:8787", True),
        ("http://127.0.0.1:8787", "http://LocalHost:8787", True),
        ("http://127.0.0.1:80", "http://localhost", True),
        ("http://[::1]:8787", "http://[::1]:8787", True),
        ("http://[::1]:8787", "http://localhost:8787", True),
        ("http://127.0.0.2:8787", "http://127.0.0.2:8787", True),
        ("http://127.0.0.2:8787", "http://localhost:8787", False),
        ("http://127.0.0.1:8787", "http://[::1]:8787", False),
        ("http://127.0.0.1:8787", "http://127.0.0.1:8788", False),
        ("http://127.0.0.1:8787", "https://127.0.0.1:8787", False),
        ("http://127.0.0.1:8787", "http://127.0.0.1:8787/behind/a/proxy", False),
        ("http://127.0.0.1:8787", "http://127.0.0.1.evil.test:8787", False),
        ("http://127.0.0.1:8787", "http://127.0.0.1:99999", False),
        ("http://127.0.0.1:8787", "nonsense", False),
    ],
)
def test_a_key_is_found_by_the_names_of_its_backend(kept: str, asked: str, found: bool) -> None:
    """Of this machine, with its port, and without a path; no other server gets it."""
    local_keys.keep(kept, "psk_kept")
    assert local_keys.find(asked) == ("psk_kept" if found else None)


def test_the_last_key_counts(directory: Path) -> None:
    """A backend with another database has another key; only its owner can read it."""
    for key in ("psk_first", "psk_second"):
        path = local_keys.keep("http://127.0.0.1:8787", key)
    assert local_keys.find("http://127.0.0.1:8787") == "psk_second"
    assert list(local_keys.every()) == ["psk_second"]
    assert [each.stat().st_mode & 0o777 for each in (path, directory)] == [0o600, 0o700]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"key": "psk_x"}', b'{"url": "http://127.0.0.1:8787", "key": 5}', b"\xff"]
)
def test_a_damaged_file_holds_no_key(content: bytes) -> None:
    """As one for another URL does."""
    local_keys.keep("http://127.0.0.1:8787", "psk_kept").write_bytes(content)
    assert local_keys.find("http://127.0.0.1:8787") is None


def test_no_link_is_followed(tmp_path: Path) -> None:
    """Nor is a file of another kind read."""
    path = local_keys.keep("http://127.0.0.1:8787", "psk_kept")
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert local_keys.find("http://127.0.0.1:8787") is None
    assert list(local_keys.every()) == []


def test_without_a_home_there_is_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeping one fails with a reason, looking for one does not fail."""
    monkeypatch.delenv(local_keys.DIRECTORY_VARIABLE)
    monkeypatch.setattr("platformdirs.user_state_path", lambda _name: Path("~/state"))
    assert local_keys.find("http://127.0.0.1:8787") is None
    assert list(local_keys.every()) == []
    with pytest.raises(OSError, match="there is no directory for it"):
        local_keys.keep("http://127.0.0.1:8787", "psk_x")
