"""Transports that are closed at the end, and an environment without certificates of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from banyan_hp.engine.http.transport import HTTPTransport
from tests.support.transport import MakeTransport


@pytest.fixture
def make() -> Iterator[MakeTransport]:
    made: list[HTTPTransport] = []

    def make(url: str, timeout: float = 5.0, connections: int = 2, **options: Any) -> HTTPTransport:
        made.append(HTTPTransport(url, timeout, connections, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture(autouse=True)
def no_bundle_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
