"""The examples for operators are run as their first lines say, on a port of the test's own."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.servers import EXAMPLES, UWSGI, Arrivals, Server, assert_quiet, free_port
from tests.support.timing import assert_in_time

EXIT_SECONDS = 8.0


def start(command: list[str], directory: Path, port: int) -> Server:
    return Server(command, directory, port=port, ready="/healthz")


def gunicorn_example(directory: Path) -> Server:
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "--config", str(EXAMPLES / "gunicorn.conf.py")]
    command += [
        "--no-control-socket",
        "--bind",
        f"127.0.0.1:{port}",
        "--chdir",
        str(EXAMPLES),
        "flask_app:app",
    ]
    return start(command, directory, port)


def uwsgi_example(directory: Path) -> Server:
    """A copy with another port, and with one worker: uWSGI loses a TERM to one that is not ready yet."""
    port = free_port()
    text = (EXAMPLES / "uwsgi.ini").read_text("utf-8")
    assert "127.0.0.1:8000" in text
    changed = text.replace("127.0.0.1:8000", f"127.0.0.1:{port}").replace("chdir = %d", f"chdir = {EXAMPLES}")
    changed = changed.replace("processes = 2", "processes = 1")
    copy = directory / "uwsgi.ini"
    copy.write_text(changed, "utf-8")
    return start([str(UWSGI), "--ini", str(copy), "--virtualenv", sys.prefix], directory, port)


@pytest.mark.parametrize(
    "example",
    [
        gunicorn_example,
        pytest.param(
            uwsgi_example,
            marks=pytest.mark.skipif(not UWSGI.exists(), reason="uWSGI is not installed"),
        ),
    ],
)
def test_the_configuration_serves_and_its_records_arrive(
    example: Callable[[Path], Server], arrivals: Arrivals, tmp_path: Path
) -> None:
    """`examples/flask_app.py` under it: a reload by HUP, and TERM while records linger."""
    with example(tmp_path) as server:
        for number in range(10):
            server.post("/ask", json.dumps({"question": f"{arrivals.run} {number}"}))
        server.send(signal.SIGHUP)
        for number in range(10, 20):
            server.post("/ask", json.dumps({"question": f"{arrivals.run} {number}"}))
        assert_in_time(server.stop(), EXIT_SECONDS)
        assert_quiet(server)
    arrivals.expect(range(20))
