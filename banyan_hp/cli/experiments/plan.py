"""`banyan-hp experiments plan`: how many users an experiment needs. Asks no backend."""

from __future__ import annotations

import math
from argparse import Namespace

from ...server.analysis.comparison import Method
from ...server.analysis.power import Design, proportions, users_needed
from ..terminal import DONE, WRONG, CommandError, say, say_json, table

_LOOKS = ((Method.ALWAYS, "looking whenever you like"), (Method.FIXED, "one look at the end"))


def show(arguments: Namespace) -> int:
    """Show how many users it takes with each kind of interval."""
    _check(arguments)
    number, relative = arguments.mde
    effect = number * arguments.baseline if relative else number
    design = _design(arguments, effect)
    alpha = arguments.alpha / (arguments.versions - 1)
    found = {method: users_needed(design, effect, alpha, arguments.power, method) for method, _ in _LOOKS}
    each = {method: None if users is None else math.ceil(users / 2) for method, users in found.items()}
    if arguments.json:
        say_json({"effect": effect, "versions": arguments.versions} | _as_json(each, arguments))
    else:
        _say(each, effect, arguments)
    return DONE


def _check(arguments: Namespace) -> None:
    """Refuse what makes no sense, in one line."""
    for name, good, allowed in (
        ("alpha", 0 < arguments.alpha < 1, "a number between 0 and 1"),
        ("power", 0 < arguments.power < 1, "a number between 0 and 1"),
        ("versions", arguments.versions >= 2, "at least 2"),
        ("std", arguments.std is None or arguments.std > 0, "above 0"),
        ("users-per-day", arguments.users_per_day is None or arguments.users_per_day > 0, "above 0"),
        (
            "baseline",
            arguments.std is not None or 0 < arguments.baseline < 1,
            "a proportion, between 0 and 1, or come with --std",
        ),
    ):
        if not good:
            raise CommandError(
                f"--{name} must be {allowed}, was {getattr(arguments, name.replace('-', '_'))}", WRONG
            )


def _design(arguments: Namespace, effect: float) -> Design:
    if arguments.std is not None:
        return Design(arguments.std**2, arguments.std**2)
    other = arguments.baseline + effect
    if not 0 < other < 1:
        raise CommandError(f"--mde must lead to a proportion between 0 and 1, leads to {other:g}", WRONG)
    return proportions(arguments.baseline, other)


def _say(each: dict[Method, int | None], effect: float, arguments: Namespace) -> None:
    say(
        f"to see a difference of {effect:g} from {arguments.baseline:g} in {arguments.power:.0%} of "
        f"experiments, and a false alarm in at most {arguments.alpha:.0%}:"
    )
    rows = [("", "USERS A VERSION", "USERS IN ALL", "DAYS")]
    for method, name in _LOOKS:
        users = each[method]
        in_all = None if users is None else users * arguments.versions
        rows.append((name, _number(users), _number(in_all), _number(_days(in_all, arguments))))
    table(rows, right=frozenset({1, 2, 3}))


def _as_json(each: dict[Method, int | None], arguments: Namespace) -> dict[str, object]:
    return {
        method.value: {
            "users_a_version": users,
            "users": None if users is None else users * arguments.versions,
            "days": _days(None if users is None else users * arguments.versions, arguments),
        }
        for method, users in each.items()
    }


def _days(users: int | None, arguments: Namespace) -> int | None:
    if users is None or arguments.users_per_day is None:
        return None
    days: float = users / arguments.users_per_day
    return math.ceil(days)


def _number(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"
