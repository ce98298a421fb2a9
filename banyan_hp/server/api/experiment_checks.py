"""Whether an experiment makes sense: its control is one of its versions, and its metrics can be measured.

A metric is a built-in one, or a score, whose name is free: one that no score has had yet may be right. It is
refused only where it is nearly that of a built-in one; else the response has a warning.
"""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches

from ..analysis.metrics import BUILT_IN
from ..store.database import BusyError, SlowQueryError
from ..store.experiments import Experiment
from .models import shown
from .responses import UnfitError
from .state import Stores

_ALIKE = 0.8  # of SequenceMatcher's ratio: "latency_50", "costs"; not "output_quality"


def checked(experiment: Experiment, before: Experiment | None, backend: Stores) -> Experiment:
    """The same experiment. What it named `before` is not looked at again: it must be possible to pause it.

    Raises:
        UnfitError: the control is no version, or a metric that no score is called is nearly a built-in one.
    """
    ids = [each.experiment_version_id for each in experiment.variants]
    if experiment.control is not None and experiment.control not in ids:
        raise UnfitError(f"control must be one of {', '.join(ids)}, was {shown(experiment.control)}")
    _check_metrics(experiment, before, backend)
    return experiment


def _check_metrics(experiment: Experiment, before: Experiment | None, backend: Stores) -> None:
    known = set(dict(_named(before)).values()) if before is not None else set()
    for where, name in _named(experiment):
        like = get_close_matches(name.lower(), BUILT_IN, 1, _ALIKE)
        if like and name not in known and not _is_there(experiment.project, name, backend):
            allowed = f"{', '.join(BUILT_IN)}, or the name of a score"
            raise UnfitError(
                f"{where} must be one of {allowed}, was {shown(name)}, which no score is called "
                f"(did you mean {like[0]}?)"
            )


def warnings_about(experiment: Experiment, backend: Stores) -> dict[str, list[str]]:
    """For a response: `warnings`, a sentence for each metric that nothing has measured; {} without any."""
    names = dict.fromkeys(name for _, name in _named(experiment))
    warnings = [
        f"No score is called {shown(name)} yet: what goes by it waits for one."
        for name in names
        if not _is_there(experiment.project, name, backend)
    ]
    return {"warnings": warnings} if warnings else {}


def _named(experiment: Experiment) -> Iterator[tuple[str, str]]:
    for index, guard in enumerate(experiment.analysis.guards):
        yield f"guards[{index}].metric", guard.metric
    if experiment.primary_metric is not None:
        yield "primary_metric", experiment.primary_metric


def _is_there(project: str, name: str, backend: Stores) -> bool:
    """Whether it is built in, or a score has it; also where that can't be found out in time."""
    if name in BUILT_IN:
        return True
    try:
        return bool(backend.calls.scores(project, {"name": name}, 1).scores)
    except (BusyError, SlowQueryError):
        return True
