"""Lines of the standard library's logging as records: what a line becomes, and which lines become none."""

from __future__ import annotations

import io
import logging
import logging.config
import logging.handlers
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import banyan_hp
from banyan_hp import ConfigurationError, HuggingPlace, PromptStackLogger
from banyan_hp.integrations.logging import BanyanHandler
from banyan_hp.testing import capture
from tests.conftest import MakeLogger
from tests.support.process import run_python
from tests.support.scripted import Hang, Reply, ScriptedServer

NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def client() -> Iterator[PromptStackLogger]:
    with PromptStackLogger("psk_test", base_url=NOWHERE, spool=False) as made:
        yield made


@pytest.fixture
def log() -> Iterator[logging.Logger]:
    """A logger of the test's own, whose lines reach the root's handlers."""
    made, root = logging.getLogger("app.payments"), logging.getLogger()
    before, levels = list(root.handlers), (root.level, made.level)
    made.setLevel(logging.DEBUG)
    yield made
    root.handlers[:] = before
    root.setLevel(levels[0])
    made.setLevel(levels[1])
    made.handlers.clear()


def recorded(log: logging.Logger, handler: logging.Handler, *line: Any, **options: Any) -> dict[str, Any]:
    """The record that a line becomes."""
    log.addHandler(handler)
    with capture() as records:
        log.error(*line, **options)
    (record,) = records
    return record


def test_a_line_is_a_record_that_says_where_it_is_from(
    client: PromptStackLogger, log: logging.Logger
) -> None:
    """Level and logger, the line, its fields, its place in the sources."""
    record = recorded(log, BanyanHandler(client), "card %s", "refused", extra={"order": 7, "session_id": "s"})
    assert (record["input"], record["output"]) == ("ERROR app.payments", "card refused")
    metadata = record["metadata"]
    place = metadata.pop("log")
    assert metadata == {"order": 7, "session_id": "s", "banyan_hp": {"kind": "log", "v": 1}}
    assert place.pop("time").endswith("+00:00")
    assert isinstance(place.pop("line"), int)
    assert place == {
        "level": "ERROR",
        "logger": "app.payments",
        "path": __file__,
        "function": "recorded",
        "process": os.getpid(),
        "thread": threading.current_thread().name,
    }


def test_the_huggingplace_client_takes_lines_too(log: logging.Logger) -> None:
    """With session and user in their fields; an empty line is one."""
    with HuggingPlace("hp_test", "org", base_url=NOWHERE, spool=False) as client:
        record = recorded(log, BanyanHandler(client), "", extra={"session_id": "s1", "user_id": "u1"})
    assert (record["user_prompt"], record["response"]) == ("ERROR app.payments", "[empty]")
    assert (record["session_id"], record["user_id"]) == ("s1", "u1")


def test_the_formatter_makes_the_text(client: PromptStackLogger, log: logging.Logger) -> None:
    """As with any handler."""
    handler = BanyanHandler(client)
    handler.setFormatter(logging.Formatter("%(name)s says %(message)s"))
    assert recorded(log, handler, "no")["output"] == "app.payments says no"


def test_an_exception_is_in_the_metadata(client: PromptStackLogger, log: logging.Logger) -> None:
    """Type, message and traceback; the text is the line alone."""
    try:
        raise ValueError("no such card")
    except ValueError:
        record = recorded(log, BanyanHandler(client), "failed", exc_info=True)
    exception = record["metadata"]["exception"]
    assert record["output"] == "failed"
    assert (exception["type"], exception["message"]) == ("ValueError", "no such card")
    assert exception["traceback"].endswith("ValueError: no such card\n")
    assert "error" not in record["metadata"]  # which would count as a failed call of a model


class Rude(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def test_a_traceback_is_bounded(client: PromptStackLogger, log: logging.Logger) -> None:
    """However deep the stack and long the message; one that can't be read does no harm."""

    def dive(depth: int) -> None:
        if not depth:
            raise ValueError("x" * 100_000)
        dive(depth - 1)

    try:
        dive(300)
    except ValueError:
        exception = recorded(log, BanyanHandler(client), "deep", exc_info=True)["metadata"]["exception"]
    assert len(exception["message"]) < 21_000
    assert len(exception["traceback"]) < 21_000
    try:
        raise Rude
    except Rude:
        exception = recorded(log, log.handlers[0], "rude", exc_info=True)["metadata"]["exception"]
    assert exception["message"] == "<Rude>"


def test_fields_that_are_named_like_ours_are_kept(client: PromptStackLogger, log: logging.Logger) -> None:
    """Beside them. `exc_info` outside of a handler is nothing."""
    extra = {"log": "mine", "stack": "mine"}
    record = recorded(log, BanyanHandler(client), "x", exc_info=True, stack_info=True, extra=extra)
    assert record["metadata"]["extra"] == extra
    assert record["metadata"]["stack"].startswith("Stack (most recent call last):")
    assert "exception" not in record["metadata"]


def test_a_line_that_cannot_be_formatted_is_reported_as_usual(
    client: PromptStackLogger, log: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On stderr, also where stderr leads into the log; nothing is raised."""

    class IntoTheLog(io.StringIO):
        def write(self, text: str) -> int:
            log.warning(text)
            return super().write(text)

    monkeypatch.setattr(log, "propagate", False)  # pytest's own handler would raise
    monkeypatch.setattr(sys, "stderr", stderr := IntoTheLog())
    log.addHandler(BanyanHandler(client))
    with capture() as records:
        log.error("%d", "no number")
    assert "--- Logging error ---" in stderr.getvalue()
    assert records == []


class Endless:
    def __repr__(self) -> str:
        return repr(self)


class Failing(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        raise ValueError(record.msg)


@pytest.mark.parametrize("line", [("%r", Endless()), ("%d", "no number"), ("filtered",)])
@pytest.mark.parametrize("stderr", ["open", "closed", "none"])
def test_no_exception_reaches_the_caller(
    client: PromptStackLogger,
    log: logging.Logger,
    monkeypatch: pytest.MonkeyPatch,
    line: tuple[Any, ...],
    stderr: str,
) -> None:
    """An argument whose `repr` recurses, a filter that raises: `handleError` itself raises for some."""
    monkeypatch.setattr(log, "propagate", False)  # pytest's own handler would raise
    monkeypatch.setattr(sys, "stderr", stream := None if stderr == "none" else io.StringIO())
    if stream is not None and stderr == "closed":
        stream.close()
    handler = BanyanHandler(client)
    if line == ("filtered",):
        handler.addFilter(Failing())
    log.addHandler(handler)
    with capture() as records:
        log.error(*line)
    assert records == []


def test_a_line_that_is_logged_where_the_stack_ends_raises_nothing(client: PromptStackLogger) -> None:
    """`except RecursionError: log.exception(…)`: each depth at which the handler can be called at all."""
    handler = BanyanHandler(client)
    line = logging.makeLogRecord({"msg": "%s", "args": ("text",), "name": "app"})
    began: list[int] = []
    raised: list[int] = []

    def descend(depth: int) -> None:
        try:
            descend(depth + 1)
        except RecursionError:
            _nothing()  # as deep as the call of the handler
            began.append(depth)
            try:
                handler.handle(line)
            except RecursionError:
                raised.append(depth)
            if len(began) < 100:
                raise

    with capture():
        descend(0)
    assert len(began) >= 100
    assert raised == []


def _nothing() -> None:
    """One call."""


def test_filters_and_levels_count(client: PromptStackLogger, log: logging.Logger) -> None:
    """Those of the handler, also a filter that returns another record (Python 3.12)."""
    handler = BanyanHandler(client, "WARNING")
    handler.addFilter(lambda record: record.getMessage() != "quiet")
    log.addHandler(handler)
    with capture() as records:
        log.info("too low")
        log.warning("quiet")
        log.warning("loud")
    assert [record["output"] for record in records] == ["loud"]


def test_the_default_logger_takes_the_lines(log: logging.Logger, caplog: pytest.LogCaptureFixture) -> None:
    """The one that there is when a line comes. Without one, that is said once, and nothing is raised."""
    log.addHandler(BanyanHandler())
    log.error("too early")
    log.error("too early")
    assert caplog.text.count("log lines are not recorded: call configure() first") == 1
    banyan_hp.configure("psk_test", base_url=NOWHERE, spool=False)
    with capture() as records:
        log.error("in time")
    assert [record["output"] for record in records] == ["in time"]


def test_wrong_arguments_are_refused() -> None:
    """At construction."""
    with pytest.raises(
        ConfigurationError, match="logger must be a PromptStackLogger, a HuggingPlace or None"
    ):
        BanyanHandler("psk_key")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="flush_timeout must be a number of seconds"):
        BanyanHandler(flush_timeout=-1)


def test_dictconfig_makes_it(client: PromptStackLogger, log: logging.Logger) -> None:
    """By its class, with level, formatter and the logger by its name; a second call replaces it."""
    globals()["the_client"] = client
    config = {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"short": {"format": "short: %(message)s"}},
        "handlers": {
            "banyan": {
                "class": "banyan_hp.integrations.logging.BanyanHandler",
                "level": "WARNING",
                "formatter": "short",
                "logger": f"ext://{__name__}.the_client",
            }
        },
        "loggers": {"app.payments": {"handlers": ["banyan"], "level": "DEBUG"}},
    }
    for _ in range(2):
        logging.config.dictConfig(config)
        with capture() as records:
            log.info("low")
            log.warning("high")
        assert [record["output"] for record in records] == ["short: high"]


def test_a_queue_brings_the_lines_from_another_thread(client: PromptStackLogger, log: logging.Logger) -> None:
    """`QueueHandler` and `QueueListener`; the queue's handler leaves an exception as text."""
    lines: queue.Queue[Any] = queue.Queue()
    listener = logging.handlers.QueueListener(lines, BanyanHandler(client))
    listener.start()
    log.addHandler(logging.handlers.QueueHandler(lines))
    with capture() as records:
        try:
            raise KeyError("card")
        except KeyError:
            log.exception("no %s", "card")
        listener.stop()
    (record,) = records
    assert record["output"].startswith("no card\nTraceback")
    assert record["metadata"]["log"]["thread"] == threading.current_thread().name


# -- lines about our own doing -------------------------------------------------------------------------------


def everything_to(root_handler: logging.Handler) -> None:
    root = logging.getLogger()
    root.setLevel(logging.DEBUG)
    root.addHandler(root_handler)


@pytest.mark.parametrize("background_thread", [True, False])
@pytest.mark.parametrize("through_a_queue", [False, True])
def test_lines_about_deliveries_are_no_records(
    make_logger: MakeLogger,
    server: ScriptedServer,
    log: logging.Logger,
    background_thread: bool,
    through_a_queue: bool,
) -> None:
    """All loggers at DEBUG, each request on a new connection, of which urllib3 says something."""
    server.handler = lambda _request: Reply(200, headers={"Connection": "close"})
    client = make_logger(server.url, background_thread=background_thread)
    handler = BanyanHandler(client)
    lines: queue.Queue[Any] = queue.Queue()
    listener = logging.handlers.QueueListener(lines, handler)
    listener.start()
    everything_to(logging.handlers.QueueHandler(lines) if through_a_queue else handler)
    for number in range(5):
        log.info("line %d", number)
    listener.stop()
    assert client.flush(5)
    client.flush(5)
    texts = [record["output"] for _, record in server.records()]
    assert [text for text in texts if "line" not in text] == []
    assert sorted(texts) == [f"line {number}" for number in range(5)]


def test_lines_of_callbacks_are_no_records(
    make_logger: MakeLogger, server: ScriptedServer, log: logging.Logger
) -> None:
    """They run on our threads: each would make another one, here by way of a queue."""

    def scrub(record: dict[str, Any]) -> dict[str, Any]:
        log.info("scrubbing")
        return record

    client = make_logger(server.url, before_send=scrub)
    lines: queue.Queue[Any] = queue.Queue()
    listener = logging.handlers.QueueListener(lines, BanyanHandler(client))
    listener.start()
    log.addHandler(logging.handlers.QueueHandler(lines))
    log.info("a line")
    server.wait_for(1)
    assert client.flush(5)
    listener.stop()
    assert client.flush(5)
    assert [record["output"] for _, record in server.records()] == ["a line"]


def test_urllib3s_lines_about_other_hosts_are_records(client: PromptStackLogger, log: logging.Logger) -> None:
    """They are the application's."""
    everything_to(BanyanHandler(client))
    with capture() as records:
        logging.getLogger("urllib3.connectionpool").debug(
            "Starting new HTTP connection (%d): %s:%s", 1, "a", 80
        )
        logging.getLogger("urllib3.connectionpool").debug(
            "Starting new HTTP connection (%d): %s:%s", 1, "127.0.0.1", 9
        )
        logging.getLogger("banyan_hp.x").error("ours")
    assert [record["output"] for record in records] == ["Starting new HTTP connection (1): a:80"]


# -- flush and close -----------------------------------------------------------------------------------------


def test_flush_waits_for_delivery_and_close_leaves_the_logger_open(
    make_logger: MakeLogger, server: ScriptedServer, log: logging.Logger
) -> None:
    """An unused handler waits for nothing."""
    client = make_logger(server.url, flush_interval=60)
    handler = BanyanHandler(client, flush_timeout=10)
    handler.flush()
    log.addHandler(handler)
    log.info("one")
    handler.flush()
    assert client.get_stats()["logs_sent"] == 1
    log.info("two")
    handler.close()
    assert client.get_stats()["logs_sent"] == 2
    log.info("three")
    assert client.flush(5)
    assert client.get_stats()["logs_sent"] == 3


def test_a_shutdown_of_logging_is_bounded(
    make_logger: MakeLogger, server: ScriptedServer, log: logging.Logger
) -> None:
    """A backend that hangs costs `flush_timeout` once, though `logging.shutdown` flushes and closes."""
    server.handler = lambda _request: Hang()
    client = make_logger(server.url, flush_interval=60)
    waits: list[float] = []
    flush = client.flush
    client.flush = lambda timeout=30.0: waits.append(timeout) or flush(timeout)  # type: ignore[method-assign, func-returns-value]
    handler = BanyanHandler(client, flush_timeout=0.2)
    log.addHandler(handler)
    log.info("one")
    handler.acquire()  # as `logging.shutdown` does
    handler.flush()
    handler.close()
    handler.release()
    assert waits == [0.2]
    server.release()


def test_reconfiguring_does_not_wait_for_threads_that_want_its_lock(
    make_logger: MakeLogger, server: ScriptedServer, log: logging.Logger
) -> None:
    """`dictConfig` holds a lock of logging while it closes handlers, and our threads ask for levels."""
    client = make_logger(server.url, flush_interval=60)
    handler = BanyanHandler(client, flush_timeout=30)
    everything_to(handler)
    logging.getLogger("urllib3").setLevel(logging.NOTSET)  # forgets what is known of all levels
    log.info("one")
    before = client.get_stats()["logs_sent"]
    with logging._lock:  # type: ignore[attr-defined]  # private: what dictConfig holds
        handler.close()
    assert (before, client.get_stats()["logs_sent"]) == (0, 1)


def test_the_example_logs_its_warning_and_its_error(server: ScriptedServer, tmp_path: Path) -> None:
    """`examples/logging_handler.py`: to the console as before, and two of three lines as records."""
    finished = subprocess.run(
        [sys.executable, str(Path(__file__).parents[3] / "examples" / "logging_handler.py")],
        env={**os.environ, "BANYAN_API_KEY": "psk_local", "BANYAN_BASE_URL": server.url},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (finished.returncode, finished.stderr) == (0, "")
    assert "INFO shop.answers: a question of 19 characters\n" in finished.stdout
    assert finished.stdout.endswith("delivered: True\n")
    warning, error = sorted((record for _, record in server.records()), key=lambda each: each["output"])
    assert (warning["input"], warning["output"]) == ("WARNING shop.answers", "an empty question")
    assert (error["input"], error["output"]) == ("ERROR shop.answers", "no answer")
    assert error["metadata"]["exception"]["type"] == "ZeroDivisionError"
    assert (error["metadata"]["session_id"], error["metadata"]["user_id"]) == ("s2", "u1")


def test_a_forked_child_and_the_end_of_the_process(server: ScriptedServer, tmp_path: Path) -> None:
    """Parent and child log while other threads do; all arrives, and nothing hangs at the exit."""
    finished = run_python(
        """
        import logging
        from banyan_hp.integrations.logging import BanyanHandler
        client = make()
        logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[BanyanHandler(client)])
        ready = threading.Barrier(3)
        def work(name):
            for number in range(50):
                logging.info("%s %d", name, number)
                if number == 25:
                    ready.wait(10)
        threads = [threading.Thread(target=work, args=(f"thread-{n}",)) for n in range(2)]
        for thread in threads:
            thread.start()
        ready.wait(10)
        child = os.fork()
        for number in range(50):
            logging.info("%s %d", "parent" if child else "child", number)
        if child:
            for thread in threads:
                thread.join()
            os.waitpid(child, 0)
        """,
        url=server.url,
        BANYAN_HP_SPOOL_DIR=str(tmp_path),
    )
    assert (finished.status, finished.stderr) == (0, "")
    texts = {record["output"] for _, record in server.records()}
    names = ("thread-0", "thread-1", "parent", "child")
    assert texts == {f"{name} {number}" for name in names for number in range(50)}
