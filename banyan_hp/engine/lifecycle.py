"""The states of an engine in one process, and the moves between them.

    NEW        no thread, no connection, no descriptor, no file
    RUNNING    from the first record on: threads, pooled connections, leases on segments of the spool
    CLOSING    as RUNNING, but accepts nothing more; what waits is sent
    FINISHING  the final write: threads stop, and what was not delivered goes to disk
    ENDED      as NEW, for ever: shut down by the application, or succeeded by another engine
    LEAVING    as ENDED, but the end of the process did it: what is still logged goes to disk at once

A child that was forked from an engine that accepts is NEW; from any other one it is ENDED or LEAVING.
"""

from __future__ import annotations

import enum

from .sync import Lock


class State(enum.Enum):
    """See the module."""

    NEW = "new"
    RUNNING = "running"
    CLOSING = "closing"
    FINISHING = "finishing"
    ENDED = "ended"
    LEAVING = "leaving"


class Cause(enum.Enum):
    """Why an engine accepts nothing more."""

    SHUTDOWN = "shutdown"
    SUCCESSOR = "successor"
    EXIT = "exit"


MOVES: dict[State, frozenset[State]] = {
    State.NEW: frozenset({State.RUNNING, State.CLOSING}),
    State.RUNNING: frozenset({State.CLOSING}),
    State.CLOSING: frozenset({State.FINISHING}),
    State.FINISHING: frozenset({State.ENDED, State.LEAVING}),
    State.ENDED: frozenset(),
    State.LEAVING: frozenset(),
}
_ACCEPTING = frozenset({State.NEW, State.RUNNING})
_OVER = frozenset({State.ENDED, State.LEAVING})


class IllegalMoveError(Exception):
    """The engine's own code asked for a move that the table does not have."""


class Lifecycle:
    """One engine's state in one process. Guarded by the engine's lock; reading an attribute needs none.

    Attributes:
        state: where it is.
        cause: why it accepts nothing more; None while it accepts.
        accepting: whether records are accepted. Kept beside the state: each log call reads it.
        stopped: whether sending is over, likewise.
        over: whether all is over. An attribute, too: Ctrl-C can come at a call, not at reading one.
    """

    __slots__ = ("_lock", "accepting", "cause", "over", "state", "stopped")

    def __init__(self, lock: Lock, state: State = State.NEW, cause: Cause | None = None) -> None:
        self._lock = lock
        self.cause = cause
        self._enter(state)

    def _enter(self, state: State) -> None:
        """No Ctrl-C comes between these: a signal handler runs behind a call, not a store."""
        accepting, over = state in _ACCEPTING, state in _OVER
        stopped = over or state is State.FINISHING
        self.state, self.accepting, self.stopped, self.over = state, accepting, stopped, over

    def move(self, to: State) -> None:
        """Go there; asking for the present state changes nothing. Call with the lock held.

        Raises:
            IllegalMoveError: there is no way from the present state.
        """
        self._lock.assert_held()
        if to is self.state:
            return
        if to not in MOVES[self.state]:
            raise IllegalMoveError(f"{self.state.name} to {to.name}")
        self._enter(to)

    def begin(self) -> None:
        """The first record has come, or a backlog is to be sent. Call with the lock held."""
        if self.state is State.NEW:
            self.move(State.RUNNING)

    def close(self, cause: Cause) -> bool:
        """Accept nothing more; whether it did until now. Call with the lock held.

        A successor's claim replaces an earlier cause: from then on it gets the records.
        """
        first = self.accepting
        if first or cause is Cause.SUCCESSOR:
            self.cause = cause
        if first:
            self.move(State.CLOSING)
        return first

    def end(self) -> None:
        """The final write is over. Call with the lock held."""
        if not self.over:
            self.move(State.LEAVING if self.by_exit else State.ENDED)

    @property
    def by_exit(self) -> bool:
        """Whether the end of the process closed it, not the application."""
        return self.cause is Cause.EXIT

    def in_child(self, lock: Lock) -> Lifecycle:
        if self.accepting:
            return Lifecycle(lock)
        return Lifecycle(lock, State.LEAVING if self.by_exit else State.ENDED, self.cause)
