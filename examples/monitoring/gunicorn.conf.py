"""gunicorn with prometheus_client's multiprocess mode, for `examples/prometheus_app.py`.

Each worker writes its metrics into files in PROMETHEUS_MULTIPROC_DIR; whichever worker is scraped adds them
up. The directory must be empty when the server starts, and no other server may use it: here each start makes
a new one. At a reload (HUP) this file is read again, and the directory stays.
"""

import os
import tempfile
from typing import Any

bind = "127.0.0.1:8000"
workers = 2
preload_app = True

if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:  # needed before prometheus_client is imported
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix="metrics-")


def child_exit(_server: Any, worker: Any) -> None:
    """The gauges of a worker go with it, its counters stay. Without this, dead workers would have a queue."""
    from prometheus_client import multiprocess

    multiprocess.mark_process_dead(worker.pid)
