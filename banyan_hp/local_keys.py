"""The keys of backends on this machine, by URL, so that a laptop needs none in its code.

`banyan-hp serve` keeps the key that it makes in a file that only this user can read. A client that was given
no key, and whose `base_url` is an address of this machine, looks there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import platformdirs

from . import files

DIRECTORY_VARIABLE = "BANYAN_HP_KEYS_DIR"
_MOST_BYTES = 4096
_LOCALHOST = ("127.0.0.1", "::1")
_HTTP_PORT = 80


def find(base_url: str) -> str | None:
    """The key that was kept for the backend at this URL; None: no backend of this user's keeps one there."""
    try:
        for url in _urls(base_url):
            if (key := _read(url)) is not None:
                return key
    except (OSError, RuntimeError, KeyError, ValueError):  # not there, not ours, no home, no such port
        return None
    return None


def every() -> Iterator[str]:
    """All keys that were kept, whatever their backend's URL."""
    try:
        directory = _directory()
        paths = sorted(directory.glob("*.json"))
        if paths:
            files.check_own_directory(directory)
    except (OSError, RuntimeError, KeyError):
        return
    for path in paths:
        try:
            found = json.loads(files.read_file(path, _MOST_BYTES))
        except (OSError, ValueError):
            continue
        if isinstance(found, dict) and isinstance(found.get("key"), str):
            yield found["key"]


def keep(url: str, key: str) -> Path:
    """Keep a key for the clients of this user; the file.

    Args:
        url: ``http://<address>:<port>``.
        key: the key.

    Raises:
        OSError: it can't be written.
    """
    try:
        directory = _directory()
    except (RuntimeError, KeyError) as error:
        raise OSError(f"there is no directory for it: {error}") from error
    files.make_own_directory(directory)
    path = directory / _name(url)
    files.replace_file(path, json.dumps({"url": url, "key": key}).encode("utf-8"))
    return path


def _read(url: str) -> str | None:
    directory = _directory()
    path = directory / _name(url)
    if not path.exists():
        return None
    files.check_own_directory(directory)
    found = json.loads(files.read_file(path, _MOST_BYTES))
    key = found.get("key") if isinstance(found, dict) and found.get("url") == url else None
    return key if isinstance(key, str) else None


def _urls(base_url: str) -> Iterator[str]:
    """The URLs that a backend may have said it is at, for one that a client knows it by."""
    parts = urlsplit(base_url)
    if parts.scheme != "http" or parts.path not in ("", "/"):
        return
    host = parts.hostname or ""
    port = parts.port or _HTTP_PORT
    for address in _LOCALHOST if host == "localhost" else (host,):
        if address in _LOCALHOST or address.startswith("127."):
            yield f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}"


def _name(url: str) -> str:
    return (
        "".join(char if char.isalnum() or char == "." else "-" for char in url.partition("//")[2]) + ".json"
    )


def _directory() -> Path:
    given = os.environ.get(DIRECTORY_VARIABLE, "").strip()
    directory = Path(given) if given else platformdirs.user_state_path("banyan_hp") / "keys"
    if not given and not directory.is_absolute():  # without a home it begins with a tilde
        raise RuntimeError("this user has no home directory")
    return directory.absolute()
