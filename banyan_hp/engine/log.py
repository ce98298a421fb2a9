"""The library's own log lines: one logger, rate-limited, no payloads, no keys.

Silent unless the application configures logging: a library does not write to stderr by itself.
"""

from __future__ import annotations

import logging
import time

logger = logging.getLogger("banyan_hp")
logger.addHandler(logging.NullHandler())

EVERY_SECONDS = 60.0
_last_said: dict[str, float] = {}


def warn(kind: str, message: str, *args: object, exc_info: bool = False) -> None:
    """Log a warning, at most one of a kind a minute. Call without a lock held: a handler may call us."""
    now = time.monotonic()
    if now - _last_said.get(kind, float("-inf")) < EVERY_SECONDS:
        return
    _last_said[kind] = now
    logger.warning(message, *args, exc_info=exc_info)
