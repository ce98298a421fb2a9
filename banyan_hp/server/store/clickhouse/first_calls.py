"""What users' first calls in an experiment measured, by version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...analysis.moments import Moments
from .client import ClickHouse

_COLUMNS = {
    **{name: name for name in ("input_tokens", "output_tokens", "cost", "output_length")},
    "latency": "latency_ms",
    "latency_p50": "latency_ms",
    "error_rate": "failed",
}
# Rows that are not folded yet are alike. The tuple is for NULL, which `argMin` passes over.
_FIRST_CALLS = """
SELECT min(event_time) AS first_at, argMin(version, (event_time, id)) AS version, {values}
FROM experiment_calls
WHERE project = {{project:String}} AND experiment_id = {{experiment:String}}
GROUP BY sticky_value
HAVING first_at >= {{start:Int64}} AND first_at < {{until:Int64}}
"""


def first_calls(
    clickhouse: ClickHouse, asked: Mapping[str, Any], metrics: Sequence[str]
) -> Mapping[str, Mapping[str, Moments]]:
    """See `Outcomes.first_calls`; `asked` has the experiment and the period."""
    names = [name for name in metrics if name in _COLUMNS]
    if not names:
        return {}
    columns = [_COLUMNS[name] for name in names]
    values = ", ".join(
        f"argMin(tuple(toFloat64({column})), (event_time, id)).1 AS v{number}"
        for number, column in enumerate(columns)
    )
    sums = ", ".join(f"{_sums_of(f'v{number}')} AS m{number}" for number in range(len(names)))
    users = _FIRST_CALLS.format(values=values)
    rows = clickhouse.rows(f"SELECT version, {sums} FROM ({users}) GROUP BY version", asked)
    return {
        row["version"]: {
            name: Moments(int(number), float(number), y, float(number), y, yy)
            for name, (number, y, yy) in ((name, row[f"m{index}"]) for index, name in enumerate(names))
            if number
        }
        for row in rows
    }


def _sums_of(value: str) -> str:
    """How many have a value, the sum of the values, and that of their squares."""
    y = f"coalesce({value}, 0.)"
    return f"[toFloat64(count({value})), sum({y}), sum({y} * {y})]"
