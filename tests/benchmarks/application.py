"""The application under load: one route that works and logs; gunicorn's configuration and its hooks, too.

Each worker makes its own logger, as the documentation of most asks for, and says at its end how many records
it has logged, and what CPU time that took, with all its threads. What system, and how much work, is in an
environment variable.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.benchmarks import loopback
from tests.benchmarks.adapters import Adapter, construct
from tests.benchmarks.workload import Record, stream_records

if TYPE_CHECKING:
    from flask import Flask

ENVIRONMENT = "BENCH_APPLICATION"
_RECORDS_OF_A_WORKER = 1_000_000
_PREPARED = 20_000


class Worker:
    """What one worker process has: a logger, records to log, and a count."""

    def __init__(self, settings: dict[str, Any]) -> None:
        loopback.confine()
        self.units: int = settings["units"]
        self._counts = Path(settings["counts"])
        self._adapter: Adapter = construct(settings["factory"], settings["url"], settings["options"])
        first = os.getpid() * _RECORDS_OF_A_WORKER  # so that no two workers log the same
        self._records: list[Record] = list(stream_records(_PREPARED, first=first))
        self._logged = 0
        self._cpu_before = time.process_time()

    def serve(self) -> str:
        work(self.units)
        self._logged += bool(self._adapter.log(self._records[self._logged]))
        return "ok"

    def end(self) -> None:
        self._adapter.flush()
        self._adapter.close()
        if loopback.attempts:
            raise RuntimeError(f"reached for another machine: {loopback.attempts}")
        told = {"logged": self._logged, "cpu_s": time.process_time() - self._cpu_before}
        (self._counts / str(os.getpid())).write_text(json.dumps(told), encoding="ascii")


_worker: Worker | None = None


def work(units: int) -> None:
    """A fixed amount of it, holding the interpreter's lock: what a logger's thread takes, a request loses."""
    digest = b""
    for _ in range(units):
        digest = hashlib.md5(digest, usedforsecurity=False).digest()


def create() -> Flask:
    """The application; called by gunicorn in each worker."""
    from flask import Flask

    global _worker
    worker = _worker = Worker(json.loads(os.environ[ENVIRONMENT]))
    made = Flask("bench")
    made.add_url_rule("/", view_func=worker.serve, endpoint="serve")
    return made


def worker_exit(server: object, worker: object) -> None:
    """gunicorn's hook at the end of a worker."""
    if _worker is not None:
        _worker.end()
