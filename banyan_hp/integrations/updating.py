"""Metrics of `prometheus_client` that follow `get_stats()`, in one process or in several.

In its multiprocess mode (PROMETHEUS_MULTIPROC_DIR) `prometheus_client` adds up files that each process writes
for its own counters and gauges, and asks no collectors. So there are such counters and gauges here, and they
are fed: counters with what was added since the last time, gauges with what is.

`prometheus_client` guards its values with locks that can't be entered twice and that a fork leaves as they
are. So no fork happens while we feed them. The end of the process may come in a signal handler, in the middle
of the application's own `inc()`: there our thread feeds them, and the process waits for it a bounded time.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ..engine.process.exit import after_exit
from ..engine.sync import Lock, ReleasingOnError, WakeUp
from ..engine.threads import start
from ..errors import ConfigurationError
from ..foreign import is_deliberate, trouble
from ..logs import warn
from ..settings import checked_seconds
from .families import COUNTERS, GAUGES, Family, samples_of
from .sources import Client, Loggers, sources_of

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

_PATIENCE = 1.0  # seconds; the longest that a fork, or the end of the process, waits for an update


class BanyanMetrics:
    """Counters and gauges of `prometheus_client` that follow `get_stats()`, in one process or in several.

    One line, where the logger is made: `BanyanMetrics()`. Each scrape of the registry updates them. In
    multiprocess mode a scrape reads files instead, so each process updates its own every `interval` seconds,
    on a thread, and once more at its end, when all is settled. Forked workers do the same by themselves,
    wherever this was made. The server's hook for a worker that has ended still has to call
    `mark_process_dead`, see the guide (`banyan-hp help monitoring`).

    Args:
        logger: whose; or several by name, which is the label `logger`. Default: the default logger; the
            label is "default" then, as for a single one. Kept until `close()`.
        registry: takes the metrics; default: `prometheus_client.REGISTRY`.
        interval: seconds, more than 0. Of a process that is killed, what it counted within this time may be
            missing.

    Raises:
        ConfigurationError: an argument is wrong.
        ValueError: the registry has these metrics already. Several loggers go into one `BanyanMetrics`.
    """

    def __init__(
        self, logger: Loggers = None, *, registry: CollectorRegistry | None = None, interval: float = 1.0
    ) -> None:
        from prometheus_client import REGISTRY, values

        self._sources = sources_of(logger)
        self._interval = checked_seconds("interval", interval)
        if not self._interval:
            raise ConfigurationError("interval must be more than 0 seconds, was 0")
        self._several = bool(values.ValueClass._multiprocess)
        self._metrics = _Metrics(REGISTRY if registry is None else registry, self)
        self._feeds = {
            name: _Feed(self._metrics, name, first=not number) for number, name in enumerate(self._sources)
        }
        self._begin()
        _watching.append(self)

    def _begin(self) -> None:
        """Of this process."""
        self._pid = os.getpid()
        self._lock = Lock()  # one update at a time
        self._ended = WakeUp()
        self._thread: threading.Thread | None = None
        if self._several:
            self._start()

    def _start(self) -> None:
        self._ended = WakeUp()
        thread = threading.Thread(
            target=self._run, args=(self._ended,), name="banyan_hp-metrics", daemon=True
        )
        try:
            start(thread)
            self._thread = thread
        except RuntimeError as error:  # the system has no threads left, or the interpreter is shutting down
            warn("metrics", "no thread can be started for the metrics: %s", error)

    def _run(self, ended: WakeUp) -> None:
        while not ended.wait(self._interval):
            self.update()
        self.update()

    def update(self) -> None:
        """Bring the metrics up to date now, for instance before a scrape. Never raises."""
        if os.getpid() != self._pid:
            self._begin_in_child()
        lock = self._lock
        try:
            with ReleasingOnError((lock,)), lock:
                for name, find in self._sources.items():
                    self._feeds[name].feed(find(), unless_idle=self._several)
        except Exception as error:
            if is_deliberate(error):
                raise
            warn("metrics", "the metrics could not be updated (%s)", trouble(error))

    def _begin_in_child(self) -> None:
        for feed in self._feeds.values():
            feed.begin_in_child()
        self._begin()

    def _pause(self) -> None:
        """Update once more and end the thread. Waits no longer than `_PATIENCE`."""
        thread, self._thread = self._thread, None
        self._ended.wake()
        if thread is not None and thread is not threading.current_thread():
            with suppress(RuntimeError):
                thread.join(_PATIENCE)

    def _resume(self) -> None:
        if self._several and self._pid == os.getpid():
            self._start()

    def close(self) -> None:
        """Take the metrics from their registry, and follow the logger no more."""
        if self in _watching:
            _watching.remove(self)
            self._pause()
            self._metrics.unregister()


class _Metrics:
    """One counter or gauge for each family, in a registry."""

    def __init__(self, registry: CollectorRegistry, owner: BanyanMetrics) -> None:
        from prometheus_client import Counter, Gauge

        self._registry = registry
        self._registered: list[Any] = []
        self._of: dict[str, Any] = {}
        try:
            self._register(_AtScrape(owner))  # before the others, which are collected after it
            for each in COUNTERS:
                self._of[each.name] = self._register(
                    Counter(each.name, each.help, each.all_labels, registry=None)
                )
            for each in GAUGES:
                gauge = Gauge(
                    each.name, each.help, each.all_labels, registry=None, multiprocess_mode=each.together
                )
                self._of[each.name] = self._register(gauge)
        except ValueError:
            self.unregister()
            raise

    def _register(self, collector: Any) -> Any:
        self._registry.register(collector)
        self._registered.append(collector)
        return collector

    def unregister(self) -> None:
        while self._registered:
            self._registry.unregister(self._registered.pop())

    def sample(self, family: Family, labels: Iterable[str]) -> Any:
        """The counter or gauge for these values of its labels."""
        metric = self._of[family.name]
        return metric.labels(*labels) if family.all_labels else metric


class _Feed:
    """One logger's figures: what was counted when its metrics were fed last."""

    def __init__(self, metrics: _Metrics, name: str, *, first: bool) -> None:
        self._metrics = metrics
        self._name = name
        self._counters = [each for each in COUNTERS if first or not each.of_process]
        self._client: Client | None = None  # whose counts `_last` are
        self._last: dict[tuple[str, tuple[str, ...]], float] = {}
        self._active = False

    def begin_in_child(self) -> None:
        """A forked child counts from zero; what the parent has counted is the parent's.

        But for what is counted beside the loggers: there the child has the parent's numbers.
        """
        self._last = {}
        self._active = False
        if self._client is not None:
            read = {self._name: self._client.get_stats()}
            for family in self._counters:
                if family.of_process:
                    self._count(family, samples_of(family, read), silently=True)

    def feed(self, client: Client, *, unless_idle: bool) -> None:
        """Bring its metrics up to date.

        Args:
            client: the logger. If it took another one's place, that one's last counts are fed first.
            unless_idle: not before something was counted: a process that only forks others has no metrics.
        """
        if self._client is not None and self._client is not client:
            self._feed(self._client.get_stats(), unless_idle=unless_idle)
            self._last = {key: value for key, value in self._last.items() if key[0] in _OF_PROCESS}
        self._client = client
        self._feed(client.get_stats(), unless_idle=unless_idle)

    def _feed(self, stats: Mapping[str, Any], *, unless_idle: bool) -> None:
        read = {self._name: stats}
        counted = {family: samples_of(family, read) for family in self._counters}
        self._active = self._active or not unless_idle or any(any(each.values()) for each in counted.values())
        if not self._active:
            return
        for family, values in counted.items():
            self._count(family, values)
        for family in GAUGES:
            for labels, value in samples_of(family, read).items():
                self._metrics.sample(family, labels).set(value)

    def _count(
        self, family: Family, values: Mapping[tuple[str, ...], float], *, silently: bool = False
    ) -> None:
        for labels, value in values.items():
            key = (family.name, labels)
            before = self._last.get(key)
            added = value - (before or 0.0)
            self._last[key] = value
            if silently or (before is not None and not added):
                continue
            self._metrics.sample(family, labels).inc(added if added >= 0 else value)


_OF_PROCESS = frozenset(family.name for family in COUNTERS if family.of_process)


class _AtScrape:
    """A collector without metrics of its own: a registry that asks it has the others updated first."""

    def __init__(self, owner: BanyanMetrics) -> None:
        self._owner = owner

    def describe(self) -> list[Any]:
        return []

    def collect(self) -> list[Any]:
        self._owner.update()
        return []


# -- forks, and the end of the process -----------------------------------------------------------------------

_watching: list[BanyanMetrics] = []


def _pause_all() -> None:
    for each in tuple(_watching):
        each._pause()


def _resume_all() -> None:
    for each in tuple(_watching):
        each._resume()


def _begin_all_in_child() -> None:
    for each in tuple(_watching):
        each._begin_in_child()


after_exit(_pause_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_pause_all, after_in_parent=_resume_all, after_in_child=_begin_all_in_child)
