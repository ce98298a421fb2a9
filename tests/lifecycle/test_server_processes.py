"""Several processes that serve one PostgreSQL: what is answered stays, whichever of them or of it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from banyan_hp import PromptStackLogger
from tests.support.backend import Backend
from tests.support.local_backend import RECORD, TS, new_id
from tests.support.patience import PATIENCE
from tests.support.postgres import Postgres
from tests.support.servers import wait_until

WORKERS = 3
SENDERS = 6
USAGE = "/api/logs/prompt-usage"


@pytest.fixture
def backend(postgres: Postgres) -> Iterator[Backend]:
    with Backend(db=postgres.new_database(), options=["--workers", str(WORKERS)]) as running:
        yield running


def workers_of(backend: Backend) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{backend.pid}/task/{backend.pid}/children").read_text().split()]


def logger_of(backend: Backend, directory: Path) -> PromptStackLogger:
    return PromptStackLogger(
        base_url=backend.url,
        api_key=backend.api_key,
        spool_dir=str(directory),
        flush_interval=0.05,
        retry_delay=0.05,
    )


def soon(done: Callable[[], bool]) -> None:
    wait_until(done, PATIENCE, lambda: "it does not come true")


class Senders:
    """Threads that post one record after the other, and note the ids of those that were answered."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._stop = threading.Event()
        self.answered: list[str] = []
        self.statuses: set[int] = set()
        self.retry_after: set[str | None] = set()
        self._threads = [threading.Thread(target=self._send) for _ in range(SENDERS)]

    def __enter__(self) -> Senders:
        for each in self._threads:
            each.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for each in self._threads:
            each.join(30)

    def _send(self) -> None:
        while not self._stop.is_set():
            record_id = new_id()
            headers = {"X-API-Key": self._backend.api_key, "Idempotency-Key": record_id, "X-Event-Time": TS}
            try:
                answer = requests.post(self._backend.url + USAGE, json=RECORD, headers=headers, timeout=10)
            except requests.RequestException:
                continue  # of the process that was killed: nothing was answered
            self.statuses.add(answer.status_code)
            if answer.ok:
                self.answered.append(record_id)
            else:
                self.retry_after.add(answer.headers.get("Retry-After"))
                time.sleep(0.02)


def ids_in(backend: Backend) -> list[str]:
    return [log["id"] for log in backend.logs()]


def check_answered(backend: Backend, senders: Senders) -> None:
    """Every answered record is there, once."""
    held = ids_in(backend)
    assert len(held) == len(set(held))
    assert set(senders.answered) <= set(held)


def test_workers_share_one_address_and_say_so_once(backend: Backend) -> None:
    """The banner comes when all accept; a stop is a success and leaves nobody behind."""
    workers = workers_of(backend)
    assert len(workers) == WORKERS
    assert all(backend.get("/api/logs/count")["count"] == 0 for _ in range(10))
    assert backend.stop() == 0
    assert backend.stderr == ""
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)


def test_workers_end_with_their_supervisor(backend: Backend) -> None:
    """However it ends."""
    workers = workers_of(backend)
    backend.kill()
    soon(lambda: not any(_runs(pid) for pid in workers))


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_workers_that_took_the_place_of_others_serve(backend: Backend) -> None:
    """After all of the first ones were killed it goes on, and each of them was started again once."""
    first = workers_of(backend)
    for pid in first:
        os.kill(pid, signal.SIGKILL)
    soon(
        lambda: (
            len(set(workers_of(backend)) - set(first)) == WORKERS
            and not set(first) & set(workers_of(backend))
        )
    )
    assert backend.get("/api/logs/count")["count"] == 0
    assert backend.stderr.count("is started again") == WORKERS
    assert "Traceback" not in backend.stderr


def test_sqlite_has_one_process(tmp_path: Path) -> None:
    """Several are refused, with the reason."""
    command = [sys.executable, "-m", "banyan_hp", "serve", "--port", "0", "--workers", "2"]
    ended = subprocess.run(
        [*command, "--db", str(tmp_path / "calls.sqlite3")], capture_output=True, text=True, timeout=30
    )
    assert ended.returncode != 0
    assert "--workers 2 needs PostgreSQL" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_processes_that_start_at_once_make_the_tables_once(postgres: Postgres) -> None:
    """One migrates, the others wait for it and find nothing to do."""
    url = postgres.new_database()
    script = "import sys; from banyan_hp.server.store.database import Database; Database(sys.argv[1]).close()"
    started = [
        subprocess.Popen([sys.executable, "-c", script, url], stderr=subprocess.PIPE, text=True)
        for _ in range(6)
    ]
    said = [each.communicate(timeout=60)[1] for each in started]
    assert [each.returncode for each in started] == [0] * 6, said


def test_a_killed_worker_takes_no_answered_record_along(backend: Backend, tmp_path: Path) -> None:
    """SIGKILL to one of three under load; a client of ours loses nothing, and another worker comes."""
    logger = logger_of(backend, tmp_path)
    victim = workers_of(backend)[0]
    with Senders(backend) as senders:
        soon(lambda: len(senders.answered) > 50)
        for number in range(500):
            logger.log_prompt(f"ours {number}", "a")
        os.kill(victim, signal.SIGKILL)
        seen = len(senders.answered)
        soon(lambda: len(senders.answered) > seen + 50)
        soon(lambda: len(set(workers_of(backend)) - {victim}) == WORKERS)
    logger.shutdown(timeout=30)
    check_answered(backend, senders)
    inputs = [log["body"]["input"] for log in backend.logs() if log["body"]["input"].startswith("ours ")]
    assert sorted(inputs) == sorted(f"ours {number}" for number in range(500))
    assert senders.statuses <= {200, 201}


def test_a_database_that_restarts_loses_nothing(tmp_path: Path) -> None:
    """It crashes under load: 503 with Retry-After meanwhile, our client keeps and delivers, all recovers."""
    with Postgres() as own:
        options = ["--workers", str(WORKERS)]
        with Backend(db=own.new_database(), options=options) as backend, Senders(backend) as senders:
            logger = logger_of(backend, tmp_path)
            soon(lambda: len(senders.answered) > 50)
            logger.log_prompt("before", "a")
            own.stop("immediate")
            for number in range(300):
                logger.log_prompt(f"meanwhile {number}", "a")
            soon(lambda: 503 in senders.statuses)
            own.start()
            seen = len(senders.answered)
            soon(lambda: len(senders.answered) > seen + 50)
            senders.__exit__()
            logger.shutdown(timeout=30)
            check_answered(backend, senders)
            inputs = [log["body"]["input"] for log in backend.logs()]
            assert sorted(each for each in inputs if each != RECORD["input"]) == sorted(
                ["before", *(f"meanwhile {number}" for number in range(300))]
            )
            assert senders.statuses <= {200, 201, 503}
            assert senders.retry_after == {"1"}
            assert "Traceback" not in backend.stderr


def test_repeats_through_several_processes_are_counted_once(backend: Backend) -> None:
    """The same records in other orders at the same time: no deadlock reaches a client."""
    records = [{"id": new_id(), "ts": TS, "body": RECORD} for _ in range(300)]
    orders: list[Callable[[], object]] = [lambda: list(records), lambda: records[::-1]]

    def send(number: int) -> int:
        answer = requests.post(
            f"{backend.url}{USAGE}/batch",
            json={"records": orders[number % 2]()},
            headers={"X-API-Key": backend.api_key},
            timeout=30,
        )
        return answer.status_code

    with ThreadPoolExecutor(12) as pool:
        assert set(pool.map(send, range(24))) == {200}
    assert (backend.count(), backend.deliveries()) == (300, 300 * 24)
