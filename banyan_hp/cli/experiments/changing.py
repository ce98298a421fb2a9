"""`banyan-hp experiments ls | create | start | pause | finish | rebuild`."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping, Sequence
from typing import Any

from ..api import Api, pages, quoted
from ..terminal import DONE, WRONG, CommandError, counted, say, say_json, table

_PATH = "/api/experiments"
_WORSE_BY = 0.1
_STATUS = {"start": "running", "pause": "paused", "finish": "finished"}


def ls(api: Api, arguments: Namespace) -> int:
    """List experiments."""
    given = {"prompt_name": arguments.prompt, "status": arguments.status}
    asked = {name: value for name, value in given.items() if value}
    experiments = [each for page in pages(api.get, _PATH, **asked) for each in _experiments(page)]
    if arguments.json:
        for each in experiments:
            say_json(each)
    elif experiments:
        rows = [("EXPERIMENT", "STATUS", "PROMPT", "BRANCH", "BY", "VERSIONS", "METRIC")]
        table([*rows, *map(_row, experiments)], indent="")
    else:
        say(f"no experiments at {api.url}")
    return DONE


def _experiments(page: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = page.get("experiments")
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def create(api: Api, arguments: Namespace) -> int:
    """Make one."""
    ident = arguments.experiment
    _check_versions([version for version, _ in arguments.version], arguments.control)
    versions = [
        {"experiment_version_id": f"{ident}-{version}", "version": version, "traffic_percentage": percent}
        for version, percent in arguments.version
    ]
    body = {
        "experiment_id": ident,
        "prompt_name": arguments.prompt,
        "branch": arguments.branch,
        "sticky_type": arguments.by,
        "status": "running" if arguments.start else "draft",
        "versions": versions,
        "control": f"{ident}-{arguments.control}" if arguments.control else None,
        "primary_metric": arguments.metric,
        "window_seconds": arguments.window,
        "guards": _guards(arguments),
        "directions": dict.fromkeys(arguments.lower_is_better, "lower") or None,
    }
    _say(api.post(_PATH, body), arguments, before=None)
    return DONE


def _check_versions(versions: Sequence[str], control: str | None) -> None:
    """The backend would name the ids that were made of them, which nobody has typed."""
    for version in versions:
        if versions.count(version) > 1:
            raise CommandError(
                f"--version must be given once for each version, was given twice for {version!r}", WRONG
            )
    if control is not None and control not in versions:
        allowed = ", ".join(versions)
        raise CommandError(f"--control must be one of the versions given: {allowed}; was {control!r}", WRONG)


def _guards(arguments: Namespace) -> list[dict[str, Any]] | None:
    if arguments.worse_by is not None and not arguments.guard:
        raise CommandError("--worse-by needs a --guard", WRONG)
    worse_by = arguments.worse_by if arguments.worse_by is not None else _WORSE_BY
    return [{"metric": each, "worse_by": worse_by} for each in arguments.guard] or None


def rebuild(api: Api, arguments: Namespace) -> int:
    """Have the sums over its users computed anew."""
    found = api.post(f"{_PATH}/{quoted(arguments.experiment)}/rebuild", {})
    if arguments.json:
        say_json(found)
    else:
        say(f"{arguments.experiment}: {counted(int(found.get('users', 0)), 'user')} computed anew")
    return DONE


def change(api: Api, arguments: Namespace) -> int:
    """Start, pause or finish one."""
    path = f"{_PATH}/{quoted(arguments.experiment)}"
    before = api.get(path).get("status")
    _say(api.put(path, {"status": _STATUS[arguments.does]}), arguments, before=before)
    return DONE


def _say(experiment: Mapping[str, Any], arguments: Namespace, *, before: object) -> None:
    if arguments.json:
        say_json({**experiment, "before": before})
        return
    was = f", was {before}" if before is not None else ""
    say(f"{experiment.get('experiment_id')} is {experiment.get('status')}{was}: {_shares(experiment)}")
    for warning in experiment.get("warnings", ()):
        say(f"note: {warning}")


def _row(experiment: Mapping[str, Any]) -> tuple[str, ...]:
    fields = ("experiment_id", "status", "prompt_name", "branch", "sticky_type")
    metric = experiment.get("primary_metric")
    return (*(str(experiment.get(each, "")) for each in fields), _shares(experiment), str(metric or ""))


def _shares(experiment: Mapping[str, Any]) -> str:
    """`1.0=50 (control), 2=50`."""
    found = experiment.get("versions")
    versions = [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []
    control = experiment.get("control")
    return ", ".join(
        f"{each.get('version')}={_percent(each.get('traffic_percentage'))}"
        + " (control)" * (control is not None and each.get("experiment_version_id") == control)
        for each in versions
    )


def _percent(share: object) -> str:
    return f"{share:g}" if isinstance(share, (int, float)) else str(share)
