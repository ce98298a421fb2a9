"""The results of an experiment: what is measured, how sure it is, and whether it can be trusted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from . import mismatch
from .comparison import Interval
from .metrics import Metric
from .moments import Moments
from .segments import Segment
from .verdicts import Decision, Finding, Question, decide, findings


@dataclass(frozen=True, slots=True)
class VersionUsers:
    """One version and its users.

    Attributes:
        exposed: users who were first exposed in the segment, to this version alone.
        closed: those of them whose window is over: they are the ones that are analysed.
        calls: of the analysed ones.
        first: users who were first exposed in the segment, to this version; before any is left out.
    """

    experiment_version_id: str
    version: str
    exposed: int
    closed: int
    calls: int
    first: int
    metrics: Mapping[str, Moments]


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What results are made of.

    Attributes:
        control: the `experiment_version_id` that the others are compared with.
        primary: the metric that decides; None: none does.
        left_out: how many users or scores were not used, by the reason.
        first_figures: when the first user's window will be over, as long as nobody's is.
        pending: how much has arrived that the sums don't know yet.
        warnings: sentences about what else is missing from the data.
    """

    segment: Segment
    versions: Sequence[VersionUsers]
    metrics: Sequence[Metric]
    control: str
    primary: str | None
    first_figures: datetime | None = None
    pending: int = 0
    left_out: Mapping[str, int] = field(default_factory=dict)
    warnings: Sequence[str] = ()


def report(material: Material, question: Question) -> dict[str, Any]:
    """The results as JSON, the decision first."""
    ratio = _ratio(material)
    decision, metrics = _decided(material, question)
    trusted = ratio["p_value"] >= mismatch.LEVEL
    return {
        "decision": _decision(decision, material, question, trusted=trusted),
        "first_figures_at": _time(material.first_figures),
        "trusted": trusted,
        "warnings": [*([] if trusted else [_mismatch_said(ratio)]), *material.warnings],
        "interval": question.method.value,
        "alpha": question.alpha,
        "comparisons": max(0, len(material.versions) - 1),
        "control": material.control,
        "primary_metric": material.primary,
        "sample_ratio": ratio,
        "versions": [_version(each, material.control) for each in material.versions],
        "left_out": dict(material.left_out),
        "metrics": metrics,
    }


def _decided(material: Material, question: Question) -> tuple[Decision | None, list[dict[str, Any]]]:
    """What the primary metric decides, and all metrics, the primary one first."""
    decision = None
    shown = []
    for metric in sorted(material.metrics, key=lambda each: each.name != material.primary):
        moments = {
            each.experiment_version_id: each.metrics.get(metric.name, Moments()) for each in material.versions
        }
        found = findings(metric, moments, question)
        if metric.name == material.primary:
            decision = decide(metric, found, question)
        shown.append(_metric(metric, found, primary=metric.name == material.primary))
    return decision, shown


def _time(at: datetime | None) -> str | None:
    return at.astimezone(UTC).isoformat(timespec="seconds") if at is not None else None


# -- whether users were dealt out as configured --------------------------------------------------------------


def _ratio(material: Material) -> dict[str, Any]:
    shares = material.segment.shares
    counts = {each.experiment_version_id: each.first for each in material.versions}
    observed = {name: counts.get(name, 0) for name in shares}
    p = mismatch.p_value(list(observed.values()), list(shares.values())) if len(shares) > 1 else 1.0
    return {"p_value": p, "level": mismatch.LEVEL, "expected": dict(shares), "observed": observed}


def _mismatch_said(ratio: Mapping[str, Any]) -> str:
    total = sum(ratio["observed"].values())
    parts = [
        f"{name} got {count} where {share * total:.0f} were expected"
        for (name, count), share in zip(ratio["observed"].items(), ratio["expected"].values(), strict=True)
    ]
    return (
        f"Sample ratio mismatch (p = {ratio['p_value']:.2g}): users were not dealt out as configured: "
        f"{'; '.join(parts)}. Whatever lost or moved them may also have changed the results"
    )


# -- the decision --------------------------------------------------------------------------------------------


def _decision(
    decision: Decision | None, material: Material, question: Question, *, trusted: bool
) -> dict[str, Any]:
    winner = decision.winner if decision is not None and trusted else None
    more = None
    if decision is not None and decision.winner is None and decision.needed is not None:
        more = _more_users(material.versions, decision.needed)
    return {
        "state": _state(decision, material, trusted=trusted),
        "winner": winner,
        "version": next((v.version for v in material.versions if v.experiment_version_id == winner), None),
        "more_users": more,
        "effect": question.effect,
    }


def _more_users(versions: Sequence[VersionUsers], needed: float) -> int:
    """Besides those who are exposed already, whose windows will close."""
    return max(
        0, math.ceil(needed * sum(each.closed for each in versions)) - sum(each.exposed for each in versions)
    )


def _state(decision: Decision | None, material: Material, *, trusted: bool) -> str:
    if not trusted:
        return "not to be trusted"
    if len(material.versions) < 2:
        return "nothing to compare"
    if decision is None:
        return "no primary metric"
    if decision.winner is not None:
        return "winner"
    return "no winner yet" if decision.enough else "not enough data yet"


# -- as JSON -------------------------------------------------------------------------------------------------


def _version(version: VersionUsers, control: str) -> dict[str, Any]:
    return {
        "experiment_version_id": version.experiment_version_id,
        "version": version.version,
        "control": version.experiment_version_id == control,
        "exposed": version.exposed,
        "analysed": version.closed,
        "calls": version.calls,
    }


def _metric(metric: Metric, found: Sequence[Finding], *, primary: bool) -> dict[str, Any]:
    return {
        "name": metric.name,
        "primary": primary,
        "unit": metric.unit,
        "proportion": metric.proportion,
        "lower_is_better": metric.lower_is_better,
        "versions": [_finding(each) for each in found],
    }


def _finding(finding: Finding) -> dict[str, Any]:
    compared = finding.comparison
    moments = finding.moments
    return {
        "experiment_version_id": finding.version,
        "users": moments.n,
        "mean": moments.mean if moments.n else None,
        "standard_error": moments.standard_error if moments.n >= 2 else None,
        "probability_best": finding.probability_best,
        "difference": _interval(compared.absolute) if compared is not None else None,
        "relative": _interval(compared.relative) if compared is not None else None,
        "p_value": compared.p_value if compared is not None else None,
        "better": finding.better,
    }


def _interval(interval: Interval | None) -> dict[str, float] | None:
    if interval is None:
        return None
    return {"estimate": interval.estimate, "low": interval.low, "high": interval.high}
