"""What is sent to a collector, before it is bytes."""

from __future__ import annotations

from typing import NamedTuple

from .attributes import Attributes

INTERNAL, CLIENT = 1, 3
INFO = 9


class Span(NamedTuple):
    """Ids are hex digits, the parent's may be empty; times are in nanoseconds since 1970."""

    trace: str
    span: str
    parent: str
    name: str
    kind: int
    start: int
    end: int
    attributes: Attributes
    failure: str | None


class LogRecord(NamedTuple):
    """Likewise; trace and span may be empty."""

    time: int
    trace: str
    span: str
    event: str
    attributes: Attributes
    severity: int = INFO
