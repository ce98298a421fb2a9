"""Where a fault of ours ends: counted and logged, never the application's."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .sinks import Sink


class Contained:
    """A `with` that lets no Exception out: the sink counts and logs it, with what was being done."""

    __slots__ = ("_doing", "_sink")

    def __init__(self, sink: Sink[Any], doing: str) -> None:
        self._sink = sink
        self._doing = doing

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if not isinstance(error, Exception):
            return False
        self._sink.failed(self._doing)
        return True
