"""The command `banyan-hp`: one file or folder a command.

A command imports what it needs when it runs, so that each needs only its own extras. Exit codes: 0 for
success, 2 for what the caller has to put right, in one line on stderr; `spool` has more, see
`terminal.EXPLAINED`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

from .._version import __version__
from .experiments import add_experiments
from .keys import add_keys
from .prompts.arguments import add_prompts
from .serve import add_serve
from .spool.arguments import add_spool
from .terminal import CommandError, complain


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code."""
    arguments = _parser().parse_args(argv)
    run: Callable[[argparse.Namespace], int] = arguments.run
    try:
        return run(arguments)
    except CommandError as error:
        complain(str(error))
        return error.code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="banyan-hp", description="Tools of the banyan-hp logging library.")
    parser.add_argument("--version", action="version", version=f"banyan-hp {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    add_serve(commands)
    add_keys(commands)
    add_spool(commands)
    add_prompts(commands)
    add_experiments(commands)
    return parser
