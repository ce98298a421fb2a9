"""What must be known of RQ, where the process is one of its work horses.

A horse runs one job and leaves by `os._exit`, past atexit. RQ has no hook for that. What it calls at the end
of every job, and what can still be replaced from within the job, is the worker's `handle_execution_ended`.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any


def at_exit(drain: Callable[[], None]) -> None:
    """Have `drain` called at the end of a job in a work horse. Asking again changes nothing."""
    workers = sys.modules.get("rq.worker")
    for name in ("BaseWorker", "Worker"):  # before 2.0 there is no BaseWorker
        worker = getattr(workers, name, None)
        ended = vars(worker).get("handle_execution_ended") if worker is not None else None
        if callable(ended) and not hasattr(ended, "__wrapped__"):
            worker.handle_execution_ended = _then(ended, drain)  # type: ignore[union-attr]


def _then(ended: Callable[..., Any], drain: Callable[[], None]) -> Callable[..., Any]:
    @functools.wraps(ended)
    def handle_execution_ended(worker: Any, *arguments: Any, **options: Any) -> Any:
        try:
            return ended(worker, *arguments, **options)
        finally:
            if getattr(worker, "_is_horse", False):  # a SimpleWorker's process goes on
                drain()

    return handle_execution_ended
