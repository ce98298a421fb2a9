"""What a benchmark is made of: a measurement has cases that take turns, rows to show, targets to meet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.benchmarks.adapters import System
from tests.benchmarks.sink import Mode


@dataclass(frozen=True)
class Case:
    """A function that is called in a process of its own with the backend's URL and `arguments`."""

    name: str
    function: str
    """`module:function`; it returns numbers by name."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    sink: Mode | None = None
    """None: at the URL nobody listens."""
    records: int | None = None
    """How many distinct ones the sink must have afterwards; None: it is not asked."""
    hide: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        system: System,
        function: str,
        *,
        name: str | None = None,
        down: bool = False,
        options: Mapping[str, Any] | None = None,
        **arguments: Any,
    ) -> Case:
        """A case that logs `arguments["records"]` records with a system, which must all arrive."""
        made = {"factory": system.factory, "options": {**system.options, **(options or {})}}
        return cls(
            name or system.name,
            function,
            {**made, **arguments},
            None if down else system.sink,
            None if down else arguments.get("records"),
            system.hide,
        )


@dataclass(frozen=True)
class Row:
    """One metric of all cases."""

    metric: str
    label: str


@dataclass(frozen=True)
class Target:
    """A bound on a median, on its ratio to another case's median, or on its distance from it."""

    text: str
    case: str
    metric: str
    most: float | None = None
    least: float | None = None
    ratio_to: str | None = None
    """A case; the value is the metric divided by that case's."""
    beyond: str | None = None
    """A case; the value is the metric minus that case's."""


@dataclass(frozen=True)
class Measurement:
    """Cases that take turns, `repetitions` times; the others are compared with the first."""

    name: str
    title: str
    cases: tuple[Case, ...]
    rows: tuple[Row, ...]
    targets: tuple[Target, ...] = ()
    repetitions: int = 3
    prepare: str | None = None
    """`module:function` that is called once, before; what it returns is added to the cases' arguments."""
    obstacle: str | None = None
    """`module:function` that says why it can't be made on this machine, or returns None."""
    seeded: bool = True
    """Whether the cases' functions take a `seed`: the number of the repetition."""
