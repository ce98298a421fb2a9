"""`banyan-hp experiments plan`, which asks no backend."""

from __future__ import annotations

import json

import pytest

from banyan_hp.cli.main import main

PLAN = ("experiments", "plan")


def planned(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main([*PLAN, *arguments])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_a_plan_says_how_many_users_each_kind_of_interval_needs(capsys: pytest.CaptureFixture[str]) -> None:
    """And how many days that takes."""
    code, said, _ = planned(capsys, "--baseline", "0.1", "--mde", "0.02", "--users-per-day", "1000")
    lines = [line.split() for line in said.splitlines()]
    assert code == 0
    assert lines[0][:8] == ["to", "see", "a", "difference", "of", "0.02", "from", "0.1"]
    assert lines[2][-3:] == ["7,589", "15,178", "16"]
    assert lines[3][-3:] == ["3,839", "7,678", "8"]


def test_a_difference_may_be_relative_and_a_metric_no_proportion(capsys: pytest.CaptureFixture[str]) -> None:
    """More versions divide alpha, so each of them needs more users."""
    two = json.loads(planned(capsys, "--baseline", "800", "--mde=-5%", "--std", "400", "--json")[1])
    assert two["effect"] == -40
    assert two["fixed"] == {"users_a_version": 1570, "users": 3140, "days": None}
    three = ("--baseline", "800", "--mde=-5%", "--std", "400", "--versions", "3", "--json")
    assert json.loads(planned(capsys, *three)[1])["fixed"]["users_a_version"] > 1570


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (
            ("--baseline", "2"),
            "--baseline must be a proportion, between 0 and 1, or come with --std, was 2.0",
        ),
        (("--baseline", "0.99"), "--mde must lead to a proportion between 0 and 1, leads to 1.01"),
        (("--baseline", "0.1", "--alpha", "1"), "--alpha must be a number between 0 and 1, was 1.0"),
        (("--baseline", "0.1", "--versions", "1"), "--versions must be at least 2, was 1"),
        (("--baseline", "0.1", "--users-per-day", "0"), "--users-per-day must be above 0, was 0.0"),
    ],
)
def test_what_makes_no_sense_is_refused(
    given: tuple[str, ...], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one line, with exit code 2."""
    code, _, complaint = planned(capsys, *given, "--mde", "0.02")
    assert (code, complaint) == (2, f"banyan-hp: {reason}\n")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("plan", "--baseline", "0.1", "--mde", "much"), "must be a difference, as in 0.02 or 20%"),
        (("results", "e", "--effect", "10"), "must be a percentage or a part, as in 10% or 0.1, was '10'"),
        (("results", "e", "--effect", "10%%"), "must be a percentage or a part, as in 10% or 0.1"),
        (("create", "e", "--window", "1w"), "must be a time, as in 30m, 12h or 7d"),
    ],
)
def test_values_have_a_form(
    arguments: tuple[str, ...], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Anything else is named before a backend is asked."""
    with pytest.raises(SystemExit) as ended:
        main(["experiments", *arguments])
    assert ended.value.code == 2
    assert reason in capsys.readouterr().err
