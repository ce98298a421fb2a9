"""The command line of `banyan-hp doctor`. Its checks, which load the engine, are imported when it runs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..terminal import DONE, LEFT, complain, hush

if TYPE_CHECKING:
    from argparse import ArgumentParser, _SubParsersAction

_EXPLAINED = """\
Options stand in for what your code passes to configure(), PromptStackLogger or HuggingPlace. Nothing is
written to the backend. Exit codes: 0 nothing is wrong, 1 something is, 2 wrong usage.
"""
_SECONDS = 5.0


def add_doctor(commands: _SubParsersAction[ArgumentParser]) -> None:
    """Add `doctor` with its options."""
    doctor = commands.add_parser(
        "doctor",
        help="look at settings, network, key and on-disk queue, and say what is wrong",
        epilog=_EXPLAINED,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    doctor.set_defaults(run=_run)
    add = doctor.add_argument
    client_help = "whose settings (default: the one whose key is in the environment, else banyan)"
    add("--client", choices=("banyan", "huggingplace"), help=client_help)
    add("--base-url", metavar="URL", help="default: as the client, from the environment")
    add("--export-to", choices=("backend", "otlp"), help="as the setting export_to; default: backend")
    key_help = "other users of this machine can see it, unlike that in BANYAN_API_KEY or HUGGINGPLACE_API_KEY"
    add("--api-key", metavar="KEY", help=key_help)
    add("--project-id", metavar="ID", help="of Banyan")
    add("--org-id", metavar="ID", help="of HuggingPlace")
    add("--mode", choices=("prod", "dev"), help="of HuggingPlace")
    spool_help = "as the setting spool_dir; default: BANYAN_HP_SPOOL_DIR, else the user's state directory"
    add("--dir", dest="spool_dir", type=Path, metavar="DIR", help=spool_help)
    add("--ca-bundle", metavar="FILE", help="as the setting ca_bundle")
    pair = ("FILE", "KEY_FILE")
    add("--client-cert", nargs="+", metavar=pair, help="as the setting client_cert: one file, or two")
    timeout_help = "seconds that each step may take (default: %(default)g)"
    add("--timeout", type=_seconds, default=_SECONDS, metavar="SECONDS", help=timeout_help)
    add("--all", action="store_true", help="say of each other destination what waits in its queue")
    add("--json", action="store_true", help="one JSON object instead of lines")


def _run(arguments: argparse.Namespace) -> int:
    from .examination import examine
    from .findings import show, show_json

    try:
        return (show_json if arguments.json else show)(examine(arguments))
    except BrokenPipeError:  # `… | head` has seen enough
        hush()
        return DONE
    except KeyboardInterrupt:
        complain("interrupted")
        return LEFT


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < 3600:
        raise argparse.ArgumentTypeError(f"must be a number of seconds above 0, was {text!r}")
    return seconds
