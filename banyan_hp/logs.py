"""The library's own log lines: one logger, rate-limited, without payloads.

Texts from outside pass a filter of `text` where they arrive, which strikes out keys; here they are cleaned
once more. Silent unless the application configures logging: a library does not write to stderr by itself.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from .foreign import is_deliberate
from .text import clean

logger = logging.getLogger("banyan_hp")
logger.addHandler(logging.NullHandler())

EVERY_SECONDS = 60.0
_LONGEST_ARGUMENT = 1000
_last_said: dict[str, float] = {}
_ending = False
suppressed_threads: set[int] = set()  # each thread adds and discards only itself, which is atomic


def warn(kind: str, message: str, *args: object, exc_info: bool = False) -> None:
    """Log a warning, at most one of a kind a minute. Call without a lock held: a handler may call us.

    Arguments are cleaned. What the application's handlers raise goes no further: the caller may be the
    application's own log call.
    """
    now = time.monotonic()
    if now - _last_said.get(kind, float("-inf")) < EVERY_SECONDS:
        return
    _last_said[kind] = now
    said = [arg if isinstance(arg, (int, float)) else clean(arg, _LONGEST_ARGUMENT) for arg in args]
    logger.disabled = False  # logging.config disables whatever existed before it
    try:
        with suppressed(), _handlers_failing_quietly():
            logger.warning(message, *said, exc_info=exc_info)
    except Exception as error:
        if is_deliberate(error):
            raise


_quiet = logging.NullHandler()


def keep_off_stderr(*, quiet: bool = True) -> None:
    """Whether our lines go only where the application wants them, and else nowhere. For `silent=True`."""
    (logger.addHandler if quiet else logger.removeHandler)(_quiet)


def process_is_ending() -> None:
    """From now on, handlers that have lost their streams are not reported."""
    global _ending
    _ending = True


@contextmanager
def _handlers_failing_quietly() -> Iterator[None]:
    """At the end of the process, a handler whose stream is closed prints no traceback about our line."""
    if not _ending:
        yield
        return
    before, logging.raiseExceptions = logging.raiseExceptions, False
    try:
        yield
    finally:
        logging.raiseExceptions = before


@contextmanager
def suppressed() -> Iterator[None]:
    """Keeps what this thread logs inside, ourselves or a library, from coming back as a record.

    An application may send its log lines through us. Each request of ours makes a line at level DEBUG, which
    would make a record, which would make a request, without end.
    """
    me = threading.get_ident()
    if me in suppressed_threads:
        yield
        return
    suppressed_threads.add(me)
    try:
        yield
    finally:
        suppressed_threads.discard(me)


def is_suppressed() -> bool:
    """Whether the calling thread is inside `suppressed`."""
    return bool(suppressed_threads) and threading.get_ident() in suppressed_threads


def forget_threads() -> None:
    """In a forked child: the parent's threads are gone, and new ones may get their numbers."""
    suppressed_threads.clear()
