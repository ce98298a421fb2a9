"""Which entries of seed files were applied, and what they said then."""

from __future__ import annotations

from sqlalchemy import Connection, delete, insert, select

from .database import Database
from .tables import seeded


class Seeded:
    """Digests of entries, by the entry's identity."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def digest(self, entry: str) -> str | None:
        """What an entry said when it was last applied."""
        with self._database.read() as connection:
            found: str | None = connection.execute(
                select(seeded.c.digest).where(seeded.c.entry == entry)
            ).scalar()
            return found

    def note(self, entry: str, digest: str) -> None:
        """An entry was applied."""

        def store(connection: Connection) -> None:
            connection.execute(delete(seeded).where(seeded.c.entry == entry))
            connection.execute(insert(seeded).values(entry=entry, digest=digest))

        self._database.write(store)
