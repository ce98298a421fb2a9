"""Real application servers as child processes, and what a server's test asks of them.

Owned here: a server's process group, its output, the requests sent to it, the time it takes to end. What it
runs is `tests/support/server_app.py` or an example. What arrived is read from the local backend.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from tests.support.backend import Backend
from tests.support.patience import PATIENCE

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
SCRIPTS = Path(sys.executable).parent
UWSGI = SCRIPTS / "uwsgi"
OLD_UWSGI = Path(sys.prefix, "uwsgi-2.0.26", "bin", "uwsgi")  # the last one that can be without threads
APP = "tests.support.server_app:application"
START_SECONDS = STOP_SECONDS = ARRIVE_SECONDS = REQUEST_SECONDS = PATIENCE
POLL_SECONDS = 0.02
CLIENTS = 4
ROUND = 20

WITHOUT_THREADS = "uWSGI runs without threads"
OURS = re.compile(r"banyan_hp|Traceback|Exception ignored|Fatal Python|can't start new thread", re.IGNORECASE)

SAID_WITHOUT_BACKEND = re.compile(r"the backend can't be reached|records? (is|are) on disk; ")


class Server:
    """A command in a process group of its own, in `directory`, its stdout and stderr in one file.

    A context manager: started on entry; on exit the whole group is killed, and if the test has failed the
    output is shown. `BANYAN_HP_SPOOL_DIR` and the like come from the test's own environment.
    """

    def __init__(
        self,
        command: Sequence[str],
        directory: Path,
        *,
        port: int = 0,
        ready: str = "/pid",
        **environment: str,
    ) -> None:
        self.port = port
        self._ready = ready
        self._command = list(command)
        self._directory = directory
        self._environment = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
        self._output = directory / f"output-{time.monotonic_ns()}.txt"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Server:
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._directory,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            if self.port:
                self._await_ready()
        except BaseException:
            self._kill_group()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._kill_group()
        if error is not None:
            print(f"--- what {self._command} said ---\n{self.output}")

    @property
    def pid(self) -> int:
        return self._running().pid

    @property
    def output(self) -> str:
        """All that it has said, on stdout and stderr."""
        return self._output.read_text("utf-8", "replace")

    def has_ended(self) -> bool:
        """Whether its first process is gone."""
        return self._running().poll() is not None

    def send(self, signum: signal.Signals) -> None:
        """To the server's first process alone, as an operator does it."""
        self._running().send_signal(signum)

    def send_to_all(self, signum: signal.Signals) -> None:
        """To all of its processes, as a terminal does it at Ctrl-C."""
        os.killpg(self.pid, signum)

    def wait(self, within: float = STOP_SECONDS) -> int:
        """Its exit status, or a failure that shows what it said."""
        process = self._running()
        try:
            return process.wait(within)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it still runs after {within} s; it said: {self.output}") from None

    def stop(self, signum: signal.Signals = signal.SIGTERM, *, within: float = STOP_SECONDS) -> float:
        """End it in good order; the seconds it took. All of its processes are gone then."""
        began = time.monotonic()
        self.send(signum)
        self.wait_for_all(within)
        return time.monotonic() - began

    def wait_for_all(self, within: float = STOP_SECONDS) -> None:
        """Until none of its processes is left."""
        self.wait(within)
        wait_until(lambda: not self._group_lives(), within, lambda: f"children live on: {self.output}")

    def get(self, path: str, *, timeout: float = REQUEST_SECONDS) -> str:
        """The body of a 200, over a connection of its own."""
        return self._request("GET", path, None, timeout)

    def post(self, path: str, body: str) -> str:
        """The body of a 200 to some JSON, over a connection of its own."""
        return self._request("POST", path, body, REQUEST_SECONDS)

    def log(self, numbers: Iterable[int], run: str) -> dict[int, str]:
        """Ask for one record each, from a few threads; who answered what. All must be answered."""

        def ask(number: int) -> tuple[int, str]:
            return number, self.get(log_path(run, number))

        with ThreadPoolExecutor(CLIENTS) as clients:
            return dict(clients.map(ask, numbers))

    def log_from_all(self, workers: int, run: str, *, at_least: int = 100) -> range:
        """Ask for records, in rounds, until each of so many processes has logged; the numbers asked for."""
        pids: set[str] = set()
        asked = range(0)
        deadline = time.monotonic() + START_SECONDS
        while len(pids) < workers or len(asked) < at_least:
            assert time.monotonic() < deadline, f"{len(pids)} workers answer, wanted {workers}: {self.output}"
            more = range(len(asked), len(asked) + ROUND)
            pids.update(self.log(more, run).values())
            asked = range(more.stop)
        return asked

    def _request(self, method: str, path: str, body: str | None, timeout: float) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        headers = {"Connection": "close", "Content-Type": "application/json"}
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            text = response.read().decode()
        finally:
            connection.close()
        assert response.status == 200, f"{path}: {response.status} {text}; it said: {self.output}"
        return text

    def _await_ready(self) -> None:
        def ready() -> bool:
            assert not self.has_ended(), f"it ended at once; it said: {self.output}"
            with suppress(OSError, http.client.HTTPException):
                return bool(self.get(self._ready, timeout=START_SECONDS))
            return False

        wait_until(ready, START_SECONDS, lambda: f"it does not answer; it said: {self.output}")

    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "it was not started"
        return self._process

    def _group_lives(self) -> bool:
        """Whether any process of the group is left."""
        try:
            os.killpg(self._running().pid, 0)
        except ProcessLookupError:
            return False
        return True

    def _kill_group(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._running().pid, signal.SIGKILL)
        self._running().wait(STOP_SECONDS)


class Load:
    """Requests from a few threads for as long as the `with` lasts, one record each.

    `answered` are the numbers whose record was logged for certain; of the others that were `asked` nobody
    knows, because the connection broke.
    """

    def __init__(self, server: Server, run: str, *, first: int = 0) -> None:
        self.asked: set[int] = set()
        self.answered: set[int] = set()
        self.pids: set[str] = set()
        self._server = server
        self._run = run
        self._next = first
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(CLIENTS)]
        self._failure: BaseException | None = None

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(2 * REQUEST_SECONDS)
            assert not thread.is_alive()
        if self._failure is not None and error is None:
            raise self._failure

    def wait_for(self, more: int) -> None:
        """Until so many more requests have been answered."""
        goal = len(self.answered) + more
        wait_until(
            lambda: len(self.answered) >= goal or self._failure is not None,
            ARRIVE_SECONDS,
            lambda: f"{len(self.answered)} answers, wanted {goal}; it said: {self._server.output}",
        )

    def _work(self) -> None:
        try:
            while not self._over.is_set():
                self._ask_one()
        except BaseException as failure:  # noqa: BLE001 - reported to the test
            self._failure = failure

    def _ask_one(self) -> None:
        with self._lock:
            number, self._next = self._next, self._next + 1
            self.asked.add(number)
        try:
            pid = self._server.get(log_path(self._run, number))
        except (OSError, http.client.HTTPException):
            self._over.wait(POLL_SECONDS)
            return
        with self._lock:
            self.answered.add(number)
            self.pids.add(pid)


class Arrivals:
    """What has come to a backend of one test's records: their input is "`run` `number`"."""

    def __init__(self, backend: Backend, run: str) -> None:
        self.run = run
        self._backend = backend
        self._repeats = self._count_repeats()
        self._seen = -1
        self._numbers: Counter[int] = Counter()

    def numbers(self) -> Counter[int]:
        """How many different records came with each number."""
        count = self._backend.count()
        if count != self._seen:
            asked = [entry["body"]["input"].rpartition(" ") for entry in self._backend.logs()]
            self._numbers = Counter(int(number) for run, _, number in asked if run == self.run)
            self._seen = count
        return self._numbers

    def repeats(self) -> int:
        """How many deliveries of a record that had been delivered already."""
        return self._count_repeats() - self._repeats

    def expect(self, numbers: Iterable[int], *, said: Callable[[], str] = str) -> None:
        """Exactly these come, each once and sent once."""
        wanted = Counter(numbers)
        self._await(wanted, said)
        assert self.numbers() == wanted, self.numbers() - wanted
        assert self.repeats() == 0

    def expect_answered(self, load: Load, *, repeats: bool = False) -> None:
        """Every record whose request was answered comes, and no record twice."""
        self._await(Counter(load.answered), str)
        found = self.numbers()
        assert set(found) <= load.asked
        assert set(found.values()) == {1}
        assert repeats or self.repeats() == 0

    def _await(self, wanted: Counter[int], said: Callable[[], str]) -> None:
        wait_until(
            lambda: not wanted - self.numbers(),
            ARRIVE_SECONDS,
            lambda: f"missing: {sorted((wanted - self.numbers()).elements())[:50]}; {said()}",
        )

    def _count_repeats(self) -> int:
        return self._backend.deliveries() - self._backend.count()


def gunicorn(directory: Path, *options: str, app: str = APP, **environment: str) -> Server:
    """gunicorn on a free port, with two workers unless the options say otherwise."""
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{port}", "--no-control-socket"]
    return Server([*command, "--workers", "2", *options, app], directory, port=port, **environment)


def flask_with_reloader(directory: Path, app: Path) -> Server:
    """Flask's development server; an edit of `app` restarts it."""
    port = free_port()
    command = [sys.executable, "-m", "flask", "--app", str(app), "run", "--debug", "--port", str(port)]
    return Server(command, directory, port=port, ready="/healthz")


def uvicorn(directory: Path, app: str, workers: int = 2, /, **environment: str) -> Server:
    """uvicorn, for an application among the examples, or below `tests`."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "--app-dir", str(EXAMPLES), "--workers", str(workers)]
    command += ["--port", str(port), app]
    return Server(command, directory, port=port, ready="/healthz", **environment)


def uwsgi(directory: Path, *options: str, binary: Path = UWSGI, **environment: str) -> Server:
    """uWSGI on a free port, with a master and two workers."""
    port = free_port()
    command = [str(binary), "--http-socket", f"127.0.0.1:{port}", "--master", "--processes", "2"]
    command += ["--virtualenv", sys.prefix, "--need-app", "--module", APP, "--disable-logging"]
    return Server([*command, *options], directory, port=port, **environment)


def celery(directory: Path, *options: str, **environment: str) -> Server:
    """A worker for `examples/celery_app.py` with two processes; its broker is a directory."""
    command = [sys.executable, "-m", "celery", "--quiet", "--app", "celery_app", "worker"]
    command += ["--concurrency", "2", "--without-gossip", "--without-mingle", "--loglevel", "WARNING"]
    return Server([*command, *options], directory, port=0, **{**celery_environment(directory), **environment})


def celery_environment(directory: Path) -> dict[str, str]:
    return {
        "CELERY_BROKER_URL": "filesystem://",
        "CELERY_BROKER_DIRECTORY": str(directory / "broker"),
        "PYTHONPATH": f"{EXAMPLES}{os.pathsep}{ROOT}",
    }


def wait_until(done: Callable[[], bool], seconds: float, complaint: Callable[[], str]) -> None:
    """Poll until done; fail with the complaint at the deadline."""
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, complaint()
        time.sleep(POLL_SECONDS)


def is_there(pid: str) -> bool:
    """Whether the process has not been reaped by its parent yet."""
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    return True


def assert_quiet(server: Server, *, but_for: str = "") -> None:
    """Nothing of ours is in its output: no traceback, and no log line but for those with these words."""
    ours = _ours(server.output.splitlines())
    assert all(but_for and but_for in line for line in ours), server.output


def assert_says_what_is_on_disk(server: Server) -> None:
    """With no backend: in each process a line when it is given up, and one at the exit; nothing else."""
    lines = server.output.splitlines()
    known = [line for line in lines if SAID_WITHOUT_BACKEND.search(line)]
    assert any("on disk; " in line for line in known), server.output
    assert len(known) <= 4, server.output
    assert not [line for line in _ours(lines) if line not in known], server.output


def _ours(lines: Iterable[str]) -> list[str]:
    """Lines of the library's, but for what it says to each uWSGI without threads."""
    return [line for line in lines if OURS.search(line) and WITHOUT_THREADS not in line]


def spooled_numbers(state: Path) -> list[int]:
    """The numbers of the records that wait in the spools below a directory, in order."""
    lines = (line for path in state.rglob("*.v1.jsonl") for line in path.read_text("utf-8").splitlines())
    return sorted(int(json.loads(line)["body"]["input"].rpartition(" ")[2]) for line in lines)


def log_path(run: str, number: int) -> str:
    return f"/log?run={run}&number={number}"


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
