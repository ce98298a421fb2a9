"""Logging from Celery tasks.

    pip install celery
    export BANYAN_API_KEY=psk_… BANYAN_BASE_URL=http://127.0.0.1:8787
    export CELERY_BROKER_URL=filesystem:// CELERY_BROKER_DIRECTORY=/tmp/celery-broker   # or redis://…, amqp://…
    celery --app celery_app worker --concurrency 2        # in examples/
    python -c 'from celery_app import ask; ask("Where is my order?", "ada")'

`instrument(app)` has each task run in the context of whoever published it: the record that `answer` logs has
the user that `ask` knew.

The pool's processes are forked: each makes threads and connections of its own at its first record. They end
past `atexit`, but drain all the same: at a warm shutdown (SIGTERM to the main process), and whenever one is
replaced (`worker_max_tasks_per_child`).

A cold shutdown (SIGTERM twice, SIGQUIT) and a time limit kill the process on the spot. Where records must
survive that, set `durability="disk"` in `configure()`.
"""

import os
import time
from pathlib import Path

from celery import Celery

import banyan_hp as banyan
from banyan_hp.integrations.celery import instrument

app = Celery("celery_app")
instrument(app)

if app.conf.broker_url == "filesystem://":  # for a laptop: a directory instead of a broker
    directory = Path(os.environ["CELERY_BROKER_DIRECTORY"])
    for name in ("queue", "processed", "control"):
        (directory / name).mkdir(parents=True, exist_ok=True)
    app.conf.broker_transport_options = {
        "data_folder_in": str(directory / "queue"),
        "data_folder_out": str(directory / "queue"),
        "processed_folder": str(directory / "processed"),
        "control_folder": str(directory / "control"),
    }


def call_a_model(question: str) -> str:
    """Stands in for your model."""
    return question[::-1]


def ask(question: str, user: str) -> None:
    """What a web request does."""
    with banyan.context(user_id=user):
        answer.delay(question)


@app.task
def answer(question: str) -> str:
    """Answer and log. A task that must know that its record has arrived passes `blocking=True`."""
    started = time.perf_counter()
    text = call_a_model(question)
    banyan.log_prompt(
        input=question,
        output=text,
        prompt_name="answer",
        duration_ms=(time.perf_counter() - started) * 1000,
        metadata={"pid": os.getpid()},
    )
    return text
