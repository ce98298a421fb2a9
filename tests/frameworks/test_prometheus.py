"""`prometheus_client` itself: its parsers, its registry, and its multiprocess mode with forks and kills."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families

import banyan_hp
from banyan_hp import ConfigurationError, PromptStackLogger
from banyan_hp.guide import page
from banyan_hp.integrations.families import COUNTERS, FAMILIES
from banyan_hp.integrations.prometheus import (
    CONTENT_TYPE,
    BanyanCollector,
    BanyanMetrics,
    metrics_text,
)
from tests.support.scripted import Reply, ScriptedServer

NOWHERE = "http://127.0.0.1:9"


class Counting:
    """A logger whose stats a test sets."""

    def __init__(self) -> None:
        self.stats: dict[str, Any] = {**PromptStackLogger(enabled=False).get_stats()}

    def get_stats(self) -> dict[str, Any]:
        return {**self.stats, "drops": dict(self.stats["drops"])}


@pytest.fixture
def logger() -> Counting:
    return Counting()


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry(auto_describe=True)


@pytest.fixture
def metrics(logger: Counting, registry: CollectorRegistry) -> Iterator[BanyanMetrics]:
    made = BanyanMetrics(logger, registry=registry)
    yield made
    made.close()


def value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    found: float | None = registry.get_sample_value(f"banyan_hp_{name}", {"logger": "default", **labels})
    return found


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """All that a text says, but for the times at which counters were made."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def test_the_text_is_what_the_packages_parser_reads(logger: Counting) -> None:
    """With types, help and labels, special characters in them too."""
    assert CONTENT_TYPE == CONTENT_TYPE_PLAIN_0_0_4
    logger.stats["experiments"] = {'a "b"\\c\nd': {"v": 3}}
    logger.stats["redactions"] = {"email": 2}
    families = list(text_string_to_metric_families(metrics_text(logger)))
    described = {(each.name, each.type, each.documentation) for each in families}
    expected = {(each.name, each.kind, each.help) for each in FAMILIES}
    assert expected - described == {each for each in expected if "last_success" in each[0]}
    (exposures,) = [each for each in families if each.name == "banyan_hp_experiment_exposures"]
    (sample,) = exposures.samples
    assert sample.labels == {"logger": "default", "experiment": 'a "b"\\c\nd', "version": "v"}


def test_text_collector_and_metrics_say_the_same(
    logger: Counting, registry: CollectorRegistry, metrics: BanyanMetrics
) -> None:
    """All three ways, to the last sample."""
    logger.stats.update(logs_queued=9, logs_sent=5, logs_dropped=2, drops={"queue_full": 2}, queue_size=2)
    logger.stats.update(state="offline", oldest_record_age_s=12.5, experiments={"e": {"a": 1, "b": 2}})
    collected = CollectorRegistry()
    collected.register(BanyanCollector(logger))
    text = samples(metrics_text(logger))
    assert samples(generate_latest(collected).decode()) == text
    assert samples(generate_latest(registry).decode()) == text
    assert text["banyan_hp_records_dropped_total", (("logger", "default"), ("reason", "queue_full"))] == 2


def test_both_are_valid_openmetrics(
    logger: Counting, registry: CollectorRegistry, metrics: BanyanMetrics
) -> None:
    """As the strict parser reads it."""
    collected = CollectorRegistry()
    collected.register(BanyanCollector(logger))
    for each in (registry, collected):
        families = list(openmetrics_families(openmetrics.generate_latest(each).decode()))
        assert {family.name for family in families} >= {family.name for family in COUNTERS}


def test_a_second_collector_in_a_registry_is_refused_in_a_line(logger: Counting) -> None:
    """The library's own error would list some hundred names; another registry may have one, too."""
    registry, other = CollectorRegistry(), CollectorRegistry()
    registry.register(first := BanyanCollector(logger))
    with pytest.raises(ValueError, match="a BanyanCollector is registered already") as error:
        registry.register(BanyanCollector(logger))
    assert len(str(error.value)) < 300
    other.register(BanyanCollector(logger))
    assert generate_latest(other) == generate_latest(registry)
    registry.unregister(first)
    registry.register(first)


def test_counters_grow_by_what_was_added(
    logger: Counting, registry: CollectorRegistry, metrics: BanyanMetrics
) -> None:
    """At each scrape; also when the logger began to count anew."""
    logger.stats["logs_sent"] = 5
    assert value(registry, "records_total", outcome="delivered") == 5
    logger.stats["logs_sent"] = 7
    generate_latest(registry)
    generate_latest(registry)
    assert value(registry, "records_total", outcome="delivered") == 7
    logger.stats["logs_sent"] = 1
    assert value(registry, "records_total", outcome="delivered") == 8


def test_the_default_loggers_successor_goes_on_counting(server: ScriptedServer) -> None:
    """`configure()` replaced it between two scrapes: what the old one counted last is not lost."""
    registry = CollectorRegistry()
    metrics = BanyanMetrics(registry=registry)
    try:
        assert value(registry, "records_total", outcome="delivered") == 0
        banyan_hp.configure("psk_a", base_url=server.url)
        banyan_hp.log_prompt("q", "a")
        assert banyan_hp.flush(5)
        assert value(registry, "records_total", outcome="delivered") == 1
        banyan_hp.log_prompt("q", "a")
        assert banyan_hp.flush(5)
        banyan_hp.configure("psk_b", base_url=server.url)
        banyan_hp.log_prompt("q", "a")
        assert banyan_hp.flush(5)
        assert value(registry, "records_total", outcome="delivered") == 3
    finally:
        metrics.close()


def test_a_registry_takes_one_and_gives_all_back(logger: Counting, registry: CollectorRegistry) -> None:
    """A second is refused and leaves nothing behind; several loggers go into one."""
    first = BanyanMetrics({"a": logger, "b": logger}, registry=registry)
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        BanyanMetrics(logger, registry=registry)
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        registry.register(BanyanCollector(logger))
    logger.stats["contexts_unknown"] = logger.stats["logs_sent"] = 2
    assert registry.get_sample_value("banyan_hp_contexts_unknown_total") == 2
    assert registry.get_sample_value("banyan_hp_records_total", {"logger": "b", "outcome": "delivered"}) == 2
    first.close()
    first.close()
    assert not list(registry.collect())
    BanyanMetrics(logger, registry=registry).close()


def test_a_registry_with_a_metric_of_our_name_is_left_as_it_was(
    logger: Counting, registry: CollectorRegistry
) -> None:
    """Even if it is one of the last."""
    Counter("banyan_hp_experiments_ignored", "Mine.", registry=registry)
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        BanyanMetrics(logger, registry=registry)
    assert [family.name for family in registry.collect()] == ["banyan_hp_experiments_ignored"]


def test_wrong_arguments_are_refused(logger: Counting, registry: CollectorRegistry) -> None:
    """At construction, by name."""
    with pytest.raises(ConfigurationError, match="interval must be more than 0 seconds"):
        BanyanMetrics(logger, registry=registry, interval=0)
    with pytest.raises(ConfigurationError, match="logger must be a PromptStackLogger"):
        BanyanMetrics("psk_key", registry=registry)  # type: ignore[arg-type]


def test_stats_that_fail_cost_no_scrape(
    registry: CollectorRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    """The application's other metrics are served; a line says why ours are old."""

    class Broken(Counting):
        def get_stats(self) -> dict[str, Any]:
            raise RuntimeError("broken")

    metrics = BanyanMetrics(Broken(), registry=registry)
    assert generate_latest(registry)
    metrics.close()
    assert "the metrics could not be updated (RuntimeError" in caplog.text


# -- several processes ---------------------------------------------------------------------------------------

PRELUDE = """
import contextlib, os, signal, struct, sys, threading, time
import banyan_hp as banyan
from banyan_hp.integrations.prometheus import BanyanMetrics
from prometheus_client import CollectorRegistry, Counter, generate_latest, multiprocess
from prometheus_client.parser import text_string_to_metric_families

def scraped(name, **labels):
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)
    value = registry.get_sample_value("banyan_hp_" + name, {"logger": "default", **labels})
    return 0 if value is None else int(value)

def delivered():
    return scraped("records_total", outcome="delivered")

def log(number=1):
    for _ in range(number):
        banyan.log_prompt("q", "a")
    assert banyan.flush(10)
"""


def run(program: str, server: ScriptedServer, directory: Path) -> subprocess.CompletedProcess[str]:
    """A program in multiprocess mode."""
    files = directory / "multiproc"
    files.mkdir()
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", PRELUDE + textwrap.dedent(program)],
        env={
            **os.environ,
            "PROMETHEUS_MULTIPROC_DIR": str(files),
            "BANYAN_BASE_URL": server.url,
            "BANYAN_API_KEY": "psk_local",
            "BANYAN_HP_SPOOL_DIR": str(directory / "spool"),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_forked_workers_add_up_and_dead_ones_stay_counted(server: ScriptedServer, tmp_path: Path) -> None:
    """Made before the fork, as with gunicorn's preload: what each worker delivered until its last moment.

    The process that only forks has no gauges; those of a worker go with it, its counters stay.
    """
    finished = run(
        """
        metrics = BanyanMetrics(interval=60)  # so that the last update is that of the end
        children = []
        for number in (3, 4):
            child = os.fork()
            if not child:
                log(number)
                sys.exit()
            children.append(child)
        assert scraped("state", state="idle") == 0
        for child in children:
            os.waitpid(child, 0)
            multiprocess.mark_process_dead(child)
        assert delivered() == 7, delivered()
        assert scraped("requests_total") >= 2
        assert scraped("state", state="stopped") == 0
        log(1)
        metrics.update()
        assert delivered() == 8, delivered()
        assert scraped("state", state="online") == 1
        """,
        server,
        tmp_path,
    )
    assert (finished.returncode, finished.stderr) == (0, "")


def test_a_killed_worker_was_counted_before(server: ScriptedServer, tmp_path: Path) -> None:
    """By its thread, which each process has of its own, at each interval; its parent's goes on."""
    finished = run(
        """
        metrics = BanyanMetrics(interval=0.05)
        child = os.fork()
        if not child:
            log(5)
            threading.Event().wait(20)

        def wait_for(number):
            deadline = time.monotonic() + 15
            while time.monotonic() < deadline:
                with contextlib.suppress(struct.error):  # the package can't read a file in the making
                    if delivered() == number:
                        break
                time.sleep(0.01)

        wait_for(5)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        multiprocess.mark_process_dead(child)
        assert delivered() == 5, delivered()
        log(2)
        wait_for(7)
        assert delivered() == 7, delivered()
        """,
        server,
        tmp_path,
    )
    assert (finished.returncode, finished.stderr) == (0, "")


def test_a_child_counts_from_where_it_was_forked(server: ScriptedServer, tmp_path: Path) -> None:
    """Nothing of its parent's is counted again, nor left out of its own."""
    finished = run(
        """
        metrics = BanyanMetrics(interval=60)
        log(2)
        for number in (1, 2, 5):
            child = os.fork()
            if not child:
                log(number)
                sys.exit()
            assert os.waitpid(child, 0)[1] == 0
        log(3)
        metrics.update()
        assert delivered() == 13, delivered()
        """,
        server,
        tmp_path,
    )
    assert (finished.returncode, finished.stderr) == (0, "")


def test_a_fork_waits_for_the_end_of_an_update(server: ScriptedServer, tmp_path: Path) -> None:
    """Or the package's locks would be held in the child for ever, by a thread that it does not have."""
    finished = run(
        """
        began, ended = threading.Event(), threading.Event()

        class Slow:
            def get_stats(self):
                ended.clear()
                began.set()
                time.sleep(0.3)
                ended.set()
                return banyan.get_stats()

        log(1)
        metrics = BanyanMetrics(Slow(), interval=0.01)
        began.wait()
        child = os.fork()
        if not child:
            os._exit(0 if ended.is_set() else 1)
        assert os.waitpid(child, 0)[1] == 0
        """,
        server,
        tmp_path,
    )
    assert (finished.returncode, finished.stderr) == (0, "")


def test_a_fork_past_pythons_hooks_is_noticed_at_an_update(server: ScriptedServer, tmp_path: Path) -> None:
    """As of uWSGI, whose `postfork` calls `update()`. Here the hooks are not told of the metrics."""
    finished = run(
        """
        from banyan_hp.integrations import updating
        metrics = BanyanMetrics(interval=60)
        log(2)
        metrics.update()
        updating._watching.clear()
        child = os.fork()
        if not child:
            metrics.update()
            log(3)
            metrics.update()
            sys.exit()
        assert os.waitpid(child, 0)[1] == 0
        metrics.update()
        assert delivered() == 5, delivered()
        """,
        server,
        tmp_path,
    )
    assert (finished.returncode, finished.stderr) == (0, "")


def test_the_end_by_a_signal_in_the_middle_of_an_inc_does_not_hang(
    server: ScriptedServer, tmp_path: Path
) -> None:
    """The package's lock is held by the thread that the signal interrupts; the wait for it is bounded."""
    finished = run(
        """
        from prometheus_client import values
        metrics = BanyanMetrics(interval=60)
        log(1)
        mine = Counter("mine", "Mine.")
        held = mine._value.inc.__closure__
        lock = next(cell.cell_contents for cell in held if hasattr(cell.cell_contents, "acquire"))
        print("ready", flush=True)
        with lock:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(30)
        """,
        server,
        tmp_path,
    )
    assert (finished.returncode, finished.stdout) == (-15, "ready\n"), finished.stderr


@pytest.mark.parametrize("several", [False, True])
def test_the_guides_block_runs(server: ScriptedServer, tmp_path: Path, several: bool) -> None:
    """With and without multiprocess mode."""
    (block,) = [
        each
        for each in re.findall(r"^```python\n(.*?)^```", page("monitoring").text, re.DOTALL | re.MULTILINE)
        if "prometheus_client" in each
    ]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", block.replace("http://127.0.0.1:8787", server.url)],
        env={**os.environ, **({"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)} if several else {})},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_records_of_the_end_are_counted(server: ScriptedServer, tmp_path: Path) -> None:
    """What the exit itself delivers, and what it leaves on disk."""
    server.script([Reply(200)])
    finished = run(
        """
        metrics = BanyanMetrics(interval=60)
        child = os.fork()
        if not child:
            banyan.configure(flush_interval=60)
            for _ in range(6):
                banyan.log_prompt("q", "a")
            sys.exit()
        os.waitpid(child, 0)
        assert delivered() == 6, delivered()
        assert scraped("records_accepted_total") == 6
        """,
        server,
        tmp_path,
    )
    assert (finished.returncode, finished.stderr) == (0, "")
