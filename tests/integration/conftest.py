"""What the tests of the clients share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from banyan_hp import HuggingPlace
from tests.support.ledger import assert_balanced
from tests.support.scripted import ScriptedServer

Make = Callable[..., HuggingPlace]


def bodies(server: ScriptedServer) -> list[dict[str, Any]]:
    """What was logged there, in the order of arrival."""
    return [body for _, body in server.records()]


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[HuggingPlace] = []

    def build(base_url: str, **options: Any) -> HuggingPlace:
        defaults = {"api_key": "key", "org_id": "org", "retry_delay": 0.05, "flush_interval": 30.0}
        client = HuggingPlace(base_url=base_url, **{**defaults, **options})
        made.append(client)
        return client

    yield build
    for client in made:
        client.shutdown(5)
        assert_balanced(client.get_stats())
