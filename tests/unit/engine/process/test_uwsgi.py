"""uWSGI as far as a fake of its module can tell."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable
from types import ModuleType

import pytest

from banyan_hp.engine.process import hosts
from tests.conftest import MakeLogger
from tests.support.scripted import ScriptedServer
from tests.support.scripted_answers import Hang, batching
from tests.support.timing import assert_in_time

Install = Callable[..., ModuleType]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    def install(has_threads: int = 0) -> ModuleType:
        module = ModuleType("uwsgi")
        module.has_threads = has_threads  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "uwsgi", module)
        return module

    return install


def test_outside_of_uwsgi_threads_can_run() -> None:
    """There is no such module."""
    assert hosts.threads_can_run()


def test_uwsgi_itself_tells_whether_threads_can_run(install: Install) -> None:
    """Its options don't: since 2.0.27 threads run without them, too."""
    install(has_threads=0)
    assert not hosts.threads_can_run()
    install(has_threads=1)
    assert hosts.threads_can_run()


def test_the_master_starts_no_threads_but_its_workers_do(
    install: Install, server: ScriptedServer, make_logger: MakeLogger, caplog: pytest.LogCaptureFixture
) -> None:
    """What is logged while the application is loaded, before the fork, is delivered by the caller."""
    module = install(has_threads=1)
    module.masterpid = os.getpid  # type: ignore[attr-defined]
    server.handler = batching()
    logger = make_logger(server.url)
    assert logger.log_prompt("q", "a")
    assert (logger.get_stats()["logs_sent"], logger.get_stats()["worker_alive"]) == (1, False)
    module.masterpid = os.getppid  # type: ignore[attr-defined]
    assert logger.log_prompt("q", "a")
    assert logger.get_stats()["worker_alive"]
    assert logger.flush(10)
    assert not caplog.records


def test_without_threads_the_caller_delivers(
    install: Install, server: ScriptedServer, make_logger: MakeLogger, caplog: pytest.LogCaptureFixture
) -> None:
    """No thread is started, the record is delivered, and one warning names the option."""
    install()
    server.handler = batching()
    with caplog.at_level(logging.WARNING, "banyan_hp"):
        logger = make_logger(server.url)
        for _ in range(3):
            assert logger.log_prompt("q", "a")
            assert logger.get_stats()["in_flight"] == logger.get_stats()["queue_size"] == 0
        make_logger(server.url)
    stats = logger.get_stats()
    assert (stats["logs_sent"], stats["worker_alive"]) == (3, False)
    assert logger.health()["status"] == "ok"
    assert [r.getMessage().count("--enable-threads") for r in caplog.records] == [1]


@pytest.mark.alone
def test_without_threads_a_backend_that_hangs_costs_a_bounded_time(
    install: Install, server: ScriptedServer, make_logger: MakeLogger
) -> None:
    """About a second at first, nothing while it is known to be down; the records are kept."""
    install()
    server.handler = lambda _request: Hang()
    logger = make_logger(server.url, batching="always", timeout=10, max_retries=0)
    began = time.monotonic()
    assert logger.log_prompt("q", "a")
    first = time.monotonic() - began
    began = time.monotonic()
    for _ in range(5):
        assert logger.log_prompt("q", "a")
    later = time.monotonic() - began
    assert logger.shutdown(0.1).ledger["spooled"] == 6
    assert_in_time(first, 2)
    assert_in_time(later, 0.5)


def test_the_exit_of_a_uwsgi_worker_drains_and_calls_what_was_there(install: Install) -> None:
    """Both, ours first; asking again changes nothing."""
    called: list[str] = []
    module = install()
    module.atexit = lambda: called.append("theirs")  # type: ignore[attr-defined]
    hosts.at_exit_of_uwsgi_worker(lambda: called.append("ours"))
    module.atexit()
    assert called == ["ours", "theirs"]


def test_a_uwsgi_without_a_hook_gets_ours(install: Install) -> None:
    """And it stays the same however often it is set."""
    module = install()

    def drain() -> None:
        """Nothing to do."""

    hosts.at_exit_of_uwsgi_worker(drain)
    hosts.at_exit_of_uwsgi_worker(drain)
    assert module.atexit is drain
