"""Tasks for Celery's workers, and for the tests that send them."""

from __future__ import annotations

import os
from typing import Any

import celery

import banyan_hp as banyan
from banyan_hp.integrations.celery import instrument

app = celery.Celery("celery_tasks", broker=os.environ.get("BROKER"), backend=os.environ.get("BROKER"))
app.conf.worker_hijack_root_logger = False
instrument(app)

if "URL" in os.environ:
    banyan.configure("psk_local", os.environ["URL"], flush_interval=30)

LOGGED = "logged"  # Redis' counter of the records


def _log(word: str, output: str) -> None:
    banyan.log_prompt(word, output)
    app.backend.client.incr(LOGGED)


@app.task(name="log")
def log(word: Any, before: Any = None) -> Any:
    """Log one record; `before` is what a task before it in a chain has returned, in a chord's end a list."""
    word, before = (before, word) if isinstance(word, list) else (word, before)
    _log(str(word), str(before))
    return word


@app.task(name="fail_twice", bind=True, max_retries=5)
def fail_twice(self: Any, word: str) -> str:
    _log(f"{word} {self.request.retries}", "")
    if self.request.retries < 2:
        raise self.retry(exc=ValueError("not yet"), countdown=0)
    return word


@app.task(name="publish")
def publish(word: str) -> None:
    """Send another task from inside of one."""
    log.apply_async((word,), queue=app.current_task.request.delivery_info["routing_key"])
