"""The history of the benchmarks' runs: its format, and what the pictures take from it."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks import __main__ as program
from tests.benchmarks import history, plot
from tests.benchmarks.plan import Case, Measurement, Row, Target
from tests.benchmarks.runner import Run

MACHINE = {"cpus": 2, "python": "CPython 3.11.7", "platform": "Linux", "load_before": 0.5, "versions": {}}


def number(url: str, *, value: float) -> dict[str, float]:
    """A measurement that is already known."""
    return {"value": value}


def forbidden() -> str:
    """An obstacle."""
    return "nobody may"


def measurement(name: str = "fake", metric: str = "value") -> Measurement:
    cases = tuple(
        Case(each, f"{__name__}:number", {"value": 3.0}) for each in ("floor", "banyan_hp batch", "third")
    )
    target = Target("fast", "banyan_hp batch", metric, most=0.4, ratio_to="floor")
    return Measurement(name, "a fake", cases, (Row(metric, metric),), (target,), seeded=False)


def runs(metric: str = "value") -> list[Run]:
    ours = [Run("banyan_hp batch", turn, {metric: each}, None) for turn, each in enumerate((9.0, 2.0, 1.0))]
    return [Run("floor", 0, {metric: 4.0}, None), Run("third", 0, {}, "did not work"), *ours]


def check(entry: dict[str, Any]) -> None:
    """The format that the module's docstring describes."""
    assert datetime.fromisoformat(entry["date"]).utcoffset() is not None
    assert isinstance(entry["commit"], str)
    assert entry["machine"].keys() >= {"cpus", "python", "platform", "load_before", "versions"}
    assert entry["base"].keys() == entry["ratios"].keys()
    for name, metrics in entry["ratios"].items():
        assert metrics.keys() == entry["base"][name].keys()
        for ratios in metrics.values():
            assert next(iter(ratios.values())) == 1.0
            assert all(isinstance(ratio, float) for ratio in ratios.values())
    for verdicts in entry["targets"].values():
        assert all(set(verdict) == {"text", "value", "met"} for verdict in verdicts)


def test_a_line_has_ratios_to_the_first_case_and_verdicts() -> None:
    """Medians; a case with a failure is left out; the order is the plan's."""
    entry = history.entry(MACHINE, [(measurement(), runs())])
    check(entry)
    assert entry["base"] == {"fake": {"value": 4.0}}
    assert entry["ratios"] == {"fake": {"value": {"floor": 1.0, "banyan_hp batch": 0.5}}}
    assert entry["targets"] == {
        "fake": [{"text": "fast [banyan_hp batch; <= 0.4]", "value": 0.5, "met": False}]
    }
    assert list(history.medians(entry, "fake", "value").items()) == [("floor", 4.0), ("banyan_hp batch", 2.0)]


@pytest.mark.parametrize(
    "first", [Run("floor", 0, {}, "did not work"), Run("floor", 0, {"value": 0.0}, None)]
)
def test_there_is_no_ratio_to_what_failed_or_is_nothing(first: Run) -> None:
    """The measurement is there, without figures."""
    entry = history.entry(MACHINE, [(measurement(), [first, *runs()[2:]])])
    check(entry)
    assert entry["ratios"] == {"fake": {}}


def test_each_run_adds_a_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With `--history`; what was there before stays."""
    monkeypatch.setattr(program, "ALL", (measurement(),))
    monkeypatch.setattr(program, "OTHERS", ())
    path = tmp_path / "history.jsonl"
    for count in (1, 2):
        assert program.main(["--repetitions", "1", "--history", str(path)]) == 0
        entries = history.read(path)
        assert len(entries) == count
    for entry in entries:
        check(entry)


def test_the_kept_history_has_this_format() -> None:
    """Each line of the file that comes with the code, if it is there."""
    for entry in history.read(history.FILE):
        check(entry)


def test_pictures_follow_this_library_from_run_to_run() -> None:
    """A run that has not measured something has a gap there."""
    whole = history.entry(MACHINE, [(measurement("burst", "records_per_s"), runs("records_per_s"))])
    nothing = history.entry(MACHINE, [])
    assert plot.followed([whole, nothing])["burst, records/s"] == [0.5, None]


def test_a_measurement_that_is_not_permitted_is_skipped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The report says why; nothing has failed."""
    given = measurement()
    skipped = Measurement("far", "far away", given.cases, given.rows, obstacle=f"{__name__}:forbidden")
    monkeypatch.setattr(program, "ALL", (skipped,))
    monkeypatch.setattr(program, "OTHERS", ())
    assert program.main([]) == 0
    assert "## far away\n\nSKIPPED: nobody may\n" in capsys.readouterr().out


def test_all_verdicts_stand_at_the_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Met and missed, each with the name of its measurement."""
    monkeypatch.setattr(program, "ALL", (measurement("one"), measurement("two")))
    monkeypatch.setattr(program, "OTHERS", ())
    assert program.main(["--repetitions", "1"]) == 0
    summary = capsys.readouterr().out.rpartition("## 0 of 2 targets met")[2].splitlines()
    assert [line.partition(": fast")[0] for line in summary[2:]] == ["- MISSED: one", "- MISSED: two"]
