"""`banyan-hp experiments results`: who won, or why nobody did, then the numbers."""

from __future__ import annotations

import csv
import io
from argparse import Namespace

from ...clients.results import ExperimentResults, Interval, Measured, MetricResults, asked_for, read
from ..api import Api, quoted
from ..terminal import BROKEN, DONE, LEFT, CommandError, say, say_json, table

_HOUR = 3600
_TO_THE_MINUTE = len("2026-01-01T00:00")
_HEAD = ("METRIC", "VERSION", "USERS", "MEAN", "DIFFERENCE", "RELATIVE", "P(BEST)", "")


def show(api: Api, arguments: Namespace) -> int:
    """Show the results; exit code 1 if they can't be trusted."""
    a = arguments
    content = api.get(
        f"/api/experiments/{quoted(a.experiment)}/results",
        **asked_for(a.metric, a.segment, a.interval, a.alpha, a.effect),
    )
    if a.json:
        say_json(content)
    try:
        found = read(content)
    except ValueError as error:
        raise CommandError(f"the response of {api.url} can't be read: {error}", BROKEN) from error
    if a.csv:
        _say_csv(found)
    elif not a.json:
        _say(found)
    return DONE if found.trusted else LEFT


def _say_csv(found: ExperimentResults) -> None:
    rows = found.to_dicts()
    written = io.StringIO()
    lines = csv.DictWriter(written, list(rows[0]) if rows else [], lineterminator="\n")
    lines.writeheader()
    lines.writerows(rows)
    for line in written.getvalue().splitlines():
        say(line)


def _say(found: ExperimentResults) -> None:
    say(verdict(found))
    for warning in found.warnings:
        say(f"! {warning}")
    say()
    _say_versions(found)
    say()
    shown = [each for each in found.metrics if each.primary or any(one.users for one in each.versions)]
    rows = [_row(metric, index, found) for metric in shown for index in range(len(metric.versions))]
    table([_HEAD, *rows], right=frozenset({2, 3, 6}), indent="")
    say()
    say(_fine_print(found))


def verdict(found: ExperimentResults) -> str:
    """Who won, or why nobody did, in one line."""
    if found.state == "winner":
        return f"{_named(found, found.winner)} wins{_won_by(found)}"
    if found.state == "no primary metric":
        return "no primary metric: name the one that decides, with --metric here or at the experiment's start"
    if found.state == "not enough data yet" and not any(each.analysed for each in found.versions):
        return f"{found.state}: {_waiting(found)}"
    by = f" on {found.primary_metric}" if found.primary_metric is not None else ""
    if found.state not in ("no winner yet", "not enough data yet"):
        return f"{found.state}{'' if found.trusted else ': see below'}"
    return f"{found.state}{by}{_wanting(found)}"


def _waiting(found: ExperimentResults) -> str:
    """As long as no user's window is over: when the first figures come."""
    users = sum(each.exposed for each in found.versions)
    hours = found.content.get("window_seconds", 0) / _HOUR
    window = f"{hours:g} hour{'s' * (hours != 1)}"
    if found.first_figures_at is None:
        return f"no user has come; the first figures come {window} after the first one"
    who = f"{users:,} users are" if users > 1 else "one user is"
    at = found.first_figures_at[:_TO_THE_MINUTE].replace("T", " ")
    return f"{who} still within the {window} for which a user counts; the first figures come at {at} UTC"


def _won_by(found: ExperimentResults) -> str:
    metric = next((each for each in found.metrics if each.primary), None)
    if metric is None:
        return ""
    means = {each.experiment_version_id: _value(each.mean, metric) for each in metric.versions}
    own = means.pop(found.winner or "", "")
    others = ", ".join(f"{mean} in {_named(found, name)}" for name, mean in means.items())
    return f" on {metric.name}: {own}, against {others}"


def _wanting(found: ExperimentResults) -> str:
    if found.more_users is None:
        return ""
    if found.more_users == 0:
        return f": with so many users a difference of {_percent(found.effect)} would probably show"
    return (
        f": about {found.more_users:,} more users are needed to see a difference of {_percent(found.effect)}"
    )


def _say_versions(found: ExperimentResults) -> None:
    rows = [("VERSION", "EXPOSED", "ANALYSED", "CALLS")]
    for each in found.versions:
        name = _named(found, each.experiment_version_id) + " (control)" * each.control
        rows.append((name, f"{each.exposed:,}", f"{each.analysed:,}", f"{each.calls:,}"))
    table(rows, right=frozenset({1, 2, 3}), indent="")


def _row(metric: MetricResults, index: int, found: ExperimentResults) -> tuple[str, ...]:
    one = metric.versions[index]
    return (
        "" if index else metric.name + " *" * metric.primary,
        _named(found, one.experiment_version_id),
        f"{one.users:,}",
        _value(one.mean, metric),
        _difference(one.difference, metric),
        _bounds(one.relative, 100, "%"),
        _chance(one.probability_best),
        _word(one, metric, found),
    )


def _word(one: Measured, metric: MetricResults, found: ExperimentResults) -> str:
    if one.difference is None:
        if one.experiment_version_id == found.control:
            return ""
        means = {each.mean for each in metric.versions if each.users}
        return "none so far in any version" if means == {0.0} and metric.proportion else "too few users"
    return {True: "better", False: "worse", None: ""}[one.better]


def _difference(interval: Interval | None, metric: MetricResults) -> str:
    if metric.proportion:
        return _bounds(interval, 100, " points")
    return _bounds(interval, 1, f" {metric.unit}" * bool(metric.unit))


def _bounds(interval: Interval | None, times: int, unit: str) -> str:
    """`+33% (+18 to +51)`."""
    if interval is None:
        return ""
    estimate, low, high = (_short(times * each) for each in (interval.estimate, interval.low, interval.high))
    return f"{estimate}{unit} ({low} to {high})"


def _short(number: float) -> str:
    """Three digits, with a sign."""
    return f"{number:+,.0f}" if abs(number) >= 1000 else f"{number:+.3g}"


def _chance(probability: float | None) -> str:
    """In percent; nothing is certain."""
    if probability is None:
        return ""
    if not 0.005 <= probability < 0.995:
        return "<1%" if probability < 0.5 else ">99%"
    return f"{probability:.0%}"


def _value(number: float | None, metric: MetricResults) -> str:
    if number is None:
        return "–"
    if metric.proportion:
        return f"{100 * number:.3g}%"
    return f"{number:.4g}" + f" {metric.unit}" * bool(metric.unit)


def _percent(part_of_one: float) -> str:
    return f"{100 * part_of_one:g}%"


def _named(found: ExperimentResults, ident: str | None) -> str:
    """The version's name, as long as it is no other's."""
    names = [each.version for each in found.versions if each.experiment_version_id == ident]
    same = [each.version for each in found.versions]
    return names[0] if names and same.count(names[0]) == 1 else str(ident)


def _fine_print(found: ExperimentResults) -> str:
    kinds = {
        "always": "intervals that may be looked at as often as you like",
        "fixed": "intervals for one look, planned beforehand",
    }
    left_out = [f"{count:,} {name.replace('_', ' ')}" for name, count in found.left_out.items() if count]
    parts = [
        f"experiment {found.experiment_id} ({found.status})",
        f"segment {found.segment}" if found.segment is not None else "not started",
        f"{kinds.get(found.interval, found.interval)}, {_percent(1 - found.alpha)} in each metric",
        *([f"left out: {', '.join(left_out)}"] if left_out else []),
    ]
    return "; ".join(parts) + (". * decides" if found.primary_metric is not None else ".")
