"""The keys that open a backend from its start: those given to it, and the one that it makes on a laptop."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import timedelta
from pathlib import Path

from .. import local_keys
from .api.auth import Caller
from .starting import KEYS_VARIABLE, WELL_KNOWN_KEYS, StartError
from .store.database import BusyError, SlowQueryError
from .store.keys import DEFAULT_PROJECT, Keys, Role, digest_of

logger = logging.getLogger(__name__)

_FORM = f"KEY or PROJECT:ROLE:KEY, with a role of {', '.join(role.value for role in Role)}"
_HINT_FROM = 16  # characters of a key, of which four say nothing about the others


def given_keys(entries: Sequence[str], file: Path | None = None) -> dict[str, Caller]:
    """Who has which key.

    Args:
        entries: ``KEY``, an admin's of the project "default", or ``PROJECT:ROLE:KEY``.
        file: one with more of them, one a line; empty lines and those that begin with ``#`` aside.

    Raises:
        StartError: one of them is neither, two give one key to different callers, or the file can't be read.
    """
    given = [(f"key {number}", text) for number, text in enumerate(entries, 1)]
    if file is not None:
        given += _of_file(file)
    found: dict[str, Caller] = {}
    for place, entry in given:
        key, caller = _caller(entry, place)
        if found.setdefault(key, caller) != caller:
            raise StartError(f"{place} is there before, for another project or role: a key opens one project")
    return found


def _of_file(path: Path) -> list[tuple[str, str]]:
    """Its entries, each with where it is."""
    try:
        # A byte order mark would be part of the first project.
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise StartError(
            f"can't read the keys file {path}: {getattr(error, 'strerror', None) or error}"
        ) from error
    given = [(number, line.strip()) for number, line in enumerate(lines, 1)]
    entries = [(number, line) for number, line in given if line and not line.startswith("#")]
    if not entries:
        raise StartError(f"the keys file {path} must hold keys, one a line; it holds none")
    return [(f"line {number} of the keys file {path}", line) for number, line in entries]


def _caller(entry: str, place: str) -> tuple[str, Caller]:
    """The key of an entry, and whose it is. A refusal never shows the entry: it holds a secret."""
    project, role, key = DEFAULT_PROJECT, Role.ADMIN.value, entry
    if ":" in entry:
        parts = [part.strip() for part in entry.split(":", 2)]
        if len(parts) < 3 or not all(parts) or parts[1] not in {each.value for each in Role}:
            raise StartError(f"{place} must be {_FORM}; what is there is neither")
        project, role, key = parts
    hint = f"given …{key[-4:]}" if len(key) >= _HINT_FROM else "given"
    return key, Caller(project, Role(role), hint)


def check_exposed(keys: Mapping[str, Caller], stored: Keys, address: str) -> None:
    """Make sure that what listens for other machines has keys, and none that everybody knows.

    Raises:
        StartError: it has not.
    """
    if any(key in WELL_KNOWN_KEYS for key in keys):
        raise StartError(
            f"can't listen on {address}, where other machines can reach it, with a key that everybody knows; "
            f"make one with 'banyan-hp keys create', or give one of your own in {KEYS_VARIABLE}"
        )
    if not keys and not _good(stored):
        raise StartError(
            f"can't listen on {address}, where other machines can reach it, without a key; "
            f"make one with 'banyan-hp keys create --project {DEFAULT_PROJECT}' on the same --db, "
            f"or give some in {KEYS_VARIABLE} or a --keys-file"
        )


def own_key(url: str, stored: Keys) -> str | None:
    """The key of a laptop's backend, kept where this user's clients find it, the same after a restart.

    None where the database has other keys, which its operator made: then those are the ones to use.
    """
    kept = local_keys.find(url)
    if kept is not None and stored.find(digest_of(kept)) is not None:
        return kept
    secret = next((key for key in local_keys.every() if stored.find(digest_of(key)) is not None), None)
    if secret is None:
        if _good(stored):
            return None
        _, secret = stored.create(DEFAULT_PROJECT, Role.ADMIN, "serve")
    try:
        local_keys.keep(url, secret)
    except OSError as error:
        logger.warning("clients have to be given the key, which can't be kept for them: %s", error)
    return secret


def _good(stored: Keys) -> bool:
    return any(key.revoked_at is None for key in stored.listed())


def prepare_calls(url: str | None, cluster: str | None = None, retain: timedelta | None = None) -> None:
    """Bring the tables of a ClickHouse, if there is one, up to date; and have it keep calls for so long.

    Args:
        url: of the ClickHouse.
        cluster: whose shards have the tables; None: the server has them.
        retain: how long it keeps calls before it removes them itself; None: for ever.

    Raises:
        StartError: it can't be reached, or refuses, or its tables are of a newer version.
    """
    if url is None:
        return
    from .store.clickhouse.ages import keep_for
    from .store.clickhouse.client import ClickHouse  # an extra
    from .store.clickhouse.cluster import SchemaError
    from .store.clickhouse.schema import make_tables

    try:
        with closing(ClickHouse(url, cluster)) as clickhouse:
            make_tables(clickhouse)
            keep_for(clickhouse, retain)
    except (BusyError, SchemaError, SlowQueryError) as error:
        raise StartError(f"can't use the ClickHouse of --calls: {error}") from error
