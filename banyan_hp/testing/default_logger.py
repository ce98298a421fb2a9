"""The module functions' default logger, replaced for the time of a test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..clients import banyan
from ..clients.prompt_logger import PromptStackLogger


@contextmanager
def fresh_default_logger() -> Iterator[None]:
    """None in the `with` until one is made; at its end that one ends, and the one before is back.

    What that one can't deliver at once is on disk, or lost with the test's directory.
    """
    before = _exchanged(None)
    try:
        yield
    finally:
        made = _exchanged(before)
        if made is not None:
            made.shutdown(timeout=0)


def _exchanged(logger: PromptStackLogger | None) -> PromptStackLogger | None:
    with banyan._default_lock:
        previous, banyan._default = banyan._default, logger
    return previous
