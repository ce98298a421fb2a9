"""Several processes that serve one listening socket, and the one that starts, restarts and stops them.

A worker is forked before anything of the database is open, and opens its own. The supervisor serves nothing:

    starting   all are forked; each tells that it is ready through a pipe, whose end closes with its process
    serving    one that ends is forked again; nobody notices, since the others accept from the same socket
    stopping   after SIGTERM or SIGINT all get SIGTERM, and SIGKILL if they take too long

Workers end with their supervisor, however it ends: they hold the end of a pipe that closes with it.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any, NoReturn

from .starting import StartError

logger = logging.getLogger(__name__)

STOP_SECONDS = 15  # longer than a worker's own patience with what is under way
RESTART_SECONDS = 1.0  # at least, between a worker's start and the next in its place

Ready = Callable[[], None]


class Workers:
    """The supervisor.

    Args:
        number: of processes.
        work: what each does; it calls its argument once it accepts connections.
    """

    def __init__(self, number: int, work: Callable[[Ready], None]) -> None:
        self._number = number
        self._work = work
        self._pids: dict[int, float] = {}  # of those that run, and when each was started
        self._stopping = False
        self._lifeline = os.pipe()

    def __repr__(self) -> str:
        return f"Workers({len(self._pids)} of {self._number} run)"

    def run(self, ready: Ready) -> None:
        """Run them until SIGTERM or SIGINT. `ready` is called once all accept connections.

        Raises:
            StartError: one of them can't start; it has said why.
        """
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, self._stop)
        signal.signal(signal.SIGALRM, self._kill)
        told = [self._fork() for _ in range(self._number)]
        if all(_is_ready(each) for each in told):
            ready()
            self._watch()
            return
        stopped, self._stopping = self._stopping, True
        self._end()
        if not stopped:
            raise StartError("a worker process could not start; its reason is above")

    def _watch(self) -> None:
        while self._pids:
            pid, status = os.waitpid(-1, 0)
            started = self._pids.pop(pid, None)
            if started is None or self._stopping:
                continue
            logger.warning("worker %d ended with %d, and is started again", pid, _code(status))
            time.sleep(max(0.0, started + RESTART_SECONDS - time.monotonic()))
            if not self._stopping:
                os.close(self._fork())

    def _end(self) -> None:
        self._signal(signal.SIGTERM)
        signal.alarm(STOP_SECONDS)
        self._watch()
        signal.alarm(0)

    def _stop(self, _signum: int, _frame: FrameType | None) -> None:
        self._stopping = True
        self._signal(signal.SIGTERM)
        signal.alarm(STOP_SECONDS)

    def _kill(self, _signum: int, _frame: FrameType | None) -> None:
        self._signal(signal.SIGKILL)

    def _signal(self, signum: signal.Signals) -> None:
        for pid in list(self._pids):
            os.kill(pid, signum)  # until they are waited for, no other process has their number

    # -- a worker ----------------------------------------------------------------------------------------

    def _fork(self) -> int:
        """Start one; returns the end of the pipe through which it tells that it is ready."""
        reading, writing = os.pipe()
        # A signal between the fork and the note of it would not reach the new worker.
        held = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT))
        pid = os.fork()
        if pid == 0:
            os.close(reading)
            self._become_worker(writing, held)
        self._pids[pid] = time.monotonic()
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
        os.close(writing)
        if self._stopping:
            os.kill(pid, signal.SIGTERM)
        return reading

    def _become_worker(self, writing: int, mask: set[Any]) -> NoReturn:
        code = 1
        try:
            for signum in (signal.SIGTERM, signal.SIGINT):
                signal.signal(signum, _leave)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            os.close(self._lifeline[1])
            threading.Thread(target=_end_with, args=(self._lifeline[0],), daemon=True).start()
            self._work(lambda: _tell(writing))
            code = 0
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 1
        except StartError as error:
            logger.error("%s", error)
        except Exception:
            logger.exception("a worker process ends")
        finally:
            sys.stderr.flush()
            os._exit(code)  # what the supervisor has open is not this process's to close


def _tell(writing: int) -> None:
    with suppress(BrokenPipeError):  # nobody waits for a worker that takes the place of another
        os.write(writing, b"1")
    os.close(writing)


def _is_ready(reading: int) -> bool:
    told = os.read(reading, 1)
    os.close(reading)
    return told == b"1"


def _end_with(lifeline: int) -> None:
    os.read(lifeline, 1)  # nobody writes: it returns when the supervisor is gone
    os.kill(os.getpid(), signal.SIGTERM)


def _leave(_signum: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(0)


def _code(status: int) -> int:
    return os.waitstatus_to_exitcode(status)
