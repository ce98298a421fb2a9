"""The real tinyproxy, with a password, between the client and its backend."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import MakeLogger
from tests.support.backend import Backend
from tests.support.patience import eventually
from tests.support.proxies import Proxy, nginx, tinyproxy
from tests.support.raw import AUTHORITY
from tests.support.servers import Arrivals
from tests.surroundings.conftest import Deliver, log


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Proxy]:
    with tinyproxy(tmp_path, "ada", "lovelace") as proxy:
        yield proxy


@pytest.fixture(params=["http", "https"])
def url(request: pytest.FixtureRequest, backend: Backend, tmp_path: Path) -> Iterator[str]:
    """The backend's, behind nginx."""
    scheme: str = request.param
    with nginx(tmp_path, backend.port, tls=scheme == "https") as behind:
        yield f"{scheme}://127.0.0.1:{behind.port}"


Through = Callable[[str], None]


@pytest.fixture
def through(proxy: Proxy, monkeypatch: pytest.MonkeyPatch, url: str) -> Through:
    """Has clients go through the proxy, with these credentials (and an @)."""

    def through(credentials: str) -> None:
        scheme, _, _ = url.partition(":")
        monkeypatch.setenv(f"{scheme}_proxy", f"http://{credentials}127.0.0.1:{proxy.port}")

    return through


@pytest.mark.parametrize(
    ("credentials", "status"),
    [("", "407"), ("ada:byron@", "401")],  # to a wrong password tinyproxy answers 401, not 407
    ids=["no password", "wrong password"],
)
def test_refused_by_the_proxy(
    url: str, through: Through, arrivals: Arrivals, make_logger: MakeLogger, credentials: str, status: str
) -> None:
    """The error has the proxy's status, not "connection reset", and no password; the records stay."""
    through(credentials)
    logger = make_logger(url, ca_bundle=AUTHORITY)
    log(logger, arrivals, range(300))
    eventually(lambda: logger.get_stats()["last_error"], "an error")
    assert not logger.flush(timeout=2)
    stats = logger.get_stats()
    assert status in str(stats["last_error"])
    assert "byron" not in str(stats["last_error"])
    assert (stats["logs_sent"], stats["logs_quarantined"], stats["logs_dropped"]) == (0, 0, 0)


def test_right_password(url: str, through: Through, deliver: Deliver) -> None:
    """With the password each record arrives once, through the proxy, in a tunnel for https."""
    through("ada:lovelace@")
    assert deliver(url, 100, ca_bundle=AUTHORITY)["attempts_failed"] == 0
