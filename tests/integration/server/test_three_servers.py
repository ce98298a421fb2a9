"""Three servers over one PostgreSQL behind a load balancer, one of them killed under load."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import MakeLogger
from tests.support.answered import Answered
from tests.support.backend import Backend
from tests.support.postgres import Postgres
from tests.support.proxies import Proxy, haproxy


@pytest.fixture
def servers(postgres: Postgres) -> Iterator[list[Backend]]:
    url = postgres.new_database()
    with ExitStack() as stack:
        yield [stack.enter_context(Backend(db=url)) for _ in range(3)]


@pytest.fixture
def balanced(servers: list[Backend], tmp_path: Path) -> Iterator[Proxy]:
    """HAProxy that tries another server where one does not accept a connection."""
    settings = "    option redispatch\n    retries 1"
    ports = [each.port for each in servers]
    with haproxy(tmp_path, *ports, mode="http", settings=settings) as running:
        yield running


def test_a_kill_of_one_of_three_servers_takes_no_answered_record(
    servers: list[Backend], balanced: Proxy, make_logger: MakeLogger, tmp_path: Path
) -> None:
    """Those that were answered are there at once, nothing is there twice, and the clients go on."""
    loggers = [make_logger(balanced.url, spool_dir=tmp_path / str(who), batch_size=20) for who in range(3)]
    killed, *left = servers
    answered = Answered(loggers, threads=4, records=60)
    with answered.being_logged():
        answered.wait_for(150)
        killed.kill()
        before = list(answered.ids)
        assert set(before) <= {each["id"] for each in left[0].logs()}
    assert len(answered.ids) > len(before), "the clients went on"
    for server in left:
        assert Counter(each["id"] for each in server.logs()) == Counter(answered.expected)
    assert not any("Traceback" in each.stderr for each in left)
