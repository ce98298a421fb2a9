"""A PostgreSQL of the tests' own, on a Unix socket, in a directory of its own; it never runs as root."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import uuid
from pathlib import Path
from types import TracebackType
from urllib.parse import urlsplit

MISSING = "PostgreSQL's server programs are not installed (Debian: apt-get install postgresql)"
_OPTIONS = "-c listen_addresses='' -c fsync=off -c full_page_writes=off -c max_connections=60"
_START_SECONDS = 30.0


def programs() -> Path | None:
    """Where `initdb` and `postgres` are; None where they are not installed."""
    on_path = shutil.which("initdb")
    found = [Path(on_path).parent] if on_path else []
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((each for each in found if (each / "initdb").exists()), None)


class Postgres:
    """A cluster that is gone with its directory at the end. A context manager."""

    def __init__(self) -> None:
        found = programs()
        if found is None:
            raise FileNotFoundError(MISSING)
        self._bin = found
        # PostgreSQL refuses root, and whoever runs it has to reach the directory: none of pytest's.
        self.directory = Path(tempfile.mkdtemp(prefix="banyan-hp-pg-", dir="/tmp"))
        self._user = "postgres" if os.geteuid() == 0 else None
        if self._user is not None:
            account = pwd.getpwnam(self._user)
            os.chown(self.directory, account.pw_uid, account.pw_gid)

    def __enter__(self) -> Postgres:
        try:
            self._run("initdb", "-D", self._data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync")
            self.start()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
        self.remove()

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        options = f"{_OPTIONS} -c unix_socket_directories={self.directory}"
        log = str(self.directory / "log")
        self._run("pg_ctl", "-D", self._data, "-o", options, "-l", log, "-w", "-t", "30", "start")

    def stop(self, mode: str = "immediate") -> None:
        """Stop it; ``fast`` ends what is under way in order, ``immediate`` is a crash."""
        self._run("pg_ctl", "-D", self._data, "-m", mode, "-w", "stop", check=False)

    def remove(self) -> None:
        """Remove its files."""
        # Hundreds of databases are a hundred thousand files.
        subprocess.run(["rm", "-rf", self.directory], check=False)

    def new_database(self, template: str | None = None) -> str:
        """The URL of a fresh database: an empty one, or a copy of that at another URL."""
        name = f"test_{uuid.uuid4().hex[:12]}"
        like = "" if template is None else f" TEMPLATE {urlsplit(template).path[1:]}"
        self.execute(f"CREATE DATABASE {name}{like}")
        return self.url(name)

    def url(self, name: str) -> str:
        """The URL of one of its databases."""
        return f"postgresql://postgres@/{name}?host={self.directory}"

    def execute(self, sql: str, database: str = "postgres") -> None:
        """Run one statement outside a transaction."""
        import psycopg  # not in every environment that runs tests

        with psycopg.connect(self.url(database), autocommit=True) as connection:
            connection.execute(sql.encode("utf-8"))

    def cpu(self) -> float:
        """Seconds that its processes have computed, those that ended included."""
        main_process = (self.directory / "data" / "postmaster.pid").read_text().split()[0]
        ticks = 0
        for each in Path("/proc").glob("[0-9]*/stat"):
            try:
                after_name = each.read_text().rpartition(")")[2].split()
            except OSError:  # it ended
                continue
            if each.parent.name == main_process:
                ticks += sum(map(int, after_name[11:15]))
            elif after_name[1] == main_process:
                ticks += sum(map(int, after_name[11:13]))
        return ticks / os.sysconf("SC_CLK_TCK")

    @property
    def _data(self) -> str:
        return str(self.directory / "data")

    def _run(self, program: str, *arguments: str, check: bool = True) -> None:
        ended = subprocess.run(
            [self._bin / program, *arguments],
            user=self._user,
            cwd=self.directory,
            check=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            timeout=_START_SECONDS * 2,
        )
        if check and ended.returncode:
            raise RuntimeError(f"{program} failed: {ended.stderr}")
