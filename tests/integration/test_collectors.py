"""Real collectors and receivers, none of them written here: rotel, Kafka's mock cluster, MLflow, Phoenix.

Each in an environment of its own (`make collectors`); run by `make soak`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from banyan_hp import PromptStackLogger
from tests.support.collectors import Kafka, Rotel, environment, free_port, wait_for_port

pytestmark = [pytest.mark.soak, pytest.mark.timeout(600)]
RECORDS = 2_000
SCORE = {"kind": "score", "v": 1, "name": "thumbs", "value": True}


@pytest.fixture
def kafka() -> Iterator[Kafka]:
    with Kafka() as cluster:
        yield cluster


def logger(url: str, directory: Path, **options: Any) -> PromptStackLogger:
    given = {"spool_dir": directory, "batch_size": 200, "flush_interval": 0.05, **options}
    return PromptStackLogger(export_to="otlp", otlp_endpoint=url, **given)


def log(to: PromptStackLogger, name: str, numbers: range) -> None:
    for number in numbers:
        to.log_prompt(f"question {number}", "answer", record_id=f"{name}{number}")
        if number % 50 == 0:
            to.log_prompt("", "", metadata={"banyan_hp": SCORE}, record_id=f"{name}s{number}")


@pytest.mark.parametrize("protocol", ["http/json", "http/protobuf"])
def test_everything_comes_out_of_kafka_once(kafka: Kafka, tmp_path: Path, protocol: str) -> None:
    """Spans and scores, through a collector, while nothing goes wrong."""
    with Rotel(kafka.brokers) as rotel:
        with logger(rotel.url, tmp_path, otlp_protocol=protocol) as client:
            log(client, "r", range(RECORDS))
            assert client.flush(timeout=60)
        rotel.stop()
    counts = kafka.counts()
    assert counts["spans"] == {f"r{number}": 1 for number in range(RECORDS)}
    assert counts["scores"] == {f"rs{number}": 1 for number in range(0, RECORDS, 50)}


def test_a_collector_that_ends_under_load_and_comes_back_loses_nothing(kafka: Kafka, tmp_path: Path) -> None:
    """Of two collectors one goes for a while: what it was not given is spooled, and sent when it is back."""
    with Rotel(kafka.brokers) as one, Rotel(kafka.brokers) as two:
        with (
            logger(one.url, tmp_path, max_retries=0) as first,
            logger(two.url, tmp_path, max_retries=0) as second,
        ):
            loads = [
                threading.Thread(target=log, args=(client, name, range(RECORDS)))
                for client, name in ((first, "a"), (second, "b"))
            ]
            loads[0].start()
            loads[1].start()
            one.stop()
            for load in loads:
                load.join()
            assert not first.flush(timeout=5)
            assert first.get_stats()["logs_spooled"] > 0
            one.start()
            assert first.flush(timeout=60).backlog == 0
            assert second.flush(timeout=60)
        one.stop()
        two.stop()
    spans = kafka.counts()["spans"]
    assert set(spans) == {f"{name}{number}" for name in "ab" for number in range(RECORDS)}
    print(f"repeats: {sum(spans.values()) - len(spans)}")


def test_what_a_killed_collector_had_in_its_memory_is_all_that_is_lost(kafka: Kafka, tmp_path: Path) -> None:
    """It had said that it took these."""
    with Rotel(kafka.brokers) as rotel:
        with logger(rotel.url, tmp_path, max_retries=0) as client:
            load = threading.Thread(target=log, args=(client, "r", range(RECORDS)))
            load.start()
            while client.get_stats()["logs_sent"] < 200:
                pass
            rotel.stop(signal.SIGKILL)
            taken = client.get_stats()["logs_sent"]
            load.join()
            client.flush(timeout=2)
            rotel.start()
            client.flush(timeout=60)
            assert client.get_stats()["queue_size"] == 0
        rotel.stop()
    lost = RECORDS - len(kafka.counts()["spans"])
    print(f"lost with the collector: {lost} of the {taken} that it had taken")
    assert lost <= taken


def test_mlflow_stores_our_spans(tmp_path: Path) -> None:
    """As JSON and as protobuf; it takes no scores, which does not hold up the spans."""
    home, port = environment("mlflow"), free_port()
    server = subprocess.Popen(
        [home / "bin" / "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)],
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{home / 'bin'}:{os.environ['PATH']}", "MLFLOW_TRACKING_URI": ""},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_for_port(port, server)
        for protocol in ("http/json", "http/protobuf"):
            url, headers = f"http://127.0.0.1:{port}", {"x-mlflow-experiment-id": "0"}
            with logger(url, tmp_path, otlp_protocol=protocol, otlp_headers=headers, timeout=60.0) as client:
                log(client, protocol, range(60))
                client.flush(timeout=60)
                assert client.get_stats()["logs_sent"] >= 60, client.health()
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def test_phoenix_stores_our_spans(tmp_path: Path) -> None:
    """It takes protobuf only, and no scores; with JSON, health says what to set."""
    home, port = environment("phoenix"), free_port()
    ports = {"PHOENIX_PORT": str(port), "PHOENIX_GRPC_PORT": str(free_port())}
    server = subprocess.Popen(
        [home / "bin" / "phoenix", "serve"],
        env={**os.environ, **ports, "PHOENIX_WORKING_DIR": str(tmp_path), "PHOENIX_HOST": "127.0.0.1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_for_port(port, server)
        url = f"http://127.0.0.1:{port}"
        with logger(url, tmp_path, otlp_protocol="http/protobuf", timeout=60.0) as client:
            log(client, "r", range(60))
            client.flush(timeout=60)
            assert client.get_stats()["logs_sent"] == 60, client.health()
        with logger(url, tmp_path, otlp_protocol="http/json") as client:
            client.log_prompt("q", "a")
            client.flush(timeout=10)
            assert "otlp_protocol='http/protobuf'" in client.health()["reasons"][0]
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
