"""The command line of `banyan-hp experiments`. A command's own module is imported when it runs."""

from __future__ import annotations

import math
from argparse import ArgumentTypeError, Namespace
from typing import TYPE_CHECKING

from ..options import add_command, add_group

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from ..options import Commands

_STATUSES = ("draft", "scheduled", "running", "paused", "finished")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def add_experiments(commands: Commands) -> None:
    """Add `experiments` with its subcommands."""
    group = add_group(commands, "experiments", "run experiments on prompts, and see which version is better")
    ls = _command(group, "ls", "list experiments")
    ls.add_argument("--prompt", metavar="NAME", help="on this prompt; default: on all")
    ls.add_argument("--status", choices=_STATUSES, help="default: all")
    _add_create(group)
    for name, about in (
        ("start", "have an experiment route users"),
        ("pause", "have an experiment route nobody for now: all get the released version"),
        ("finish", "end an experiment: all get the released version"),
        ("rebuild", "have the sums behind the results computed anew; takes an admin's key"),
    ):
        _command(group, name, about).add_argument("experiment", metavar="ID")
    _add_results(group)
    _add_plan(group)


def _command(group: Commands, name: str, about: str) -> ArgumentParser:
    return add_command(group, name, about, _run)


def _run(arguments: Namespace) -> int:
    from ..api import run  # it loads what `--help` does not need
    from . import changing, results

    functions = {
        "ls": changing.ls,
        "create": changing.create,
        "rebuild": changing.rebuild,
        "results": results.show,
    }
    return run(functions.get(arguments.does, changing.change), arguments)


def _plan(arguments: Namespace) -> int:
    from .plan import show

    return show(arguments)


def _add_create(group: Commands) -> None:
    create = _command(group, "create", "make an experiment, which routes nobody until it is started")
    add = create.add_argument
    add("experiment", metavar="ID")
    add("--prompt", required=True, metavar="NAME")
    add("--branch", default="main", metavar="BRANCH", help="of the prompt; default: %(default)s")
    about = "the sticky key, user_id say, whose users keep their version"
    add("--by", required=True, metavar="KEY", help=about)
    about = "a version of the prompt and its share of the traffic; repeat it for each"
    add("--version", required=True, action="append", type=_share, metavar="VERSION=PERCENT", help=about)
    add(
        "--control",
        metavar="VERSION",
        help="the version that the others are compared with; default: the first",
    )
    add("--metric", metavar="NAME", help="what decides: a score's name, or a measure like latency")
    add("--start", action="store_true", help="start it, too")
    _add_analysis(create)


def _add_analysis(create: ArgumentParser) -> None:
    add = create.add_argument
    about = "how long a user counts, from the first call on, as 30m, 12h or 7d; default: 24h"
    add("--window", type=_seconds, metavar="TIME", help=about)
    about = "a score of which less is better; may be repeated"
    add("--lower-is-better", action="append", default=[], metavar="SCORE", help=about)
    about = "pause a version that is worse than the control in this metric; may be repeated"
    add("--guard", action="append", default=[], metavar="METRIC", help=about)
    about = "by how much a version may be worse in what is guarded; default: 10%%"
    add("--worse-by", type=_part, metavar="PERCENT", help=about)


def _add_results(group: Commands) -> None:
    results = _command(group, "results", "show which version won, or why none did yet")
    add = results.add_argument
    add("experiment", metavar="ID")
    add("--metric", metavar="NAME", help="only this one: a score's name, or a measure like latency")
    about = "an earlier stretch between two changes; default: the last one"
    add("--segment", type=int, metavar="N", help=about)
    about = (
        "always: may be looked at as often as you like (the default); fixed: for one look, planned beforehand"
    )
    add("--interval", choices=("always", "fixed"), help=about)
    add("--alpha", type=float, metavar="A", help="how often intervals may be wrong; default: 0.05")
    about = "the difference that is worth knowing, relative to the control; default: 10%%"
    add("--effect", type=_part, metavar="PERCENT", help=about)
    add("--csv", action="store_true", help="a line for each metric and version")


def _add_plan(group: Commands) -> None:
    about = "reckon how many users an experiment needs; asks no backend"
    add = add_command(group, "plan", about, _plan, remote=False).add_argument
    about = "the control's mean: a proportion, unless --std is given"
    add("--baseline", type=float, required=True, metavar="X", help=about)
    about = "the smallest difference that must be seen: 0.02, or 20%% of the baseline"
    add("--mde", type=_effect, required=True, metavar="D", help=about)
    about = "the standard deviation over users, of a metric that is no proportion"
    add("--std", type=float, metavar="S", help=about)
    add("--versions", type=int, default=2, metavar="N", help="with the control; default: %(default)s")
    about = "how often there may be a false winner; default: %(default)s"
    add("--alpha", type=float, default=0.05, metavar="A", help=about)
    about = "how often the difference must be seen; default: %(default)s"
    add("--power", type=float, default=0.8, metavar="P", help=about)
    about = "new users that come into the experiment, to reckon the days"
    add("--users-per-day", type=float, metavar="N", help=about)


# -- kinds of values -----------------------------------------------------------------------------------------


def _share(text: str) -> tuple[str, float]:
    version, sign, percent = text.rpartition("=")
    try:
        share = float(percent)
    except ValueError:
        share = -1.0
    if not (sign and version and 0 <= share <= 100):
        raise ArgumentTypeError(f"must be a version and its percentage, as in 2=50, was {text!r}")
    return version, share


def _seconds(text: str) -> int:
    number, unit = text[:-1], text[-1:]
    if unit not in _UNITS or not (number.isascii() and number.isdecimal()) or int(number) == 0:
        raise ArgumentTypeError(f"must be a time, as in 30m, 12h or 7d, was {text!r}")
    return int(number) * _UNITS[unit]


def _part(text: str) -> float:
    """`10%` or `0.1` as a part of one. A bare 10 is refused: whoever writes it does not mean 1000%."""
    digits, sign, rest = text.partition("%")
    try:
        number = float(digits) / 100 if sign else float(digits)
    except ValueError:
        number = -1.0
    if rest or not 0 <= number <= (10 if sign else 1):
        raise ArgumentTypeError(f"must be a percentage or a part, as in 10% or 0.1, was {text!r}")
    return number


def _effect(text: str) -> tuple[float, bool]:
    """A number, and whether it is relative to the baseline."""
    digits, sign, rest = text.partition("%")
    try:
        number = float(digits)
    except ValueError:
        number = math.nan
    if rest or not math.isfinite(number) or number == 0:
        raise ArgumentTypeError(f"must be a difference, as in 0.02 or 20%, was {text!r}")
    return (number / 100, True) if sign else (number, False)
