"""Whether the destination takes batches: found out, not assumed. Guarded by the engine's lock."""

from __future__ import annotations

from .transport import Response

ASK_AGAIN_SECONDS = 30.0
_FINAL = frozenset({404, 405, 410, 501})


class Batching:
    """How records travel: in batches or one by one.

    `auto` asks with one empty batch. Only its proper answer means batches; any other means one by one. An
    answer that may be a passing one (an outage, a refused key) is asked for again after a while. `always`
    asks only whether batches may be compressed.
    """

    def __init__(self, setting: str, *, may_batch: bool, may_compress: bool = True) -> None:
        self._auto = setting == "auto" and may_batch
        self.batches = setting == "always"
        self.compress = False
        self.compress_proven = False  # whoever refuses a batch refuses it for what it holds
        self._may_compress = may_compress
        self._asks = self._auto or (self.batches and may_batch and may_compress)
        self._known = not self._asks
        self._ask_again_at = float("inf")
        self.limit = float("inf")  # records in a batch

    def failed(self, records: int) -> None:
        """A batch of this many failed as a whole, perhaps for one record: the next ones are smaller."""
        self.limit = max(1, min(self.limit, records) // 2)

    def worked(self, records: int) -> None:
        """A batch of this many was taken."""
        if records >= self.limit:
            self.limit = 2 * records

    def compressed_worked(self) -> None:
        """A compressed batch was accepted."""
        self.compress_proven = True

    def compression_is_refused(self) -> bool:
        """A compressed batch was refused, and accepted in plain text. True if that is news."""
        news, self.compress, self._may_compress = self.compress, False, False
        return news

    def must_ask(self, now: float) -> bool:
        return self._asks and (not self._known or now >= self._ask_again_at)

    def learn(self, response: Response, *, batches: bool, compress: bool, now: float) -> None:
        self._known = True
        if self._auto:
            self.batches = batches
        self.compress = batches and compress and self._may_compress
        final = batches or response.status in _FINAL or 200 <= response.status < 300
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
        self.batches = self.compress = self._known = False
        return True
