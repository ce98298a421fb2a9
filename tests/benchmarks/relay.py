"""Carries IP packets between two network namespaces, late, and loses some: what `tc netem` does.

    python -m tests.benchmarks.relay NAMESPACE NAMESPACE SECONDS SHARE

makes a TUN device `wire` in each, says `ready`, and works until its standard input ends. SECONDS is the delay
of a packet, SHARE (0 to 1) how many are lost. Each direction is first in, first out.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import random
import select
import struct
import sys
import time
from collections import deque
from pathlib import Path

_NAMESPACES = Path("/var/run/netns")  # where `ip netns` keeps them
_CLONE_NEWNET = 0x40000000
_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
_MOST_BYTES = 65_536


class Way:
    """One direction."""

    def __init__(self, source: int, target: int, delay: float, lost: float, seed: int) -> None:
        self.source = source
        self._target = target
        self._delay = delay
        self._lost = lost
        self._random = random.Random(seed)
        self._under_way: deque[tuple[float, bytes]] = deque()

    def take(self) -> None:
        """All that is there."""
        while True:
            try:
                packet = os.read(self.source, _MOST_BYTES)
            except BlockingIOError:
                return
            if self._random.random() >= self._lost:
                self._under_way.append((time.monotonic() + self._delay, packet))

    def give(self) -> float | None:
        """What is due; returns the seconds until more is, None if there is nothing."""
        while self._under_way:
            due, packet = self._under_way[0]
            left = due - time.monotonic()
            if left > 0:
                return left
            self._under_way.popleft()
            try:
                os.write(self._target, packet)
            except OSError:  # the device is not up yet, or its queue is full: lost
                continue
        return None


def tun(namespace: str) -> int:
    """A new device `wire` in a namespace, which this thread enters for it; its descriptor does not block."""
    with (_NAMESPACES / namespace).open("rb") as opened:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(opened.fileno(), _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"the namespace {namespace} can't be entered")
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", b"wire", _IFF_TUN | _IFF_NO_PI))
    return device


def carry(one: int, other: int, delay: float, lost: float) -> None:
    """Until standard input ends."""
    ways = [Way(one, other, delay, lost, 1), Way(other, one, delay, lost, 2)]
    while True:
        waits = [seconds for way in ways if (seconds := way.give()) is not None]
        readable, _, _ = select.select([one, other, 0], [], [], min(waits, default=None))
        if 0 in readable:
            return
        for way in ways:
            if way.source in readable:
                way.take()


def main() -> None:
    one, other, delay, lost = sys.argv[1:]
    devices = tun(one), tun(other)
    print("ready", flush=True)
    carry(*devices, float(delay), float(lost))


if __name__ == "__main__":
    main()
