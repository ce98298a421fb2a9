"""Responses that are worked out in the background: asked for by one request, fetched by later ones.

The span of the first request stays open until a later one brings the response's end. What is never fetched is
logged as it began when the process ends, or when too many are open.

There is no lock, which a fork could leave held: single operations on the dict are atomic under the GIL.
"""

from __future__ import annotations

import atexit
import os

from .span import Span

MOST = 1_000
NOT_FETCHED = "not fetched"
ENDINGS = frozenset({"completed", "failed", "incomplete", "cancelled"})

_waiting: dict[str, tuple[int, Span]] = {}  # by response id: the process and the span


def wait_for(response_id: str, span: Span) -> None:
    """Keep `span` open until the end of this response is fetched."""
    _waiting[response_id] = (os.getpid(), span)
    for oldest in list(_waiting)[: len(_waiting) - MOST]:
        _give_up(oldest)


def waiting(response_id: str) -> Span | None:
    """The span that was opened for this response; None once it has ended."""
    _, span = _waiting.get(response_id, (0, None))
    return None if span is None or span.finished else span


def forget(response_id: str) -> None:
    """Its end has come."""
    _waiting.pop(response_id, None)


def _give_up(response_id: str) -> None:
    pid, span = _waiting.pop(response_id, (0, None))
    if span is not None and pid == os.getpid():  # a forked child must not log its parent's
        span.finish(ended=NOT_FETCHED)


@atexit.register
def _at_exit() -> None:
    for response_id in list(_waiting):
        _give_up(response_id)
