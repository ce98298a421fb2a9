"""The module functions of the Banyan client, and the logger behind them."""

from __future__ import annotations

import threading
from typing import Any

import pytest

import banyan_hp as banyan
from banyan_hp import ConfigurationError
from tests.conftest import MakeLogger
from tests.integration.conftest import bodies
from tests.support.scripted import ScriptedServer
from tests.support.scripted_answers import batching, one_by_one

NOWHERE = "http://127.0.0.1:9"


def test_module_functions_before_configure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a key, get_prompt and log_prompt say what to do; the others answer harmlessly."""
    with pytest.raises(ConfigurationError, match=r"call configure\(\) first"):
        banyan.log_prompt("q", "a")
    with pytest.raises(ConfigurationError, match=r"call configure\(\) first"):
        banyan.get_prompt("p")
    assert banyan.flush()
    assert banyan.shutdown()
    assert banyan.get_stats()["logs_sent"] == 0
    assert banyan.health()["status"] == "ok"
    monkeypatch.setenv("BANYAN_HP_DISABLED", "1")
    assert banyan.log_prompt("q", "a")


def test_module_functions_configure_themselves_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, server: ScriptedServer
) -> None:
    """A key in the environment is enough."""
    server.handler = one_by_one()
    monkeypatch.setenv("BANYAN_API_KEY", "psk_env")
    monkeypatch.setenv("BANYAN_BASE_URL", server.url)
    assert banyan.log_prompt("q", "a", None, "id")
    assert banyan.flush(5)
    assert bodies(server)[0]["prompt_id"] == "id"
    assert banyan.get_stats()["logs_sent"] == 1


def test_configure_again_loses_nothing(server: ScriptedServer) -> None:
    """The old logger is shut down in order while others are logging: every accepted record arrives.

    They log no faster than is sent: what a full queue has on disk is its key's, which nobody uses any more.
    """
    server.handler = batching(gzip=False)
    banyan.configure("psk_1", server.url, flush_interval=10.0)
    accepted: list[int] = []
    stop = threading.Event()

    def keep_logging(first: int) -> None:
        number = first
        while not stop.is_set():
            while banyan.get_stats()["queue_size"] > 500 and not stop.is_set():
                stop.wait(0.001)
            if banyan.log_prompt("q", "a", metadata={"number": number}):
                accepted.append(number)
            number += 1

    threads = [threading.Thread(target=keep_logging, args=(base * 10**6,)) for base in range(3)]
    for thread in threads:
        thread.start()
    for key in ("psk_2", "psk_3"):
        server.wait_for(len(server.requests) + 1)
        banyan.configure(key, server.url, flush_interval=0.01)
    server.wait_for(len(server.requests) + 1)
    stop.set()
    for thread in threads:
        thread.join(10)
    assert banyan.flush(10)
    assert sorted(body["metadata"]["number"] for body in bodies(server)) == sorted(accepted)


def run_cell(url: str, secret: str, batch_size: int = 7) -> banyan.PromptStackLogger:
    """What a notebook's cell does each time: the function is made anew."""

    def scrub(record: dict[str, Any]) -> dict[str, Any]:
        return {**record, "output": secret}

    return banyan.configure("psk_1", url, batch_size=batch_size, before_send=scrub, prompt_timeout=3.0)


def test_configure_with_the_same_settings_keeps_the_logger(server: ScriptedServer) -> None:
    """No second engine, no shutdown; the newest callbacks are called."""
    server.handler = batching(gzip=False)
    first = run_cell(server.url, "old")
    assert banyan.log_prompt("q", "a", blocking=True)
    assert run_cell(server.url, "new") is first
    assert banyan.log_prompt("q", "a", blocking=True)
    assert [body["output"] for body in bodies(server)] == ["old", "new"]
    assert not first.closed


@pytest.mark.parametrize("other", ["key", "project", "setting", "callback", "prompts", "ended"])
def test_configure_with_another_setting_replaces_the_logger(other: str, server: ScriptedServer) -> None:
    """Whichever it is, and a logger that has ended."""
    first = run_cell(server.url, "s")
    if other == "ended":
        banyan.shutdown(1)
        assert run_cell(server.url, "s") is not first
        return
    options: dict[str, Any] = {"batch_size": 7, "before_send": None, "prompt_timeout": 3.0}
    second = banyan.configure("psk_1", server.url, **options)
    assert second is not first
    changes: dict[str, dict[str, Any]] = {
        "key": {"api_key": "psk_2"},
        "project": {"project_id": "p"},
        "setting": {"batch_size": 8},
        "callback": {"before_send": lambda record: record},
        "prompts": {"prompt_timeout": 4.0},
    }
    again = banyan.configure(**{"api_key": "psk_1", "base_url": server.url, **options, **changes[other]})
    assert again is not second
    assert second.closed


def test_a_logger_says_once_that_it_is_used_after_its_shutdown(
    make_logger: MakeLogger, caplog: pytest.LogCaptureFixture
) -> None:
    """One warning for each logger, and False."""
    loggers = [make_logger(NOWHERE) for _ in range(2)]
    for logger in loggers:
        logger.shutdown(1)
        assert not any(logger.log_prompt("q", "a") for _ in range(3))
    said = [record.getMessage() for record in caplog.records if "used after its shutdown()" in record.message]
    assert len(said) == 2
    assert all(NOWHERE in line for line in said)
