"""Many threads at once; event loops that must not be held up."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import pytest

from banyan_hp import PromptStackLogger
from tests.conftest import MakeLogger
from tests.support.ledger import assert_balanced
from tests.support.scripted import ScriptedServer
from tests.support.scripted_answers import Hang, Reply, batching
from tests.support.timing import assert_in_time


def test_64_threads_log_at_once_and_the_ledger_is_exact(
    server: ScriptedServer, make_logger: MakeLogger
) -> None:
    """With stats and flushes in between, at each read; every record arrives once, no counter is lost."""
    server.handler = batching()
    logger = make_logger(server.url, flush_interval=0.01)
    ready = threading.Barrier(64)
    failures: list[BaseException] = []

    def log(offset: int) -> None:
        try:
            ready.wait(10)
            for number in range(offset, offset + 50):
                assert logger.log_prompt("q", "a", metadata={"number": number})
                assert not logger.log_prompt("q", "a", metadata="text")  # type: ignore[arg-type]
                if number % 25 == 0:
                    assert_balanced(logger.get_stats())
            if offset % 400 == 0:
                logger.flush(10)
        except (AssertionError, threading.BrokenBarrierError) as error:
            failures.append(error)

    threads = [threading.Thread(target=log, args=(50 * n,)) for n in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not failures
    assert logger.flush(20)
    stats = logger.get_stats()
    assert (stats["logs_queued"], stats["logs_sent"], stats["logs_rejected"]) == (3200, 3200, 3200)
    assert sorted(body["metadata"]["number"] for _, body in server.records()) == list(range(3200))


async def longest_lag(logger: PromptStackLogger, calls: int) -> tuple[float, float]:
    """The longest time that a loop stood still while coroutines logged, and their longest call."""
    lags: list[float] = []
    costs: list[float] = []
    done = asyncio.Event()

    async def beat() -> None:
        while not done.is_set():
            began = time.monotonic()
            await asyncio.sleep(0)
            lags.append(time.monotonic() - began)

    async def log() -> None:
        for _ in range(calls):
            began = time.monotonic()
            logger.log_prompt("q", "a" * 500)
            costs.append(time.monotonic() - began)
            await asyncio.sleep(0)

    beating = asyncio.ensure_future(beat())
    await asyncio.gather(*(log() for _ in range(10)))
    done.set()
    await beating
    return max(lags), max(costs)


@pytest.mark.parametrize("trouble", ["none", "hanging backend", "full queue", "disk errors"])
def test_logging_from_coroutines_does_not_hold_up_the_loop(
    trouble: str, server: ScriptedServer, make_logger: MakeLogger, tmp_path: Path
) -> None:
    """Backend dead, queue full, disk refusing: a call never waits for any of them."""
    server.handler = batching() if trouble == "none" else (lambda _request: Hang())
    options: dict[str, object] = {"batching": "always", "timeout": 5.0, "exit_timeout": 0.1}
    if trouble in ("full queue", "disk errors"):
        options["queue_size"] = 50
    if trouble == "disk errors":
        (tmp_path / "file").write_text("in the way of a directory")
        (tmp_path / "link").symlink_to(tmp_path / "file")
        options["spool_dir"] = tmp_path / "spool"
        (tmp_path / "spool").mkdir()
        (tmp_path / "spool" / "spool").symlink_to(tmp_path / "file")
    logger = make_logger(server.url, **options)
    lag, cost = asyncio.run(longest_lag(logger, 100))
    stats = logger.get_stats()
    assert stats["logs_queued"] == 1000
    assert_balanced(stats)
    logger.shutdown(0.1)
    assert_in_time(cost, 0.25)  # other processes of a busy machine; far below any timeout of ours
    assert_in_time(lag, 0.5)


def test_a_flush_on_a_loop_lets_the_loop_run(server: ScriptedServer, make_logger: MakeLogger) -> None:
    """`aflush` waits by the loop."""
    server.handler = lambda request: Reply(201, {}, delay=0.2) if request.method == "POST" else Reply(200)
    logger = make_logger(server.url, batching="never")

    async def main() -> int:
        logger.log_prompt("q", "a")
        flushing = asyncio.ensure_future(logger.aflush(5))
        beats = 0
        while not flushing.done():
            beats += 1
            await asyncio.sleep(0.01)
        assert flushing.result()
        return beats

    assert asyncio.run(main()) > 5
