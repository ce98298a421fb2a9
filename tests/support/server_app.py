"""A WSGI application that logs one record for each request, made to be run by real servers.

The environment decides what a deployment decides: `APP_EARLY` makes the logger and fetches a prompt at
import, in the process that loads the application; without it the first request does. `APP_OPTIONS` are the
logger's options, as JSON. `APP_LOGGING` has log lines written to stderr.

    /log?run=r&number=1   logs, answers with the process id
    /pid                  answers with the process id
    /stats                answers with get_stats()
"""

from __future__ import annotations

import functools
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qs

from banyan_hp import PromptStackLogger

StartResponse = Callable[[str, list[tuple[str, str]]], object]
Environ = dict[str, Any]

PAUSE_SECONDS = 0.002  # stands in for the model, and gives the other workers their turn


_making = threading.Lock()


def logger() -> PromptStackLogger:
    with _making:  # `cache` lets threads that come together make one each
        return _logger()


@functools.cache
def _logger() -> PromptStackLogger:
    return PromptStackLogger(**{"exit_timeout": 10.0, **json.loads(os.environ.get("APP_OPTIONS", "{}"))})


if os.environ.get("APP_LOGGING"):
    logging.basicConfig()

if os.environ.get("APP_EARLY"):
    early_prompt = logger().get_prompt("quickstart")
    assert early_prompt is not None, "the backend is down"
    logger().log_prompt(f"import {os.getpid()}", "a")


def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    query = parse_qs(environ["QUERY_STRING"])
    if environ["PATH_INFO"] == "/log":
        accepted = log(query["run"][0], int(query["number"][0]))
        start_response("200 OK" if accepted else "500 Not logged", [("Content-Type", "text/plain")])
        return [str(os.getpid()).encode()]
    start_response("200 OK", [("Content-Type", "application/json")])
    if environ["PATH_INFO"] == "/stats":
        return [json.dumps(logger().get_stats()).encode()]
    return [str(os.getpid()).encode()]


def log(run: str, number: int) -> bool:
    """A prompt fetched before the fork is used after it."""
    time.sleep(PAUSE_SECONDS)
    prompt = logger().get_prompt("quickstart") if os.environ.get("APP_EARLY") else None
    return logger().log_prompt(f"{run} {number}", "a", prompt)
