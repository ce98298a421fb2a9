"""Being called from where one stands: destructors, logging handlers, callbacks."""

from __future__ import annotations

import textwrap

import pytest

from tests.lifecycle.test_exit_and_fork import ids
from tests.support.process import run_python
from tests.support.scripted import ScriptedServer
from tests.support.scripted_answers import Reply, batching


def test_a_destructor_that_logs_inside_our_own_sections_is_heard() -> None:
    """In a caller's section and in the worker's, records and `shutdown` are deferred and then done."""
    with ScriptedServer(batching()) as server:
        finished = run_python(
            """
            import gc
            gc.disable()
            class Chatty:
                def __init__(self, act):
                    self.me, self.act = self, act
                def __del__(self):
                    self.act()
            logger = make(flush_interval=30)
            def collect(act):
                Chatty(act)
                gc.collect()
            def log(number):
                assert logger.log_prompt("q", "a", metadata={"number": number})
            engine = logger._engine
            with engine.core.parts.lock:
                collect(lambda: log(0))  # the first record of all: no thread yet, which exit must know of
            log(1)
            assert logger.flush(5)
            take = engine.core.parts.scheduler.next_task
            def take_and_collect(now, **how):
                engine.core.parts.scheduler.next_task = take
                collect(lambda: log(2))
                return take(now, **how)
            engine.core.parts.scheduler.next_task = take_and_collect
            log(3)
            logger.flush(5)
            end = time.monotonic() + 30  # the deferred one may come behind the flush's watermark
            while logger.get_stats()["logs_queued"] < 4 and time.monotonic() < end: time.sleep(0.01)
            assert logger.flush(5)
            assert logger.get_stats()["logs_sent"] == 4, logger.get_stats()
            with engine.core.parts.lock:
                collect(lambda: logger.shutdown(5))
                assert not engine.closed
            end = time.monotonic() + 30
            while not engine.closed and time.monotonic() < end: time.sleep(0.01)
            assert engine.closed
            """,
            url=server.url,
        )
        assert (finished.status, finished.stderr) == (0, "")
        assert ids(server) == [0, 1, 2, 3]


def test_a_record_deferred_as_the_last_act_is_not_forgotten_at_exit() -> None:
    """No thread was ever started: the exit finds it all the same."""
    with ScriptedServer(batching()) as server:
        finished = run_python(
            """
            logger = make()
            with logger._engine.core.parts.lock:
                assert logger.log_prompt("q", "a", metadata={"number": 0})
            """,
            url=server.url,
        )
        assert (finished.status, finished.stderr) == (0, "")
        assert ids(server) == [0]


def test_a_sleeping_worker_takes_in_what_was_deferred() -> None:
    """Nobody needs to log again for it."""
    with ScriptedServer(batching()) as server:
        finished = run_python(
            """
            logger = make()
            logger.log_prompt("q", "a", metadata={"number": 0})
            assert logger.flush(5)
            with logger._engine.core.parts.lock:
                logger.log_prompt("q", "a", metadata={"number": 1})
            end = time.monotonic() + 30
            while logger.get_stats()["logs_sent"] < 2 and time.monotonic() < end: time.sleep(0.01)
            assert logger.get_stats()["logs_sent"] == 2
            """,
            url=server.url,
        )
        assert (finished.status, finished.stderr) == (0, "")


CAPTURE = """
import logging
class Capture(logging.Handler):
    def emit(self, record):
        captured.append(logger.log_prompt(record.name, record.getMessage()))
captured = []
def capture():
    logging.getLogger().addHandler(Capture())
    logging.getLogger().setLevel(logging.DEBUG)
"""


def test_log_lines_about_deliveries_do_not_become_records() -> None:
    """A root handler that logs through us, at level DEBUG: our lines about our requests end there."""
    with ScriptedServer(batching()) as server:
        finished = run_python(
            CAPTURE
            + textwrap.dedent(
                """
                logger = make(flush_interval=0.01)
                capture()
                logging.getLogger("application").info("hello")
                for number in range(5):
                    logger.log_prompt("q", "a")
                    assert logger.flush(5)
                time.sleep(0.2)
                stats = logger.get_stats()
                assert stats["logs_queued"] == stats["logs_sent"] == 6, stats
                assert stats["logs_rejected"] > 5 and stats["requests_sent"] < 8, stats
                assert captured.count(True) == 1, captured
                """
            ),
            url=server.url,
        )
        assert (finished.status, finished.stderr) == (0, "")


def test_our_own_warnings_do_not_become_records() -> None:
    """A handler that logs through us from our own log record, on the worker and on a caller."""
    with ScriptedServer(lambda _request: Reply(401, {"error": "no"})) as server:
        finished = run_python(
            CAPTURE
            + textwrap.dedent(
                """
                logging.getLogger("banyan_hp").setLevel(logging.WARNING)
                logger = make()
                capture()
                logger.log_prompt("q", "a")
                logger.flush(5)
                logger.log_prompt("q", "a", metadata="text")
                stats = logger.get_stats()
                assert (stats["logs_queued"], stats["logs_rejected"]) == (1, len(captured) + 1), stats
                assert len(captured) >= 2 and not any(captured), captured
                """
            ),
            url=server.url,
        )
        assert (finished.status, finished.stderr) == (0, "")


@pytest.mark.parametrize("callback", ["before_send", "on_error", "on_drop"])
def test_callbacks_may_log_flush_and_raise(callback: str) -> None:
    """They run without a lock: what they log is about delivery, no record; what they raise is counted."""
    with ScriptedServer() as server:
        server.script([Reply(503)])
        server.handler = batching()
        finished = run_python(
            f"""
            told = []
            def callback(*args):
                if len(told) < 3:
                    told.append(logger.log_prompt("from the callback", "a"))
                    logger.flush(1)
                    raise KeyError("the callback's own")
                return args[0]
            logger = make(batching="always", queue_size=1, overflow="drop_oldest", {callback}=callback)
            for number in range(20):
                logger.log_prompt("q", "a")
            end = time.monotonic() + 30
            while not told and time.monotonic() < end: time.sleep(0.01)
            logger.flush(5)
            stats = logger.get_stats()
            assert told and stats["callback_errors"] == len(told), stats
            assert stats["logs_queued"] == 20 and not any(told), stats
            """,
            url=server.url,
        )
        assert (finished.status, finished.others) == (0, "")
