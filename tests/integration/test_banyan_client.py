"""The Banyan client as an application sees it: arguments, records, callbacks, operation."""

from __future__ import annotations

import json
import logging
import pickle
import threading
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy
import pytest

import banyan_hp as banyan
from banyan_hp import AuthenticationError, ConfigurationError, PromptData, PromptStackLogger
from banyan_hp.engine.engine import Engine
from banyan_hp.engine.records.record import Record
from tests.conftest import MakeLogger
from tests.integration.conftest import bodies
from tests.support.parts import part_of
from tests.support.patience import eventually
from tests.support.scripted import ScriptedServer
from tests.support.scripted_answers import Reply, Request, batching, one_by_one

NOWHERE = "http://127.0.0.1:9"
PROMPT = PromptData(
    "id-1",
    "greeting",
    "Hello {{name}}",
    version="3",
    branch="main",
    experiment_id="e1",
    experiment_version_id="v1",
    sticky_key="user_id",
    sticky_value="u7",
)


# -- construction --------------------------------------------------------------------------------------------


def test_construction_opens_no_connection_and_starts_no_thread(server: ScriptedServer) -> None:
    """A logger that is made and not used has touched neither the network nor the disk nor a thread."""
    before = threading.active_count()
    logger = PromptStackLogger("psk_x", server.url)
    assert threading.active_count() == before
    assert server.connections == 0
    assert logger.get_stats()["worker_alive"] is False
    assert logger.shutdown(0)


def test_no_key_anywhere_says_what_to_set() -> None:
    """The error names the argument and the environment variable."""
    with pytest.raises(AuthenticationError, match=r"api_key=.*BANYAN_API_KEY"):
        PromptStackLogger()


def test_arguments_win_over_the_environment(monkeypatch: pytest.MonkeyPatch, server: ScriptedServer) -> None:
    """Key, URL and project come from the environment where they are not given."""
    server.handler = one_by_one()
    monkeypatch.setenv("BANYAN_API_KEY", "psk_env")
    monkeypatch.setenv("BANYAN_BASE_URL", server.url + "/")
    monkeypatch.setenv("BANYAN_PROJECT_ID", "env-project")
    with PromptStackLogger() as logger:
        logger.log_prompt("a", "b")
        assert logger.flush(5)
    with PromptStackLogger(api_key="psk_arg", project_id="arg-project") as logger:
        logger.log_prompt("a", "b")
        assert logger.flush(5)
    keys = [(request.headers["X-API-Key"], request.headers["X-Project-Id"]) for request in server.requests]
    assert set(keys) == {("psk_env", "env-project"), ("psk_arg", "arg-project")}
    assert keys[0] == ("psk_env", "env-project")


def test_a_key_of_an_unusual_form_is_accepted() -> None:
    """Only the backend knows which keys are good."""
    assert repr(PromptStackLogger("no-prefix", NOWHERE)) == f"<PromptStackLogger {NOWHERE} idle>"


@pytest.mark.parametrize("key", ["line\nbreak", "schlüssel"])
def test_a_key_that_no_header_can_carry_is_refused_without_showing_it(key: str) -> None:
    """The message names the setting and what is allowed, never the key."""
    with pytest.raises(ConfigurationError, match="api_key") as caught:
        PromptStackLogger(key, NOWHERE)
    assert key not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["localhost:8787", "ftp://host", "http://", "http://user:pw@host", "http://h?x=1"]
)
def test_a_bad_base_url_is_named(url: str) -> None:
    """The message names base_url."""
    with pytest.raises(ConfigurationError, match="base_url"):
        PromptStackLogger("psk_x", url)


def test_a_bad_setting_is_named_with_its_value_and_what_is_allowed() -> None:
    """One of many; the unit tests of the settings go through all."""
    with pytest.raises(ConfigurationError, match=r"overflow must be one of 'spill'.*was 'explode'"):
        PromptStackLogger("psk_x", NOWHERE, overflow="explode")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"unknown setting 'que_size'"):
        PromptStackLogger("psk_x", NOWHERE, que_size=5)  # type: ignore[call-arg]


def test_the_key_shows_nowhere(
    make_logger: MakeLogger, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Not in repr, stats, health, log lines, nor in any file."""
    secret = "psk_very_secret_key"
    with caplog.at_level(logging.DEBUG, "banyan_hp"):
        logger = make_logger(NOWHERE, api_key=secret, max_retries=0)
        logger.log_prompt("a", "b")
        logger.flush(5)
        shown = [repr(logger), repr(vars(logger)), str(logger.get_stats()), str(logger.health()), caplog.text]
        logger.shutdown(1)
    files = [path.read_text() + path.name for path in (tmp_path / "state").rglob("*") if path.is_file()]
    assert files
    assert not any(secret in text for text in shown + files)


# -- log_prompt ----------------------------------------------------------------------------------------------


def test_a_record_carries_its_prompt_and_experiment(make_logger: MakeLogger, server: ScriptedServer) -> None:
    """With prompt_data the ids, version, branch and the experiment's assignment go along."""
    server.handler = one_by_one()
    logger = make_logger(server.url)
    assert logger.log_prompt("q", "a", prompt_data=PROMPT, model="m", metadata={"k": 1}, duration_ms=12.5)
    assert logger.flush(5)
    assert bodies(server) == [
        {
            "input": "q",
            "output": "a",
            "metadata": {"k": 1},
            "prompt_id": "id-1",
            "prompt_name": "greeting",
            "version": "3",
            "branch_name": "main",
            "model": "m",
            "duration_ms": 12.5,
            "experiment_id": "e1",
            "experiment_version_id": "v1",
            "sticky_key": "user_id",
            "sticky_value": "u7",
        }
    ]


def test_a_prompt_that_wants_no_logging_gets_none(make_logger: MakeLogger, server: ScriptedServer) -> None:
    """`enable_logging=False`: True is returned and nothing is sent."""
    logger = make_logger(server.url)
    assert logger.log_prompt("q", "a", prompt_data=PromptData("i", "n", "c", enable_logging=False))
    assert logger.flush(5)
    assert server.requests == []
    assert logger.get_stats()["logs_queued"] == 0


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("", ""),
        (None, ""),
        ([{"role": "user", "content": "hi"}], '[{"role":"user","content":"hi"}]'),
        ({"a": 1}, '{"a":1}'),
        (5, "5"),
        (b"bytes", "bytes"),
    ],
)
def test_texts_and_messages(make_logger: MakeLogger, server: ScriptedServer, given: Any, sent: str) -> None:
    """Texts travel as they are, an empty output is logged, messages go as JSON text."""
    server.handler = one_by_one()
    logger = make_logger(server.url)
    assert logger.log(given, given)
    assert logger.flush(5)
    assert (bodies(server)[0]["input"], bodies(server)[0]["output"]) == (sent, sent)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prompt_data": {"name": "x"}}, "prompt_data must be a PromptData"),
        ({"metadata": ["a"]}, "metadata must be a dict or None, was list"),
    ],
)
def test_bad_input_is_counted_and_logged_not_raised(
    make_logger: MakeLogger, caplog: pytest.LogCaptureFixture, arguments: dict[str, Any], message: str
) -> None:
    """A request handler's mistake costs False, a count and a log line that names the thing."""
    logger = make_logger(NOWHERE)
    assert logger.log_prompt("q", "a", **arguments) is False
    assert logger.get_stats()["logs_rejected"] == 1
    assert message in caplog.text


@pytest.mark.parametrize(
    ("given", "aside"),
    [
        (-5, -5),
        (-0.001, -0.001),
        ("fast", "fast"),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
        (True, True),
        (timedelta(seconds=-1), -1000.0),
        (Fraction(-1, 2), -0.5),
    ],
)
def test_a_duration_out_of_range_costs_its_field_only(
    make_logger: MakeLogger,
    server: ScriptedServer,
    caplog: pytest.LogCaptureFixture,
    given: Any,
    aside: Any,
) -> None:
    """It goes into the metadata under its name, is counted and logged; the record is delivered."""
    server.handler = one_by_one()
    logger = make_logger(server.url)
    assert logger.log_prompt("q", "a", metadata={"tenant": "acme"}, duration_ms=given)
    assert logger.flush(5)
    (body,) = bodies(server)
    assert "duration_ms" not in body
    assert body["metadata"] == {"tenant": "acme", "duration_ms": aside}
    assert logger.get_stats()["values_set_aside"] == 1
    assert "duration_ms must be a number of milliseconds, 0 or more" in caplog.text


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (Decimal("1.5"), 1.5),
        (Fraction(3, 2), 1.5),
        (timedelta(seconds=1.5), 1500.0),
        (numpy.float32(1.5), 1.5),
        (numpy.int64(3), 3),
        (numpy.timedelta64(1500, "us"), 1.5),
        (0, 0),
    ],
)
def test_a_duration_is_a_number_of_any_kind(
    make_logger: MakeLogger, server: ScriptedServer, given: Any, sent: float
) -> None:
    """What has `__index__` or `__float__` is a number, and a time span becomes milliseconds."""
    server.handler = one_by_one()
    logger = make_logger(server.url)
    assert logger.log_prompt("q", "a", duration_ms=given)
    assert logger.flush(5)
    assert bodies(server)[0]["duration_ms"] == sent
    assert logger.get_stats()["values_set_aside"] == 0


def test_what_the_caller_changes_later_changes_nothing(
    make_logger: MakeLogger, server: ScriptedServer
) -> None:
    """The record is what it was at the call."""
    server.handler = one_by_one()
    server.script([Reply(404, {}, delay=0.2)])
    logger = make_logger(server.url)
    metadata = {"list": [1]}
    assert logger.log_prompt("q", "a", metadata=metadata)
    metadata["list"].append(2)
    metadata["new"] = [3]
    assert logger.flush(5)
    assert bodies(server)[0]["metadata"] == {"list": [1]}


def test_an_oversized_record_is_shortened_with_a_marker(
    make_logger: MakeLogger, server: ScriptedServer
) -> None:
    """The longest text gives way, tells its original length, and the record fits."""
    server.handler = one_by_one()
    logger = make_logger(server.url, max_record_bytes=10_000)
    assert logger.log_prompt("q" * 9_000, "a" * 50_000, metadata={"kept": "yes"})
    assert logger.flush(5)
    (request,) = [request for request in server.requests if request.route.endswith("usage")]
    body = request.json()
    assert len(request.raw_body) <= 10_000
    assert body["metadata"] == {"kept": "yes"}
    assert "50000 characters" in body["output"]


def test_a_record_refused_by_the_backend_at_once_was_accepted(
    make_logger: MakeLogger, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer is about acceptance, also when the record has been dropped before the call returns."""
    server.handler = lambda request: Reply(409, {"error": "no"}) if request.method == "POST" else Reply(200)
    logger = make_logger(server.url, spool=False, batching="never")
    engine = part_of(logger, Engine)
    submit = engine.submit

    def slowly(value: dict[str, Any], **options: Any) -> Record | None:
        record = submit(value, **options)
        engine.flush(5)
        assert record is not None
        assert record.settled
        return record

    monkeypatch.setattr(engine, "submit", slowly)
    assert logger.log_prompt("q", "a") is True


def test_after_shutdown_records_are_refused_and_counted(make_logger: MakeLogger) -> None:
    """Nothing is accepted that nobody will send."""
    logger = make_logger(NOWHERE)
    logger.shutdown(1)
    assert logger.log_prompt("q", "a") is False
    stats = logger.get_stats()
    assert (stats["logs_rejected"], stats["logs_queued"], stats["state"]) == (1, 0, "stopped")


@pytest.mark.parametrize("timeout", [float("inf"), 10**400])
def test_shutdown_without_a_limit_tells_the_callbacks(make_logger: MakeLogger, timeout: float) -> None:
    """No end of patience is no error, also where a thread is waited for."""
    drops: list[tuple[str, int]] = []
    logger = make_logger(
        NOWHERE, spool=False, max_retries=0, retry_delay=30, on_drop=lambda *drop: drops.append(drop)
    )
    assert logger.log_prompt("q", "a")
    assert not logger.shutdown(timeout)
    assert drops == [("shutdown", 1)]


def test_a_proxy_that_cannot_be_used_is_named_at_once(
    make_logger: MakeLogger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Better an error at the start than records that never leave."""
    monkeypatch.setenv("ALL_PROXY", "ftp://127.0.0.1:1080")
    monkeypatch.delenv("NO_PROXY", raising=False)
    with pytest.raises(ConfigurationError, match=r"https://example\.com can't be reached: .*ftp"):
        make_logger("https://example.com")


def test_log_is_log_prompt() -> None:
    """The published client has both names."""
    assert PromptStackLogger.log is PromptStackLogger.log_prompt
    assert banyan.log is banyan.log_prompt


# -- blocking ------------------------------------------------------------------------------------------------


def test_blocking_says_truly_whether_it_was_delivered(
    make_logger: MakeLogger, server: ScriptedServer
) -> None:
    """True when delivered; False when not, with the record on disk, and it arrives later."""
    server.handler = batching()
    logger = make_logger(server.url, flush_interval=60.0, max_retries=1)
    assert logger.log_prompt("q", "a", blocking=True)
    assert len(server.records()) == 1
    server.handler = lambda _request: Reply(503, "x")
    assert logger.log_prompt("q2", "a", blocking=True) is False
    assert logger.get_stats()["logs_spooled"] == 1
    server.handler = batching()
    assert logger.flush(5)
    assert bodies(server)[-1]["input"] == "q2"


def test_without_a_background_thread_the_caller_delivers(
    make_logger: MakeLogger, server: ScriptedServer
) -> None:
    """`background_thread=False`: delivered before the call returns, by no thread of ours."""
    server.handler = batching()
    logger = make_logger(server.url, background_thread=False)
    before = threading.active_count()
    for number in range(20):
        assert logger.log_prompt(f"q{number}", "a")
        assert len(server.records()) == number + 1
    assert threading.active_count() <= before + 1  # the server's connection thread
    assert logger.get_stats()["worker_alive"] is False


def test_without_a_background_thread_a_dead_backend_means_disk(
    make_logger: MakeLogger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller learns that it was not delivered, finds it on disk, and later calls don't wait again."""
    monkeypatch.setattr("banyan_hp.engine.policy.circuit_breaker.probe_delay", lambda *_: 60.0)
    with ScriptedServer() as reserved:
        port = reserved.port
    logger = make_logger(f"http://127.0.0.1:{port}", background_thread=False, max_retries=1)
    assert [logger.log_prompt(f"q{number}", "a") for number in range(5)] == [False] * 5
    stats = logger.get_stats()
    assert (stats["logs_spooled"], stats["state"]) == (5, "offline")
    assert stats["attempts_failed"] == 2
    with ScriptedServer(one_by_one(), port=port) as server:
        assert logger.flush(5)
        assert sorted(body["input"] for body in bodies(server)) == [f"q{number}" for number in range(5)]


def test_flush_without_a_background_thread_from_several_threads(
    make_logger: MakeLogger, server: ScriptedServer
) -> None:
    """Callers deliver at the same time without getting in each other's way."""
    server.handler = one_by_one(latency=0.01)
    logger = make_logger(server.url, background_thread=False)
    results: list[bool] = []
    threads = [
        threading.Thread(target=lambda: results.extend(logger.log_prompt("q", "a") for _ in range(10)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert results == [True] * 80
    assert len(server.records()) == 80


# -- callbacks -----------------------------------------------------------------------------------------------


def test_before_send_sees_changes_and_drops(make_logger: MakeLogger, server: ScriptedServer) -> None:
    """It may change the record, and None drops it, counted."""
    server.handler = one_by_one()

    def scrub(record: dict[str, Any]) -> dict[str, Any] | None:
        if record["input"] == "drop me":
            return None
        record["metadata"]["scrubbed"] = True
        return {**record, "input": "***"}

    logger = make_logger(server.url, before_send=scrub)
    assert logger.log_prompt("secret", "a")
    assert logger.log_prompt("drop me", "a")
    assert not logger.flush(5)
    (body,) = bodies(server)
    assert (body["input"], body["metadata"]) == ("***", {"scrubbed": True})
    assert logger.get_stats()["drops"] == {"before_send": 1}


@pytest.mark.parametrize("failure", ["raises", "returns junk"])
def test_before_send_that_fails_keeps_the_record_back(
    make_logger: MakeLogger, server: ScriptedServer, failure: str
) -> None:
    """What could not be scrubbed is not sent: it is quarantined, and the others go on."""
    server.handler = one_by_one()

    def scrub(record: dict[str, Any]) -> Any:
        if record["input"] != "bad":
            return record
        if failure == "raises":
            raise ValueError("no")
        return 5

    logger = make_logger(server.url, before_send=scrub)
    assert all(logger.log_prompt(text, "a") for text in ("good", "bad", "fine"))
    assert not logger.flush(5)
    assert sorted(body["input"] for body in bodies(server)) == ["fine", "good"]
    stats = logger.get_stats()
    assert (stats["logs_quarantined"], stats["callback_errors"]) == (1, 1)


def test_callbacks_may_log_flush_and_raise(make_logger: MakeLogger, server: ScriptedServer) -> None:
    """A callback that logs, flushes, asks for stats or raises harms nobody; what it logs is no record."""
    server.handler = one_by_one()
    server.script([Reply(404), Reply(500, "x")])
    seen: list[str] = []
    accepted: list[bool] = []

    def on_error(error: Exception) -> None:
        seen.append(str(error))
        accepted.append(logger.log_prompt("from the callback", "a"))
        logger.flush(5)
        logger.get_stats()
        raise RuntimeError("a bug in the callback")

    logger = make_logger(server.url, on_error=on_error)
    assert logger.log_prompt("q", "a")
    assert logger.flush(5)
    eventually(lambda: logger.get_stats()["callback_errors"] == 1)
    assert "500" in seen[0]
    assert accepted == [False]
    assert logger.get_stats()["logs_rejected"] == 1
    assert {body["input"] for body in bodies(server)} == {"q"}


def test_a_before_send_that_logs_through_us_comes_to_an_end(
    make_logger: MakeLogger, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An application that sends its log lines through us, and logs a line for each record, has no loop."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            logger.log_prompt(record.getMessage(), "")

    lines = logging.getLogger("application")
    monkeypatch.setattr(lines, "handlers", [Handler()])

    def before_send(record: dict[str, Any]) -> dict[str, Any]:
        lines.warning("sending %s", record["input"])
        return record

    logger = make_logger(server.url, before_send=before_send)
    for number in range(10):
        logger.log_prompt(f"q{number}", "a")
    assert logger.flush(5)
    stats = logger.get_stats()
    assert (stats["logs_queued"], stats["logs_sent"], stats["logs_rejected"]) == (10, 10, 10)


def test_a_prompt_can_be_pickled() -> None:
    """A Celery task, say, can take it along."""
    assert pickle.loads(pickle.dumps(PROMPT)) == PROMPT


# -- switched off --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["option", "environment"])
def test_switched_off_needs_no_key_and_still_answers(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """CI and laptops must boot: everything is a no-op that answers."""
    if how == "environment":
        monkeypatch.setenv("BANYAN_HP_DISABLED", "1")
    logger = PromptStackLogger() if how == "environment" else PromptStackLogger(enabled=False)
    assert logger.log_prompt("q", "a", metadata={"k": 1}) is True
    assert logger.log_prompt("q", "a", blocking=True) is True
    assert logger.get_prompt("p") is None
    assert logger.flush(0)
    assert logger.get_stats()["logs_queued"] == 0
    assert logger.health()["status"] == "ok"
    assert logger.shutdown(0)
    assert repr(logger).endswith("disabled>")


# -- operation -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("timeout", [-1, "5", None, True, float("nan")])
def test_a_bad_timeout_is_named(make_logger: MakeLogger, timeout: Any) -> None:
    """flush and shutdown refuse what is not a number of seconds."""
    logger = make_logger(NOWHERE)
    with pytest.raises(ConfigurationError, match="timeout must be a number of seconds"):
        logger.flush(timeout)
    with pytest.raises(ConfigurationError, match="timeout must be a number of seconds"):
        logger.shutdown(timeout)


def test_stats_are_plain_and_complete(make_logger: MakeLogger) -> None:
    """`get_stats()` is JSON, and has every documented key."""
    stats = make_logger(NOWHERE).get_stats()
    assert json.loads(json.dumps(stats)) == stats
    documented = {
        "logs_queued", "logs_sent", "logs_rejected", "logs_dropped", "drops", "logs_spooled",
        "logs_quarantined", "logs_recovered", "queue_size", "queue_bytes", "in_flight",
        "attempts_failed", "retries_attempted", "requests_sent", "bytes_sent", "state",
        "worker_alive", "last_error", "last_success_age_s", "oldest_record_age_s",
        "prompts_fetched", "cache_hits", "cache_misses",
    }  # fmt: skip
    assert documented <= set(stats)


def test_durability_disk_writes_before_it_returns(
    make_logger: MakeLogger, server: ScriptedServer, tmp_path: Path
) -> None:
    """`durability="disk"`: a record is in a segment when the call returns, and gone when delivered."""
    release = threading.Event()

    def slow(request: Request) -> Any:
        release.wait(10)
        return batching()(request)

    server.handler = slow
    logger = make_logger(server.url, durability="disk", fsync="always")
    assert logger.log_prompt("written at once", "a")
    (segment,) = (tmp_path / "state").rglob("*.jsonl")
    assert "written at once" in segment.read_text()
    assert logger.get_stats()["logs_spooled"] == 0  # memory before disk: it is queued or in flight
    release.set()
    assert logger.flush(5)
    logger.shutdown(5)
    assert list((tmp_path / "state").rglob("*.jsonl*")) == []


def test_an_unusable_spool_means_memory_only(
    make_logger: MakeLogger, server: ScriptedServer, tmp_path: Path
) -> None:
    """A spool directory that can't be made costs a warning; records stay in memory and are delivered."""
    (tmp_path / "file").write_text("in the way")
    logger = make_logger(server.url, spool_dir=tmp_path / "file" / "below", max_retries=0, retry_delay=0.01)
    server.handler = lambda _request: Reply(500, "x")
    assert logger.log_prompt("q", "a")
    assert not logger.flush(2)
    stats = logger.get_stats()
    assert (stats["logs_spooled"], stats["queue_size"] + stats["in_flight"]) == (0, 1)
    assert any("on-disk queue can't be used" in reason for reason in logger.health()["reasons"])
    server.handler = one_by_one()
    assert logger.flush(5)
    assert logger.get_stats()["logs_sent"] == 1
