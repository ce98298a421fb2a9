"""Whether the destination takes batches: found out, not assumed. Guarded by the engine's lock."""

from __future__ import annotations

from .compression import Compression

ASK_AGAIN_SECONDS = 30.0
_NEVER = _UNLIMITED = float("inf")
_MOST_PATIENCE = 256
_FINAL = frozenset({404, 405, 410, 501})


class SizeLimit:
    """How large a request may be, in one unit: found out by what passes and what fails.

    After a failure the limit is the largest size that passed, or half of the size that failed. Far below the
    last failed size the limit doubles; near it, it grows slowly, and more seldom with each failure there.
    Once that size passes, everything is forgotten.
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
        if 2 * size > self.value:  # it was full: the next record did not fit, or is as large itself
            self._in_a_row += 1
            if 2 * self.value < self._too_much:
                self.value *= 2
            elif self._in_a_row >= self._patience:
                self._in_a_row = 0
                self.value = max(self.value + 1, self.value * 9 // 8)


class BatchSupport:
    """How records travel: in batches or one by one.

    `auto` sends one empty batch. Only `{"accepted": 0}` means batches; any other response means one by one. A
    response that may be temporary (an outage, a refused key) is asked for again after a while. `always` only
    asks whether batches may be compressed.
    """

    def __init__(self, setting: str, *, may_batch: bool, compression: Compression) -> None:
        self._auto = setting == "auto" and may_batch
        self.batches = setting == "always"
        self.compression = compression
        asks = self._auto or (self.batches and may_batch and compression.allowed)
        self._ask_at = float("-inf") if asks else _NEVER
        self._records = SizeLimit()
        self._bytes = SizeLimit()

    @property
    def limit(self) -> float:
        """The most records in a batch."""
        return self._records.value

    @property
    def byte_limit(self) -> float:
        """The most bytes in a batch of several records."""
        return self._bytes.value

    @property
    def is_limited(self) -> bool:
        return self._records.value < _UNLIMITED

    def failed(self, records: int, size: int) -> None:
        """A batch of this many records and bytes failed as a whole: the next ones are smaller.

        It was too large for something on the way, or one of its records is to blame.
        """
        self._records.failed(records)
        self._bytes.failed(size)

    def worked(self, records: int, size: int) -> None:
        self._records.worked(records)
        self._bytes.worked(size)

    def must_ask(self, now: float) -> bool:
        """Whether the next request is the empty batch that asks."""
        return now >= self._ask_at

    def learn(self, status: int, *, batches: bool, compress: bool, now: float) -> None:
        """Take the response to the empty batch: its status, and what the destination read in it."""
        if self._auto:
            self.batches = batches
        self.compression.offer(offered=batches and compress)
        final = batches or status in _FINAL or 200 <= status < 300
        self._ask_at = _NEVER if final else now + ASK_AGAIN_SECONDS

    def learn_nothing(self, now: float) -> None:
        """No response: one by one for now. Some servers hang up on requests that they don't know."""
        self._ask_at = now + ASK_AGAIN_SECONDS

    def ask_soon(self) -> None:
        """The destination is back: ask again now, if the last response may have been temporary."""
        self._ask_at = float("-inf") if self._ask_at < _NEVER else _NEVER

    def unlearn(self, status: int | None) -> bool:
        """A batch's status says that the endpoint isn't there (after a roll-back, say). True if we ask again.

        Also if another thread has noticed first: this batch began before that.
        """
        if not self._auto or status not in _FINAL:
            return False
        self.batches, self._ask_at = False, float("-inf")
        self.compression.offer(offered=False)
        return True
