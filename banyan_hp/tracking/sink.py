"""What a span needs of the client that logs it, and what keeps faults of recording from the application."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Protocol, TypeVar

from ..foreign import is_deliberate

R_co = TypeVar("R_co", covariant=True)


class Sink(Protocol[R_co]):
    """Logs finished spans to one client. Has no state of its own; the spans' types are above this file."""

    @property
    def client(self) -> object:
        """The client: steps join the open interactions of the same one."""

    @property
    def session_id(self) -> Any:
        """The session that all its records belong to; None if there is no such one."""

    def log_interaction(self, interaction: Any) -> R_co:
        """Log it, with its steps."""

    def log_step(self, step: Any) -> object:
        """Log a step that has no interaction, or that outlived it."""

    def score(self, interaction: Any, name: Any, value: Any, comment: Any, at: Any) -> R_co:
        """Score its record, by the client's `score`."""

    def failed(self, doing: str, error: BaseException) -> None:
        """Count and log an error of recording; `doing` says what failed."""


class Contained:
    """A `with` whose errors the sink counts and logs; only what stops the thread on purpose passes."""

    __slots__ = ("_doing", "_sink")

    def __init__(self, sink: Sink[Any], doing: str) -> None:
        self._sink = sink
        self._doing = doing

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if error is None or is_deliberate(error):
            return False
        self._sink.failed(self._doing, error)
        return True
