"""The group committer: what waits to be stored goes into one transaction, and is answered after its commit.

States of a request's calls: waiting, in the group that is being stored, answered. The waiting ones belong to
the lock, the group to the committer's thread. A crash at any point leaves nothing stored that was not
answered but the group whose commit had come through: its senders repeat it, and repeats are folded.

A group with a record that the database refuses is stored request by request, and a request that fails record
by record: one bad record never takes its neighbours along. Any other failure is the database's, not a
record's: nothing is split, and all of the group's requests are answered as busy, so that they come again.

What comes while a group is stored is the next group. Where a store takes few large groups better than many
small ones, one that could begin waits a while for the requests that are being read (`coming`), and for
nothing else: a client that is alone does not wait.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic

from typing_extensions import TypeVar

from ..store.calls import Call, Stored
from ..store.database import BusyError, refuses_values

logger = logging.getLogger(__name__)

MOST_CALLS = 5_000  # of a group
MOST_BYTES = 16 * 1024 * 1024
MOST_WAITING_BYTES = 128 * 1024 * 1024  # of all that waits: a database that hangs must not fill the memory
_STOP_SECONDS = 10.0

T = TypeVar("T", default=Call)

Verdict = Stored | Exception
"""What became of a call, or why the database refused it."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    calls: Sequence[Any]
    size: int
    future: Future[list[Verdict]]


class Committer(Generic[T]):
    """Stores calls, or spans, for many requests at once. A context manager whose thread ends with it.

    Args:
        append: stores all that was prepared in one transaction, or nothing; for each, what became of it.
        prepared: does before that what needs no database, in the thread that has something stored.
        gather_seconds: how long a group waits at most for requests that are being read.
    """

    def __init__(
        self,
        append: Callable[[Sequence[Any]], Sequence[Stored]],
        prepared: Callable[[Sequence[T]], Sequence[Any]] = list,
        gather_seconds: float = 0.0,
    ) -> None:
        self._append = append
        self._prepared = prepared
        self._gather_seconds = gather_seconds
        self._coming = 0
        self._waiting: deque[_Waiting] = deque()
        self._waiting_bytes = 0
        self._changed = threading.Condition()
        self._stopping = False
        self._storing = False
        self._thread = threading.Thread(target=self._run, name="banyan_hp-commit", daemon=True)

    def __enter__(self) -> Committer[T]:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join(_STOP_SECONDS)

    def store(self, calls: Sequence[T], size: int = 0) -> Future[list[Verdict]]:
        """Have calls stored, which came in so many bytes; the future has one verdict for each.

        It raises `BusyError` if the database can't be used now, or if too much waits for it already.
        """
        future: Future[list[Verdict]] = Future()
        waiting = _Waiting(self._prepared(calls), size, future)
        with self._changed:
            if self._stopping:
                future.set_exception(BusyError("the backend stops"))
                return future
            if self._waiting and self._waiting_bytes + size > MOST_WAITING_BYTES:
                future.set_exception(BusyError("too many calls wait to be stored"))
                return future
            self._waiting.append(waiting)
            self._waiting_bytes += size
            self._changed.notify()
        return future

    @contextmanager
    def coming(self) -> Iterator[None]:
        """While a request is read whose calls are going to be stored."""
        with self._changed:
            self._coming += 1
        try:
            yield
        finally:
            with self._changed:
                self._coming -= 1
                self._changed.notify()

    def busy(self) -> bool:
        """Whether calls are being stored now."""
        return self._storing

    def _run(self) -> None:
        while group := self._next_group():
            try:
                self._store(group)
            except Exception as error:  # noqa: BLE001 - the thread's outermost loop; it is logged
                reason = error if isinstance(error, BusyError) else _trouble(error)
                for each in group:
                    if not each.future.done():
                        each.future.set_exception(reason)

    def _next_group(self) -> list[_Waiting]:
        """What waits, as far as it fits a group; empty at the end."""
        with self._changed:
            self._storing = False
            self._changed.wait_for(lambda: self._waiting or self._stopping)
            self._storing = True
            if self._gather_seconds:
                self._changed.wait_for(self._is_gathered, self._gather_seconds)
            group: list[_Waiting] = []
            calls = size = 0
            while self._waiting:
                calls += len(self._waiting[0].calls)
                size += self._waiting[0].size
                if group and (calls > MOST_CALLS or size > MOST_BYTES):
                    break
                group.append(self._waiting.popleft())
                self._waiting_bytes -= group[-1].size
            return group

    def _is_gathered(self) -> bool:
        """Whether waiting makes the group no larger."""
        many = sum(len(each.calls) for each in self._waiting)
        return self._stopping or not self._coming or many >= MOST_CALLS or self._waiting_bytes >= MOST_BYTES

    def _store(self, group: list[_Waiting]) -> None:
        try:
            stored = iter(self._append([call for each in group for call in each.calls]))
        except Exception as error:
            if not refuses_values(error):
                raise
            for each in group:
                each.future.set_result(self._verdicts(each.calls))
        else:
            for each in group:
                each.future.set_result([next(stored) for _ in each.calls])

    def _verdicts(self, calls: Sequence[Any]) -> list[Verdict]:
        """Those of one request."""
        try:
            return list(self._append(calls))
        except Exception as error:
            if not refuses_values(error):
                raise
            return [error] if len(calls) == 1 else [self._verdicts([call])[0] for call in calls]


def _trouble(error: Exception) -> BusyError:
    """Senders repeat what is not stored for a reason that is not theirs."""
    logger.error("calls could not be stored", exc_info=error)
    return BusyError(str(getattr(error, "orig", None) or error).partition("\n")[0])
