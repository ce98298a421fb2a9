"""Celery with a real broker and real workers: the publisher's context, tasks as records, a worker's end."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import date
from pathlib import Path
from typing import Any
from uuid import UUID
from wsgiref.util import setup_testing_defaults

import celery
import pytest

import banyan_hp as banyan
from banyan_hp import ConfigurationError, HuggingPlace, PromptStackLogger
from banyan_hp.integrations.celery import instrument
from banyan_hp.integrations.wsgi import WSGIMiddleware
from tests.frameworks import celery_tasks as tasks
from tests.support.scripted import ScriptedServer
from tests.support.scripted_answers import batching
from tests.support.servers import ROOT, Server, assert_quiet, wait_until

HEADER = "banyan_hp_context"
POOLS = ("prefork", "threads", "solo")


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer(batching()) as running:
        yield running


@pytest.fixture
def logger(server: ScriptedServer) -> Iterator[PromptStackLogger]:
    with PromptStackLogger("psk_local", server.url) as running:
        yield running


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    directory = tmp_path_factory.mktemp("redis")
    path = directory / "socket"
    command = [
        "redis-server",
        "--port",
        "0",
        "--unixsocket",
        str(path),
        "--save",
        "",
        "--dir",
        str(directory),
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        wait_until(path.exists, 10, lambda: "Redis does not start")
        yield f"redis+socket://{path}"
    finally:
        process.kill()
        process.wait(10)


@pytest.fixture
def app(broker: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[celery.Celery]:
    """The tests' application, with this broker."""
    monkeypatch.setattr(tasks.app.conf, "broker_url", broker)
    monkeypatch.setattr(tasks.app.conf, "result_backend", broker)
    yield tasks.app
    tasks.app.pool.force_close_all()


def worker(directory: Path, pool: str, broker: str, url: str) -> Server:
    directory.mkdir()
    command = [sys.executable, "-m", "celery", "--quiet", "--app", "tests.frameworks.celery_tasks", "worker"]
    command += ["--pool", pool, "--concurrency", "4", "--queues", pool, "--loglevel", "WARNING"]
    command += ["--without-gossip", "--without-mingle", "--without-heartbeat", "--hostname", f"{pool}@test"]
    state = str(directory / "state")
    environment = {"PYTHONPATH": str(ROOT), "BROKER": broker, "URL": url, "BANYAN_HP_SPOOL_DIR": state}
    return Server(command, directory, port=0, **environment)


def send_everything(pool: str, app: celery.Celery) -> None:
    """Tasks by all ways of publishing, each word with the user who published it."""
    queue = {"queue": pool}
    old = celery.Celery("old", broker=app.conf.broker_url)
    old.conf.task_protocol = 1
    for number in range(20):
        with banyan.context(user_id=f"{pool} {number}", tags=["a", None, 1.5]):
            tasks.log.apply_async((f"{pool} {number}",), **queue)
    with banyan.context(user_id=f"{pool} chain"):
        one, two = (tasks.log.s(f"{pool} chain", *more).set(**queue) for more in ((), ()))
        (one | tasks.log.s(f"{pool} chain").set(**queue) | two).apply_async()
    with banyan.context(user_id=f"{pool} group"):
        celery.group(tasks.log.s(f"{pool} group").set(**queue) for _ in range(2)).apply_async()
    with banyan.context(user_id=f"{pool} chord"):
        several = [tasks.log.s(f"{pool} chord").set(**queue) for _ in range(3)]
        celery.chord(several)(tasks.log.s(f"{pool} chord").set(**queue))
    with banyan.context(user_id=f"{pool} nested"):
        steps = (tasks.log.s(f"{pool} nested").set(**queue) for _ in range(2))
        both = celery.group(steps) | tasks.log.s(f"{pool} nested").set(**queue)
        celery.group(both, tasks.log.s(f"{pool} nested").set(**queue)).apply_async()
    with banyan.context(user_id=f"{pool} eta"):
        tasks.log.apply_async((f"{pool} eta",), countdown=0.1, **queue)
    with banyan.context(user_id=f"{pool} again"):
        tasks.fail_twice.apply_async((f"{pool} again",), **queue)
    with banyan.context(user_id=f"{pool} inside"):
        tasks.publish.apply_async((f"{pool} inside",), **queue)
    with banyan.context(user_id=f"{pool} old"):
        old.send_task("log", (f"{pool} old",), **queue)
    app.send_task("log", (f"{pool} nobody",), **queue)
    app.send_task("log", (f"{pool} nobody",), headers={HEADER: "no JSON", "other": 1}, **queue)
    app.send_task("log", (f"{pool} nobody",), headers={HEADER: ["no text"]}, **queue)
    old.send_task("log", (f"{pool} nobody",), **queue)
    old.close()


RECORDS = 20 + 3 + 2 + 4 + 4 + 1 + 3 + 1 + 1 + 4


def test_each_task_has_the_context_of_its_publisher_and_a_warm_shutdown_delivers_it(
    broker: str, app: celery.Celery, tmp_path: Path
) -> None:
    """In each kind of pool: chains, groups, chords, eta, retries, tasks of tasks, both protocols, none."""
    redis = app.backend.client
    with ScriptedServer(batching()) as server, ExitStack() as running:
        workers = [running.enter_context(worker(tmp_path / pool, pool, broker, server.url)) for pool in POOLS]
        for pool in POOLS:
            send_everything(pool, app)
        wait_until(
            lambda: int(redis.get(tasks.LOGGED) or 0) == len(POOLS) * RECORDS,
            30,
            lambda: f"{redis.get(tasks.LOGGED)}: " + "".join(each.output for each in workers),
        )
        with ThreadPoolExecutor() as ending:
            list(ending.map(Server.stop, workers))
        for each in workers:
            assert_quiet(each)
        bodies = [body for _, body in server.records()]
    assert len(bodies) == len(POOLS) * RECORDS, Counter(body["input"] for body in bodies)
    for body in bodies:
        user = (body.get("metadata") or {}).get("user_id")
        wanted = {f"{user} {number}" for number in range(3)} if "again" in body["input"] else {user}
        assert body["input"] in ({f"{pool} nobody" for pool in POOLS} if user is None else wanted)


# -- what travels --------------------------------------------------------------------------------------------


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """The headers of what is published meanwhile."""
    found: list[dict[str, Any]] = []

    def note(headers: dict[str, Any], **_: Any) -> None:
        found.append(headers)

    celery.signals.after_task_publish.connect(note)
    yield found
    celery.signals.after_task_publish.disconnect(note)
    instrument(tasks.app)


def publisher(**options: Any) -> Any:
    """A task of an application with a broker in memory."""
    made = celery.Celery("publisher", broker="memory://", set_as_current=False)
    instrument(made, **options)
    return as_task(made, lambda: None, name="nothing")


CONTEXT: dict[str, Any] = {"user_id": "u", "day": date(2026, 11, 28), "id": UUID(int=1), "n": [1, None]}


@pytest.mark.parametrize(
    ("propagate", "names"),
    [(True, {"user_id", "day", "id", "n"}), (("user_id", "n", "other"), {"user_id", "n"}), (False, set())],
)
def test_what_travels_can_be_chosen(propagate: Any, names: set[str], published: list[dict[str, Any]]) -> None:
    """Everything, some names, or nothing."""
    task = publisher(propagate=propagate)
    with banyan.context(**CONTEXT):
        task.delay()
    assert set(json.loads(published[0].get(HEADER, "{}"))) == names
    task.delay()
    assert HEADER not in published[1]


def test_a_task_of_a_web_request_has_its_user(published: list[dict[str, Any]]) -> None:
    """By the middleware, which works out a request's context when it is asked for."""
    task = publisher()

    def application(_environ: Any, start_response: Any) -> list[bytes]:
        task.delay()
        start_response("204 No Content", [])
        return []

    def start(*_: Any) -> Any: ...

    environ: dict[str, Any] = {"PATH_INFO": "/ask"}
    setup_testing_defaults(environ)
    WSGIMiddleware(application, user=lambda _: "u")(environ, start)
    travelling = json.loads(published[0][HEADER])
    assert (travelling["user_id"], travelling["path"]) == ("u", "/ask")
    assert travelling["request_id"]


def test_only_json_of_a_bounded_size_travels(
    published: list[dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    """The rest stays behind, with a line in the log that shows no value."""
    task = publisher()
    circular: list[Any] = []
    circular.append(circular)
    with banyan.context(
        large="secret" * 1000, thing=object(), nan=float("nan"), itself=circular, user_id="u", text="é" * 500
    ):
        task.delay()
    assert json.loads(published[0][HEADER]) == {"user_id": "u", "text": "é" * 500}
    assert len(published[0][HEADER]) <= 4096
    assert "['large', 'thing', 'nan', 'itself']" in caplog.text
    assert "secret" not in caplog.text


# -- records of tasks ----------------------------------------------------------------------------------------


def eager(logger: Any, **options: Any) -> Any:
    """A decorator for tasks that run at once."""
    made = celery.Celery("eager", set_as_current=False)
    made.conf.update(task_always_eager=True)
    instrument(made, logger, **options)
    return functools.partial(as_task, made)


def as_task(made: celery.Celery, function: Any = None, **options: Any) -> Any:
    """Also of a lambda, which Celery refuses by its name."""
    if function is None:
        return made.task(**options)
    function.__name__ = "function"
    return made.task(function, **options)


def ask(logger: Any) -> str:
    """Stands for a call of a model, as a step."""
    with logger.step("answer", "why?") as step:
        usage = {"prompt_tokens": 3, "completion_tokens": 2}
        step.response = {"model": "m", "usage": usage, "choices": [{"message": {"content": "so"}}]}
    return "returned"


def test_a_traced_task_is_one_record_with_its_steps(
    logger: PromptStackLogger, server: ScriptedServer
) -> None:
    """Its name, state and tokens; no arguments, and the answer of its last step."""
    task = eager(logger, trace=True)(lambda word: ask(logger), name="answering")
    with banyan.context(user_id="u"):
        result = task.delay("private")
    assert logger.flush(5)
    ((_, body),) = server.records()
    assert (body["input"], body["output"], body["model"]) == ("answering", "so", "m")
    metadata = body["metadata"]
    assert metadata["celery_task_id"] == result.id
    assert (metadata["celery_state"], metadata["celery_retries"], metadata["user_id"]) == ("SUCCESS", 0, "u")
    assert (metadata["token_count"], metadata["celery_task"]) == (5, "answering")
    assert "private" not in str(body)


def test_arguments_and_what_is_returned_are_recorded_if_asked(server: ScriptedServer) -> None:
    """By the other client, too."""
    with HuggingPlace("psk_local", "org", base_url=server.url) as logger:
        task = eager(logger, trace=True, arguments=True)(lambda word, more: ask(logger), name="answering")
        task.delay("yes", more=1)
    ((_, body),) = server.records()
    asked = {"task": "answering", "args": ["yes"], "kwargs": {"more": 1}}
    assert (json.loads(body["user_prompt"]), body["response"]) == (asked, "returned")


def test_each_try_is_a_record_with_its_error(logger: PromptStackLogger, server: ScriptedServer) -> None:
    """A retry names the error behind it; an error that leaves an eager task is on the record as well."""
    task = eager(logger, trace=True)

    @task(name="trying", bind=True, max_retries=1)  # type: ignore[untyped-decorator]
    def trying(self: Any) -> None:
        raise self.retry(exc=LookupError("not there"), countdown=0)

    @task(name="failing")  # type: ignore[untyped-decorator]
    def failing() -> None:
        raise LookupError("not there")

    with pytest.raises(LookupError):
        failing.apply(throw=True)
    assert trying.apply(throw=False).state == "FAILURE"
    assert logger.flush(5)
    found = [
        (each["celery_state"], each["celery_retries"], each["error_type"])
        for each in (body["metadata"] for _, body in server.records())
    ]
    assert found == [
        ("FAILURE", 0, "LookupError"),
        ("RETRY", 0, "LookupError"),
        ("FAILURE", 1, "LookupError"),
    ]


def test_tasks_are_not_traced_unless_asked(logger: PromptStackLogger, server: ScriptedServer) -> None:
    """Nor are those of an application that is not instrumented."""
    eager(logger)(lambda: None, name="plain").delay()
    other = celery.Celery("other", set_as_current=False)
    as_task(other, lambda: None, name="other").apply()
    assert logger.flush(5)
    assert server.records() == []


def test_a_closed_logger_costs_no_task_its_result(logger: PromptStackLogger) -> None:
    """Nor does a receiver that fails."""
    task = eager(logger, trace=True)(lambda: 7, name="seven")
    logger.shutdown(1)
    assert task.delay().get() == 7


# -- stats and options ---------------------------------------------------------------------------------------


def test_the_stats_come_every_second_once_a_task_has_run(
    logger: PromptStackLogger, caplog: pytest.LogCaptureFixture
) -> None:
    """On a thread that a callback which raises does not end; without a callback they are a log line."""
    caplog.set_level("INFO", "banyan_hp")
    seen: list[Any] = []
    came = threading.Event()

    def report(stats: Any) -> None:
        seen.append(stats)
        if len(seen) > 1:
            came.set()
        raise ValueError

    task = eager(logger, stats_interval=1, on_stats=report)(lambda: None, name="nothing")
    other = eager(logger, stats_interval=1)(lambda: None, name="nothing")
    for each in (task, other, task):
        each.delay()
    assert came.wait(5)
    instrument(task.app)
    instrument(other.app)
    assert seen[0]["logs_queued"] == 0
    assert "on_stats failed (ValueError)" in caplog.text
    assert "stats: logs_queued=0, logs_sent=0" in caplog.text


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"app": "app"}, "takes a Celery application, was 'app'"),
        ({"logger": "logger"}, "logger must be a client"),
        ({"propagate": "user_id"}, "propagate must be True, False or a list of names"),
        ({"stats_interval": 0}, "stats_interval must be seconds, 1 or more, was 0"),
        ({"trace": "yes"}, "trace must be True or False, was 'yes'"),
        ({"on_stats": print}, "on_stats must be a function, with a stats_interval"),
        ({"arguments": True}, "arguments=True needs trace=True"),
    ],
)
def test_what_can_not_be_is_refused_at_once(wrong: Any, said: str) -> None:
    """Where the application is made, with the argument's name."""
    with pytest.raises(ConfigurationError, match=said):
        instrument(**{"app": celery.Celery("refused", set_as_current=False), **wrong})
