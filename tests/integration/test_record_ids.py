"""Ids that callers give their records, in both clients, on the wire, on disk and in the backend."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from banyan_hp import HuggingPlace, PromptStackLogger, ValidationError
from banyan_hp.engine.engine import Engine
from tests.conftest import MakeLogger
from tests.integration.conftest import Make
from tests.support.backend import Backend
from tests.support.parts import part_of
from tests.support.scripted import ScriptedServer
from tests.support.scripted_answers import Reply, batching, one_by_one
from tests.support.untyped import untyped

LOG: Any = {"user_prompt": "q", "response": "a"}
ODD = 'a "quoted" \\ id, {with}: all/sorts'
LONG = "x" * 128


def ids(server: ScriptedServer) -> list[str]:
    return [ident for ident, _ in server.records()]


@pytest.fixture(scope="module")
def backend() -> Iterator[Backend]:
    with Backend() as running:
        yield running


@pytest.mark.parametrize("ident", ["order-1", ODD, LONG, "5", "~"])
@pytest.mark.parametrize("handler", [one_by_one, batching])
def test_the_caller_s_id_is_the_record_s(
    make_logger: MakeLogger, server: ScriptedServer, ident: str, handler: Any
) -> None:
    """In a batch and alone."""
    server.handler = handler()
    logger = make_logger(server.url)
    logger.log_prompt("q", "a", record_id=ident)
    assert logger.flush(5)
    assert ids(server) == [ident]


@pytest.mark.parametrize("given", [7, uuid.UUID(int=5)])
def test_a_number_and_a_uuid_are_their_text(
    make_logger: MakeLogger, server: ScriptedServer, given: Any
) -> None:
    """As applications have them."""
    server.handler = batching()
    logger = make_logger(server.url)
    logger.log_prompt("q", "a", record_id=given)
    assert logger.flush(5)
    assert ids(server) == [str(given)]


@pytest.mark.parametrize("wrong", ["", " x", "x ", "x" * 129, "ä", "a\nb", 1.5, True, ["x"]])
def test_what_can_t_be_an_id_is_in_the_metadata(
    make_logger: MakeLogger, server: ScriptedServer, caplog: pytest.LogCaptureFixture, wrong: Any
) -> None:
    """The record is not lost for it: it has an id of the library's; a line says so, and it is counted."""
    server.handler = batching()
    logger = make_logger(server.url)
    assert logger.log_prompt("q", "a", metadata={"k": 1}, record_id=wrong)
    assert logger.flush(5)
    ((ident, body),) = server.records()
    assert ident.startswith(part_of(logger, Engine).core.parts.process)
    assert body["metadata"] == {"k": 1, "record_id": wrong}
    assert logger.get_stats()["values_set_aside"] == 1
    assert "record_id must be 1 to 128 printable ASCII characters" in caplog.text


def test_huggingplace_takes_it_beside_its_receipt_s(make: Make, server: ScriptedServer) -> None:
    """`log`, `log_step` and sessions; it is no field of the record on the wire."""
    server.handler = batching()
    client = make(server.url)
    step: Any = {"type": "sql", "user_question": "q", "prompt_response": "a", "record_id": "two"}
    receipts = [
        client.log(untyped({**LOG, "record_id": "one"})),
        client.log_step(step),
        client.start_session("s").log(untyped({**LOG, "record_id": "three"})),
    ]
    assert [each.id for each in receipts] == ["one", "two", "three"]
    assert client.flush(5)
    assert ids(server) == ["one", "two", "three"]
    assert "record_id" not in str(server.records()[0][1]) + str(server.records()[1][1])


def test_an_interaction_may_have_one(make: Make, server: ScriptedServer) -> None:
    """As one of its fields."""
    server.handler = batching()
    client = make(server.url)
    with client.interaction("q", record_id="it-1") as interaction:
        interaction.response = "a"
    assert client.flush(5)
    assert ids(server) == ["it-1"]


def test_the_same_id_twice_is_stored_once(backend: Backend) -> None:
    """By two processes that log the same event, say."""
    before = backend.count()
    for _ in range(2):
        with PromptStackLogger("psk_local", backend.url, spool=False) as logger:
            logger.log_prompt("q", "a", record_id="event-1", blocking=True)
            logger.log_prompt("q", "a", record_id="event-1")
            assert logger.flush(5)
            assert logger.get_stats()["logs_sent"] == 2
    assert backend.count() == before + 1


def test_the_same_id_for_another_content_is_a_refusal(backend: Backend) -> None:
    """Of the second record alone, also in one batch: the first is stored."""
    with HuggingPlace("psk_local", "org", base_url=backend.url, flush_interval=5) as client:
        first = client.log(untyped({**LOG, "record_id": "twice"}))
        second = client.log(untyped({**LOG, "response": "another", "record_id": "twice"}))
        assert not client.flush(5)
        first.result(5)
        with pytest.raises(ValidationError):
            second.result(5)
        stats = client.get_stats()
        assert (stats["logs_sent"], stats["logs_quarantined"]) == (1, 1)


def test_it_survives_on_disk(make_logger: MakeLogger, server: ScriptedServer) -> None:
    """From one process to the next."""
    server.handler = lambda _request: Reply(503, "x")
    logger = make_logger(server.url, max_retries=0)
    for ident in ("z", ODD, "a-0", "m"):
        logger.log_prompt("q", "a", record_id=ident)
    logger.shutdown(1)
    assert logger.get_stats()["logs_spooled"] == 4
    server.handler = batching()
    assert make_logger(server.url).flush(5)
    assert sorted(ids(server)[-4:]) == sorted(["z", ODD, "a-0", "m"])
