"""Commands of `banyan-hp` as processes that are forked off one which has imported everything.

A new interpreter takes a second to import what the backend needs; most tests need the process and not that
second. Such a process has its own environment, working directory, streams and signals, and ends as any other
does. What depends on the interpreter's own start is tested with `sys.executable`.

The nursery is a process, started when it is first needed, that waits for requests on a socket and forks::

    request  a line of JSON, with three descriptors: stdout, stderr, and a pipe for how the process ended
    answer   its process id, as a line
    pipe     its exit status, as a line; then its end

It goes when its socket closes.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).parents[2]
_LINE_BYTES = 1024 * 1024
_IMPORTED = (
    "banyan_hp.server.serving",
    "banyan_hp.server.store.migrations.upgrading",
    "sqlalchemy.dialects.sqlite",
    "psycopg",
)


class Forked:
    """A process that the nursery forked; in what tests use of it, the same as a `Popen`."""

    def __init__(self, pid: int, stdout: IO[str], ended: IO[str]) -> None:
        self.pid = pid
        self.stdout = stdout
        self.returncode: int | None = None
        self._ended = ended

    def __repr__(self) -> str:
        return f"Forked({self.pid}, returncode={self.returncode})"

    def poll(self) -> int | None:
        """Its exit code, once it has ended; -N: by signal N."""
        if self.returncode is None and select.select([self._ended], [], [], 0)[0]:
            self._read()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, once it has ended.

        Raises:
            subprocess.TimeoutExpired: it has not.
        """
        if self.returncode is None:
            if not select.select([self._ended], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("banyan-hp", timeout or 0)
            self._read()
        assert self.returncode is not None
        return self.returncode

    def _read(self) -> None:
        status = self._ended.readline()
        self._ended.close()
        assert status, "the nursery has ended"
        self.returncode = int(status)

    def send_signal(self, signum: int) -> None:
        """Unless it has ended, be it this moment, before the nursery has said so."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signum)

    def kill(self) -> None:
        """End it on the spot."""
        self.send_signal(signal.SIGKILL)


class _Nursery:
    """The process that forks, as its clients see it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner = os.getpid()
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.nursery", str(theirs.fileno())],
                cwd=ROOT, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL,
            )  # fmt: skip
        atexit.register(self._close)

    def fork(self, request: Mapping[str, Any], *descriptors: int) -> int:
        with self._lock:
            socket.send_fds(self._socket, [json.dumps(request).encode() + b"\n"], descriptors)
            answer = self._socket.recv(100)
        assert answer, "the nursery has ended"
        return int(answer)

    def belongs_here(self) -> bool:
        """False: in a process that has been forked off its owner."""
        return self._owner == os.getpid()

    def _close(self) -> None:
        if self.belongs_here():
            self._socket.close()
            self._process.wait()


_nurseries: list[_Nursery] = []


def fork(
    arguments: Sequence[str],
    *,
    stderr: IO[Any],
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> Forked:
    """Start ``banyan-hp ARGUMENTS``, with a pipe for its stdout."""
    if not _nurseries or not _nurseries[-1].belongs_here():
        _nurseries.append(_Nursery())
    said, stdout = os.pipe()
    told, ended = os.pipe()
    environment = dict(os.environ if env is None else env)
    request = {"arguments": list(arguments), "cwd": str(cwd or Path.cwd()), "env": environment}
    try:
        pid = _nurseries[-1].fork(request, stdout, stderr.fileno(), ended)
    finally:
        os.close(stdout)
        os.close(ended)
    return Forked(pid, os.fdopen(said, encoding="utf-8"), os.fdopen(told, encoding="ascii"))


def run(
    *arguments: str, cwd: Path | None = None, env: Mapping[str, str] | None = None, timeout: float = 30
) -> subprocess.CompletedProcess[str]:
    """Run ``banyan-hp ARGUMENTS`` to its end."""
    with tempfile.TemporaryFile("w+", encoding="utf-8") as stderr:
        started = fork(arguments, stderr=stderr, cwd=cwd, env=env)
        overdue = threading.Timer(timeout, started.kill)
        overdue.start()
        with started.stdout as stdout:
            said = stdout.read()
        code = started.wait()
        overdue.cancel()
        stderr.seek(0)
        return subprocess.CompletedProcess(["banyan-hp", *arguments], code, said, stderr.read())


# -- the nursery's process -----------------------------------------------------------------------------------


def _tend(requests: socket.socket) -> list[str] | None:
    """Fork for each request. Returns the arguments in a process that was forked, and None at the end."""
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda _signum, _frame: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    running: dict[int, int] = {}
    while True:
        ready, _, _ = select.select([requests.fileno(), woken], [], [])
        if woken in ready:
            os.read(woken, 1000)
            _report_ended(running)
        if requests.fileno() in ready:
            line, descriptors, _, _ = socket.recv_fds(requests, _LINE_BYTES, 3)
            if not line:
                return None
            while not line.endswith(b"\n"):
                line += requests.recv(_LINE_BYTES)
            pid = os.fork()
            if pid == 0:
                return _become(json.loads(line), descriptors)
            running[pid] = descriptors.pop()
            for each in descriptors:
                os.close(each)
            requests.sendall(b"%d\n" % pid)


def _report_ended(running: dict[int, int]) -> None:
    while running:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        with os.fdopen(running.pop(pid), "w") as ended:
            ended.write(f"{os.waitstatus_to_exitcode(status)}\n")


def _become(request: Mapping[str, Any], descriptors: Sequence[int]) -> list[str]:
    """In the forked process: have what a new one would have."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.dup2(descriptors[0], 1)
    os.dup2(descriptors[1], 2)
    os.closerange(3, os.sysconf("SC_OPEN_MAX") if os.sysconf("SC_OPEN_MAX") < 65536 else 65536)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    arguments: list[str] = request["arguments"]
    sys.argv = ["banyan-hp", *arguments]
    return arguments


def _main() -> int:
    for module in _IMPORTED:
        with suppress(ModuleNotFoundError):  # not every environment that runs tests has all extras
            import_module(module)
    from banyan_hp.cli.main import main

    gc.collect()
    gc.freeze()
    requests = socket.socket(fileno=int(sys.argv[1]))
    arguments = _tend(requests)
    if arguments is None:
        return 0
    requests.detach()  # its descriptor is closed already
    return main(arguments)


if __name__ == "__main__":
    sys.exit(_main())
