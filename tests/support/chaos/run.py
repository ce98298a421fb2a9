"""Plays a plan: starts the workers, changes the surroundings, and collects what can be known afterwards."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.chaos import journal
from tests.support.chaos.backend import Arrival, MoodyServer
from tests.support.chaos.disk import ChaosDisk
from tests.support.chaos.plan import FINE, Event, Plan, draw
from tests.support.process import FORKS_WITH_THREADS

ROOT = Path(__file__).parents[3]
_DRAIN = 99  # its number among the workers
_READY_SECONDS = 60.0
_END_SECONDS = 40.0
_DRAIN_SECONDS = 60.0


@dataclass
class Evidence:
    """All that is known of a run.

    Attributes:
        journal: the workers' lines, in the order they were written.
        arrivals: the records that came to the servers, in the order of time.
        signals: what was sent to which process, and when.
        unsent, quarantined, deleted: what was on disk when all workers were gone; inputs of records.
        left: segments after the drain; quarantined_at_last: what is in quarantine then.
        full: when the disk was full.
        stuck: workers that had to be killed because they did not end.
        stderr: what the workers wrote there.
    """

    plan: Plan
    journal: list[dict[str, Any]] = field(default_factory=list)
    arrivals: list[Arrival] = field(default_factory=list)
    signals: dict[int, tuple[int, float]] = field(default_factory=dict)
    unsent: set[str] = field(default_factory=set)
    quarantined: dict[str, str] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)
    left: list[str] = field(default_factory=list)
    quarantined_at_last: dict[str, str] = field(default_factory=dict)
    full: list[tuple[float, float]] = field(default_factory=list)
    stuck: list[int] = field(default_factory=list)
    stderr: str = ""
    workers_gone_at: float = 0.0


def play(seed: int, directory: Path, *, seconds: float = 5.0, workers: int = 6) -> Evidence:
    """Play the seed's plan in an empty directory."""
    plan = draw(seed, seconds=seconds, workers=workers)
    with ChaosDisk(directory, plan.disk, seed) as disk:
        stage = _Stage(plan, directory, disk)
        try:
            return stage.play()
        finally:
            stage.close()


class _Stage:
    """The servers, the processes and the disk of one run."""

    def __init__(self, plan: Plan, directory: Path, disk: ChaosDisk) -> None:
        self._plan = plan
        self._directory = directory
        self._disk = disk
        self._evidence = Evidence(plan)
        self._journal = directory / "journal.jsonl"
        self._stderr = (directory / "stderr.txt").open("wb")
        self._servers = [
            MoodyServer(number, batches=batches, seed=plan.seed)
            for number, batches in enumerate(plan.batches)
        ]
        self._workers: dict[int, subprocess.Popen[bytes]] = {}
        self._alive, self._held = os.pipe()  # each worker and its children hold the end that is written to

    def play(self) -> Evidence:
        for number in range(len(self._plan.workers)):
            self._workers[number] = self._start(f"worker{number}", self._plan.of_worker(number))
        for worker in self._workers.values():
            _wait_until_ready(worker)
        began = time.monotonic()
        for event in self._plan.events:
            time.sleep(max(0.0, began + event.at - time.monotonic()))  # the plan's own time
            self._happen(event)
        self._let_workers_end()
        self._note_what_is_there()
        self._drain()
        self._note_the_end()
        return self._evidence

    def close(self) -> None:
        for worker in self._workers.values():
            _kill(worker)
            for pipe in (worker.stdin, worker.stdout):
                assert pipe is not None
                pipe.close()
        for server in self._servers:
            server.close()
        for fd in (self._alive, self._held):
            if fd >= 0:
                os.close(fd)
        self._stderr.close()

    # -- events -----------------------------------------------------------------------------------------

    def _happen(self, event: Event) -> None:
        if event.what == "start":
            _let_go(self._workers[event.whom])
        elif event.what == "signal":
            self._send(self._workers[event.whom], int(event.value))
        elif event.what == "mood":
            self._servers[event.whom].turn(str(event.value))
        else:
            {"fill": self._disk.fill, "free": self._disk.free, "delete": self._disk.delete}[event.what]()

    def _start(self, name: str, orders: dict[str, Any]) -> subprocess.Popen[bytes]:
        path = self._directory / f"{name}.json"
        path.write_text(json.dumps({**orders, **self._surroundings()}))
        return subprocess.Popen(
            [sys.executable, "-m", "tests.support.chaos.worker", str(path)],
            cwd=ROOT,
            env={**os.environ, "PYTHONWARNINGS": FORKS_WITH_THREADS},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            pass_fds=[self._held] if self._held >= 0 else [],
            start_new_session=True,
        )

    def _surroundings(self) -> dict[str, Any]:
        return {
            "urls": [server.url for server in self._servers],
            "spool": str(self._disk.spool),
            "journal": str(self._journal),
            "disk": self._disk.kind,
            "full": str(self._disk.flag),
        }

    def _send(self, worker: subprocess.Popen[bytes], number: int) -> None:
        if worker.poll() is None:
            self._evidence.signals[worker.pid] = (number, time.monotonic())
            worker.send_signal(number)

    # -- the end ----------------------------------------------------------------------------------------

    def _let_workers_end(self) -> None:
        if not self._plan.last_mood_stays:
            self._all_is_fine()
        os.close(self._held)
        self._held = -1
        deadline = time.monotonic() + _END_SECONDS
        if not _gone(self._alive, deadline):
            self._evidence.stuck = [w.pid for w in self._workers.values() if w.poll() is None] or [0]
            for worker in self._workers.values():
                _kill(worker)
            _gone(self._alive, deadline + 5)
        for worker in self._workers.values():
            worker.wait(5)
        self._evidence.workers_gone_at = time.monotonic()

    def _all_is_fine(self) -> None:
        for server in self._servers:
            server.turn(FINE)
        self._disk.free()

    def _note_what_is_there(self) -> None:
        evidence = self._evidence
        evidence.unsent, evidence.quarantined = self._disk.unsent(), self._disk.quarantined()
        evidence.deleted = self._disk.deleted()

    def _drain(self) -> None:
        self._all_is_fine()
        constants = {**self._plan.constants, "engine.spool.spool.LOOK_SECONDS": 0.1}
        constants["engine.spool.lease.OLD_SECONDS"] = 0.5
        orders = {"number": _DRAIN, "drain": True, "constants": constants, "handles_sigterm": False}
        drain = self._start("drain", orders)
        self._workers[_DRAIN] = drain
        _let_go(drain)
        drain.wait(_DRAIN_SECONDS)

    def _note_the_end(self) -> None:
        evidence = self._evidence
        evidence.left = [path.name for path in self._disk.segments()]
        evidence.quarantined_at_last = self._disk.quarantined()
        evidence.full = self._disk.full
        evidence.journal = journal.read(self._journal)
        arrivals = [arrival for server in self._servers for arrival in server.arrivals]
        evidence.arrivals = sorted(arrivals, key=lambda arrival: arrival.at)
        self._stderr.flush()
        evidence.stderr = (self._directory / "stderr.txt").read_text(errors="replace")


def _wait_until_ready(worker: subprocess.Popen[bytes]) -> None:
    """Until it has imported all that it needs, which may take long on a busy machine."""
    assert worker.stdout is not None
    ready, _, _ = select.select([worker.stdout], [], [], _READY_SECONDS)
    assert ready and worker.stdout.read(1), "a worker could not be started"


def _let_go(worker: subprocess.Popen[bytes]) -> None:
    assert worker.stdin is not None
    with suppress(BrokenPipeError):
        worker.stdin.close()


def _kill(worker: subprocess.Popen[bytes]) -> None:
    """End a worker and its children."""
    with suppress(ProcessLookupError):
        os.killpg(worker.pid, signal.SIGKILL)
    worker.wait()


def _gone(fd: int, deadline: float) -> bool:
    """Wait until nobody holds the other end of a pipe."""
    ready, _, _ = select.select([fd], [], [], max(0.0, deadline - time.monotonic()))
    return bool(ready)
