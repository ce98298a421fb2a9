"""Who routes: the modes that the backend can be started in. Needs nothing but the standard library."""

from __future__ import annotations

from enum import Enum


class RoutingMode(Enum):
    """What the answer to a fetched prompt says of experiments, when the caller sent sticky values."""

    SERVER = "server"
    """The version chosen for these values, or that none was."""
    CLIENT = "client"
    """All experiments on the prompt, for the client to choose by."""
    NONE = "none"
    """Nothing, as a backend that knows no such query."""


ROUTING_MODES = tuple(mode.value for mode in RoutingMode)


class StartError(Exception):
    """The backend can't start. The message is one line that names the file or address and the reason."""
