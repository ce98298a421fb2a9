"""Celery: the publisher's `context()` in its tasks, tasks as records, each worker process's stats.

instrument(app)
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date
from threading import Thread
from typing import Any
from uuid import UUID
from weakref import WeakKeyDictionary

from celery import Celery, signals
from celery.exceptions import Retry

from ..checks import boolean
from ..clients import banyan
from ..clients.huggingplace import HuggingPlace, Session
from ..clients.prompt_logger import PromptStackLogger
from ..engine import threads
from ..engine.sync import WakeUp
from ..errors import ConfigurationError
from ..foreign import is_deliberate, shown, type_name
from ..logs import say, warn
from ..tracking.context import context
from ..tracking.scopes import metadata_here

__all__ = ["instrument"]

HEADER = "banyan_hp_context"
MOST_BYTES = 4096

Client = PromptStackLogger | HuggingPlace
Report = Callable[[Mapping[str, Any]], object]

_RUNNING = "_banyan_hp_running"  # an attribute of a task's request: what surrounds its run
_FAILED = ("FAILURE", "RETRY")
_CELERYS_OWN = "celery."  # names of the tasks that Celery sends itself


@dataclass(frozen=True)
class _Options:
    """What was asked for of one application."""

    logger: Client | Session | None
    trace: bool
    arguments: bool
    beat: _Beat | None


_apps: WeakKeyDictionary[Celery, _Options] = WeakKeyDictionary()
_propagate: bool | Collection[str] = False


def instrument(
    app: Celery,
    logger: Client | Session | None = None,
    *,
    propagate: bool | Collection[str] = True,
    trace: bool = False,
    arguments: bool = False,
    stats_interval: float | None = None,
    on_stats: Report | None = None,
) -> None:
    """Have tasks run in the context of whoever published them. Call it where the application is made.

    What `context()` has set where a task is published travels in the message's header `banyan_hp_context`, as
    JSON of at most 4 KiB, and is set again around the task's run, its retries included. Values that are not
    JSON (UUIDs and dates become text), or that don't fit, stay behind, which is logged. Messages without the
    header run as before, and workers without this call ignore it. Calling it again replaces the options.

    Args:
        app: the application.
        logger: for `trace` and the stats; default: the one of `banyan_hp.configure()`.
        propagate: False: nothing travels; or the names that may, `("user_id",)`. Celery's signal does not say
            which application publishes: the last call in a process decides for all that are in it.
        trace: each run of a task is a record, an interaction: what the task logs by `step` or a wrapped
            client is a step of it. It has the task's name, and in the metadata `celery_task`,
            `celery_task_id`, `celery_state`, `celery_retries` and the error. Celery's own tasks are left out.
        arguments: such a record also has the task's arguments and what it returned.
        stats_interval: seconds, 1 or more, between reports of `get_stats()` by each process that has run a
            task, from a thread. An entry of `beat_schedule` would report one process of the pool.
        on_stats: takes the stats; default: a line of the logger `banyan_hp` at INFO.

    Raises:
        ConfigurationError: an argument is not as described.
    """
    global _propagate
    if not isinstance(app, Celery):
        raise ConfigurationError(f"instrument() takes a Celery application, was {shown(app)}")
    if logger is not None and not isinstance(logger, (PromptStackLogger, HuggingPlace, Session)):
        raise ConfigurationError(f"logger must be a client of banyan_hp, was {shown(logger)}")
    boolean("trace", trace)
    boolean("arguments", arguments)
    if arguments and not trace:
        raise ConfigurationError("arguments=True needs trace=True: they are on the records of tasks")
    if on_stats is not None and (stats_interval is None or not callable(on_stats)):
        raise ConfigurationError(f"on_stats must be a function, with a stats_interval, was {shown(on_stats)}")
    beat = None if stats_interval is None else _Beat(logger, _seconds(stats_interval), on_stats or _say)
    names, before = _names(propagate), _apps.get(app)
    if before is not None and before.beat is not None:
        before.beat.stop()
    _propagate = names
    _apps[app] = _Options(logger, trace, arguments, beat)
    for signal, receiver in _RECEIVERS.items():  # Celery keeps one receiver of each `dispatch_uid`
        signal.connect(receiver, weak=False, dispatch_uid=f"{__name__}.{receiver.__name__}")


def _names(propagate: object) -> bool | Collection[str]:
    if isinstance(propagate, bool):
        return propagate
    if isinstance(propagate, Collection) and not isinstance(propagate, str):
        return frozenset(propagate)
    raise ConfigurationError(f"propagate must be True, False or a list of names, was {shown(propagate)}")


def _seconds(interval: object) -> float:
    if isinstance(interval, bool) or not isinstance(interval, (int, float)) or not 1 <= interval < 1e9:
        raise ConfigurationError(f"stats_interval must be seconds, 1 or more, was {shown(interval)}")
    return float(interval)


def _guarded(doing: str, error: Exception) -> None:
    if is_deliberate(error):
        raise error
    warn(doing, "%s (%s); the task is not affected", doing, type_name(error))


# -- publishing ----------------------------------------------------------------------------------------------


def _before_publish(headers: dict[str, Any] | None = None, **_: Any) -> None:
    try:
        travelling = _travelling(metadata_here()) if _propagate and headers is not None else None
        if travelling is not None and headers is not None:
            headers[HEADER] = travelling
    except Exception as error:  # noqa: BLE001 - the values may be anything
        _guarded("the context could not be handed to a task", error)


def _travelling(around: Mapping[str, Any]) -> str | None:
    """What of the context goes with a task, as JSON text."""
    names = around if isinstance(_propagate, bool) else _propagate
    parts: list[str] = []
    left_out: list[str] = []
    room = MOST_BYTES - 2
    for name, value in around.items():
        if name not in names:
            continue
        part = _part(name, value)
        if part is None or len(part) + 2 > room:
            left_out.append(name)
        else:
            room -= len(part) + 2
            parts.append(part)
    if left_out:
        warn("context for a task", "not handed to a task, as it is no JSON or too large: %s", left_out)
    return "{" + ", ".join(parts) + "}" if parts else None


def _part(name: str, value: object) -> str | None:
    """A name and its value as JSON; None if the value has no JSON."""
    try:
        return f"{json.dumps(name)}: {json.dumps(value, default=_as_text, allow_nan=False)}"
    except (TypeError, ValueError, RecursionError):
        return None


def _as_text(value: object) -> str:
    if isinstance(value, (UUID, date)):
        return str(value)
    raise TypeError


# -- running -------------------------------------------------------------------------------------------------


def _before_run(task: Any = None, task_id: str = "", **call: Any) -> None:
    options = _apps.get(task.app)
    if options is None:
        return
    try:
        running = _Running(task, task_id, options, call)
        setattr(task.request, _RUNNING, running)
        running.begin()
        if options.beat is not None:
            options.beat.start()
    except Exception as error:  # noqa: BLE001 - a task must run, whatever its message holds
        _guarded("a task could not be recorded", error)


def _after_run(task: Any = None, state: str | None = None, retval: object = None, **_: Any) -> None:
    try:
        running = vars(task.request).pop(_RUNNING, None)
        if running is not None:
            running.end(state, retval)
    except Exception as error:  # noqa: BLE001
        _guarded("a task could not be recorded", error)


class _Running:
    """What surrounds one run of a task: the context that came with it, and its record."""

    def __init__(self, task: Any, task_id: str, options: _Options, call: Mapping[str, Any]) -> None:
        self._around = ExitStack()
        self._found = {} if task.request.is_eager else _found(task.request.headers)
        self._interaction: Any = None
        self._arguments = options.arguments
        if options.trace and not task.name.startswith(_CELERYS_OWN):
            asked = {"task": task.name, "args": call.get("args"), "kwargs": call.get("kwargs")}
            metadata = {"celery_task": task.name, "celery_task_id": task_id}
            interaction = banyan.interaction if options.logger is None else options.logger.interaction
            self._interaction = interaction(
                asked if options.arguments else task.name,
                metadata={**metadata, "celery_retries": task.request.retries},
            )

    def begin(self) -> None:
        if self._found:
            self._around.enter_context(context(**self._found))
        if self._interaction is not None:
            self._around.enter_context(self._interaction)

    def end(self, state: str | None, returned: object) -> None:
        """A run has no state if an exception leaves it: an eager task's, or one that ends the thread."""
        error = returned if state in _FAILED else sys.exception() if state is None else None
        if isinstance(error, Retry):
            error = error.exc
        if self._interaction is not None:
            self._interaction.metadata["celery_state"] = state or "FAILURE"
            if self._arguments and state == "SUCCESS":
                self._interaction.response = returned
        failed = isinstance(error, BaseException)
        self._around.__exit__(*((type(error), error, None) if failed else (None, None, None)))


def _found(headers: object) -> dict[str, Any]:
    """The context in a message, which another version may have sent, or anybody."""
    text = headers.get(HEADER) if isinstance(headers, Mapping) else None
    if not isinstance(text, str) or len(text) > MOST_BYTES:
        return {}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


_RECEIVERS = {
    signals.before_task_publish: _before_publish,
    signals.task_prerun: _before_run,
    signals.task_postrun: _after_run,
}


# -- stats ---------------------------------------------------------------------------------------------------


class _Beat:
    """Reports the stats of each process that runs tasks, from a thread of that process."""

    def __init__(self, logger: Client | Session | None, seconds: float, report: Report) -> None:
        self._logger = logger
        self._seconds = seconds
        self._report = report
        self._ends: dict[int, WakeUp] = {}  # by process: a fork must not inherit a lock

    def start(self) -> None:
        """Once in each process."""
        end = WakeUp()
        if os.getpid() not in self._ends and self._ends.setdefault(os.getpid(), end) is end:
            self._ends = {os.getpid(): end}
            threads.start(Thread(target=self._run, args=(end,), name="banyan-hp-stats", daemon=True))

    def stop(self) -> None:
        """End the thread of this process: there are other options now."""
        self._ends.get(os.getpid(), WakeUp()).wake()

    def _run(self, end: WakeUp) -> None:
        while not end.wait(self._seconds):
            try:
                self._report(self._stats())
            except Exception as error:  # noqa: BLE001 - a callback of the application's
                warn("on_stats", "on_stats failed (%s)", type_name(error))

    def _stats(self) -> Mapping[str, Any]:
        logger = self._logger._client if isinstance(self._logger, Session) else self._logger
        return banyan.get_stats() if logger is None else logger.get_stats()


_SAID = ("logs_queued", "logs_sent", "logs_spooled", "logs_dropped", "logs_quarantined", "queue_size")


def _say(stats: Mapping[str, Any]) -> None:
    say(logging.INFO, "stats: %s", ", ".join(f"{name}={stats[name]}" for name in _SAID))
