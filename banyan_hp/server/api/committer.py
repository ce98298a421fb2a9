"""The group committer: what waits to be stored goes into one transaction, and is answered after its commit.

States of a request's calls: waiting, in the group that is being stored, answered. The waiting ones belong to
the lock, the group to the committer's thread. A crash at any point leaves nothing stored that was not
answered but the group whose commit had come through: its senders repeat it, and repeats are folded.

A group that fails is stored request by request, and a request that fails record by record: one bad record
never takes its neighbours along. What is busy, rather than bad, is not split but answered as busy.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future

from sqlalchemy.exc import SQLAlchemyError

from ..store.calls import Call, Calls, Stored
from ..store.database import BusyError

logger = logging.getLogger(__name__)

MOST_CALLS = 5_000  # of a group
_STOP_SECONDS = 10.0

Verdict = Stored | SQLAlchemyError
"""What became of a call, or why the database refused it."""
_Waiting = tuple[Sequence[Call], "Future[list[Verdict]]"]


class Committer:
    """Stores calls for many requests at once. A context manager: its thread ends with the block."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._waiting: deque[_Waiting] = deque()
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="banyan_hp-commit", daemon=True)

    def __enter__(self) -> Committer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join(_STOP_SECONDS)

    def store(self, calls: Sequence[Call]) -> Future[list[Verdict]]:
        """Have calls stored; the future has one verdict for each.

        It raises `BusyError` if the database can't be used now.
        """
        future: Future[list[Verdict]] = Future()
        with self._changed:
            if self._stopping:
                future.set_exception(BusyError("the backend stops"))
                return future
            self._waiting.append((calls, future))
            self._changed.notify()
        return future

    def _run(self) -> None:
        while group := self._next_group():
            try:
                self._store(group)
            except Exception as error:
                logger.exception("calls could not be stored")
                for _, future in group:
                    if not future.done():
                        future.set_exception(error)

    def _next_group(self) -> list[_Waiting]:
        """What waits, as far as it fits a group; empty at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._stopping)
            group: list[_Waiting] = []
            size = 0
            while self._waiting and (not group or size + len(self._waiting[0][0]) <= MOST_CALLS):
                group.append(self._waiting.popleft())
                size += len(group[-1][0])
            return group

    def _store(self, group: list[_Waiting]) -> None:
        try:
            stored = iter(self._calls.append([call for calls, _ in group for call in calls]))
        except BusyError as error:
            for _, future in group:
                future.set_exception(error)
        except SQLAlchemyError:
            for calls, future in group:
                self._store_alone(calls, future)
        else:
            for calls, future in group:
                future.set_result([next(stored) for _ in calls])

    def _store_alone(self, calls: Sequence[Call], future: Future[list[Verdict]]) -> None:
        try:
            future.set_result(list(self._calls.append(calls)))
        except BusyError as error:
            future.set_exception(error)
        except SQLAlchemyError as error:
            if len(calls) == 1:
                future.set_result([error])
            else:
                self._store_each(calls, future)

    def _store_each(self, calls: Sequence[Call], future: Future[list[Verdict]]) -> None:
        verdicts: list[Verdict] = []
        for call in calls:
            try:
                verdicts += self._calls.append([call])
            except BusyError as error:
                future.set_exception(error)
                return
            except SQLAlchemyError as error:
                verdicts.append(error)
        future.set_result(verdicts)
