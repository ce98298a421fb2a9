"""The systems under comparison: what the measurements ask of each, and how to construct it.

To add one, write a module with a factory (url -> Adapter) and name it in SYSTEMS; only the child process that
measures a system imports it.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, Protocol, cast

from tests.benchmarks.sink import Mode
from tests.benchmarks.workload import Record

_FLUSH_SECONDS = 60.0


class Adapter(Protocol):
    """A logger, reduced to what is measured."""

    def log(self, record: Record) -> bool:
        """Hand over a record; False when it was refused."""

    def flush(self) -> None:
        """Return when all records are delivered; raise when they can't be."""

    def close(self) -> None:
        """Give back threads and sockets; not measured."""


@dataclass(frozen=True)
class System:
    """A named way to construct an adapter, and the sink it talks to."""

    name: str
    factory: str
    """`module:callable`, called with the sink's URL."""
    sink: Mode
    burst_records: int


SYSTEMS = (
    System("floor", "tests.benchmarks.floor:Floor", Mode(), burst_records=20_000),
    System("banyan_hp batch", f"{__name__}:banyan_batch", Mode(gzip=True), burst_records=20_000),
    System(
        "banyan_hp one-by-one", f"{__name__}:banyan_one_by_one", Mode(one_by_one=True), burst_records=2_000
    ),
)


def construct(factory: str, url: str) -> Adapter:
    """Import a factory, given as `module:callable`, and call it."""
    module, _, name = factory.partition(":")
    return cast("Adapter", getattr(importlib.import_module(module), name)(url))


class BanyanAdapter:
    """This library's Banyan client, in memory only."""

    def __init__(self, url: str, **settings: Any) -> None:
        # By name: a child that measures another system must not pay for this import.
        client = importlib.import_module("banyan_hp").PromptStackLogger
        self._logger = client(api_key="psk_bench", base_url=url, queue_size=50_000, spool=False, **settings)

    def log(self, record: Record) -> bool:
        return bool(self._logger.log_prompt(**record))

    def flush(self) -> None:
        result = self._logger.flush(timeout=_FLUSH_SECONDS)
        if not result:
            raise RuntimeError(f"flush did not deliver: {result!r}; {self._logger.get_stats()}")

    def close(self) -> None:
        self._logger.shutdown(timeout=10)


def banyan_batch(url: str) -> Adapter:
    return BanyanAdapter(url)


def banyan_one_by_one(url: str) -> Adapter:
    return BanyanAdapter(url, batching="never")
