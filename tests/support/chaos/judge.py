"""What must hold of a run, whatever happened in it.

- Every record that was accepted ends delivered, on disk, in quarantine, or counted as dropped by a process
  that ended in good order. Excused are records in memory of a process that was killed, those that
  `logs_not_durable` counts in one, and those in files that the disk was robbed of.
- What is counted as dropped had to be: the call returned False, the disk was full, files were deleted, the
  logger was told to drop.
- What was not accepted is not delivered.
- No record arrives at another server, under another key or project than it was logged for.
- A record is delivered twice only if the first time left a doubt: no whole response, or a late one; a sender
  that was killed, or ran out of time at its end; a full disk, which takes no acknowledgement.
- What is in quarantine as refused was refused, and, with the same doubts, is not delivered as well.
- A flush that says so has delivered what was logged before it.
- No exception leaves `log_prompt`. Every process ends in time, with no segment open at its end unless it
  still logs or was interrupted. The ledgers of all that end in good order are balanced.
- A process with a healthy backend empties the spool.
"""

from __future__ import annotations

import signal
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from tests.support.chaos.backend import REFUSED, TAKEN, Arrival
from tests.support.chaos.plan import CUTTING, HANGING, TENANTS
from tests.support.chaos.run import Evidence
from tests.support.ledger import assert_balanced

_PROMPT_SECONDS = 0.7  # a response within this time is there before any client's timeout
_ACKNOWLEDGED_SECONDS = 1.0  # after a response its records are acknowledged on disk
_CLOSE_CALL_SECONDS = 0.3  # before the deadline of an exit
_REFUSALS = frozenset({"refused", "status", "too_large", "forbidden"})

Logger = tuple[int, int]
"""A process and the number of a logger in it."""


@dataclass
class _Call:
    """One call of `log_prompt`."""

    id: str
    logger: Logger
    tenant: str
    began: float
    accepted: bool | None = None
    returned: float = float("inf")

    @property
    def text(self) -> str:
        return f"{self.id} {self.tenant}"


@dataclass
class _Process:
    """What the journal says of one process."""

    pid: int
    final_at: float | None = None
    open: list[str] = field(default_factory=list)
    """The segments that it had open at its end."""
    endings: list[tuple[float, float]] = field(default_factory=list)
    """When it began to end, or one of its loggers, and how long that might take."""


def violations(evidence: Evidence) -> list[str]:
    """Everything that must not be, each as a line; empty if all is well."""
    return list(_Judge(evidence).all())


class _Judge:
    """The evidence, indexed."""

    def __init__(self, evidence: Evidence) -> None:
        self._evidence = evidence
        self._calls: dict[str, _Call] = {}
        self._raised: list[dict[str, Any]] = []
        self._crashed: list[dict[str, Any]] = []
        self._processes: dict[int, _Process] = {}
        self._tenants: dict[Logger, str] = {}
        self._options: dict[Logger, dict[str, Any]] = {}
        self._not_durable: Counter[Logger] = Counter()
        self._stats: dict[Logger, dict[str, Any]] = {}
        self._flushes: list[dict[str, Any]] = []
        self._ports: dict[int, tuple[list[float], list[int]]] = defaultdict(lambda: ([], []))
        self._parents: dict[int, int] = {}
        for line in evidence.journal:
            getattr(self, f"_read_{line['what']}", lambda _: None)(line)
        self._arrivals: dict[str, list[Arrival]] = defaultdict(list)
        for arrival in evidence.arrivals:
            self._arrivals[arrival.text].append(arrival)

    # -- reading the journal ----------------------------------------------------------------------------

    def _process(self, line: dict[str, Any]) -> _Process:
        return self._processes.setdefault(line["pid"], _Process(line["pid"]))

    def _read_begins(self, line: dict[str, Any]) -> None:
        self._process(line)
        if line["parent"] is not None:
            self._parents[line["pid"]] = line["parent"]

    def _read_logger(self, line: dict[str, Any]) -> None:
        logger = line["pid"], line["logger"]
        self._tenants[logger] = line["tenant"]
        self._options[logger] = line["options"]

    def _read_about(self, line: dict[str, Any]) -> None:
        logger = line["pid"], line["logger"]
        self._calls[line["id"]] = _Call(line["id"], logger, self._tenant_of(logger), line["at"])

    def _read_said(self, line: dict[str, Any]) -> None:
        call = self._calls[line["id"]]
        call.accepted, call.returned = line["accepted"], line["at"]
        counted = line.get("not_durable", 0)
        self._not_durable[call.logger] = max(self._not_durable[call.logger], counted)

    def _read_raised(self, line: dict[str, Any]) -> None:
        self._raised.append(line)

    def _read_crashed(self, line: dict[str, Any]) -> None:
        self._crashed.append(line)

    def _read_flush(self, line: dict[str, Any]) -> None:
        self._flushes.append(line)

    def _read_ending(self, line: dict[str, Any]) -> None:
        self._process(line).endings.append((line["at"], line["timeout"]))

    def _read_stats(self, line: dict[str, Any]) -> None:
        self._stats[line["pid"], line["logger"]] = line["stats"]

    def _read_final(self, line: dict[str, Any]) -> None:
        self._process(line).final_at = line["at"]
        self._process(line).open = line["open"]

    def _read_connected(self, line: dict[str, Any]) -> None:
        times, pids = self._ports[line["port"]]
        times.append(line["at"])
        pids.append(line["pid"])

    def _made_in(self, logger: Logger) -> Logger:
        """A forked child's loggers are those of its parent."""
        pid, number = logger
        while (pid, number) not in self._tenants and pid in self._parents:
            pid = self._parents[pid]
        return pid, number

    def _tenant_of(self, logger: Logger) -> str:
        return self._tenants[self._made_in(logger)]

    def _is_durable(self, logger: Logger) -> bool:
        return self._option(logger, "durability") == "disk"

    def _option(self, logger: Logger, name: str) -> object:
        return self._options[self._made_in(logger)].get(name)

    # -- what must hold ---------------------------------------------------------------------------------

    def all(self) -> Iterator[str]:
        yield from self._blind()
        yield from self._wrong_ends()
        yield from self._exceptions()
        yield from self._mixed_up()
        yield from self._lost()
        yield from self._needless()
        yield from self._unwanted()
        yield from self._repeated()
        yield from self._wrongly_quarantined()
        yield from self._false_flushes()
        yield from self._unbalanced()
        yield from self._still_open()
        yield from self._left()

    def _blind(self) -> Iterator[str]:
        """Without the ports nobody knows whose arrival is whose; a doubt looks like a repetition."""
        if self._evidence.arrivals and not self._ports:
            yield "blind: no process has noted a connection, and yet records arrived"

    def _wrong_ends(self) -> Iterator[str]:
        for pid in self._evidence.stuck:
            yield f"stuck: process {pid} did not end"
        for process in self._processes.values():
            if process.final_at is None and process.pid not in self._evidence.signals:
                yield f"died: process {process.pid} ended without a signal and not in good order"

    def _exceptions(self) -> Iterator[str]:
        for line in self._raised:
            yield f"raised: log_prompt in process {line['pid']}: {line['error']}"
        for line in self._crashed:
            yield f"crashed: process {line['pid']}: {line['error']}"

    def _mixed_up(self) -> Iterator[str]:
        tenants = {each.name: each for each in TENANTS}
        for arrival in self._evidence.arrivals:
            tenant = tenants[arrival.text.split()[1]]
            if (arrival.server, arrival.key, arrival.project) != (tenant.server, tenant.key, tenant.project):
                yield f"mixed up: {self._about(arrival.text)} came to {arrival}"

    # -- nothing is lost --------------------------------------------------------------------------------

    def _lost(self) -> Iterator[str]:
        for where, safe in (("at the end of the workers", self._safe()), ("drain", self._safe_at_last())):
            missing: dict[Logger, list[_Call]] = defaultdict(list)
            for call in self._calls.values():
                if call.accepted and call.text not in safe and not self._is_excused(call):
                    missing[call.logger].append(call)
            yield from self._not_counted(where, missing)

    def _safe(self) -> set[str]:
        evidence = self._evidence
        taken = {a.text for a in evidence.arrivals if a.fate == TAKEN and a.at < evidence.workers_gone_at}
        return taken | evidence.unsent | set(evidence.quarantined)

    def _safe_at_last(self) -> set[str]:
        evidence = self._evidence
        return {a.text for a in evidence.arrivals if a.fate == TAKEN} | set(evidence.quarantined_at_last)

    def _is_excused(self, call: _Call) -> bool:
        in_memory = not self._is_durable(call.logger)
        if self._was_killed(call.logger[0]) and in_memory:
            return True
        return call.text in self._evidence.deleted

    def _was_killed(self, pid: int) -> bool:
        process = self._processes.get(pid)
        return process is not None and process.final_at is None

    def _not_counted(self, where: str, missing: dict[Logger, list[_Call]]) -> Iterator[str]:
        """Those losses that no process has counted: neither its own, nor who adopted them."""
        adopted = sum(stats["adopted"]["dropped"] for stats in self._stats.values())
        for logger, calls in missing.items():
            counted = self._counted(logger)
            others = min(adopted, max(0, len(calls) - counted))
            adopted -= others
            if len(calls) > counted + others:
                yield (
                    f"lost ({where}): {len(calls)} of {self._describe(logger)}, {counted} counted; "
                    f"such as {self._about(calls[0].text)}"
                )

    def _counted(self, logger: Logger) -> int:
        if self._was_killed(logger[0]):
            return self._not_durable[logger]
        return int(self._stats[logger]["logs_dropped"]) if logger in self._stats else 0

    def _needless(self) -> Iterator[str]:
        for logger, stats in self._stats.items():
            turned_away = sum(call.logger == logger and not call.accepted for call in self._calls.values())
            for reason, count in stats["drops"].items():
                if count > turned_away and not self._is_needed(logger, reason):
                    yield f"dropped without need ({reason}): {count} of {self._describe(logger)}"

    def _is_needed(self, logger: Logger, reason: str) -> bool:
        """Whether anything in the surroundings of a process that ended explains the drops for that reason."""
        process = self._processes[logger[0]]
        if reason == "shutdown":
            began = min((at for at, _ in process.endings), default=0.0)
            return self._disk_was_full(began, process.final_at or float("inf"))
        if reason == "queue_full":
            return self._option(logger, "overflow") not in (None, "spill") or bool(self._evidence.full)
        if reason == "refused":  # and the quarantine could not be written
            return bool(self._evidence.full)
        if reason == "removed":
            return any(event.what == "delete" for event in self._evidence.plan.events)
        return reason == "interrupted" and logger[0] in self._evidence.signals

    def _unwanted(self) -> Iterator[str]:
        for call in self._calls.values():
            if call.accepted is False and any(a.fate == TAKEN for a in self._arrivals[call.text]):
                yield f"not accepted, and yet delivered: {self._about(call.text)}"

    # -- nothing is repeated ----------------------------------------------------------------------------

    def _repeated(self) -> Iterator[str]:
        for text, arrivals in self._arrivals.items():
            taken = [arrival for arrival in arrivals if arrival.fate == TAKEN]
            for first, again in pairwise(taken):
                if not self._is_doubtful(first):
                    yield (
                        f"repeated: {self._about(text)}, by process {self._sender(first)}, then "
                        f"{again.at - first.at:.3f} s later by {self._sender(again)}; first {first}; {again}"
                    )

    def _is_doubtful(self, arrival: Arrival) -> bool:
        answered = arrival.answered_at
        if answered is None or answered - arrival.at > _PROMPT_SECONDS or arrival.mood in (HANGING, CUTTING):
            return True
        sender = self._processes.get(self._sender(arrival))
        if sender is None:  # perhaps killed between connecting and noting that down
            return self._killed_at_about(arrival.at)
        if sender.final_at is None:
            return self._was_killed_soon(sender, answered)
        return self._disk_was_full(arrival.at, sender.final_at) or self._ran_out_of_time(sender, answered)

    def _was_killed_soon(self, process: _Process, answered: float) -> bool:
        """Before it could acknowledge."""
        _, killed = self._evidence.signals.get(process.pid, (0, float("inf")))
        return killed < answered + _ACKNOWLEDGED_SECONDS or self._disk_was_full(answered, killed)

    def _killed_at_about(self, moment: float) -> bool:
        kills = (at for name, at in self._evidence.signals.values() if name == signal.SIGKILL)
        return any(abs(at - moment) < _ACKNOWLEDGED_SECONDS for at in kills)

    def _sender(self, arrival: Arrival) -> int:
        times, pids = self._ports.get(arrival.port, ([], []))
        place = bisect_right(times, arrival.at) - 1
        return pids[place] if place >= 0 else 0

    def _disk_was_full(self, begin: float, end: float) -> bool:
        return any(begin <= until and end >= since for since, until in self._evidence.full)

    def _ran_out_of_time(self, process: _Process, answered: float) -> bool:
        _, signalled = self._evidence.signals.get(process.pid, (0, float("-inf")))
        return any(
            began + timeout - _CLOSE_CALL_SECONDS < answered < began + timeout + 2.0
            or began <= signalled <= began + timeout + 1.0
            for began, timeout in process.endings
        )

    # -- the rest ---------------------------------------------------------------------------------------

    def _wrongly_quarantined(self) -> Iterator[str]:
        for text, reason in self._evidence.quarantined_at_last.items():
            arrivals = self._arrivals[text]
            refused = [arrival for arrival in arrivals if arrival.fate == REFUSED]
            if reason in _REFUSALS and not refused:
                yield f"quarantined though never refused ({reason}): {self._about(text)}"
            taken = [arrival for arrival in arrivals if arrival.fate == TAKEN]
            if refused and taken and not any(map(self._is_doubtful, arrivals)):
                yield f"quarantined and delivered: {self._about(text)}; {refused}; {taken}"

    def _false_flushes(self) -> Iterator[str]:
        for flush in self._flushes:
            if flush["delivered"]:
                yield from self._undelivered_at(flush)

    def _undelivered_at(self, flush: dict[str, Any]) -> Iterator[str]:
        logger = flush["pid"], flush["logger"]
        losses = self._stats.get(logger, {}).get("logs_dropped", 0)
        for call in self._calls.values():
            if call.logger != logger or not call.accepted or call.returned >= flush["began"] or losses:
                continue
            settled = call.text in self._evidence.quarantined_at_last or call.text in self._evidence.deleted
            if not settled and not self._was_taken_before(call.text, flush["at"]):
                yield f"flush said delivered at {flush['at']:.3f}: {self._about(call.text)} was not"

    def _was_taken_before(self, text: str, moment: float) -> bool:
        return any(arrival.fate == TAKEN and arrival.at <= moment for arrival in self._arrivals[text])

    def _unbalanced(self) -> Iterator[str]:
        for logger, stats in self._stats.items():
            try:
                assert_balanced(stats)
            except AssertionError as error:
                yield f"unbalanced: {self._describe(logger)}: {error}"

    def _still_open(self) -> Iterator[str]:
        for process in self._processes.values():
            interrupted = process.pid in self._evidence.signals  # its threads may have been left at work
            if process.open and not interrupted:
                yield f"still open at the end of process {process.pid}: {process.open}"

    def _left(self) -> Iterator[str]:
        if self._evidence.left:
            yield f"left: the drain left {len(self._evidence.left)} segments: {self._evidence.left[:3]}"

    # -- words ------------------------------------------------------------------------------------------

    def _describe(self, logger: Logger) -> str:
        pid, number = logger
        durability = "disk" if self._is_durable(logger) else "memory"
        name, _ = self._evidence.signals.get(pid, (None, 0.0))
        end = f"killed by signal {name}" if self._was_killed(pid) else "ended in good order"
        return f"logger {number} of process {pid} (durability {durability}, {end})"

    def _about(self, text: str) -> str:
        call = self._calls.get(text.split()[0])
        if call is None:
            return text
        endings = [began for began, _ in self._processes[call.logger[0]].endings if began <= call.began]
        late = f", {call.began - endings[-1]:.3f} s after an end had begun" if endings else ""
        return f"{text!r} of {self._describe(call.logger)}{late}"
