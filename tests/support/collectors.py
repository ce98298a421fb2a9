"""Real collectors and receivers, each in an environment of its own that `make collectors` has made."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sysconfig
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENTS = Path(os.environ.get("COLLECTORS", ROOT / ".collectors"))
START_SECONDS = 90.0


def environment(name: str) -> Path:
    """The environment with this receiver; without it the test is skipped."""
    found = ENVIRONMENTS / name
    if not (found / "bin" / "python").exists():
        pytest.skip(f"{name} is not installed: make collectors")
    return found


def free_port() -> int:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def wait_for_port(port: int, process: subprocess.Popen[Any]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"nothing listens on port {port}: the process says {process.poll()}")


class Rotel:
    """rotel, which hands everything to a Kafka cluster. May be killed and started again on its port."""

    def __init__(self, brokers: str) -> None:
        self._home = environment("rotel")
        self._brokers = brokers
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        (binary,) = self._home.glob("lib/python*/site-packages/rotel/rotel-agent")
        options = {
            "otlp-http-endpoint": f"127.0.0.1:{self.port}",
            "otlp-grpc-endpoint": f"127.0.0.1:{free_port()}",
            "exporter": "kafka",
            "kafka-exporter-brokers": self._brokers,
            "kafka-exporter-format": "json",
            "kafka-exporter-acks": "all",
            "batch-max-size": "200",  # of more in one request than twice this it throws some away
            "batch-timeout": "100ms",
        }
        arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
        self._process = subprocess.Popen(
            [binary, "start", *arguments],
            env={**os.environ, "LD_LIBRARY_PATH": self._libraries()},
        )
        wait_for_port(self.port, self._process)

    def _libraries(self) -> str:
        """Where the libpython is that it is linked against."""
        code = "import sysconfig; print(sysconfig.get_config_var('LIBDIR'))"
        said = subprocess.run([self._home / "bin" / "python", "-c", code], capture_output=True, check=True)
        return said.stdout.decode().strip() or str(sysconfig.get_config_var("LIBDIR"))

    def stop(self, signum: signal.Signals = signal.SIGTERM) -> None:
        """End it: by SIGTERM, it hands on what it has in memory; by SIGKILL it loses that."""
        self._process.send_signal(signum)
        self._process.wait(30)

    def __enter__(self) -> Rotel:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self.stop()


class Kafka:
    """The mock cluster of confluent-kafka, and what its consumer has counted."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [environment("rotel") / "bin" / "python", Path(__file__).with_name("kafka_mock.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None
        self.brokers = self._process.stdout.readline().strip()

    def counts(self) -> dict[str, dict[str, int]]:
        """Of spans and of scores, by record id. Ends it."""
        said, _ = self._process.communicate(timeout=60)
        found: dict[str, dict[str, int]] = json.loads(said)
        return found

    def __enter__(self) -> Kafka:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()
