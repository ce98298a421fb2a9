"""Who is logged in with a browser, and the links that log in once.

A session and a link are random; what is stored is their SHA-256, beside that of the key that they stand for.
So any process knows them, and none survives its key: whoever asks looks the key up again.

A link is redeemed by deleting its row, so that only one of several who try at once gets in.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, insert, or_, select, update

from .calls import microseconds
from .database import Database
from .rows import printable
from .tables import browser_sessions, login_links

IDLE = timedelta(hours=12)  # after which a session ends that nobody uses
LONGEST = timedelta(days=30)
LINK = timedelta(hours=1)
_NOTED_AFTER = timedelta(minutes=1)  # how exactly it is known when a session was used
_RANDOM_BYTES = 32


@dataclass(frozen=True, slots=True)
class Login:
    """A browser that is logged in.

    Attributes:
        key_sha256: of the key that it logged in with.
        name: of the person, where one was given.
    """

    key_sha256: bytes
    name: str | None = None


class Logins:
    """Sessions of browsers, and links that begin one."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def link(self, key_sha256: bytes, now: datetime) -> str:
        """A token that logs in once, with this key, within an hour."""
        token = secrets.token_urlsafe(_RANDOM_BYTES)
        row = {"sha256": _digest(token), "key_sha256": key_sha256, "expires_at": microseconds(now + LINK)}
        self._database.write(lambda connection: connection.execute(insert(login_links).values(row)))
        return token

    def redeem(self, token: str, now: datetime) -> bytes | None:
        """The key's SHA-256 of a link that nobody has redeemed yet; None: there is no such link any more."""
        chosen = delete(login_links).where(login_links.c.sha256 == _digest(token))
        redeemed = chosen.returning(login_links.c.key_sha256, login_links.c.expires_at)
        row = self._database.write(lambda connection: connection.execute(redeemed).first())
        return bytes(row.key_sha256) if row is not None and row.expires_at > microseconds(now) else None

    def begin(self, key_sha256: bytes, now: datetime, name: str | None = None) -> str:
        """A session's secret, for the cookie. What has expired goes."""
        secret = secrets.token_urlsafe(_RANDOM_BYTES)
        at = microseconds(now)
        digest, shown = _digest(secret), printable(name) if name is not None else None
        row = {"sha256": digest, "key_sha256": key_sha256, "created_at": at, "seen_at": at, "name": shown}

        def store(connection: Connection) -> None:
            _tidy(connection, now)
            connection.execute(insert(browser_sessions).values(row))

        self._database.write(store)
        return secret

    def find(self, secret: str, now: datetime) -> Login | None:
        """The session with this secret; None: there is none, or it has expired."""
        chosen = browser_sessions.c.sha256 == _digest(secret)
        with self._database.read() as connection:
            row = connection.execute(select(browser_sessions).where(chosen)).first()
        if (
            row is None
            or row.seen_at <= microseconds(now - IDLE)
            or row.created_at <= microseconds(now - LONGEST)
        ):
            return None
        if row.seen_at <= microseconds(now - _NOTED_AFTER):
            used = update(browser_sessions).where(chosen).values(seen_at=microseconds(now))
            self._database.write(lambda connection: connection.execute(used))
        return Login(bytes(row.key_sha256), row.name)

    def end(self, secret: str) -> None:
        """Log out."""
        ended = delete(browser_sessions).where(browser_sessions.c.sha256 == _digest(secret))
        self._database.write(lambda connection: connection.execute(ended))


def _tidy(connection: Connection, now: datetime) -> None:
    sessions, links = browser_sessions.c, login_links.c
    old = or_(
        sessions.seen_at <= microseconds(now - IDLE), sessions.created_at <= microseconds(now - LONGEST)
    )
    connection.execute(delete(browser_sessions).where(old))
    connection.execute(delete(login_links).where(links.expires_at <= microseconds(now)))


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()
