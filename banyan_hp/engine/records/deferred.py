"""The part of a record that is worked out on our threads instead of the caller's.

A record may come with a `Deferred`. It is completed when the record is prepared: before `before_send` sees
it, and before it is encoded for the wire, the spool or the quarantine. The record's size counts what it
holds until then. The engine knows nothing of what is completed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Deferred:
    """What completes a record.

    Attributes:
        complete: takes the frozen body and returns the completed one. It must not change what it is given,
            for two threads may complete the same record at shutdown. If it raises, the record goes as it is.
        size: how many bytes are held for it.
    """

    __slots__ = ("complete", "size")

    def __init__(self, complete: Callable[[dict[str, Any]], dict[str, Any]], size: int = 0) -> None:
        self.complete = complete
        self.size = size
