"""What happens in one run of chaos: a pure function of the seed."""

from __future__ import annotations

import random
import signal
from dataclasses import asdict, dataclass, field
from typing import Any

FINE, DOWN, REFUSING, PICKY, DENYING, BROKEN, HANGING, SLOW, CUTTING, BUSY = (
    "fine",
    "down",
    "refusing",
    "picky",
    "denying",
    "broken",
    "hanging",
    "slow",
    "cutting",
    "busy",
)
MOODS = (FINE, FINE, DOWN, REFUSING, PICKY, DENYING, BROKEN, HANGING, SLOW, CUTTING, BUSY)

_FATES: list[list[signal.Signals]] = [
    [],
    [],
    [signal.SIGKILL],
    [signal.SIGKILL],
    [signal.SIGTERM],
    [signal.SIGINT],
    [signal.SIGINT] * 3,  # somebody who has no patience
]

Step = list[Any]


@dataclass(frozen=True)
class Tenant:
    """Where records go, and under which key."""

    name: str
    server: int
    key: str
    project: str | None


TENANTS = (
    Tenant("a", 0, "psk_first", None),
    Tenant("b", 0, "psk_second", None),
    Tenant("c", 1, "psk_first", None),
    Tenant("d", 1, "psk_first", "other"),
)


@dataclass(frozen=True)
class Event:
    """Something that happens to the surroundings, `at` seconds from the beginning."""

    at: float
    what: str
    """start, signal, mood, fill, free or delete."""
    whom: int = 0
    """The number of the worker or of the server."""
    value: str | int = ""
    """The mood or the signal."""


@dataclass(frozen=True)
class WorkerPlan:
    """One process: its loggers, what its main thread does, how it ends, how it meets SIGTERM."""

    loggers: list[dict[str, Any]]
    steps: list[Step]
    ending: str
    """exit, shutdown, or late: a daemon thread goes on logging while the process ends."""
    handles_sigterm: bool


@dataclass(frozen=True)
class Plan:
    seed: int
    batches: tuple[bool, bool]
    workers: list[WorkerPlan]
    events: list[Event]
    disk: str
    """well, or how it fills up: tmpfs (a small file system of its own) or fake (a patched write)."""
    constants: dict[str, float]
    """What the engine's own constants are, to see more of its life in a short time."""
    last_mood_stays: bool
    """Whether the backend's last mood lasts until all workers are gone."""

    def of_worker(self, number: int) -> dict[str, Any]:
        """A worker's orders."""
        return {**asdict(self.workers[number]), "number": number, "drain": False, "constants": self.constants}


@dataclass
class _Draw:
    chance: random.Random
    seconds: float
    events: list[Event] = field(default_factory=list)

    def logger(self) -> dict[str, Any]:
        pick = self.chance.choice
        return {
            "tenant": pick(TENANTS).name,
            "durability": pick(["memory", "disk"]),
            "queue_size": pick([50, 10_000, 10_000]),
            "overflow": pick(["spill", "spill", "drop_oldest", "drop_newest"]),
            "flush_interval": pick([0.02, 0.2, 1.0]),
            "batch_size": pick([5, 50, 500]),
            "max_connections": pick([2, 8]),
            "max_retries": pick([0, 1, 3]),
            "retry_delay": 0.05,
            "timeout": pick([1.5, 3.0]),
            "exit_timeout": pick([1.0, 2.0]),
            "fsync": pick(["never", "never", "interval"]),
        }

    def step(self, loggers: int) -> Step:
        chance = self.chance
        which, count, pause = chance.randrange(loggers), chance.randrange(1, 40), chance.choice([0, 0, 0.002])
        kinds = ["log", "log", "log", "log", "sleep", "flush", "thread", "fork", "renew"]
        kind = chance.choice(kinds)
        if kind == "sleep":
            return [kind, chance.uniform(0.0, 0.6)]
        if kind == "flush":
            return [kind, which, chance.choice([0.0, 0.1, 1.0])]
        if kind == "renew":
            return [kind, which, chance.choice([0.0, 0.5, 2.0])]
        if kind == "fork":
            return [kind, which, count, chance.choice(["exit", "shutdown"])]
        return [kind, which, count, pause]

    def worker(self, number: int) -> WorkerPlan:
        chance = self.chance
        loggers = [self.logger() for _ in range(chance.choice([1, 2, 2, 3]))]
        steps = [self.step(len(loggers)) for _ in range(chance.randrange(8, 22))]
        begin = 0.0 if number == 0 else chance.uniform(0.0, 0.6 * self.seconds)
        self.events.append(Event(begin, "start", number))
        at = begin + chance.uniform(0.05, 2.5)
        for fatal in chance.choice(_FATES):
            self.events.append(Event(at, "signal", number, int(fatal)))
            at += chance.uniform(0.01, 0.06)
        ending = chance.choice(["exit", "exit", "shutdown", "late"])
        return WorkerPlan(loggers, steps, ending, chance.random() < 0.5)

    def moods(self, server: int) -> None:
        at = self.chance.uniform(0.2, 1.0)
        while at < self.seconds:
            self.events.append(Event(at, "mood", server, self.mood()))
            at += self.chance.uniform(0.3, 1.4)

    def mood(self) -> str:
        mood = self.chance.choice(MOODS)
        if mood == DENYING:  # some keys, or all
            return f"{DENYING} {self.chance.choice(['psk_', 'psk_first', 'psk_second'])}"
        return mood

    def disk(self) -> str:
        kind = self.chance.choice(["well", "well", "tmpfs", "fake"])
        if kind != "well":
            at = self.chance.uniform(0.5, 0.5 * self.seconds)
            self.events.append(Event(at, "fill"))
            self.events.append(Event(at + self.chance.uniform(0.3, 2.0), "free"))
        return kind

    def deletions(self) -> None:
        if self.chance.random() < 0.25:
            for _ in range(self.chance.randrange(1, 4)):
                self.events.append(Event(self.chance.uniform(0.5, self.seconds), "delete"))


def draw(seed: int, *, seconds: float = 5.0, workers: int = 6) -> Plan:
    """The plan of a seed; `seconds` is about how long the workers and the moods go on."""
    made = _Draw(random.Random(seed), seconds)
    chance = made.chance
    batches = (chance.random() < 0.7, chance.random() < 0.5)
    plans = [made.worker(number) for number in range(workers)]
    made.moods(0)
    made.moods(1)
    disk = made.disk()
    made.deletions()
    constants = {
        "engine.spool.writer.SEGMENT_BYTES": chance.choice([6_000, 30_000, 8 * 2**20]),
        "engine.spool.spool.LOOK_SECONDS": chance.choice([0.2, 1.0, 30.0]),
        "engine.spool.disk.TRY_AGAIN_SECONDS": chance.choice([0.3, 30.0]),
        "engine.policy.circuit_breaker.HOLD_PROBE_SECONDS": chance.choice([0.3, 60.0]),
    }
    events = sorted(made.events, key=lambda event: event.at)
    return Plan(seed, batches, plans, events, disk, constants, chance.random() < 0.4)
