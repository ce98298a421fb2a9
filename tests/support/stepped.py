"""An engine without threads, and a backend without sockets: every step happens when a test says so."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from banyan_hp.destinations.banyan import BATCH_PATH, BanyanDestination
from banyan_hp.engine.core import Core
from banyan_hp.engine.delivery.callbacks import Notices
from banyan_hp.engine.delivery.queue import Queue
from banyan_hp.engine.delivery.scheduler import Scheduler
from banyan_hp.engine.delivery.waiters import Waiting
from banyan_hp.engine.delivery.worker import Worker
from banyan_hp.engine.destination import Destination
from banyan_hp.engine.engine import Engine
from banyan_hp.engine.http.response import Response
from banyan_hp.engine.http.transport import NoResponse, Request
from banyan_hp.engine.parts import Parts
from banyan_hp.engine.policy.circuit_breaker import CircuitBreaker
from banyan_hp.engine.records.ledger import Ledger
from banyan_hp.engine.records.record import Record
from banyan_hp.engine.spool.spool import Spool
from banyan_hp.engine.sync import EngineLock, WakeUp
from banyan_hp.settings import Settings
from tests.support.clock import FakeClock

URL = "http://backend.test"
Answer = Response | NoResponse
Behaviour = Callable[[Request], Answer]


def json_answer(status: int, body: Any, **headers: str) -> Response:
    return Response(status, {"content-type": "application/json", **headers}, json.dumps(body).encode())


class FakeBackend:
    """Takes records in batches or one by one, and remembers how often it took which."""

    def __init__(self, *, batches: bool = True) -> None:
        self.batches = batches
        self.taken: Counter[str] = Counter()
        self.order: list[str] = []
        self.requests: list[Request] = []
        self.refuses: Callable[[Any], bool] = lambda _body: False
        self.behaviour: Behaviour = self.well

    def send(self, request: Request, within: float) -> Answer:
        self.requests.append(request)
        return self.behaviour(request)

    def close(self) -> None:
        """Nothing is open."""

    def well(self, request: Request) -> Answer:
        if request.method == "GET":
            return json_answer(200, {"valid": True})
        if not request.url.endswith(BATCH_PATH):
            return self._one(request.headers["Idempotency-Key"], json.loads(request.body))
        if not self.batches:
            return json_answer(404, {"error": "no such path"})
        return self._batch(json.loads(request.body)["records"])

    def _one(self, ident: str, body: Any) -> Response:
        if self.refuses(body):
            return json_answer(422, {"error": "refused"})
        self._take(ident)
        return json_answer(201, {})

    def _batch(self, records: list[Any]) -> Response:
        results: list[dict[str, Any]] = []
        for record in records:
            refused = self.refuses(record["body"])
            results.append({"id": record["id"], "status": 422 if refused else 201})
            if not refused:
                self._take(record["id"])
        return json_answer(200, {"results": results} if results else {"accepted": 0})

    def _take(self, ident: str) -> None:
        self.taken[ident] += 1
        self.order.append(ident)

    def usage(self) -> list[Request]:
        """Requests that carried records."""
        return [request for request in self.requests if request.body not in (b"", b'{"records":[]}')]


def down(_request: Request) -> Answer:
    return NoResponse("no_connection", "connection refused")


def failing(status: int, **headers: str) -> Behaviour:
    return lambda _request: json_answer(status, {"error": f"status {status}"}, **headers)


class SteppedCore(Core):
    """Does nothing behind a record that nobody asked for."""

    def ensure_worker(self, record: Record) -> None:
        """No thread, and no waiting either."""


class SteppedEngine(Engine):
    """An engine whose work is done by `step`, `flush` and `shutdown` on the calling thread.

    Its core's parts are at hand: tests look at them, and applications don't.
    """

    core_type = SteppedCore

    def __init__(
        self,
        backend: FakeBackend,
        clock: FakeClock,
        spool_dir: Path | None = None,
        *,
        key: str = "psk_test",
        destination: Destination | None = None,
        **options: Any,
    ):
        self.backend = backend
        self.clock = clock
        self._wake_up = WakeUp()
        options = {
            "spool_dir": spool_dir,
            "spool": spool_dir is not None,
            "compression": "never",
            **options,
        }
        super().__init__(
            destination or BanyanDestination(URL, key, None),
            Settings(background_thread=False, **options),
            clock=clock,
            transport=lambda _destination, _settings: backend,
        )

    @property
    def parts(self) -> Parts:
        return self.core.parts

    @property
    def lock(self) -> EngineLock:
        return self.parts.lock

    @property
    def ledger(self) -> Ledger:
        return self.parts.ledger

    @property
    def queue(self) -> Queue:
        return self.parts.queue

    @property
    def breaker(self) -> CircuitBreaker:
        return self.parts.breaker

    @property
    def spool(self) -> Spool | None:
        return self.parts.spool

    @property
    def worker(self) -> Worker:
        return self.parts.worker

    @property
    def scheduler(self) -> Scheduler:
        return self.parts.scheduler

    @property
    def waiting(self) -> Waiting:
        return self.parts.waiting

    @property
    def notices(self) -> Notices:
        return self.parts.notices

    @property
    def process(self) -> str:
        return self.parts.process

    def log(self, value: Any = "x") -> Record | None:
        return self.submit({"input": value})

    def step(self, longest_wait: float = 0.0) -> None:
        """One task, or one wait of at most so many seconds."""
        self.worker.step(self._wake_up, self.clock.monotonic() + longest_wait)

    def add_sleeper(self, wake_up: WakeUp, *, on_watch: bool = False) -> None:
        """A sending thread falls asleep."""
        with self.lock:
            self.scheduler.sleepers.add(wake_up, on_watch=on_watch)

    def run(self, steps: int = 50) -> None:
        for _ in range(steps):
            self.step()

    def balanced(self) -> bool:
        return self.ledger.own.balanced() and self.ledger.adopted.balanced()
