"""Routing by the documented formula: golden vectors, exact boundaries, configurations that can't be used."""

from __future__ import annotations

import subprocess
import sys
import time
from decimal import Decimal
from typing import Any

import pytest

from banyan_hp import input_hash
from banyan_hp.experiments import MAX_VERSIONS, Split, experiment_from_config, position

# Computed outside of Python: printf 'banyan_hp/experiment/1:5:exp-1user_123' | sha256sum, and so on.
GOLDEN = [
    ("exp-1", "user_123", 15985568741174532510, 14957495573852321288),
    ("exp-1", "", 7840958171466740502, 5274059781206497434),
    ("", "user_123", 18095681247311711893, 16597677143560048743),
    ("Prüfung", "Zoë", 11536687884283787262, 8889423688890122),
    ("exp-1", "日本語🙂", 5896792718996351085, 14101125157589446069),
    ("exp-1", "1", 12421782679447962506, 3848280100474625993),
    ("exp-1", "x" * 10_240, 877126292665876099, 5522379767154391186),
    ("a:1", "b", 708655119981915919, 14062954058639109926),
    ("a", ":1b", 7262629744309131440, 14841233273805962417),
]
CONFIG: dict[str, Any] = {
    "experiment_id": "exp-1",
    "status": "running",
    "sticky_type": "user_id",
    "versions": [
        {"experiment_version_id": "a", "version": "1", "content": "A", "traffic_percentage": 50},
        {"experiment_version_id": "b", "version": "2", "content": "B", "traffic_percentage": 50},
    ],
}


@pytest.mark.parametrize(("salt", "value", "enter", "pick"), GOLDEN)
def test_golden_vectors(salt: str, value: str, enter: int, pick: int) -> None:
    """The formula gives these numbers, whatever the platform and the Python version."""
    assert position(salt, value) == (enter, pick)


def test_the_answer_is_the_same_in_every_process() -> None:
    """Whatever PYTHONHASHSEED is: twenty processes assign a hundred users alike."""
    program = (
        "from banyan_hp.experiments import Split\n"
        "split = Split('exp-1', [30, 30, 20])\n"
        "print([split.choose(f'user_{n}') for n in range(100)])\n"
    )
    # One at a time would cost twenty interpreter starts in a row.
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program], env={"PYTHONHASHSEED": str(seed)}, stdout=-1, text=True
        )
        for seed in range(20)
    ]
    outputs = {process.communicate(timeout=60)[0] for process in processes}
    assert len(outputs) == 1
    assert {"0", "1", "2", "None"} <= set(outputs.pop().strip("[]\n").split(", "))


def test_input_hash_is_the_published_clients() -> None:
    """The first 16 hex digits of the MD5 of the text in UTF-8."""
    assert input_hash("Hello") == "8b1a9953c4611296"
    assert input_hash("") == "d41d8cd98f00b204"
    assert input_hash("Grüße") == "49c5f675b49037b6"


@pytest.mark.parametrize("percentages", [[100], [0, 100], [33.33, 33.33, 33.33], [50, 50.01], ["99.99"]])
def test_a_full_split_takes_everybody(percentages: list[float | str]) -> None:
    """100 %, and what is within a hundredth of it, leaves nobody out."""
    split = Split("s", percentages)
    assert None not in {split.choose(str(number)) for number in range(2000)}


@pytest.mark.parametrize("percentages", [[], [0], [0, 0]])
def test_nothing_takes_nobody(percentages: list[float]) -> None:
    """0 % is exact."""
    split = Split("s", percentages)
    assert {split.choose(str(number)) for number in range(2000)} == {None}


def test_a_version_without_traffic_is_never_chosen() -> None:
    """Neither at the beginning, nor in the middle, nor at the end."""
    split = Split("s", [0, 60, 0, 40, 0])
    assert {split.choose(str(number)) for number in range(2000)} == {1, 3}


def test_boundaries_are_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """A value exactly at a share's end belongs to what comes after it; one before it does not."""
    half, all_ones = 2**63, 2**64 - 1

    def chosen(enter: int, pick: int) -> int | None:
        # private: no value is known whose hash is exactly at a boundary
        monkeypatch.setattr("banyan_hp.experiments._position", lambda *_: (enter, pick))
        return Split("s", [25, 25]).choose("")

    assert chosen(half - 1, half - 1) == 0
    assert chosen(half - 1, half) == 1
    assert chosen(half - 1, all_ones) == 1
    assert chosen(half, 0) is None


def test_percentages_are_taken_as_the_decimals_they_are_written_as() -> None:
    """0.1 is a tenth, not the float next to it; texts and Decimals of the same number split alike."""
    values = [str(number) for number in range(3000)]
    splits = [Split("s", [form(0.1), form(40.2)]) for form in (float, str, lambda n: Decimal(str(n)))]
    assert len({tuple(map(split.choose, values)) for split in splits}) == 1
    # private: the bound itself, since no value is known that falls between it and a float's
    assert Split("s", [0.1] * 10)._entered_below == Split("s", [1])._entered_below


@pytest.mark.parametrize(
    ("percentages", "message"),
    [
        ([60, 60], "add up to at most 100, was 120"),
        ([100.02], "from 0 to 100, was 100.02"),
        ([50, 50.02], "at most 100, was 100.02"),
        ([-1], "from 0 to 100, was -1"),
        ([float("nan")], "was nan"),
        ([float("inf")], "was inf"),
        (["many"], "was 'many'"),
        ([None], "was None"),
        ([True], "was True"),
        (["1e-400"], "was '1e-400'"),
    ],
)
def test_percentages_that_make_no_sense_are_named(percentages: list[Any], message: str) -> None:
    """The message says what it was and what is allowed."""
    with pytest.raises(ValueError, match=message):
        Split("s", percentages)


def test_an_experiment_from_the_backends_json() -> None:
    """The salt is the id if none is given; numbers are taken as ids, too."""
    experiment = experiment_from_config(CONFIG)
    assert experiment.running
    assert [each.experiment_version_id for each in experiment.versions] == ["a", "b"]
    same = experiment_from_config({**CONFIG, "salt": "exp-1"})
    other = experiment_from_config({**CONFIG, "salt": "another"})
    users = [f"user_{number}" for number in range(200)]
    assert list(map(experiment.version_for, users)) == list(map(same.version_for, users))
    assert list(map(experiment.version_for, users)) != list(map(other.version_for, users))
    assert experiment_from_config({**CONFIG, "experiment_id": 7}).experiment_id == "7"


@pytest.mark.parametrize("status", ["paused", "finished", "draft", "scheduled", "RUNNING"])
def test_only_running_ones_run(status: str) -> None:
    """Anything but `running` routes nobody."""
    assert not experiment_from_config({**CONFIG, "status": status}).running


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"versions": None}, "versions must be a list"),
        ({"versions": [1]}, "versions must be a list of objects"),
        ({"sticky_type": ""}, "sticky_type must be a text"),
        ({"status": None}, "status must be a text"),
        ({"salt": 1.5}, "salt must be a text"),
        ({"versions": [{**CONFIG["versions"][0], "content": None}]}, "content must be a text"),
        ({"versions": [{**CONFIG["versions"][0], "traffic_percentage": 101}]}, "traffic_percentage"),
    ],
)
def test_an_experiment_that_cant_be_used_is_named(change: dict[str, Any], message: str) -> None:
    """The error says which experiment it is."""
    with pytest.raises(ValueError, match=f"experiment 'exp-1' is ignored: .*{message}"):
        experiment_from_config({**CONFIG, **change})


def test_the_cost_of_a_split_follows_the_number_of_versions() -> None:
    """4,000 versions are made ready within the time of a request, and each of them can be chosen."""
    began = time.thread_time()
    split = Split("s", [Decimal("0.025")] * 4000)
    chosen = {split.choose(str(number)) for number in range(1000)}
    assert time.thread_time() - began < 1.0
    assert None not in chosen
    assert len(chosen) > 800


def test_an_experiment_with_too_many_versions_is_ignored() -> None:
    """The bound is documented, and nothing beyond it is read."""
    version = {**CONFIG["versions"][0], "traffic_percentage": 0}
    assert experiment_from_config({**CONFIG, "versions": [version] * MAX_VERSIONS}).running
    with pytest.raises(ValueError, match=f"at most {MAX_VERSIONS} versions, was {MAX_VERSIONS + 1}"):
        experiment_from_config({**CONFIG, "versions": [version] * (MAX_VERSIONS + 1)})


LONG = "x" * 1_000_000


@pytest.mark.parametrize(
    "change",
    [
        {"experiment_id": LONG, "versions": None},
        {"experiment_id": [LONG], "versions": None},
        {"salt": LONG},
        {"status": {"deep": LONG}},
        {"versions": [{**CONFIG["versions"][0], "traffic_percentage": LONG}]},
        {"versions": [{**CONFIG["versions"][0], "traffic_percentage": "1" * 1_000_000}]},
        {"versions": [{**CONFIG["versions"][0], "content": {"deep": LONG}}]},
    ],
)
def test_the_error_is_short_whatever_a_backend_sends(change: dict[str, Any]) -> None:
    """It names the experiment and the field; a long value is not repeated."""
    with pytest.raises(ValueError, match="is ignored") as caught:
        experiment_from_config({**CONFIG, **change})
    assert len(str(caught.value)) < 250
