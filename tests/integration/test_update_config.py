"""`HuggingPlace.update_config`: a record keeps the key, URL and organisation that it was logged with."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from banyan_hp import AuthenticationError, ConfigurationError, HuggingPlace, ValidationError
from banyan_hp.engine.engine import Engine
from banyan_hp.engine.succession import MOST_DRAINING, Life
from tests.support.ledger import assert_balanced
from tests.support.parts import part_of
from tests.support.scripted import ScriptedServer
from tests.support.scripted_answers import Reply, Request, batching, one_by_one
from tests.support.servers import wait_until
from tests.support.untyped import untyped

LOG = {"user_prompt": "What's the weather like?", "response": "Sunny."}
NOWHERE = "http://127.0.0.1:9"

Make = Callable[..., HuggingPlace]


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[HuggingPlace] = []

    def build(base_url: str, **options: Any) -> HuggingPlace:
        defaults = {"api_key": "old", "org_id": "org", "retry_delay": 0.05, "flush_interval": 0.05}
        client = HuggingPlace(base_url=base_url, **{**defaults, **options})
        made.append(client)
        return client

    yield build
    for client in made:
        client.shutdown(5)
        assert_balanced(client.get_stats())


class Keys:
    """A backend that takes records one by one under certain keys, and waits for `open` if it is told to."""

    def __init__(self, *good: str) -> None:
        self.good = set(good)
        self.open = threading.Event()
        self.open.set()

    def __call__(self, request: Request) -> Any:
        self.open.wait(10)
        if key_of(request) not in self.good:
            return Reply(401, {"error": "bad key"})
        return one_by_one(status=200)(request)


def key_of(request: Request) -> str:
    return request.headers["Authorization"].removeprefix("Bearer ")


def taken(server: ScriptedServer, keys: Keys) -> list[tuple[str, str, Any]]:
    """Key, organisation and number of each record that was accepted."""
    found = []
    for request in server.requests:
        if request.body and key_of(request) in keys.good and b"user_prompt" in request.body:
            body = request.json()
            found.append((key_of(request), body["org_id"], body.get("number")))
    return sorted(found)


def threads() -> int:
    return sum(thread.name.startswith("banyan_hp") for thread in threading.enumerate())


# A client shows what its engines do together, and neither the engines nor their previous keys.


def current(client: HuggingPlace) -> Engine:
    return part_of(client, Engine)


def engines(client: HuggingPlace) -> tuple[Engine, ...]:
    return part_of(client, Life).line.engines


def test_what_waits_leaves_under_the_key_and_organisation_it_was_logged_with(
    make: Make, server: ScriptedServer
) -> None:
    """In memory, under another key and another organisation at the same URL; all of it is flushed."""
    keys = server.handler = Keys("old", "new")
    keys.open.clear()
    client = make(server.url)
    for number in range(3):
        client.log(untyped({**LOG, "number": number}))
    client.update_config(api_key="new", org_id="other")
    client.log(untyped({**LOG, "number": 3}))
    client.update_config(org_id="third")
    client.log(untyped({**LOG, "number": 4}))
    keys.open.set()
    assert client.flush(10)
    assert taken(server, keys) == [
        ("new", "other", 3),
        ("new", "third", 4),
        *(("old", "org", number) for number in range(3)),
    ]
    assert client.get_stats()["logs_sent"] == client.get_stats()["logs_queued"] == 5


def test_what_waits_goes_to_the_url_it_was_logged_for(make: Make, server: ScriptedServer) -> None:
    """Its backend is down; the new one gets only what was logged since, and the rest is on disk."""
    keys = server.handler = Keys("old")
    client = make(NOWHERE, max_retries=0)
    client.log(untyped({**LOG, "number": 0}))
    client.update_config(base_url=server.url)
    client.log(untyped({**LOG, "number": 1})).result(5)
    result = client.flush(5)
    assert not result
    assert (result.spooled + result.pending, result.ledger["delivered"]) == (1, 1)
    assert taken(server, keys) == [("old", "org", 1)]
    assert client.health()["status"] == "degraded"
    (reason,) = client.health()["reasons"]
    assert reason.startswith("logged under an earlier configuration: offline")
    assert client.shutdown(5).ledger["spooled"] == 1


def test_what_waits_on_disk_under_a_refused_key_does_not_leave_under_the_new_one(
    make: Make, server: ScriptedServer
) -> None:
    """The old key is not named: to this library it may be another customer's."""
    keys = server.handler = Keys("new")
    client = make(server.url)
    with pytest.raises(AuthenticationError):
        client.log(untyped(LOG)).result(5)
    client.update_config(api_key="new")
    client.log(untyped({**LOG, "number": 1})).result(5)
    assert not client.flush(5)
    assert taken(server, keys) == [("new", "org", 1)]
    stats = client.get_stats()
    assert (stats["logs_sent"], stats["logs_queued"], stats["state"]) == (1, 2, "online")


@pytest.mark.parametrize("spool", [True, False])
def test_previous_keys_move_what_waits_to_the_new_key(
    make: Make, server: ScriptedServer, *, spool: bool
) -> None:
    """In memory and on disk, also what drains under the old key since an earlier change."""
    keys = server.handler = Keys("new")
    client = make(server.url, spool=spool)
    with pytest.raises(AuthenticationError):
        client.log(untyped({**LOG, "number": 0})).result(5)
    client.update_config(api_key="new")
    client.log(untyped({**LOG, "number": 1})).result(5)
    client.update_config(previous_keys=["older", "old"])
    assert client.flush(10)
    assert taken(server, keys) == [("new", "org", 0), ("new", "org", 1)]
    client.update_config(api_key="newer", previous_keys=["new"])
    keys.good = {"newer"}
    client.log(untyped({**LOG, "number": 2})).result(5)
    assert taken(server, keys) == [("newer", "org", 2)]
    assert_balanced(client.get_stats())


def test_previous_keys_of_an_earlier_process_are_adopted(make: Make, server: ScriptedServer) -> None:
    """Named at construction: what a process left under the old key leaves under ours, counted as adopted."""
    keys = server.handler = Keys("new")
    first = make(server.url)
    first.log(untyped({**LOG, "number": 0}))
    first.shutdown(5)
    second = make(server.url, api_key="new", previous_keys=["old"])
    assert "old" not in f"{second!r} {second.get_config()} {second.get_stats()} {second.health()}".split()
    second.log(untyped({**LOG, "number": 1})).result(5)
    deadline = time.monotonic() + 10
    while not second.get_stats()["adopted"]["recovered"] and time.monotonic() < deadline:
        time.sleep(0.01)
    assert taken(server, keys) == [("new", "org", 0), ("new", "org", 1)]


def test_another_key_forgets_the_previous_keys_of_the_one_before(make: Make, server: ScriptedServer) -> None:
    """They were named for that key; the next one may be another customer's."""

    def named() -> list[str]:
        return list(current(client).settings.previous_keys)

    client = make(server.url, previous_keys=["older"])
    client.update_config(timeout=500)
    assert named() == ["older"]
    client.update_config(api_key="another customer's")
    assert named() == []
    client.update_config(previous_keys=["x"])
    assert named() == ["x"]
    client.update_config(org_id="elsewhere")
    assert named() == []


def test_an_engine_that_has_delivered_all_ends(make: Make, server: ScriptedServer) -> None:
    """By itself, on its own thread: no thread and no file stays behind, the counters do."""
    keys = server.handler = Keys("a", "b")
    before = threads()
    client = make(server.url, api_key="a")
    receipt = client.log(untyped(LOG))
    keys.open.clear()
    receipt = client.log(untyped(LOG))
    client.update_config(api_key="b")
    keys.open.set()
    receipt.result(10)
    wait_until(lambda: threads() == before, 10, lambda: f"{threads()} threads, {before} before")
    assert engines(client) == (current(client),)
    stats = client.get_stats()
    assert (stats["logs_queued"], stats["logs_sent"], stats["in_flight"]) == (2, 2, 0)
    client.log(untyped(LOG)).result(5)
    assert client.get_stats()["logs_sent"] == 3


def test_what_drains_waits_for_nothing_to_fill_a_batch(make: Make, server: ScriptedServer) -> None:
    """No more records come: without a flush it is delivered at once, not after `flush_interval`."""
    server.handler = batching()
    client = make(server.url, flush_interval=30.0)
    receipts = [client.log(untyped(LOG)) for _ in range(5)]
    client.update_config(api_key="new")
    deadline = time.monotonic() + 10
    while not all(receipt.done() for receipt in receipts) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert client.get_stats()["logs_sent"] == 5


def test_changing_back_and_forth_makes_no_more_engines(make: Make, server: ScriptedServer) -> None:
    """One that still drains takes records again."""
    keys = server.handler = Keys("a", "b")
    keys.open.clear()
    client = make(server.url, api_key="a")
    used = set()
    for number in range(20):
        client.log(untyped({**LOG, "number": number}))
        used.add(current(client))
        client.update_config(api_key="ab"[(number + 1) % 2])
    assert len(used) == 2
    keys.open.set()
    assert client.flush(10)
    assert taken(server, keys) == sorted(("ab"[number % 2], "org", number) for number in range(20))


def test_many_changes_while_the_backend_is_down_leave_a_bounded_number_of_engines(make: Make) -> None:
    """The oldest ones leave their records on disk; nothing is lost, and the counters never go back."""
    client = make(NOWHERE, max_retries=0)
    queued = []
    for number in range(MOST_DRAINING + 4):
        client.log(untyped(LOG))
        client.update_config(api_key=f"key {number}")
        queued.append(client.get_stats()["logs_queued"])
        assert_balanced(client.get_stats())
    assert queued == sorted(queued)
    assert len(engines(client)) <= MOST_DRAINING + 1
    result = client.shutdown(5)
    assert (result.spooled, result.lost, result.delivered) == (MOST_DRAINING + 4, 0, False)
    assert result.ledger["accepted"] == MOST_DRAINING + 4


def test_a_loss_of_an_engine_that_has_ended_is_told_by_the_next_flush(
    make: Make, server: ScriptedServer
) -> None:
    """Once: the flush after it has lost nothing."""
    server.handler = lambda _request: Reply(409, {"error": "no"})
    client = make(server.url)
    receipt = client.log(untyped(LOG))
    client.update_config(api_key="new")
    with pytest.raises(ValidationError):
        receipt.result(5)
    first = client.flush(5)
    assert (first.lost, first.delivered, first.ledger["quarantined"]) == (1, False, 1)
    again = client.flush(5)
    assert (again.lost, again.delivered, again.ledger["quarantined"]) == (0, True, 1)


def test_a_receipt_of_before_can_be_awaited_after(make: Make, server: ScriptedServer) -> None:
    """It belongs to the engine that has its record."""
    keys = server.handler = Keys("old", "new")
    keys.open.clear()

    async def main() -> None:
        client = make(server.url)
        receipt = client.log(untyped(LOG))
        client.update_config(api_key="new")
        waiting = asyncio.ensure_future(receipt)
        await asyncio.sleep(0)
        keys.open.set()
        await asyncio.wait_for(waiting, 10)

    asyncio.run(main())
    assert [key for key, _, _ in taken(server, keys)] == ["old"]


def test_records_logged_while_the_configuration_changes_are_all_accepted(
    make: Make, server: ScriptedServer
) -> None:
    """Each under the key of its organisation, whichever side of the change it falls on."""
    keys = server.handler = Keys(*(f"key {number}" for number in range(10)))
    client = make(server.url, api_key="key 0", org_id="org 0")
    receipts = []
    going = threading.Event()

    def log() -> None:
        for number in range(300):
            receipts.append(client.log(untyped({**LOG, "number": number})))
            going.set()

    loggers = [threading.Thread(target=log) for _ in range(2)]
    for logger in loggers:
        logger.start()
    assert going.wait(5)
    for number in range(1, 10):
        client.update_config(api_key=f"key {number}", org_id=f"org {number}")
    for logger in loggers:
        logger.join()
    assert client.flush(20)
    assert all(receipt.id for receipt in receipts)
    stats = client.get_stats()
    assert (stats["logs_sent"], stats["logs_rejected"]) == (600, 0)
    sent = taken(server, keys)
    assert len(sent) == 600
    assert all(key.removeprefix("key ") == org.removeprefix("org ") for key, org, _ in sent)


@pytest.mark.parametrize("seed", range(3))
def test_whatever_changes_each_record_leaves_under_its_own_key_or_the_one_that_names_it(
    make: Make, server: ScriptedServer, seed: int
) -> None:
    """Logging, flushing, changing, naming previous keys, with keys that are refused and good again."""
    chance = random.Random(seed)
    names = [f"key {number}" for number in range(4)]
    keys = server.handler = Keys(*names)
    client = make(server.url, api_key=names[0], org_id="0", max_retries=0)
    key, org, waiting = names[0], "0", 0
    logged: dict[int, tuple[str, set[str]]] = {}
    for number in range(60):
        act = chance.choice(["log", "log", "log", "flush", "key", "move", "org", "refuse", "accept"])
        if act == "flush":
            client.flush(0.05)
        elif act == "key":
            key = chance.choice(names)
            client.update_config(api_key=key)
        elif act == "move":
            before, key = key, chance.choice(names)
            for its_org, may in logged.values():
                if its_org == org and before in may:
                    may.add(key)
            client.update_config(api_key=key, previous_keys=[before])
        elif act == "org":
            org = chance.choice("01")
            client.update_config(org_id=org)
        elif act == "refuse":
            keys.good.discard(chance.choice(names))
        elif act == "accept":
            keys.good.add(chance.choice(names))
        else:
            assert client.log(untyped({**LOG, "number": number})).id
            logged[number] = (org, {key})
        assert_balanced(client.get_stats())
        assert client.get_stats()["logs_queued"] >= waiting
        waiting = client.get_stats()["logs_queued"]
    keys.good = set(names)
    client.flush(10)
    assert client.get_stats()["logs_queued"] == len(logged)
    for sent_key, sent_org, sent in taken(server, keys):
        its_org, may = logged[sent]
        assert (sent_org, sent_key in may) == (its_org, True)


def test_a_new_timeout_counts_for_what_waits(make: Make, server: ScriptedServer) -> None:
    """It is no other destination: the same engine goes on."""
    keys = server.handler = Keys("old")
    client = make(server.url)
    engine = current(client)
    client.update_config(timeout=1234, mode="dev")
    assert current(client) is engine
    assert engine.settings.timeout == 1.234
    client.log(untyped({**LOG, "number": 1})).result(5)
    assert taken(server, keys) == [("old", "org", 1)]
    assert [body["mode"] for _, body in server.records()] == ["dev"]


def test_without_threads_a_flush_delivers_what_was_logged_before(make: Make, server: ScriptedServer) -> None:
    """`background_thread=False`: whoever flushes does the work for all, and ends what is drained."""
    keys = server.handler = Keys("new")
    client = make(server.url, background_thread=False)
    client.log(untyped({**LOG, "number": 0}))
    client.update_config(api_key="new")
    client.log(untyped({**LOG, "number": 1}))
    keys.good.add("old")
    assert client.flush(10)
    assert taken(server, keys) == [("new", "org", 1), *[("old", "org", 0)] * 2]  # the first was refused
    assert engines(client) == (current(client),)


def test_after_shutdown_nothing_changes(make: Make, server: ScriptedServer) -> None:
    """No engine comes to life again."""
    client = make(server.url)
    client.shutdown(5)
    client.update_config(api_key="new", org_id="other")
    with pytest.raises(ValidationError, match="shutdown"):
        client.log(untyped(LOG)).result(1)
    assert client.get_stats()["logs_rejected"] == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_sends_nothing_of_what_drains(make: Make, server: ScriptedServer) -> None:
    """It counts from zero, logs under the new key, and leaves the rest to its parent."""
    keys = server.handler = Keys("old", "new")
    keys.open.clear()
    client = make(server.url)
    client.log(untyped({**LOG, "number": 0}))
    client.update_config(api_key="new")
    child = os.fork()
    if child == 0:
        code = 1
        try:
            keys.open.set()
            empty = client.get_stats()["logs_queued"] == 0 and client.flush(0).delivered
            client.log(untyped({**LOG, "number": 1}))
            code = 0 if empty and client.get_stats()["logs_queued"] == 1 else 2
            client.update_config(api_key="newest")
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    keys.open.set()
    assert client.flush(10)
    assert ("old", "org", 0) in taken(server, keys)
    assert [record for record in taken(server, keys) if record[2] == 0] == [("old", "org", 0)]


def test_what_can_t_be_changed_is_refused_and_no_key_is_shown(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """Before anything has changed."""
    caplog.set_level(logging.DEBUG)
    client = make(NOWHERE)
    with pytest.raises(ValidationError, match="queue_size"):
        client.update_config(queue_size=5)  # type: ignore[call-arg]
    with pytest.raises(
        ConfigurationError, match="previous_keys must be a list of API keys, was str"
    ) as error:
        client.update_config(api_key="new", previous_keys="hp_secret")
    assert current(client).destination.key == "old"
    client.update_config(previous_keys=["hp_secret"])
    said = [repr(client), str(client.get_config()), str(client.get_stats()), str(client.health())]
    said += [repr(current(client).settings), str(error.value), caplog.text]
    assert [text for text in said if "hp_secret" in text] == []
