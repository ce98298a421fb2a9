"""Whether the destination takes batches: found out, not assumed. Guarded by the engine's lock."""

from __future__ import annotations

from .compression import Compression

ASK_AGAIN_SECONDS = 30.0
_UNLIMITED = float("inf")
_MOST_PATIENCE = 256
_FINAL = frozenset({404, 405, 410, 501})


class SizeLimit:
    """How large a request may be, in one unit: found out by what passes and what fails.

    After a failure it is what passed last, or half of what failed. Far below the size that failed last it
    doubles, near it it grows slowly, and with each failure there more seldom. Once that size passes, all is
    forgotten.
    """

    def __init__(self) -> None:
        self.value = _UNLIMITED
        self._passed = 0.0
        self._too_much = _UNLIMITED  # the size that failed last
        self._patience = 1  # full requests that pass before it grows near that size
        self._in_a_row = 0

    def failed(self, size: float) -> None:
        if self._passed >= size:
            self._passed = 0.0
        half = min(self.value, size) // 2
        if self._passed >= half:
            self._patience = min(2 * self._patience, _MOST_PATIENCE)
        self.value = max(1.0, half, self._passed)
        self._too_much = size
        self._in_a_row = 0

    def worked(self, size: float) -> None:
        self._passed = max(self._passed, size)
        if size >= self._too_much:
            self._too_much, self._patience = _UNLIMITED, 1
        if 2 * size > self.value:  # it was full: what was next did not fit, or is as large itself
            self._grow()

    def _grow(self) -> None:
        self._in_a_row += 1
        if 2 * self.value < self._too_much:
            self.value *= 2
        elif self._in_a_row >= self._patience:
            self._in_a_row = 0
            self.value = max(self.value + 1, self.value * 9 // 8)


class BatchSupport:
    """How records travel: in batches or one by one.

    `auto` asks with one empty batch. Only its proper answer means batches; any other means one by one. An
    answer that may be a passing one (an outage, a refused key) is asked for again after a while. `always`
    asks only whether batches may be compressed.
    """

    def __init__(self, setting: str, *, may_batch: bool, compression: Compression) -> None:
        self._auto = setting == "auto" and may_batch
        self.batches = setting == "always"
        self.compression = compression
        self._asks = self._auto or (self.batches and may_batch and compression.allowed)
        self._known = not self._asks
        self._ask_again_at = float("inf")
        self._records = SizeLimit()
        self._bytes = SizeLimit()

    def failed(self, records: int, size: int) -> None:
        """A batch of this many, and of this many bytes, failed as a whole: the next ones are smaller.

        Perhaps it was too large for something on the way, perhaps it was one record of it.
        """
        self._records.failed(records)
        self._bytes.failed(size)

    @property
    def is_limited(self) -> bool:
        return self._records.value < _UNLIMITED

    def worked(self, records: int, size: int) -> None:
        """A batch of this many, and of this many bytes, was taken."""
        self._records.worked(records)
        self._bytes.worked(size)

    @property
    def limit(self) -> float:
        """Records in a batch, at the most."""
        return self._records.value

    @property
    def byte_limit(self) -> float:
        """Bytes in a batch of several records, at the most."""
        return self._bytes.value

    def must_ask(self, now: float) -> bool:
        return self._asks and (not self._known or now >= self._ask_again_at)

    def learn(self, status: int, *, batches: bool, compress: bool, now: float) -> None:
        self._known = True
        if self._auto:
            self.batches = batches
        self.compression.offer(offered=batches and compress)
        final = batches or status in _FINAL or 200 <= status < 300
        self._ask_again_at = float("inf") if final else now + ASK_AGAIN_SECONDS

    def learn_nothing(self, now: float) -> None:
        """No answer at all: one by one for now. Some servers hang up on what they don't know."""
        self._known = True
        self._ask_again_at = now + ASK_AGAIN_SECONDS

    def ask_soon(self) -> None:
        """The destination is back: an answer that may have been a passing one is asked for again now."""
        if self._ask_again_at < float("inf"):
            self._ask_again_at = 0.0

    def unlearn(self, status: int | None) -> bool:
        """A batch got the answer of an endpoint that isn't there (a roll-back, say). True if we ask again.

        Also when another thread has found out first: the batch was begun before that.
        """
        if not self._auto or status not in _FINAL:
            return False
        self.batches = self._known = False
        self.compression.offer(offered=False)
        return True
