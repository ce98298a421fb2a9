"""RQ: a work horse leaves by `os._exit`, past every hook; what its job logged is delivered all the same."""

from __future__ import annotations

import json
import shutil
import subprocess
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lifecycle.test_exit_and_fork import ids, spooled_lines
from tests.support.process import run_python
from tests.support.scripted import ScriptedServer
from tests.support.scripted_answers import batching
from tests.support.servers import ROOT, wait_until

pytest.importorskip("rq", reason="RQ is not installed")
pytestmark = pytest.mark.skipif(not shutil.which("redis-server"), reason="redis-server is not installed")

WORK = """
import json, redis, rq
from tests.support import rq_jobs
connection = redis.Redis(unix_socket_path=os.environ["REDIS"])
queue = rq.Queue(connection=connection)
for name, number in json.loads(os.environ["JOBS"]):
    queue.enqueue(getattr(rq_jobs, name), number)
"""


@pytest.fixture
def redis_socket(tmp_path: Path) -> Iterator[str]:
    path = tmp_path / "redis"
    command = ["redis-server", "--port", "0", "--unixsocket", str(path), "--save", "", "--dir", str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        wait_until(path.exists, 10, lambda: "Redis does not start")
        yield str(path)
    finally:
        process.kill()
        process.wait(10)


def work(
    redis: str,
    url: str,
    jobs: list[tuple[str, int]],
    *,
    worker: str = "Worker",
    before: str = "",
    **options: object,
) -> None:
    """Have a worker do all jobs."""
    end = f"rq.{worker}([queue], connection=connection).work(burst=True, logging_level='CRITICAL')"
    finished = run_python(
        textwrap.dedent(WORK + before + "\n" + end),
        url=url,
        REDIS=redis,
        JOBS=json.dumps(jobs),
        APP_OPTIONS=json.dumps(options),
        PYTHONPATH=str(ROOT),
    )
    assert finished.status == 0, finished.stderr
    assert "banyan_hp" not in finished.stderr


EARLY = "rq_jobs.log(100)"


@pytest.mark.parametrize(
    ("worker", "before"), [("Worker", ""), ("Worker", EARLY), ("SimpleWorker", ""), ("SpawnWorker", "")]
)
def test_what_jobs_logged_is_delivered_when_their_horses_end(
    worker: str, before: str, redis_socket: str, tmp_path: Path
) -> None:
    """With defaults, nothing to configure; also of jobs that fail, and where the worker has logged before."""
    jobs = [("log", number) for number in range(2)] + [("log_and_fail", 2)]
    with ScriptedServer(batching()) as server:
        work(redis_socket, server.url, jobs, worker=worker, before=before)
        assert ids(server) == [*range(3), *([100] if before else [])]
    assert spooled_lines(tmp_path) == 0


def test_the_next_horse_sends_what_a_killed_one_left_on_disk(redis_socket: str, tmp_path: Path) -> None:
    """No horse lives long: the end of a job sends the backlog, too, as far as `exit_timeout` allows."""
    vanishing = [("log_and_vanish", number) for number in range(3)]
    with ScriptedServer(batching()) as server:
        work(redis_socket, server.url, [*vanishing, ("log", 3)], durability="disk", flush_interval=30)
        assert set(ids(server)) == set(range(4))
    assert spooled_lines(tmp_path) == 0
