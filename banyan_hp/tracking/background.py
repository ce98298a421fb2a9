"""Responses that are worked out in the background: asked for by one request, fetched by later ones.

The span of the first request stays open until a later one brings the response's end. What is never fetched is
logged as it began when the process ends, or when too many are open.
"""

from __future__ import annotations

import atexit
import os
from collections import OrderedDict
from threading import RLock

from .span import Span

MOST = 1_000
NOT_FETCHED = "not fetched"
ENDINGS = frozenset({"completed", "failed", "incomplete", "cancelled"})

_lock = RLock()  # re-entrant: the garbage collector may have a record made while it is held
_waiting: OrderedDict[str, tuple[int, Span]] = OrderedDict()  # by response id: the process and the span


def wait_for(response_id: str, span: Span) -> None:
    """Keep `span` open until the end of this response is fetched."""
    with _lock:
        _waiting[response_id] = (os.getpid(), span)
        _, oldest = _waiting.popitem(last=False)[1] if len(_waiting) > MOST else (0, None)
    if oldest is not None:
        oldest.finish(ended=NOT_FETCHED)


def waiting(response_id: str) -> Span | None:
    """The span that was opened for this response."""
    with _lock:
        span = _waiting.get(response_id, (0, None))[1]
    return None if span is None or span.finished else span


def forget(response_id: str) -> None:
    """Its end has come."""
    with _lock:
        _waiting.pop(response_id, None)


@atexit.register
def _at_exit() -> None:
    with _lock:
        left = list(_waiting.values())
        _waiting.clear()
    for pid, span in left:
        if pid == os.getpid():
            span.finish(ended=NOT_FETCHED)
