"""What the engine needs to know of a backend: how to make requests and how to read responses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from .http.response import Response
from .http.transport import Request
from .records.encode import JSONValue
from .records.outcome import Verdict
from .records.record import Record


class Destination(Protocol):
    """A backend and its wire format. Stateless: one object serves all threads.

    Attributes:
        base_url: where it is.
        identity: what tells it from other destinations, apart from the key: URL, project or organisation.
        key: the credential; it names the spool's directory by a fingerprint and is never written.
        may_batch: whether asking for a batch endpoint makes sense; False for hosts known to have none.
        takes_only_batches: records travel in batches, and compressed, without asking.
    """

    base_url: str
    identity: tuple[str, ...]
    key: str
    may_batch: bool
    takes_only_batches: bool

    @property
    def urls(self) -> Sequence[str]:
        """One of each host that requests go to; the first is the `base_url`."""

    def separate(self, records: Sequence[Record]) -> Sequence[Sequence[Record]]:
        """The same records, in groups that one request can carry; where all can go together, one group."""

    def single(self, record: Record) -> Request:
        """The request that delivers one encoded record."""

    def batch(
        self, records: Sequence[Record], *, compress: bool, values: Sequence[JSONValue] | None = None
    ) -> Request:
        """The request that delivers several records; with none, a question for batch support.

        Args:
            records: they are encoded already,
            compress: whether the request may travel compressed.
            values: or this is what they hold, to be encoded as a whole. The bytes are the same.

        Raises:
            TypeError, ValueError, RecursionError: one of the values can't be encoded, or they can't go
                together.
        """

    def verdicts(self, records: Sequence[Record], response: Response, now: float) -> list[Verdict]:
        """What a batch's response means for each record, or one verdict for all of them.

        `now` is the wall clock, for a `Retry-After` that is a date.
        """

    def verdict(self, response: Response, now: float) -> Verdict:
        """What the response to a single record means."""

    def takes_batches(self, response: Response) -> tuple[bool, bool]:
        """By the response to an empty batch: whether batches are accepted, and whether compressed."""

    def key_check(self) -> Request | None:
        """A request that checks the key without writing anything, if there is one."""
