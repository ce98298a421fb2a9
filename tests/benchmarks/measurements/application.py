"""An application's view: a Flask route under gunicorn that works for 2 ms and logs once, loaded with wrk."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.benchmarks.adapters import BATCH, BURST_QUEUE, ONE_BY_ONE, System
from tests.benchmarks.application import ENVIRONMENT, work
from tests.benchmarks.measure import Metrics
from tests.benchmarks.peers import BANYAN_SDK, OPENTELEMETRY, POSTHOG
from tests.benchmarks.plan import Case, Measurement, Row, Target
from tests.benchmarks.sink import ROOT

_WORK_SECONDS = 0.002
_WORKERS = 2
_SECONDS = 4
_WARM_UP_SECONDS = 1
_START_SECONDS = 20.0
_STOP_SECONDS = 60.0
_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3}

NOTHING = System("no logging", "tests.benchmarks.adapters:Nothing")
_DEFAULT = {name: value for name, value in BATCH.options.items() if name not in BURST_QUEUE}
_BATCH = replace(BATCH, options=_DEFAULT)
_DOWN = replace(_BATCH, name="banyan_hp, backend down", factory="tests.benchmarks.adapters:BanyanDown")


def prepare() -> Metrics:
    """How often the work's unit fits into 2 ms here; the same for all systems."""
    count = 1_000
    rounds = []
    for _ in range(30):
        before = time.perf_counter()
        work(count)
        rounds.append(time.perf_counter() - before)
    return {"units": round(count * _WORK_SECONDS / statistics.median(rounds))}


def load(url: str, factory: str, options: Mapping[str, Any], units: int) -> Metrics:
    """Requests a second and their 99th percentile; the records that the application logged."""
    with tempfile.TemporaryDirectory(prefix="banyan-hp-bench-app-") as counts:
        settings = {
            "url": url,
            "factory": factory,
            "options": dict(options),
            "units": units,
            "counts": counts,
        }
        with _gunicorn(settings) as port:
            _wrk(port, _WARM_UP_SECONDS)
            measured = _wrk(port, _SECONDS)
        told = [json.loads(path.read_text(encoding="ascii")) for path in Path(counts).iterdir()]
    if len(told) != _WORKERS:
        raise RuntimeError("a worker ended without saying how many records it had logged")
    logged = sum(one["logged"] for one in told)
    return {**measured, "logged": logged, "cpu_ms": sum(one["cpu_s"] for one in told) / logged * 1_000}


@contextmanager
def _gunicorn(settings: Mapping[str, Any]) -> Iterator[int]:
    port = _free_port()
    command = [sys.executable, "-m", "gunicorn", "--workers", str(_WORKERS), "--worker-class", "sync"]
    command += ["--bind", f"127.0.0.1:{port}", "--log-level", "error", "--graceful-timeout", "30"]
    command += ["--config", "python:tests.benchmarks.application", "tests.benchmarks.application:create()"]
    server = subprocess.Popen(command, cwd=ROOT, env={**os.environ, ENVIRONMENT: json.dumps(settings)})
    try:
        _wait_until_open(port, server)
        yield port
        server.send_signal(signal.SIGTERM)
        server.wait(_STOP_SECONDS)
    finally:
        if server.poll() is None:
            server.kill()
            server.wait(_STOP_SECONDS)


def _wrk(port: int, seconds: int) -> Metrics:
    command = [
        "wrk",
        "--threads",
        "1",
        "--connections",
        str(_WORKERS),
        "--duration",
        f"{seconds}s",
        "--latency",
    ]
    done = subprocess.run([*command, f"http://127.0.0.1:{port}/"], capture_output=True, text=True, check=True)
    return parse(done.stdout)


_RATE = re.compile(r"Requests/sec:\s*([\d.]+)")
_ERRORS = re.compile(r"Non-2xx or 3xx responses: (\d+)")


def parse(output: str) -> Metrics:
    """The figures in wrk's report.

    Raises:
        ValueError: requests have failed, or this is not such a report.
    """
    errors = _ERRORS.search(output)
    if errors:
        raise ValueError(f"{errors[1]} requests were answered with an error")
    rate = _RATE.search(output)
    if rate is None:
        raise ValueError(f"not a report of wrk: {output!r}")
    return {"requests_per_s": float(rate[1]), "p50_ms": _latency(output, 50), "p99_ms": _latency(output, 99)}


def _latency(output: str, percent: int) -> float:
    found = re.search(rf"^\s*{percent}%\s+([\d.]+)(us|ms|s) *$", output, re.MULTILINE)
    if found is None:
        raise ValueError(f"no latency at {percent} % in wrk's report: {output!r}")
    return float(found[1]) * _UNITS[found[2]]


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def _wait_until_open(port: int, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"gunicorn did not listen within {_START_SECONDS:g} s (it needs gunicorn and flask)")


def missing_tool() -> str | None:
    """What to install, if something is missing."""
    return None if shutil.which("wrk") else "wrk is not installed: apt-get install wrk (or brew install wrk)"


def _case(system: System, *, down: bool = False) -> Case:
    return Case.of(system, f"{__name__}:load", down=down)


MEASUREMENT = Measurement(
    "app",
    f"an application: Flask under gunicorn, {_WORKERS} sync workers, 2 ms of work and one record a request",
    (
        Case.of(NOTHING, f"{__name__}:load", down=True),
        _case(_BATCH),
        _case(_DOWN, down=True),
        _case(replace(ONE_BY_ONE, options={"batching": "never"})),
        _case(BANYAN_SDK),
        _case(POSTHOG),
        _case(OPENTELEMETRY),
    ),
    (
        Row("requests_per_s", "requests/s"),
        Row("p50_ms", "p50, ms"),
        Row("p99_ms", "p99, ms"),
        Row("cpu_ms", "CPU ms a request"),
    ),
    tuple(
        target
        for name in (_BATCH.name, _DOWN.name)
        for target in (
            Target(
                "requests/s within 3 % of no logging",
                name,
                "requests_per_s",
                least=0.97,
                ratio_to=NOTHING.name,
            ),
            Target("p99 within 1 ms of no logging", name, "p99_ms", most=1, beyond=NOTHING.name),
        )
    ),
    repetitions=5,
    prepare=f"{__name__}:prepare",
    seeded=False,
)
