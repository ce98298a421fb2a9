"""The command `banyan-hp`: one file or folder a command.

A command imports what it needs when it runs, so that each needs only its own extras. Exit codes: 0 for
success, 2 for what the caller has to put right, in one line on stderr; `spool` has more, see
`terminal.EXPLAINED`.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from .._version import __version__
from ..logs import keep_off_stderr
from ..settings import truthy_env
from .db import add_db
from .delete import add_delete
from .doctor.arguments import add_doctor
from .experiments.arguments import add_experiments
from .export import add_export
from .help import add_help
from .keys import add_keys
from .mcp.arguments import add_mcp
from .prompts.arguments import add_prompts
from .serve import add_serve
from .spool.arguments import add_spool
from .tail import add_tail
from .terminal import DONE, CommandError, complain


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code."""
    arguments = _parser().parse_args(argv)
    if not truthy_env("BANYAN_HP_DEBUG"):
        keep_off_stderr()  # commands report what they find themselves
    run: Callable[[argparse.Namespace], int] = arguments.run
    try:
        code = run(arguments)
        sys.stdout.flush()
        return code
    except CommandError as error:
        complain(str(error))
        return error.code
    except BrokenPipeError:  # the reader has seen enough, as `head` has after ten lines
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the exit complains about the rest
        return DONE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="banyan-hp", description="Tools of the banyan-hp logging library.")
    parser.add_argument("--version", action="version", version=f"banyan-hp {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    add_serve(commands)
    add_keys(commands)
    add_db(commands)
    add_export(commands)
    add_tail(commands)
    add_delete(commands)
    add_spool(commands)
    add_prompts(commands)
    add_experiments(commands)
    add_mcp(commands)
    add_help(commands)
    add_doctor(commands)
    return parser
