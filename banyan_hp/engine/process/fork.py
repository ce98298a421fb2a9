"""A fork: the child's engines make everything anew, and start threads only when all of Python is ready.

A fork may come between any two steps, from any thread: locks may be held in the child for ever, by threads
that it does not have, so it touches none of its parent's. It closes the descriptors of the parent's leases
and unlocks nothing. Where Python's hooks are not called (uWSGI), each call of an engine finds out by the
process id.

A fork from inside a section of the same thread (a destructor or signal handler that forks) lets the section
end first. What a destructor logs among the child's fork hooks is taken in at once; a thread is started for
it behind them.
"""

from __future__ import annotations

import os
import threading

from ... import logs
from ..delivery.worker import MayStart
from . import hosts, termination
from .exit import leaving, members

_forking: dict[int, int] = {}  # by thread: the process in which it began to fork


def in_fork_hooks() -> bool:
    """Whether this thread is in the fork hooks of a child, where a destructor may log.

    `threading` may not have had its turn: it would forget a thread that is started now.
    """
    return _forking.get(threading.get_ident(), os.getpid()) != os.getpid()


def may_start_threads() -> MayStart:
    """What this process says about threads now; from 3.12 on Python refuses one while it ends."""
    if not hosts.threads_can_run():
        return MayStart.NEVER
    return MayStart.NOT_NOW if leaving() or in_fork_hooks() else MayStart.NOW


def _before() -> None:
    termination.block_for_fork()
    _forking[threading.get_ident()] = os.getpid()


def _after_in_parent() -> None:
    _forking.pop(threading.get_ident(), None)
    termination.unblock_after_fork()


def _after_in_child() -> None:
    try:
        logs.forget_threads()
        for engine in members():
            engine.after_fork()
    finally:
        _forking.clear()
        termination.unblock_after_fork()  # before threads are started: they would inherit what is blocked
    for engine in members():
        engine.core.start_if_needed()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
