"""What `get_stats()` counts, for Prometheus: as text, as a collector, or as metrics of `prometheus_client`.

    metrics_text(logger)                          one process; needs no package
    REGISTRY.register(BanyanCollector(logger))    one process; prometheus_client
    BanyanMetrics(logger)                         one process or several; prometheus_client

`prometheus_client` is imported when one of the latter two is made, and not before.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any
from weakref import WeakSet

from .families import FAMILIES, Family, samples_of
from .sources import Loggers, readings, sources_of
from .updating import BanyanMetrics

__all__ = ["CONTENT_TYPE", "BanyanCollector", "BanyanMetrics", "metrics_text"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""Of `metrics_text()`."""


def metrics_text(logger: Loggers = None) -> str:
    """All metrics of this process in Prometheus' text format (`CONTENT_TYPE`). No I/O; under a millisecond.

    With several worker processes behind one port each scrape shows another one's figures: use
    `BanyanMetrics` there.

    Args:
        logger: whose; or several by name, which is the label `logger`. Default: the default logger; the
            label is "default" then, as for a single one.

    Raises:
        ConfigurationError: `logger` is none of these.
    """
    read = readings(sources_of(logger))
    lines: list[str] = []
    for family in FAMILIES:
        values = samples_of(family, read)
        if values:
            name = family.sample_name
            lines += (f"# HELP {name} {family.help}", f"# TYPE {name} {family.kind}")
            lines += (f"{name}{_labels(family, each)} {_number(value)}" for each, value in values.items())
    return "\n".join(lines) + "\n"


def _labels(family: Family, values: Iterable[str]) -> str:
    pairs = [f'{name}="{_escaped(value)}"' for name, value in zip(family.all_labels, values, strict=True)]
    return f"{{{','.join(pairs)}}}" if pairs else ""


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    return str(int(value)) if value.is_integer() else repr(value)


class BanyanCollector:
    """A custom collector of `prometheus_client`: reads `get_stats()` at each scrape. For a single process.

    `prometheus_client`'s multiprocess mode asks no collectors: use `BanyanMetrics` there. A registry takes
    one of these, and refuses a second one with a `ValueError`.

    Args:
        logger: as of `metrics_text`.

    Raises:
        ConfigurationError: `logger` is none of these.
    """

    def __init__(self, logger: Loggers = None) -> None:
        self._sources = sources_of(logger)

    def describe(self) -> list[Any]:
        """The metrics without samples, and `_ONCE`, by which a registry refuses a second collector of them.

        While there is another one, of these a few: the registry's error lists all that it has already.
        """
        is_first = not _described - {self}
        _described.add(self)
        families = FAMILIES if is_first else FAMILIES[:1]
        return [SimpleNamespace(name=_ONCE, type="unknown"), *map(_metric, families)]

    def collect(self) -> list[Any]:
        """The metrics of this moment."""
        read, metrics = readings(self._sources), []
        for family in FAMILIES:
            metric = _metric(family)
            for labels, value in samples_of(family, read).items():
                metric.add_metric(labels, value)
            metrics.append(metric)
        return metrics


_described: WeakSet[BanyanCollector] = WeakSet()  # only grown and shrunk by single operations of a set
_ONCE = "a BanyanCollector is registered already; for several loggers: BanyanCollector({'a': one, 'b': two})"


def _metric(family: Family) -> Any:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    return kind(family.name, family.help, labels=family.all_labels)
