"""The library's own log lines: one logger, `banyan_hp`, rate-limited, without payloads and keys.

Where the application has set up logging (a handler of `banyan_hp` or above it), a line goes there. Where it
has not, we write the line on stderr ourselves, behind the prefix `banyan_hp: `, as Python's handler of last
resort would without one. `logging.getLogger("banyan_hp")` switches lines off as usual: by its level, or by a
`NullHandler`.

Texts from outside pass a filter of `text` where they arrive, which strikes out keys; here they are cleaned
once more. What a backend says of a record may repeat the record: it is for `last_error`, not for a line.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from .foreign import is_deliberate, type_name
from .text import clean

logger = logging.getLogger("banyan_hp")

EVERY_SECONDS = 60.0
PREFIX = "banyan_hp: "
_LONGEST_ARGUMENT = 1000
MOST_KINDS = 1000
monotonic = time.monotonic
last_said: dict[str, float] = {}
_ending = False
everything = False  # `debug=True`; callers' threads look at this, which costs them nothing
is_off_stderr = False
suppressed_threads: set[int] = set()  # each thread adds and discards only itself, which is atomic


def warn(kind: str, message: str, *args: object, exc_info: bool = False) -> bool:
    """Log a warning, at most one of a kind a minute. Call without a lock held: a handler may call us.

    Arguments are cleaned. What the application's handlers raise goes no further: the caller may be the
    application's own log call.

    Returns:
        Whether it was said, and not held back because one of its kind was said just before.
    """
    now = monotonic()
    if now - last_said.get(kind, float("-inf")) < EVERY_SECONDS:
        return False
    if len(last_said) >= MOST_KINDS:
        last_said.clear()
    last_said[kind] = now
    say(logging.WARNING, message, *args, exc_info=exc_info)
    return True


def say(level: int, message: str, *args: object, exc_info: bool = False) -> None:
    """`warn` at any level, each time."""
    said = tuple(arg if isinstance(arg, (int, float)) else clean(arg, _LONGEST_ARGUMENT) for arg in args)
    logger.disabled = False  # logging.config disables whatever existed before it
    try:
        with suppressed(), _handlers_failing_quietly():
            if logger.hasHandlers():
                logger.log(level, message, *said, exc_info=exc_info)
            elif logger.isEnabledFor(level) and logging.lastResort is not None and not is_off_stderr:
                _print(message % said if said else message, sys.exc_info()[1] if exc_info else None)
    except Exception as error:
        if is_deliberate(error):
            raise


def _print(line: str, error: BaseException | None) -> None:
    """One line on stderr, if there is one.

    Past the stream's buffer: what could not be written would stay in there, and Python would end the process
    with status 120.
    """
    stream: IO[str] | None = sys.stderr
    because = f" ({type_name(error)})" if error is not None else ""
    line = f"{PREFIX}{line}{because}\n"
    try:
        if stream is sys.__stderr__ and stream is not None:
            os.write(stream.fileno(), line.encode(stream.encoding or "ascii", "backslashreplace"))
        elif stream is not None:
            stream.write(line)
            stream.flush()
    except (OSError, ValueError):
        """It is closed."""


# -- everything ----------------------------------------------------------------------------------------------


def show_debug() -> None:
    """From now on log what we do, whatever the level above `banyan_hp` is. For `debug=True`."""
    global everything
    everything = True
    logger.setLevel(logging.DEBUG)


def debugging() -> bool:
    """Whether `debug` says anything: ask where its arguments cost something."""
    return everything or logger.isEnabledFor(logging.DEBUG)


def debug(message: str, *args: object) -> None:
    """What we do and decide, for `debug=True` or an application that logs at this level."""
    if debugging():
        say(logging.DEBUG, message, *args)


def keep_off_stderr(*, quiet: bool = True) -> None:
    """Whether our lines go only where the application wants them, and else nowhere. For `silent=True`."""
    global is_off_stderr
    is_off_stderr = quiet


# -- lines about lines ---------------------------------------------------------------------------------------


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
