"""How often somebody without a key may ask: a budget for each address, in this process."""

from __future__ import annotations

import ipaddress
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

_MOST_ADDRESSES = 10_000
_PREFIX = 64  # of an IPv6 address: whoever has one has all of its network
_LONGEST_ADDRESS = 64


class RateLimit:
    """A bucket of tokens for each address; the addresses that have asked last are known.

    Args:
        burst: requests at once.
        per_second: requests that are allowed again for each second.
        clock: monotonic seconds.
    """

    def __init__(self, burst: int, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._burst = burst
        self._per_second = per_second
        self._clock = clock
        self._lock = threading.Lock()
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # and when that was

    def __repr__(self) -> str:
        return f"RateLimit({self._burst}, {self._per_second:g} a second, {len(self._left)} addresses)"

    def wait_of(self, address: str) -> int:
        """0: go on, and it counts. Else the seconds until then."""
        name = _network(address)
        with self._lock:
            now = self._clock()
            left, since = self._left.pop(name, (float(self._burst), now))
            left = min(float(self._burst), left + (now - since) * self._per_second)
            allowed = left >= 1
            self._left[name] = (left - 1 if allowed else left, now)
            if len(self._left) > _MOST_ADDRESSES:
                self._left.popitem(last=False)
        return 0 if allowed else math.ceil((1 - left) / self._per_second)


def _network(address: str) -> str:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address[:_LONGEST_ADDRESS]
    if found.version == 4:
        return address
    return str(ipaddress.ip_network((found, _PREFIX), strict=False))
