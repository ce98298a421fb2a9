"""The real tinyproxy, with a password, between the client and its backend."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import MakeLogger
from tests.support.backend import Backend
from tests.support.prompts import eventually
from tests.support.proxies import Proxy, nginx, tinyproxy
from tests.support.raw import AUTHORITY
from tests.support.servers import Arrivals
from tests.surroundings.conftest import log


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Proxy]:
    with tinyproxy(tmp_path, "ada", "lovelace") as proxy:
        yield proxy


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize(
    ("credentials", "status"),
    [("", "407"), ("ada:byron@", "401")],  # to a wrong password tinyproxy answers 401, not 407
    ids=["no password", "wrong password"],
)
def test_refused_by_the_proxy(
    proxy: Proxy,
    backend: Backend,
    arrivals: Arrivals,
    make_logger: MakeLogger,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    scheme: str,
    credentials: str,
    status: str,
) -> None:
    """The error has the proxy's status, not "connection reset", and no password; the records stay."""
    with nginx(tmp_path, backend.port, tls=scheme == "https") as behind:
        monkeypatch.setenv(f"{scheme}_proxy", f"http://{credentials}127.0.0.1:{proxy.port}")
        logger = make_logger(f"{scheme}://127.0.0.1:{behind.port}", ca_bundle=AUTHORITY)
        log(logger, arrivals, range(300))
        eventually(lambda: logger.get_stats()["last_error"], "an error")
        assert not logger.flush(timeout=2)
        stats = logger.get_stats()
    assert status in str(stats["last_error"])
    assert "byron" not in str(stats["last_error"])
    assert (stats["logs_sent"], stats["logs_quarantined"], stats["logs_dropped"]) == (0, 0, 0)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_right_password(
    proxy: Proxy,
    backend: Backend,
    arrivals: Arrivals,
    make_logger: MakeLogger,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    scheme: str,
) -> None:
    """With the password each record arrives once, through the proxy, in a tunnel for https."""
    with nginx(tmp_path, backend.port, tls=scheme == "https") as behind:
        monkeypatch.setenv(f"{scheme}_proxy", f"http://ada:lovelace@127.0.0.1:{proxy.port}")
        logger = make_logger(f"{scheme}://127.0.0.1:{behind.port}", ca_bundle=AUTHORITY)
        log(logger, arrivals, range(100))
        assert logger.flush(timeout=10)
    arrivals.expect(range(100))
    assert logger.get_stats()["attempts_failed"] == 0
