"""What must be known of the servers and task queues that processes of the application live in.

Each is looked at only if the application has loaded it. Asking for a hook again changes nothing.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from types import ModuleType
from typing import Any

from ...logs import warn

Drain = Callable[[], None]


def at_exit(drain: Drain, drain_short_life: Drain) -> None:
    """Have a function called at the end of this process, where its host leaves past `atexit`.

    Args:
        drain: for processes that live long.
        drain_short_life: for those that live for one task.
    """
    at_exit_of_uwsgi_worker(drain)
    _at_exit_of_celery_process(drain)
    _at_exit_of_rq_horse(drain_short_life)
    _at_exit_of_multiprocessing_child(drain)


# -- uWSGI ---------------------------------------------------------------------------------------------------
# Its fork hooks need no care here: an engine looks at the process id at each call.


def threads_can_run() -> bool:
    """False in a uWSGI without threads, and in the master, which forks its workers without a look at them.

    Before 2.0.27 a uWSGI is without threads unless started with `--enable-threads` or `--threads`; since then
    they always run, whatever the options say. `uwsgi.has_threads` is what it goes by itself.
    """
    uwsgi = _uwsgi()
    if uwsgi is None:
        return True
    if getattr(uwsgi, "has_threads", True):
        return not _is_master(uwsgi)
    warn(
        "uwsgi",
        "uWSGI runs without threads: records are delivered by the callers' threads. "
        "Start it with --enable-threads to have that done in the background",
    )
    return False


def _is_master(uwsgi: ModuleType) -> bool:
    """Whether workers are forked from here: a thread of ours might hold the GIL then, in them for ever."""
    return getattr(uwsgi, "masterpid", lambda: None)() == os.getpid()


def at_exit_of_uwsgi_worker(drain: Drain) -> None:
    """Before what was to be called until now."""
    uwsgi = _uwsgi()
    if uwsgi is None:
        return
    before: Callable[[], object] | None = getattr(uwsgi, "atexit", None)
    if before is not drain:
        uwsgi.atexit = drain if before is None else _preceded_by(drain, before)  # type: ignore[attr-defined]


def _uwsgi() -> ModuleType | None:
    """The module that exists inside uWSGI only."""
    return sys.modules.get("uwsgi")


# -- Celery --------------------------------------------------------------------------------------------------


def _at_exit_of_celery_process(drain: Drain) -> None:
    """A process of a prefork pool leaves by `os._exit`, past billiard's finalizers, too.

    All that it runs before is what was connected to this signal.
    """
    signals = sys.modules.get("celery.signals")
    if signals is not None:
        connect = signals.worker_process_shutdown.connect
        connect(lambda **_: drain(), weak=False, dispatch_uid="banyan_hp")


# -- RQ ------------------------------------------------------------------------------------------------------


def _at_exit_of_rq_horse(drain: Drain) -> None:
    """A work horse runs one job and leaves by `os._exit`, and RQ has no hook for that.

    What it calls at the end of every job, and what can still be replaced from within the job, is the worker's
    `handle_execution_ended`.
    """
    workers = sys.modules.get("rq.worker")
    for name in ("BaseWorker", "Worker"):  # before 2.0 there is no BaseWorker
        worker = getattr(workers, name, None)
        ended = vars(worker).get("handle_execution_ended") if worker is not None else None
        if callable(ended) and not hasattr(ended, "__wrapped__"):
            worker.handle_execution_ended = _then(ended, drain)  # type: ignore[union-attr]


def _then(ended: Callable[..., Any], drain: Drain) -> Callable[..., Any]:
    @functools.wraps(ended)
    def handle_execution_ended(worker: Any, *arguments: Any, **options: Any) -> Any:
        try:
            return ended(worker, *arguments, **options)
        finally:
            if getattr(worker, "_is_horse", False):  # a SimpleWorker's process goes on
                drain()

    return handle_execution_ended


# -- multiprocessing and billiard ----------------------------------------------------------------------------


def _at_exit_of_multiprocessing_child(drain: Drain) -> None:
    """Children leave by `os._exit`, past `atexit`, but run their finalizers.

    They forget the finalizers that they began with. So each child makes one at its beginning, and again
    here, at its first record, if the parent had not loaded these modules when it came by.
    """
    for package in ("multiprocessing", "billiard"):
        util, processes = sys.modules.get(f"{package}.util"), sys.modules.get(f"{package}.process")
        if util is None or processes is None:
            continue
        finalize = functools.partial(util.Finalize, None, exitpriority=100)
        util.register_after_fork(drain, finalize)
        if processes.current_process()._parent_pid is not None:  # so in both, and in all their versions
            finalize(drain)


# -- uvicorn -------------------------------------------------------------------------------------------------


def before_uvicorn_ends(prepare: Drain) -> None:
    """Have `prepare` called when uvicorn gets SIGTERM, before its own handler is.

    Where an application is loaded while that handler is set (in uvicorn's workers, under its reloader), the
    end of the server restores the handler from before, which is the default action, and raises the signal
    again: the process ends there, past `atexit`. LiteLLM's proxy puts a handler of its own around uvicorn's.
    """
    handler = signal.getsignal(signal.SIGTERM)
    if callable(handler) and any(map(_is_uvicorns, (handler, *_enclosed(handler)))):
        with suppress(ValueError):  # on another thread than the main one
            signal.signal(signal.SIGTERM, _preceded_by(prepare, handler))


def _is_uvicorns(handler: object) -> bool:
    return type(getattr(handler, "__self__", None)).__module__.partition(".")[0] == "uvicorn"


def _enclosed(handler: object) -> list[object]:
    """What a function that was made inside another one keeps of that one: the handler before it, say."""
    found = []
    for cell in getattr(handler, "__closure__", None) or ():
        with suppress(ValueError):  # an empty cell
            found.append(cell.cell_contents)
    return found


def _preceded_by(first: Drain, then: Callable[..., object]) -> Callable[..., None]:
    def call_both(*arguments: Any) -> None:
        first()
        then(*arguments)

    return call_both
