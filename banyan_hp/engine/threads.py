"""Starting threads of ours: an exception in the middle leaves no lock held, and no thread half-started."""

from __future__ import annotations

import _thread
import threading
from collections.abc import Callable

_PATIENCE = 10.0


class ThreadStart:
    """One start of a thread: made, refused, or called off by whatever exception leaves the block.

    A signal handler's exception in the middle of `Thread.start` leaves locks of `threading` held: the new
    thread's, which then never runs, and on CPython 3.14 that of the list of threads, so that no other thread
    ever runs. Handlers run on the main thread only. So there another thread makes the call; it is begun by
    one function in C, and looks first whether the start was called off.

    Args:
        forget: undoes what the caller has noted about the thread, if it won't run. May be called twice, and
            on another thread.
    """

    def __init__(self, thread: threading.Thread, forget: Callable[[], object] = lambda: None) -> None:
        self._thread = thread
        self._forget = forget
        self._decided = _thread.allocate_lock()  # who takes it, starts the thread or calls it off
        self._over = _thread.allocate_lock()
        self._over.acquire()
        self._error: BaseException | None = None

    def __enter__(self) -> ThreadStart:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and (self._error is not None or self._decided.acquire(blocking=False)):
            self._forget()

    def make(self) -> None:
        """Start the thread.

        Raises:
            RuntimeError: the system has no threads left, or the interpreter is shutting down.
        """
        if threading.get_ident() == threading.main_thread().ident:
            _thread.start_new_thread(self._make, ())
            self._over.acquire(timeout=_PATIENCE)
        else:
            self._make()
        if self._error is not None:
            raise self._error

    def _make(self) -> None:
        if not self._decided.acquire(blocking=False):
            return
        try:
            self._thread.start()
        except BaseException as error:
            if self._thread.ident is not None:  # it runs all the same
                raise
            self._error = error
        finally:
            self._over.release()
        if self._error is not None:
            self._forget()


def start(thread: threading.Thread) -> None:
    """Start a thread of which nobody keeps a note.

    Raises:
        RuntimeError: the system has no threads left, or the interpreter is shutting down.
    """
    with ThreadStart(thread) as begun:
        begun.make()
