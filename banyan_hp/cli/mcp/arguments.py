"""The command line of `banyan-hp mcp`. The SDK, an extra, is imported when it runs."""

from __future__ import annotations

import signal
import sys
from argparse import Namespace
from typing import TYPE_CHECKING

from ...errors import BanyanHPError
from ..options import add_command
from ..terminal import DONE, WRONG, CommandError, complain

if TYPE_CHECKING:
    from ..options import Commands

_EXTRA = ("anyio", "mcp", "mcp_types", "pydantic", "pydantic_core")


def add_mcp(commands: Commands) -> None:
    """Add `mcp` with its options."""
    about = "let agents read the backend: a server of the Model Context Protocol on stdin and stdout"
    add_command(commands, "mcp", about, _run, json=False)


def _run(arguments: Namespace) -> int:
    try:
        from .serving import serve
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in _EXTRA:
            raise
        why = f"mcp needs the SDK of the Model Context Protocol, 2.0 or later ({error})"
        raise CommandError(f"{why}: pip install 'banyan-hp[mcp]'", WRONG) from error
    _warn(arguments.base_url)
    # Ctrl-C ends the process on the spot: the SDK would first wait for the thread that reads stdin.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    serve(arguments.base_url)
    return DONE


def _warn(base_url: str | None) -> None:
    """Say on stderr what will be wrong. The server starts all the same: a key may be made later."""
    from ...clients.configuration import resolved_identity

    if sys.stdin.isatty():
        complain("mcp is started by an agent, and reads its messages on stdin; Ctrl-C ends it")
    try:
        resolved_identity(None, base_url, None, needed=True)
    except BanyanHPError as error:
        complain(str(error))
