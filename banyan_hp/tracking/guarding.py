"""Where a fault of ours, or of an object that is recorded, ends: counted, logged, never the application's."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any

from ..foreign import is_deliberate

if TYPE_CHECKING:
    from .sinks import Sink


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
