"""The local backend as a child process, for tests that need something real to talk to.

Starting, stopping, killing and reading back; what is sent to it is the tests' own business.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import requests

from tests.support.nursery import Forked, fork
from tests.support.patience import PATIENCE

READY = "banyan-hp local backend on "
START_SECONDS = STOP_SECONDS = REQUEST_SECONDS = PATIENCE


class Backend:
    """`banyan-hp serve` on a free port, over a database in a directory of its own (or `db`, a path or a URL).

    `api_keys` are entries of a keys file: ``KEY``, or ``PROJECT:ROLE:KEY``.
    A context manager: started on entry, gone with its directory on exit.
    `start()` after `stop()` or `kill()` comes back on the same port with the same database.
    It is a fork of a process that has imported everything, or has an interpreter of its own (`fresh`).
    """

    def __init__(
        self,
        *,
        db: Path | str | None = None,
        api_keys: Sequence[str] = ("psk_local",),
        seed: Path | None = None,
        options: Sequence[str] = (),
        fresh: bool = False,
    ) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="banyan-hp-backend-")
        self.db = Path(self._directory.name, "backend.sqlite3") if db is None else db
        self.api_keys = tuple(api_keys)
        self._keys = Path(self._directory.name, "keys")
        self._keys.write_text("\n".join(self.api_keys), "utf-8")
        self.port = 0
        self.banner = ""
        self._seed = seed
        self._options = tuple(options)
        self._fresh = fresh
        self._stderr = Path(self._directory.name, "stderr.txt")
        self._process: subprocess.Popen[str] | Forked | None = None

    def __enter__(self) -> Backend:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "down" if self._process is None else f"pid {self._process.pid}"
        return f"Backend({self.url}, {state})"

    @property
    def url(self) -> str:
        """The base URL; stays the same over a restart."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Of the process, which with `--workers` serves nothing itself."""
        assert self._process is not None, f"{self!r} does not run"
        return self._process.pid

    @property
    def api_key(self) -> str:
        """The first of its keys; if it was given none: the one that it says it has made."""
        if not self.api_keys:
            return self.banner.rpartition(" ")[2].strip()
        return self.api_keys[0].rpartition(":")[2]

    @property
    def stderr(self) -> str:
        """All that it has said on stderr, over all its lives."""
        return self._stderr.read_text("utf-8", "replace") if self._stderr.exists() else ""

    def start(self) -> None:
        """Start the process and return when it accepts connections."""
        assert self._process is None, f"{self!r} runs already"
        with self._stderr.open("a") as stderr:
            if self._fresh:
                command = [sys.executable, "-m", "banyan_hp", *self._arguments()]
                self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True)
            else:
                self._process = fork(self._arguments(), stderr=stderr)
        self.banner = self._await_banner(self._process)
        self.port = int(self.banner.splitlines()[0].rpartition(":")[2])

    def stop(self, signum: signal.Signals = signal.SIGTERM) -> int:
        """End it in good order and return its exit code."""
        return self._end(signum)

    def kill(self) -> None:
        """End it on the spot (SIGKILL), as a crash would."""
        self._end(signal.SIGKILL)

    def close(self) -> None:
        """End it if it runs, and remove its directory."""
        if self._process is not None:
            self.kill()
        self._directory.cleanup()

    def new_key(self, role: str = "admin") -> str:
        """A key that the backend has made, in its database."""
        made = requests.post(
            f"{self.url}/api/keys",
            json={"role": role},
            headers={"X-API-Key": self.api_key},
            timeout=REQUEST_SECONDS,
        )
        return str(made.json()["key"])

    def get(self, path: str, **params: str | int) -> Any:
        """GET a path with the first key, and return the JSON of a 200."""
        response = requests.get(
            self.url + path,
            params=params,
            headers={"X-API-Key": self.api_key},
            timeout=REQUEST_SECONDS,
        )
        assert response.status_code == 200, f"GET {path}: {response.status_code} {response.text[:500]}"
        return response.json()

    def count(self) -> int:
        """How many different records it holds."""
        return int(self.get("/api/logs/count")["count"])

    def deliveries(self) -> int:
        """How many times records came, repeats included."""
        return int(self.get("/api/logs/count")["deliveries"])

    def logs(self) -> list[dict[str, Any]]:
        """All records in order of arrival, page after page."""
        logs: list[dict[str, Any]] = []
        page = self.get("/api/logs", limit=1000)
        logs.extend(page["logs"])
        while page["next"] is not None:
            page = self.get("/api/logs", limit=1000, after=page["next"])
            logs.extend(page["logs"])
        return logs

    def interactions_count(self) -> int:
        """How many different interactions it holds."""
        return int(self.get("/api/interactions/count")["count"])

    def interactions(self, session_id: str | None = None) -> list[dict[str, Any]]:
        """All interactions, or those of one session, in order of arrival, page after page."""
        chosen = {} if session_id is None else {"session_id": session_id}
        interactions: list[dict[str, Any]] = []
        after: str | None = "0"
        while after is not None:
            page = self.get("/api/interactions", limit=1000, after=after, **chosen)
            interactions.extend(page["interactions"])
            after = page["next"]
        return interactions

    def file(self) -> Path:
        """The SQLite file that it keeps its data in."""
        assert isinstance(self.db, Path), f"{self.db} is no file"
        return self.db

    def _arguments(self) -> list[str]:
        arguments = ["serve", "--port", str(self.port), "--db", str(self.db)]
        if self.api_keys:
            arguments += ["--keys-file", str(self._keys)]
        if self._seed is not None:
            arguments += ["--seed", str(self._seed)]
        return [*arguments, *self._options]

    def _await_banner(self, process: subprocess.Popen[str] | Forked) -> str:
        lines: list[str] = []
        reader = threading.Thread(target=_read_banner, args=(process, lines), daemon=True)
        reader.start()
        reader.join(START_SECONDS)
        if len(lines) == 3 and lines[0].startswith(READY):
            return "".join(lines)
        self._end(signal.SIGKILL)
        raise AssertionError(f"the backend did not start; stdout: {lines!r}; stderr: {self.stderr}")

    def _end(self, signum: signal.Signals) -> int:
        assert self._process is not None, f"{self!r} does not run"
        process, self._process = self._process, None
        process.send_signal(signum)
        try:
            return process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_SECONDS)
            raise AssertionError(
                f"no end {STOP_SECONDS} s after {signum.name}; stderr: {self.stderr}"
            ) from None
        finally:
            if process.stdout is not None:
                process.stdout.close()


def _read_banner(process: subprocess.Popen[str] | Forked, lines: list[str]) -> None:
    """Read the three lines that it says at its start, or fewer when it ends before."""
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line)
        if len(lines) == 3:
            return
