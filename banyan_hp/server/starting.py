"""How the backend can be started, for the command line too: needs nothing but the standard library."""

from __future__ import annotations

from enum import Enum

KEYS_VARIABLE = "BANYAN_HP_SERVE_KEYS"
DEMO_KEY = "psk_local"
WELL_KNOWN_KEYS = (DEMO_KEY,)  # good on this machine alone


class RoutingMode(Enum):
    """What a fetched prompt says about experiments when the caller sends sticky values."""

    SERVER = "server"
    """The version chosen for these values, or that none was."""
    CLIENT = "client"
    """All experiments on the prompt, for the client to choose by."""
    NONE = "none"
    """Nothing, like a backend that does not know sticky values."""


ROUTING_MODES = tuple(mode.value for mode in RoutingMode)


class StartError(Exception):
    """The backend can't start. The message is one line that names the file or address and the reason."""
