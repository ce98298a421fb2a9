"""The results of an experiment, as the backend reckons them: plain dataclasses, made from its JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

from ..engine.http.response import Response
from ..engine.http.transport import NoResponse, Request, Transport, never_raising, text_filter
from ..errors import (
    AuthenticationError,
    BanyanHPError,
    ConfigurationError,
    NetworkError,
    RateLimitError,
    ServerError,
    ValidationError,
)
from ..text import json_object

__all__ = ["ExperimentResults"]

SECONDS = 60.0
_PATH = "/api/experiments/"


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate, and the bounds that hold with the certainty asked for."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class VersionUsers:
    """One version and its users.

    Attributes:
        exposed: users whose first call in the segment got this version.
        analysed: those of them whose window is over.
        calls: of the analysed ones.
    """

    experiment_version_id: str
    version: str
    control: bool
    exposed: int
    analysed: int
    calls: int


@dataclass(frozen=True, slots=True)
class Measured:
    """One version in one metric.

    Attributes:
        users: those with a value.
        difference: to the control's mean; None of the control, and with too few users.
        relative: the same as a part of the control's mean.
        better: than the control with certainty; False: worse with certainty; None: neither.
    """

    experiment_version_id: str
    users: int
    mean: float | None
    standard_error: float | None
    probability_best: float | None
    difference: Interval | None
    relative: Interval | None
    p_value: float | None
    better: bool | None


@dataclass(frozen=True, slots=True)
class MetricResults:
    """All versions in one metric.

    Attributes:
        primary: it decides who wins.
        unit: ``ms``, ``USD``, or empty.
        proportion: values lie between 0 and 1.
    """

    name: str
    primary: bool
    unit: str
    proportion: bool
    lower_is_better: bool
    versions: tuple[Measured, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentResults:
    """What came of an experiment so far.

    Attributes:
        state: ``winner``, ``no winner yet``, ``not enough data yet``, ``no primary metric``, or ``not to be
            trusted``.
        winner: the `experiment_version_id` that the primary metric shows to be the best; None: there is none.
        more_users: about so many more are needed to see a difference of `effect`; None: it can't be said yet,
            or there is a winner.
        effect: relative to the control's mean.
        first_figures_at: when the first user's window is over, as long as nobody's is: ISO 8601, UTC.
        trusted: False: users were not dealt out as configured, see `warnings`.
        interval: ``always`` or ``fixed``, see the guide.
        segment: the number of the stretch without changes that this is about; `segments` has all.
        left_out: how many users and scores were not used, by the reason.
        pending: how many calls and scores of the whole backend have arrived that are not reckoned in yet.
        content: all that the backend said, as it was sent.
    """

    experiment_id: str
    status: str
    state: str
    winner: str | None
    more_users: int | None
    effect: float
    trusted: bool
    warnings: tuple[str, ...]
    control: str
    primary_metric: str | None
    interval: str
    alpha: float
    segment: int | None
    versions: tuple[VersionUsers, ...]
    metrics: tuple[MetricResults, ...]
    left_out: Mapping[str, int]
    pending: int
    content: Mapping[str, Any] = field(repr=False, compare=False)
    first_figures_at: str | None = None

    def to_dicts(self) -> list[dict[str, Any]]:
        """A flat dict for each metric and version, as `pandas.DataFrame` takes them."""
        users = {each.experiment_version_id: each for each in self.versions}
        return [
            _flat(self.experiment_id, metric, each, users[each.experiment_version_id])
            for metric in self.metrics
            for each in metric.versions
        ]


def read(content: Mapping[str, Any]) -> ExperimentResults:
    """Results from the backend's JSON.

    Raises:
        ValueError: it is something else.
    """
    try:
        return ExperimentResults(**_fields(content), content=content)
    except (KeyError, TypeError) as error:
        raise ValueError(f"it is no result of an experiment: {error!r}") from error


def _flat(experiment_id: str, metric: MetricResults, one: Measured, users: VersionUsers) -> dict[str, Any]:
    row: dict[str, Any] = {
        "experiment_id": experiment_id,
        "metric": metric.name,
        "primary": metric.primary,
        "experiment_version_id": one.experiment_version_id,
        "version": users.version,
        "control": users.control,
        "exposed": users.exposed,
        "analysed": users.analysed,
        "users": one.users,
        "mean": one.mean,
        "standard_error": one.standard_error,
        "probability_best": one.probability_best,
    }
    for name in ("difference", "relative"):
        found: Interval | None = getattr(one, name)
        row[name] = found.estimate if found is not None else None
        row[f"{name}_low"] = found.low if found is not None else None
        row[f"{name}_high"] = found.high if found is not None else None
    return row | {"p_value": one.p_value, "better": one.better}


def _fields(content: Mapping[str, Any]) -> dict[str, Any]:
    decision = content["decision"]
    same = (
        "experiment_id",
        "status",
        "trusted",
        "control",
        "primary_metric",
        "interval",
        "alpha",
        "segment",
        "pending",
    )
    return {
        **{name: content[name] for name in same},
        **{name: decision[name] for name in ("state", "winner", "more_users", "effect")},
        "warnings": tuple(content["warnings"]),
        "first_figures_at": content.get("first_figures_at"),  # earlier backends don't say
        "left_out": dict(content["left_out"]),
        "versions": tuple(_known(VersionUsers, each) for each in content["versions"]),
        "metrics": tuple(_metric(each) for each in content["metrics"]),
    }


def _metric(content: Mapping[str, Any]) -> MetricResults:
    versions = tuple(_measured(each) for each in content["versions"])
    found: MetricResults = _known(MetricResults, {**content, "versions": versions})
    return found


def _measured(content: Mapping[str, Any]) -> Measured:
    intervals = {
        name: _known(Interval, content[name]) if content[name] is not None else None
        for name in ("difference", "relative")
    }
    found: Measured = _known(Measured, {**content, **intervals})
    return found


def _known(kind: type[Any], content: Mapping[str, Any]) -> Any:
    """Of what is there the fields that are known: a later backend may send more."""
    return kind(**{name: content[name] for name in kind.__dataclass_fields__})


# -- asking the backend --------------------------------------------------------------------------------------


def asked_for(
    metric: str | None, segment: int | None, interval: str | None, alpha: float | None, effect: float | None
) -> dict[str, str]:
    """The parameters of the query: those that are given."""
    given = {"metric": metric, "segment": segment, "interval": interval, "alpha": alpha, "effect": effect}
    return {name: str(value) for name, value in given.items() if value is not None}


class Source(NamedTuple):
    """The backend that is asked, and how it is reached."""

    base_url: str
    headers: Mapping[str, str]
    connect: Callable[[str, float, int], Transport]

    def __repr__(self) -> str:
        """Without the key, which the headers hold."""
        return f"<Source {self.base_url}>"


def fetch(experiment_id: str, query: Mapping[str, str], source: Source) -> ExperimentResults:
    """The results of an experiment.

    Raises:
        BanyanHPError: they can't be had, see `PromptStackLogger.experiment_results`.
    """
    clean = text_filter(source.base_url, source.headers)
    url = f"{source.base_url}{_PATH}{quote(experiment_id, safe='', errors='replace')}/results"
    transport = never_raising(source.connect)(source.base_url, SECONDS, 1)
    try:
        asked = f"?{urlencode(query, errors='replace')}" if query else ""
        response = transport.send(Request("GET", url + asked, source.headers), SECONDS)
    finally:
        transport.close()
    if isinstance(response, NoResponse):
        raise NetworkError(clean(f"{source.base_url} can't be used: {response.detail}"))
    return _of(response, clean)


def _of(response: Response, clean: Callable[[str], str]) -> ExperimentResults:
    content = json_object(response.body)
    if response.status != 200 or content is None:
        raise _refusal(response.status, content, clean)
    try:
        return read(content)
    except ValueError as error:
        raise NetworkError(clean(f"the response can't be read: {error}")) from error


def _refusal(status: int, content: Mapping[str, Any] | None, clean: Callable[[str], str]) -> BanyanHPError:
    said = (content or {}).get("error")
    why = clean(str(said)) if said else f"the backend responded with status {status}, and no results"
    if status in (401, 403):
        return AuthenticationError(why, status=status)
    if status == 429:
        return RateLimitError(why, status=status)
    if status >= 500 or said is None:
        return ServerError(why, status=status)
    return ValidationError(why, status=status)


def checked(experiment_id: object) -> str:
    """An experiment's id.

    Raises:
        ConfigurationError: it is none.
    """
    if not isinstance(experiment_id, str) or not experiment_id:
        raise ConfigurationError(
            f"experiment_id must be a string that isn't empty, was a {type(experiment_id).__name__}"
        )
    return experiment_id
