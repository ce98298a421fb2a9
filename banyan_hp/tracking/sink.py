"""Where a fault of ours, or of an object that is recorded, ends: counted, logged, never the application's."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Protocol, TypeVar

from ..foreign import is_deliberate

R_co = TypeVar("R_co", covariant=True)


class Sink(Protocol[R_co]):
    """Where finished interactions go. Made for each, or kept; has no state of its own."""

    @property
    def client(self) -> object:
        """Whose it is: steps join the interactions of the same client."""

    def log_interaction(self, interaction: Any) -> R_co:
        """Log it, with its steps."""

    def log_step(self, step: Any) -> object:
        """Log a step that has no interaction, or outlived it."""

    def failed(self, doing: str, error: BaseException) -> None:
        """Count and log what went wrong while a call was followed, and in doing what."""


class Contained:
    """A `with` that lets nothing out but what somebody raises on purpose: the sink counts and logs it."""

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
