"""Jobs for RQ's workers; the logger is made, and first used, in the work horse."""

from __future__ import annotations

import functools
import json
import os

from banyan_hp import PromptStackLogger


@functools.cache
def logger() -> PromptStackLogger:
    options = {"exit_timeout": 10.0, **json.loads(os.environ.get("APP_OPTIONS", "{}"))}
    return PromptStackLogger("psk_local", os.environ["URL"], **options)


def log(number: int) -> None:
    assert logger().log_prompt("q", "a", metadata={"number": number})


def log_and_fail(number: int) -> None:
    log(number)
    raise ValueError(number)


def log_and_vanish(number: int) -> None:
    """As a job that is killed for its memory does."""
    log(number)
    os._exit(1)
