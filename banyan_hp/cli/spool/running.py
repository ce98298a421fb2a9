"""Runs a subcommand and turns what can go wrong into a line on stderr and an exit code."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable, Mapping

from . import quarantine, replay, segments
from .outcome import BROKEN, DONE, LEFT, CommandError
from .words import complain

Does = Callable[[argparse.Namespace], int]

_COMMANDS: Mapping[str, Does] = {
    "segments:path": segments.path,
    "segments:ls": segments.ls,
    "segments:show": segments.show,
    "segments:purge": segments.purge,
    "replay:replay": replay.replay,
    "quarantine:ls": quarantine.ls,
    "quarantine:show": quarantine.show,
    "quarantine:requeue": quarantine.requeue,
    "quarantine:purge": quarantine.purge,
}


def run(arguments: argparse.Namespace) -> int:
    """Run what `arguments.does` names and return its exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # bodies hold what a terminal's encoding may not
    try:
        code = _COMMANDS[arguments.does](arguments)
        sys.stdout.flush()
        return code
    except CommandError as complaint:
        complain(str(complaint))
        return complaint.code
    except KeyboardInterrupt:
        complain("interrupted")
        return LEFT
    except BrokenPipeError:  # `… | head` has seen enough; keep the interpreter from flushing into the void
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except OSError as error:
        complain(f"the spool can't be used: {error}")
        return BROKEN
