"""What the tests of LangChain share. Where the frameworks are not installed there is nothing to collect."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

from banyan_hp import PromptStackLogger
from tests.frameworks.talking import talking
from tests.support.scripted import ScriptedServer

if TYPE_CHECKING:
    from banyan_hp.integrations.langchain import BanyanCallbackHandler

collect_ignore_glob = [] if find_spec("django") else ["test_*.py"]


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer(talking()) as running:
        yield running


@pytest.fixture
def logger(server: ScriptedServer) -> Iterator[PromptStackLogger]:
    with PromptStackLogger("psk_local", server.url) as running:
        yield running
        assert running.get_stats()["tracking_errors"] == 0


@pytest.fixture
def handler(logger: PromptStackLogger) -> BanyanCallbackHandler:
    from banyan_hp.integrations.langchain import BanyanCallbackHandler

    return BanyanCallbackHandler(logger)


@pytest.fixture(scope="module")
def one_loop() -> Iterator[None]:
    """For all tests: `langchain-openai` shares connections between models, also of different loops."""
    from tests.frameworks.chains import LOOP

    with asyncio.Runner() as runner:
        LOOP[:] = [runner]
        yield
