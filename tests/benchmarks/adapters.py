"""The systems under comparison: what the measurements ask of each, and how to construct it.

To add one, write a module with a factory (url -> Adapter) and name it here or, if it is another project's, in
`peers/`; only the process that measures a system imports it.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

from tests.benchmarks.sink import Mode
from tests.benchmarks.workload import Record

FLUSH_SECONDS = 60.0


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
    """`module:callable`, called with the sink's URL and `options`."""
    sink: Mode = field(default_factory=Mode)
    burst_records: int = 20_000
    options: Mapping[str, Any] = field(default_factory=dict)
    hide: tuple[str, ...] = ()
    """Modules that can't be imported where this system is measured."""


# The queue holds a whole burst, as the peers' do; everything else is the default.
BURST_QUEUE = {"queue_size": 50_000, "queue_bytes": 256 * 1024**2}
_OURS = f"{__name__}:BanyanAdapter"

FLOOR = System("floor", "tests.benchmarks.floor:Floor")
BATCH = System("banyan_hp batch", _OURS, Mode(gzip=True), options=BURST_QUEUE)
BATCH_PLAIN = System("banyan_hp, no orjson", _OURS, Mode(gzip=True), options=BURST_QUEUE, hide=("orjson",))
OTLP = System("banyan_hp OTLP/JSON", f"{__name__}:CollectorAdapter", options=BURST_QUEUE)
OTLP_PROTOBUF = System(
    "banyan_hp OTLP/protobuf",
    f"{__name__}:CollectorAdapter",
    options={**BURST_QUEUE, "otlp_protocol": "http/protobuf"},
)
ONE_BY_ONE = System(
    "banyan_hp one-by-one",
    _OURS,
    Mode(one_by_one=True),
    burst_records=2_000,
    options={**BURST_QUEUE, "batching": "never"},
)
QUICK_SYSTEMS = (FLOOR, BATCH, ONE_BY_ONE)


def construct(factory: str, url: str, options: Mapping[str, Any] | None = None) -> Adapter:
    """Import a factory, given as `module:callable`, and call it."""
    return cast("Adapter", find(factory)(url, **(options or {})))


def find(name: str) -> Any:
    """What `module:attribute` names."""
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


class BanyanAdapter:
    """This library's Banyan client with its defaults, its on-disk queue included."""

    def __init__(self, url: str, **settings: Any) -> None:
        # By name: a child that measures another system must not pay for this import.
        client = importlib.import_module("banyan_hp").PromptStackLogger
        self.logger = client(api_key="psk_bench", base_url=url, **settings)

    def log(self, record: Record) -> bool:
        return bool(self.logger.log_prompt(**record))

    def flush(self) -> None:
        result = self.logger.flush(timeout=FLUSH_SECONDS)
        if not result:
            raise RuntimeError(f"flush did not deliver: {result!r}; {self.logger.get_stats()}")

    def close(self) -> None:
        self.logger.shutdown(timeout=10)


class CollectorAdapter(BanyanAdapter):
    """The same, which sends spans to a collector."""

    def __init__(self, url: str, **settings: Any) -> None:
        super().__init__(url, export_to="otlp", otlp_endpoint=url, **settings)


class BanyanDown(BanyanAdapter):
    """The same where nobody listens: nothing can be delivered, and nothing may be lost."""

    def flush(self) -> None:
        self.logger.flush(timeout=1)
        self.check()

    def close(self) -> None:
        self.logger.shutdown(timeout=1)
        self.check()

    def check(self) -> None:
        stats = self.logger.get_stats()
        kept = stats["logs_spooled"] + stats["queue_size"] + stats["in_flight"]
        if kept != stats["logs_queued"] or stats["logs_queued"] == 0:
            raise RuntimeError(f"with the backend down, records are neither in memory nor on disk: {stats}")


class Nothing:
    """Does not log: an application's cost without it."""

    def __init__(self, url: str) -> None:
        pass

    def log(self, record: Record) -> bool:
        return True

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass
