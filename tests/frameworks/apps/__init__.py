"""One application in three frameworks, for real servers. The same addresses in each:

/ask/7       logs twice: in the handler, and in a thread that was handed the context
/stream/7    logs for each of three parts, and when the stream is closed
/broken/7    raises; the page for the error logs
/healthz     the process id
"""

from __future__ import annotations

import contextvars
import threading

import banyan_hp as banyan

PARTS = 3


def log(number: int, where: str) -> None:
    banyan.log_prompt(f"{number} {where}", "a")


def log_twice(number: int) -> None:
    log(number, "handler")
    run = contextvars.copy_context().run
    thread = threading.Thread(target=run, args=(log, number, "thread"))
    thread.start()
    thread.join()
