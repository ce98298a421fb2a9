"""The real HAProxy in front of several nodes: it balances connections, or requests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import MakeLogger
from tests.support.patience import eventually
from tests.support.prompts import always
from tests.support.proxies import haproxy
from tests.support.scripted import ScriptedServer
from tests.support.scripted_answers import Handler, Reply, batching, one_by_one
from tests.support.servers import free_port

SICK = always(Reply(503, "down"))
BATCHED_OR_NOT = pytest.mark.parametrize("healthy", [batching(), one_by_one()], ids=["batches", "one by one"])


@pytest.fixture
def nodes() -> Iterator[tuple[ScriptedServer, ScriptedServer]]:
    with ScriptedServer(batching()) as first, ScriptedServer(batching()) as second:
        yield first, second


@BATCHED_OR_NOT
def test_one_node_is_sick(
    nodes: tuple[ScriptedServer, ScriptedServer], make_logger: MakeLogger, tmp_path: Path, healthy: Handler
) -> None:
    """With one of two nodes at 503 all records are delivered by the other one within seconds."""
    well, sick = nodes  # the first turn is that of the wait until HAProxy listens
    well.handler, sick.handler = healthy, SICK
    with haproxy(tmp_path, well.port, sick.port) as proxy:
        logger = make_logger(proxy.url)
        for number in range(300):
            assert logger.log_prompt(f"q{number}", "a")
        eventually(lambda: logger.flush(timeout=2), "the delivery")
    delivered = [body["input"] for _, body in well.records()]
    assert sorted(delivered) == sorted(f"q{number}" for number in range(300))
    assert sick.requests


def test_node_falls_sick_under_a_kept_connection(
    nodes: tuple[ScriptedServer, ScriptedServer], make_logger: MakeLogger, tmp_path: Path
) -> None:
    """A node that begins to answer 503 on a connection in use is left for the other one."""
    with haproxy(tmp_path, nodes[0].port, nodes[1].port) as proxy:
        logger = make_logger(proxy.url)
        assert logger.log_prompt("before", "a")
        assert logger.flush(timeout=5)
        used, other = nodes if nodes[0].ids() else nodes[::-1]
        used.handler = SICK
        assert logger.log_prompt("after", "a")
        eventually(lambda: logger.flush(timeout=2), "the delivery")
    assert [body["input"] for _, body in other.records()] == ["after"]


def test_connection_max_age(
    nodes: tuple[ScriptedServer, ScriptedServer], make_logger: MakeLogger, tmp_path: Path
) -> None:
    """With a `connection_max_age` a healthy, busy client comes round to the other node."""
    with haproxy(tmp_path, nodes[0].port, nodes[1].port) as proxy:
        logger = make_logger(proxy.url, connection_max_age=0.2)

        def both_are_used() -> bool:
            assert logger.log_prompt("q", "a")
            assert logger.flush(timeout=5)
            return bool(nodes[0].ids() and nodes[1].ids())

        eventually(both_are_used, "requests at both nodes")
    assert logger.get_stats()["attempts_failed"] == 0


def test_kept_connections_stay_with_their_node(
    nodes: tuple[ScriptedServer, ScriptedServer], make_logger: MakeLogger, tmp_path: Path
) -> None:
    """Without a failure, and before its age, a connection is kept: HAProxy has no say in between."""
    with haproxy(tmp_path, nodes[0].port, nodes[1].port) as proxy:
        logger = make_logger(proxy.url)
        for _ in range(20):
            assert logger.log_prompt("q", "a")
            assert logger.flush(timeout=5)
    assert sorted((len(nodes[0].ids()), len(nodes[1].ids()))) == [0, 20]


def test_all_nodes_down(make_logger: MakeLogger, tmp_path: Path) -> None:
    """HAProxy's own 503, with no node up, holds the records until one is."""
    port = free_port()
    with haproxy(tmp_path, port, mode="http", settings="    retries 0") as proxy:
        logger = make_logger(proxy.url)
        assert logger.log_prompt("q", "a")
        eventually(lambda: "503" in str(logger.get_stats()["last_error"]), "the error of HAProxy")
        with ScriptedServer(batching(), port=port) as node:
            eventually(lambda: logger.flush(timeout=2), "the delivery")
            assert len(node.ids()) == 1
