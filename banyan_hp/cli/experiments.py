"""`banyan-hp experiments`: list, make, start, pause and finish experiments, over the HTTP API."""

from __future__ import annotations

from argparse import ArgumentTypeError, Namespace
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .options import add_command, add_group
from .terminal import DONE, say, say_json, table

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from .api import Api
    from .options import Commands

_PATH = "/api/experiments"
_STATUS = {"start": "running", "pause": "paused", "finish": "finished"}
_STATUSES = ("draft", "scheduled", "running", "paused", "finished")


def add_experiments(commands: Commands) -> None:
    """Add `experiments` with its subcommands."""
    group = add_group(commands, "experiments", "make, start, pause and finish experiments on prompts")
    ls = _command(group, "ls", "list experiments")
    ls.add_argument("--prompt", metavar="NAME", help="on this prompt; default: on all")
    ls.add_argument("--status", choices=_STATUSES, help="default: all")
    _add_create(group)
    for name, about in (
        ("start", "have an experiment route users"),
        ("pause", "have an experiment route nobody for now: all get the released version"),
        ("finish", "end an experiment: all get the released version"),
    ):
        _command(group, name, about).add_argument("experiment", metavar="ID")


def _command(group: Commands, name: str, about: str) -> ArgumentParser:
    return add_command(group, name, about, _run)


def _add_create(group: Commands) -> None:
    create = _command(group, "create", "make an experiment, which routes nobody until it is started")
    add = create.add_argument
    add("experiment", metavar="ID")
    add("--prompt", required=True, metavar="NAME")
    add("--branch", default="main", metavar="BRANCH", help="of the prompt; default: %(default)s")
    add(
        "--by",
        required=True,
        metavar="KEY",
        help="the sticky key, user_id say, whose users keep their version",
    )
    add(
        "--version",
        required=True,
        action="append",
        type=_share,
        metavar="VERSION=PERCENT",
        help="a version of the prompt and its share of the traffic; repeat it for each",
    )
    add("--control", metavar="VERSION", help="the version that the others are compared with")
    add("--metric", metavar="NAME", help="what decides: a score's name, or a measure like latency_ms")
    add("--start", action="store_true", help="start it, too")


def _run(arguments: Namespace) -> int:
    from .api import run  # it loads what `--help` does not need

    functions = {"ls": _ls, "create": _create}
    return run(functions.get(arguments.does, _change), arguments)


def _ls(api: Api, arguments: Namespace) -> int:
    given = {"prompt_name": arguments.prompt, "status": arguments.status}
    found = api.get(_PATH, **{name: value for name, value in given.items() if value}).get("experiments")
    experiments = [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []
    if arguments.json:
        for each in experiments:
            say_json(each)
    elif experiments:
        rows = [("EXPERIMENT", "STATUS", "PROMPT", "BRANCH", "BY", "VERSIONS", "METRIC")]
        table([*rows, *map(_row, experiments)], indent="")
    else:
        say(f"no experiments at {api.url}")
    return DONE


def _create(api: Api, arguments: Namespace) -> int:
    ident = arguments.experiment
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
    }
    _say(api.post(_PATH, body), arguments, before=None)
    return DONE


def _change(api: Api, arguments: Namespace) -> int:
    from .api import quoted

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


def _share(text: str) -> tuple[str, float]:
    version, sign, percent = text.rpartition("=")
    try:
        share = float(percent)
    except ValueError:
        share = -1.0
    if not (sign and version and 0 <= share <= 100):
        raise ArgumentTypeError(f"must be a version and its percentage, as in 2=50, was {text!r}")
    return version, share
