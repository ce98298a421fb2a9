"""What a server does beside answering: indexing texts, sums of experiments, making room for the days to come.

One thread. Any number of processes may do so over one database: each piece of work is done by one of them.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TypeVar

from sqlalchemy.exc import SQLAlchemyError

from .store.calls import Calls
from .store.database import BusyError, SlowQueryError

logger = logging.getLogger(__name__)

INDEX_CALLS = 500
INDEX_SECONDS = 0.5  # between two looks at what is to be indexed
MAINTAIN_SECONDS = 3600.0
RETRY_SECONDS = 60.0  # where that failed
MOST_GIVEN_WAY = 2.0  # seconds, before each step of indexing
FIRST_SECONDS = 5.0  # that a start waits for room for the calls of these days
_LOOK_SECONDS = 0.02
_STOP_SECONDS = 10.0

T = TypeVar("T")


class Housekeeping:
    """The thread. A context manager.

    Args:
        calls: to look after.
        busy: whether calls are being stored now, which indexing gives way to for a while.
        steps: what else follows intake in steps of up to so many: each returns how many there were.
    """

    def __init__(
        self,
        calls: Calls,
        busy: Callable[[], bool] = lambda: False,
        steps: Sequence[Callable[[int], int]] = (),
    ) -> None:
        self._calls = calls
        self._busy = busy
        self._steps = (calls.index, *steps)
        self._stop = threading.Event()
        self._has_maintained = threading.Event()
        self._thread = threading.Thread(target=self._run, name="banyan_hp-housekeeping", daemon=True)

    def __enter__(self) -> Housekeeping:
        """Begin. Calls that came before there is room for them would move while others read them."""
        self._thread.start()
        self._has_maintained.wait(FIRST_SECONDS)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(_STOP_SECONDS)

    def _run(self) -> None:
        maintain_at = 0.0
        while not self._stop.is_set():
            if time.monotonic() >= maintain_at:
                done = self._tried(self._maintained)
                self._has_maintained.set()
                maintain_at = time.monotonic() + (MAINTAIN_SECONDS if done else RETRY_SECONDS)
            if max(map(self._step, self._steps)) < INDEX_CALLS:
                self._stop.wait(INDEX_SECONDS)

    def _maintained(self) -> bool:
        self._calls.maintain(datetime.now(UTC))
        return True

    def _step(self, step: Callable[[int], int]) -> int:
        self._give_way()
        return self._tried(lambda: step(INDEX_CALLS)) or 0

    def _tried(self, work: Callable[[], T]) -> T | None:
        """What it returns; None: it failed, which keeps nothing else from being done."""
        try:
            return work()
        except (BusyError, SlowQueryError, SQLAlchemyError) as error:
            logger.warning("housekeeping goes on later: %s", str(error).partition("\n")[0])
        except Exception:
            logger.exception("housekeeping goes on later")
        return None

    def _give_way(self) -> None:
        """Both need the interpreter: intake has somebody who waits for it."""
        until = time.monotonic() + MOST_GIVEN_WAY
        while self._busy() and time.monotonic() < until and not self._stop.wait(_LOOK_SECONDS):
            pass
