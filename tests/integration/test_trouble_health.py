"""What health, stats, flushes and receipts say of rejected calls, of prompts, and of what was dropped."""

from __future__ import annotations

import asyncio
import pickle
from pathlib import Path
from typing import Any

import pytest

from banyan_hp import NetworkError, PromptStackLogger, context
from banyan_hp.types import Log
from tests.conftest import MakeLogger
from tests.integration.conftest import Make
from tests.support.backend import Backend
from tests.support.clock import FakeClock
from tests.support.prompts import HELLO, always, dead_url, prompt_json
from tests.support.scripted import ScriptedServer
from tests.support.scripted_answers import Reply, batching
from tests.support.stepped import URL, FakeBackend, SteppedEngine

LOG: Log = {"user_prompt": "q", "response": "a"}

# -- rejected calls ------------------------------------------------------------------------------------------


def test_health_is_degraded_for_ten_minutes_after_a_rejected_call() -> None:
    """With the reason's words."""
    clock = FakeClock()
    logger = PromptStackLogger("psk_local", URL, spool=False)
    logger._engine = SteppedEngine(FakeBackend(), clock)  # private: with a clock of ours
    assert logger.health()["status"] == "ok"
    assert not logger.log_prompt("q", "a", metadata=3)  # type: ignore[arg-type]
    clock.advance(599)
    health = logger.health()
    assert health["status"] == "degraded"
    assert health["reasons"] == ["a call was rejected 599 s ago: metadata must be a dict or None, was int"]
    clock.advance(1)
    assert logger.health()["status"] == "ok"


def test_both_clients_say_why_a_call_was_rejected(make: Make, server: ScriptedServer) -> None:
    """The receipt has the reason, too."""
    client = make(server.url)
    assert client.log({"user_prompt": "", "response": "a"}).done()
    (reason,) = client.health()["reasons"]
    assert "user_prompt" in reason


def test_a_flush_says_how_many_calls_were_rejected_since_the_last_one(
    make_logger: MakeLogger, server: ScriptedServer
) -> None:
    """Those of `flush`, `aflush` and `shutdown`; what is rejected costs no record, and the flush is true."""
    server.handler = batching()
    logger = make_logger(server.url)
    logger.log_prompt("q", "a")
    for metadata in (1, 2, 3):
        logger.log_prompt("q", "a", metadata=metadata)  # type: ignore[arg-type]
    result = logger.flush(5)
    assert (bool(result), result.rejected, result.lost) == (True, 3, 0)
    logger.log_prompt("q", "a", metadata=4)  # type: ignore[arg-type]
    assert asyncio.run(logger.aflush(5)).rejected == 1
    assert logger.shutdown(5).rejected == 0


def test_calls_that_an_earlier_configuration_rejected_are_in_the_next_flush(
    make: Make, server: ScriptedServer
) -> None:
    """`update_config` replaces the engine that counted them."""
    server.handler = batching()
    client = make(server.url)
    client.log({"user_prompt": "", "response": "a"})
    client.update_config(api_key="hp_another")
    client.log({"user_prompt": "", "response": "a"})
    assert client.flush(5).rejected == 2
    assert client.flush(5).rejected == 0


# -- prompts -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "words"), [(401, "it refuses the API key"), (503, "status 503"), (None, "Connection refused")]
)
def test_health_is_degraded_while_prompts_can_t_be_fetched(
    make_logger: MakeLogger, server: ScriptedServer, status: int | None, words: str
) -> None:
    """And `last_error` has the reason why `get_prompt` returned None; both end with the next success."""
    server.handler = lambda _request: Reply(status or 503, b"{}")
    url = server.url if status is not None else dead_url()
    logger = make_logger(url)
    assert logger.get_prompt("p") is None
    health, error = logger.health(), logger.get_stats()["last_error"]
    assert error is not None
    assert health["status"] == "degraded"
    assert health["reasons"] == [error]
    assert error.startswith(f"'p' could not be fetched from {url}: ")
    assert words in error
    if status is not None:
        server.handler = always(HELLO)
        assert logger.get_prompt("p", use_cache=False) is not None
        assert logger.health() == {"status": "ok", "reasons": [], "state": "idle"}


def test_a_prompt_that_is_not_there_is_no_trouble(make_logger: MakeLogger, server: ScriptedServer) -> None:
    """The backend has said so."""
    server.handler = lambda _request: Reply(404, b'{"error": "not found"}')
    logger = make_logger(server.url)
    assert logger.get_prompt("p") is None
    assert (logger.health()["status"], logger.get_stats()["last_error"]) == ("ok", None)


def test_get_prompt_that_returns_none_because_of_trouble_says_why_once(
    make_logger: MakeLogger, caplog: pytest.LogCaptureFixture
) -> None:
    """In one line, which names the prompt."""
    logger = make_logger(dead_url())
    assert logger.get_prompt("greeting") is None
    assert asyncio.run(logger.aget_prompt("greeting")) is None
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("'greeting' could not be fetched from http://127.0.0.1:")


def test_trouble_with_prompts_does_not_hide_why_delivery_fails(
    make_logger: MakeLogger, server: ScriptedServer
) -> None:
    """`health` names the failure of delivery, whichever error was the last."""
    server.handler = lambda _request: Reply(401, b'{"error": "no such key"}')
    logger = make_logger(server.url)
    logger.log_prompt("q", "a")
    assert not logger.flush(5)
    assert logger.get_prompt("p") is None
    delivery, prompts = logger.health()["reasons"]
    assert delivery.startswith("auth_error: POST ")
    assert "no such key" in delivery
    assert prompts == logger.get_stats()["last_error"]


# -- routing -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("routing", "unrouted"),
    [({}, 2), ({"experiment_id": None}, 0), ({"experiments": []}, 0)],
    ids=["none", "server", "client"],
)
def test_sticky_values_without_routing_are_said_once_and_counted(
    make_logger: MakeLogger,
    server: ScriptedServer,
    caplog: pytest.LogCaptureFixture,
    routing: dict[str, Any],
    unrouted: int,
) -> None:
    """A backend without routing says nothing about experiments; one with it does, if only that none runs."""
    server.handler = always(Reply(200, prompt_json(**routing)))
    logger = make_logger(server.url)
    for user in range(2):
        assert logger.get_prompt("p", sticky_context={"user_id": user}) is not None
    assert logger.get_prompt("p") is not None
    with context(user_id=1):  # nobody has passed it
        assert logger.get_prompt("p") is not None
    assert logger.get_prompt("p", version="1", sticky_context={"user_id": 1}) is not None
    assert logger.get_stats()["experiments_unrouted"] == unrouted
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == bool(unrouted)
    assert all("routes no experiments: sticky values have no effect" in line for line in said)


@pytest.mark.parametrize(("routing", "unrouted"), [("none", 1), ("server", 0), ("client", 0)])
def test_the_local_backend_is_known_by_its_routing(
    make_logger: MakeLogger, routing: str, unrouted: int
) -> None:
    """As `banyan-hp serve --routing` has it; a prompt without experiments counts for nothing by itself."""
    seed = Path(__file__).parents[2] / "examples" / "seed.json"
    with Backend(seed=seed, options=["--routing", routing]) as backend:
        logger = make_logger(backend.url, api_key=backend.api_key)
        assert logger.get_prompt("quickstart", sticky_context={"user_id": "u"}) is not None
        assert logger.get_stats()["experiments_unrouted"] == unrouted


# -- switched off --------------------------------------------------------------------------------------------


def test_get_prompt_while_switched_off_serves_the_fallback_then_the_copy_on_disk(
    make_logger: MakeLogger, server: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    """And asks nobody; a prompt that nobody knows is None, which is said once, with what to pass."""
    server.handler = always(HELLO)
    earlier = make_logger(server.url)
    assert earlier.get_prompt("p") is not None
    asked = len(server.requests)
    logger = make_logger(server.url, enabled=False)
    kept, given = logger.get_prompt("p"), logger.get_prompt("p", fallback="mine")
    assert kept is not None
    assert given is not None
    assert (kept.source, kept.content, given.content) == ("disk", prompt_json()["content"], "mine")
    assert asyncio.run(logger.aget_prompt("p")) == kept
    for _ in range(2):
        assert logger.get_prompt("another") is None
    assert len(server.requests) == asked
    (line,) = [record.getMessage() for record in caplog.records]
    assert "get_prompt('another') returns None: enabled=False" in line
    assert line.endswith("Pass fallback=")


# -- dropped on purpose --------------------------------------------------------------------------------------


@pytest.mark.parametrize("durability", ["memory", "disk"])
def test_a_receipt_of_a_record_that_before_send_drops_resolves(
    make: Make, server: ScriptedServer, durability: str
) -> None:
    """It is what the application wanted; `dropped` says so, also of a pickled receipt."""
    client = make(server.url, before_send=lambda _record: None, durability=durability)
    receipt = client.log(LOG)
    receipt.result(5)

    async def wait() -> None:
        await receipt
        await client.log(LOG)

    asyncio.run(asyncio.wait_for(wait(), 5))
    copy = pickle.loads(pickle.dumps(receipt))
    copy.result()
    assert (receipt.dropped, copy.dropped) == ("before_send", "before_send")
    assert client.get_stats()["drops"] == {"before_send": 2}


def test_a_receipt_of_a_record_that_is_lost_raises_and_names_the_reason(make: Make) -> None:
    """It was not wanted."""
    client = make(dead_url(), spool=False, max_retries=0)
    receipt = client.log(LOG)
    client.shutdown(0)
    with pytest.raises(NetworkError, match="is lost"):
        receipt.result(5)
    assert receipt.dropped == "shutdown"


def test_a_receipt_of_a_delivered_record_was_not_dropped(make: Make, server: ScriptedServer) -> None:
    """None."""
    receipt = make(server.url).log(LOG)
    receipt.result(5)
    assert receipt.dropped is None
