"""Whether requests travel compressed: who may compress, who has refused it, and what is worth it.

`Compression` is guarded by the engine's lock; the functions are pure.
"""

from __future__ import annotations

import ipaddress
import zlib
from collections.abc import Sequence
from urllib.parse import urlsplit

from ..records.outcome import Outcome, Verdict

_LEVEL = 1
_GZIP = 16 + zlib.MAX_WBITS
_WORTH_IT_FROM = 1024  # bytes
_REFUSALS = (400, 403, 415)


class Compression:
    """Batches are compressed if the settings allow it, the destination offers it, and nobody refused it."""

    def __init__(self, *, allowed: bool) -> None:
        self.allowed = allowed  # by the settings, and until a compressed batch is refused
        self.active = False  # the next batch is compressed
        self._proven = False  # a compressed batch was accepted: later refusals are about the content

    def offer(self, *, offered: bool) -> None:
        """The destination's response to an empty batch offers compression, or does not."""
        self.active = offered and self.allowed

    def worked(self) -> None:
        self._proven = True

    def refused(self) -> bool:
        """A compressed batch was refused, and accepted in plain text. True if that is new."""
        is_new, self.active, self.allowed = self.active, False, False
        return is_new

    def may_explain(self, verdicts: Sequence[Verdict]) -> bool:
        """Whether a compressed batch may have been refused because it was compressed.

        The API's own refusal is about the batch's content, if the API has unpacked others.
        """
        if len(verdicts) > 1 or verdicts[0].status not in _REFUSALS:
            return False
        return verdicts[0].outcome is not Outcome.REFUSED or not self._proven


def may_compress(setting: str, url: str) -> bool:
    """Whether the settings allow it for this URL: on this machine bytes are free, and compressing is not."""
    return setting == "always" or (setting == "auto" and not _is_loopback(urlsplit(url).hostname or ""))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def is_worth_it(size: int) -> bool:
    """Whether a body of this many bytes gains by it."""
    return size >= _WORTH_IT_FROM


def compressed(body: bytes) -> bytes:
    """In gzip's format."""
    return zlib.compress(body, _LEVEL, _GZIP)
