"""A signal handler's exception at each instruction in turn, wherever this interpreter looks for signals."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType, ModuleType
from typing import Any


class Struck(KeyboardInterrupt):
    """What the signal handler raises."""


def strikes(call: Callable[[], object], *modules: ModuleType) -> Iterator[int]:
    """Make the call again and again, interrupted at the next instruction of these modules each time.

    Yields the instruction's number after each call; ends with the call that came through.
    """
    number, struck = 0, True
    while struck:
        number += 1
        with _striking(number, {module.__file__ for module in modules}) as done:
            call()
        struck = bool(done)
        yield number


@contextmanager
def _striking(number: int, files: set[str | None]) -> Iterator[list[bool]]:
    """The calling thread is interrupted at that instruction; the list is not empty if there was one."""
    left = number
    done: list[bool] = []

    def trace(frame: FrameType, event: str, _argument: object) -> Any:
        nonlocal left
        if frame.f_code.co_filename not in files:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode" and not done:
            left -= 1
            if not left:
                done.append(True)
                raise Struck
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        with suppress(Struck):
            yield done
    finally:
        sys.settrace(before)


def is_inside(frame: FrameType | None, function: Callable[[], object]) -> bool:
    """Whether a signal found this function running: a late one must not strike the test itself."""
    code = inspect.unwrap(function).__code__
    while frame is not None:
        if frame.f_code is code:
            return True
        frame = frame.f_back
    return False
