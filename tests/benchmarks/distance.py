"""A network of the benchmarks' own, with latency and loss: two namespaces, and a link between them.

    near (198.18.0.1): the system under measurement    ======    far (198.18.0.2): the sink

The link delays and loses packets by `tc netem`. Where the kernel has none, `relay` carries them between two
TUN devices and does the same. Either way they are real packets of the kernel's own TCP. Linux only, and
only for root with iproute2 (`obstacle()` says what is missing). The namespaces go away with the network.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.loopback import DISTANT

_NEAR = "198.18.0.1"
_MASK = 30
_RELAYED = 10_000  # packets that a device keeps for the relay
_START_SECONDS = 20.0
_ROOT = Path(__file__).resolve().parents[2]
_numbers = itertools.count()


@dataclass(frozen=True)
class Distance:
    """`round_trip_ms`: half of it each way. `loss_percent`: of the packets of each direction."""

    round_trip_ms: float
    loss_percent: float = 0.0


class Network:
    """Both ends and the link, to be used as a context manager.

    Attributes:
        near, far: what to put before a command that is to run there.
        address: of the far end.
        means: what delays and loses the packets.

    Raises:
        OSError: it can't be made; the message says why.
    """

    address = DISTANT

    def __init__(self, distance: Distance) -> None:
        self._distance = distance
        self._stack = ExitStack()
        name = f"banyan-hp-bench-{os.getpid()}-{next(_numbers)}"
        self._ends = (f"{name}-near", f"{name}-far")
        self.near, self.far = (["ip", "netns", "exec", end] for end in self._ends)
        self.means = "tc netem"

    def __enter__(self) -> Network:
        with ExitStack() as undo:
            for end in self._ends:
                _run("ip", "netns", "add", end)
                undo.callback(_run, "ip", "netns", "delete", end)
            try:
                self._link_by_netem()
            except OSError as error:
                if "qdisc" not in str(error):
                    raise
                self.means = f"a relay between TUN devices, as there is no netem here ({error})"
                self._link_by_relay(undo)
            for end, address in zip(self._ends, (_NEAR, DISTANT), strict=True):
                _run(*_IP, end, "address", "add", f"{address}/{_MASK}", "dev", "wire")
                for device in ("lo", "wire"):
                    _run(*_IP, end, "link", "set", device, "up")
            self._stack = undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _link_by_netem(self) -> None:
        near, far = self._ends
        _run(*_IP, near, "link", "add", "wire", "type", "veth", "peer", "name", "wire", "netns", far)
        delay, loss = f"{self._distance.round_trip_ms / 2:g}ms", f"{self._distance.loss_percent:g}%"
        try:
            for end in self._ends:
                netem = ("netem", "limit", "100000", "delay", delay, "loss", loss)
                _run("tc", "-netns", end, "qdisc", "add", "dev", "wire", "root", *netem)
        except OSError:
            _run(*_IP, near, "link", "delete", "wire")
            raise

    def _link_by_relay(self, undo: ExitStack) -> None:
        figures = (str(self._distance.round_trip_ms / 2 / 1_000), str(self._distance.loss_percent / 100))
        relay = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.relay", *self._ends, *figures],
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        undo.callback(relay.communicate, timeout=_START_SECONDS)  # its input ends, and with it the relay
        assert relay.stdout is not None
        assert relay.stderr is not None
        if not relay.stdout.readline():
            raise OSError(f"no TUN devices either: {_last_line(relay.stderr.read())}")
        for end in self._ends:
            _run(*_IP, end, "link", "set", "wire", "txqueuelen", str(_RELAYED))


_IP = ("ip", "-netns")


def obstacle() -> str | None:
    """Why there can be no such network here, in a sentence; None if there can."""
    missing = [tool for tool in ("ip", "tc") if shutil.which(tool) is None]
    if missing:
        return f"{' and '.join(missing)} not found: apt-get install iproute2"
    try:
        with Network(Distance(1)):
            return None
    except OSError as error:
        return f"no network of our own is permitted here: {error}"


def means() -> str:
    """For the report: what makes the distance."""
    with Network(Distance(1)) as network:
        return f"latency and loss by {network.means}"


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(_last_line(done.stderr) or f"{command[0]} failed")


def _last_line(text: str) -> str:
    return text.strip().rpartition("\n")[2]
