"""The command line of `banyan-hp spool`, and how a command runs.

Parsing imports nothing that takes time: a command's own module is imported when it runs.
"""

from __future__ import annotations

import argparse
import io
import math
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..terminal import BROKEN, DONE, EXPLAINED, LEFT, complain, hush

if TYPE_CHECKING:
    from argparse import ArgumentParser, _SubParsersAction

    Commands = _SubParsersAction[ArgumentParser]

_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DEFAULT_ALL = "; default: all"


def add_spool(commands: Commands) -> None:
    """Add `spool` with its subcommands."""
    spool = _group(commands, "spool", "look at the on-disk queue, send it, put records back, throw them away")
    _add_path(spool)
    _add_ls(spool)
    _add_show(spool)
    _add_replay(spool)
    _add_purge(spool)
    quarantine = _group(spool, "quarantine", "records that were refused, and damaged lines")
    _add_quarantine_ls(quarantine)
    _add_quarantine_show(quarantine)
    _add_requeue(quarantine)
    _add_quarantine_purge(quarantine)


def _group(commands: Commands, name: str, about: str) -> Commands:
    parser = commands.add_parser(
        name, help=about, epilog=EXPLAINED, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    return parser.add_subparsers(title="commands", metavar="COMMAND", required=True)


def _command(commands: Commands, name: str, does: str, about: str) -> ArgumentParser:
    """A subcommand; `does` names its function, see `_function`."""
    parser = commands.add_parser(
        name,
        help=about,
        description=about[0].upper() + about[1:] + ".",
        epilog=EXPLAINED,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--dir",
        type=Path,
        metavar="DIR",
        help="as the setting spool_dir; default: BANYAN_HP_SPOOL_DIR, else the user's state directory",
    )
    parser.add_argument(
        "--destination",
        metavar="ID",
        help=f"one destination, by the beginning of its id, as ls shows it{_DEFAULT_ALL}",
    )
    parser.set_defaults(run=_run, does=does)
    return parser


def _run(arguments: argparse.Namespace) -> int:
    """Run what `arguments.does` names."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # bodies hold what a terminal's encoding may not
    try:
        code = _function(arguments.does)(arguments)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        complain("interrupted")
        return LEFT
    except BrokenPipeError:  # `… | head` has seen enough
        hush()
        return DONE
    except OSError as error:
        complain(f"the spool can't be used: {error}")
        return BROKEN


def _function(does: str) -> Callable[[argparse.Namespace], int]:
    from . import quarantine, replay, segments  # they load the engine, which `--help` does not need

    functions = {
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
    return functions[does]


def _add_path(spool: Commands) -> None:
    _command(spool, "path", "segments:path", "print where the on-disk queue is")


def _add_ls(spool: Commands) -> None:
    ls = _command(spool, "ls", "segments:ls", "list segments: records not yet sent, all records, bytes, age")
    _add_json(ls, "one JSON object per segment")
    _add_all(ls)


def _add_show(spool: Commands) -> None:
    show = _command(
        spool, "show", "segments:show", "show the records that are not yet sent, in the order on disk"
    )
    _add_json(show, "one JSON object per record, with its body")
    _add_limit(show)
    show.add_argument("--segment", metavar="NAME", help=f"of one segment{_DEFAULT_ALL}")
    _add_id(show)


def _add_replay(spool: Commands) -> None:
    replay = _command(
        spool,
        "replay",
        "replay:replay",
        "send all that no running application holds, and wait until it is sent",
    )
    add = replay.add_argument
    add(
        "--timeout",
        type=_seconds,
        default=math.inf,
        metavar="SECONDS",
        help="stop after this time; default: never",
    )
    add(
        "--api-key",
        metavar="KEY",
        help="better set BANYAN_API_KEY or HUGGINGPLACE_API_KEY: process lists show options",
    )
    add(
        "--from-key",
        type=_key_fingerprint,
        metavar="FINGERPRINT",
        help="send only what was logged under the key with this fingerprint (see ls), now under the present "
        "key; never pass a key here: process lists show options",
    )
    add(
        "--base-url",
        metavar="URL",
        help="send only what goes to this URL; with --dir, this also confirms the URL",
    )
    add(
        "--to-url",
        metavar="URL",
        help="send the records to this URL instead of the one they were logged for, which --base-url or "
        "--destination names",
    )
    _add_all(replay)
    add("--yes", action="store_true", help="with --dir: don't ask whether the URLs found there are right")


def _add_purge(spool: Commands) -> None:
    purge = _command(spool, "purge", "segments:purge", "remove segments with all unsent records in them")
    _add_purge_options(purge, "only segments all of whose unsent records are older")
    purge.add_argument("--segment", metavar="NAME", help=f"one segment{_DEFAULT_ALL}")
    purge.add_argument(
        "--held",
        action="store_true",
        help="also segments that running applications hold: they count the records as dropped when they "
        "notice, and may still send those that they have in memory",
    )


def _add_quarantine_ls(quarantine: Commands) -> None:
    ls = _command(quarantine, "ls", "quarantine:ls", "count entries by reason and status")
    _add_json(ls, "one JSON object per destination, reason and status")


def _add_quarantine_show(quarantine: Commands) -> None:
    show = _command(quarantine, "show", "quarantine:show", "show what was quarantined and why, oldest first")
    _add_json(show, "one JSON object per entry, with its body")
    _add_limit(show)
    _add_id(show)


def _add_requeue(quarantine: Commands) -> None:
    requeue = _command(
        quarantine,
        "requeue",
        "quarantine:requeue",
        "put refused records back into the queue, to be sent again",
    )
    which = requeue.add_mutually_exclusive_group(required=True)
    which.add_argument("--id", metavar="PREFIX", help="records whose id begins with PREFIX")
    which.add_argument("--all", action="store_true", help="all records")
    requeue.add_argument(
        "--unscrubbed",
        action="store_true",
        help="also send records that before_send has not seen, as they are; by default they wait for an "
        "application with a before_send",
    )


def _add_quarantine_purge(quarantine: Commands) -> None:
    purge = _command(quarantine, "purge", "quarantine:purge", "remove entries for good")
    _add_purge_options(purge, "only entries quarantined longer ago")
    _add_id(purge)


def _add_json(parser: ArgumentParser, what: str) -> None:
    parser.add_argument("--json", action="store_true", help=what)


def _add_all(parser: ArgumentParser) -> None:
    parser.add_argument("--all", action="store_true", help="also destinations where nothing waits")


def _add_limit(parser: ArgumentParser) -> None:
    parser.add_argument("--limit", type=_count, metavar="N", help="show at most N; default: all")


def _add_id(parser: ArgumentParser) -> None:
    parser.add_argument("--id", metavar="PREFIX", help=f"records whose id begins with PREFIX{_DEFAULT_ALL}")


def _add_purge_options(parser: ArgumentParser, older: str) -> None:
    parser.add_argument("--yes", action="store_true", help="don't ask")
    parser.add_argument(
        "--older-than", type=_duration, metavar="AGE", help=f"{older}, e.g. 7d, 12h, 30m, 90s"
    )


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"must be a whole number of 1 or more, was {text!r}")
    return int(text)


def _key_fingerprint(text: str) -> str:
    """The message never repeats the argument, which may be a key."""
    from ...engine.spool.layout import is_fingerprint

    if not is_fingerprint(text):
        raise argparse.ArgumentTypeError(
            "must be a fingerprint as 'banyan-hp spool ls' shows it: 16 hex digits, or 8 from an earlier "
            "version. Never pass a key here: other users can read it in the process list"
        )
    return text


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not seconds > 0:
        raise argparse.ArgumentTypeError(f"must be a number of seconds above 0, was {text!r}")
    return seconds


def _duration(text: str) -> float:
    match = re.fullmatch(r"(\d{1,9})([smhd])", text, re.ASCII)
    if match is None:
        raise argparse.ArgumentTypeError(f"must be a number with s, m, h or d, as in 7d, was {text!r}")
    return int(match[1]) * _SECONDS[match[2]]
