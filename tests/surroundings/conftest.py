"""What the tests with real proxies share: one backend for each file, what has come to it, and records."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

from banyan_hp import PromptStackLogger
from tests.conftest import MakeLogger
from tests.support.backend import Backend
from tests.support.servers import Arrivals

OUTPUT = "a" * 2_000


@pytest.fixture(scope="module")
def backend() -> Iterator[Backend]:
    with Backend(api_keys=("psk_local", "two:admin:psk_other")) as backend:
        yield backend


@pytest.fixture
def arrivals(backend: Backend, tmp_path: Path) -> Arrivals:
    """What comes to the backend of this test's records."""
    return Arrivals(backend, f"{os.getpid()}-{tmp_path.name}")


def log(logger: PromptStackLogger, arrivals: Arrivals, numbers: Iterable[int]) -> None:
    """One record of two kilobytes for each number."""
    for number in numbers:
        assert logger.log_prompt(f"{arrivals.run} {number}", OUTPUT)


Deliver = Callable[..., dict[str, Any]]


@pytest.fixture
def deliver(arrivals: Arrivals, make_logger: MakeLogger) -> Deliver:
    """Sends `number` records to a URL, sees that each arrives once, and returns the logger's stats."""

    def deliver(url: str, number: int, **options: Any) -> dict[str, Any]:
        logger = make_logger(url, **options)
        log(logger, arrivals, range(number))
        assert logger.flush(timeout=10)
        arrivals.expect(range(number))
        return {**logger.get_stats()}

    return deliver


class Stream:
    """Records from a thread for as long as the `with` lasts, about a thousand a second."""

    def __init__(self, logger: PromptStackLogger, arrivals: Arrivals) -> None:
        self.logged = 0
        self._logger = logger
        self._arrivals = arrivals
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Stream:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(5)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        while not self._over.wait(0.001):
            log(self._logger, self._arrivals, [self.logged])
            self.logged += 1
