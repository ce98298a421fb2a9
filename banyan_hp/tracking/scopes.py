"""Scopes: which metadata and which open span surround the code that runs now.

A scope is opened by a `with` (or around a traced call) and is current for the code inside it. A context
variable carries it, so that tasks of asyncio and `asyncio.to_thread` inherit it. That alone is not enough:

- The body of a `with` in a generator is left at each `yield` without the `with` noticing, and the caller that
  asked for the next item runs on in the same context. A scope opened by a generator counts only while that
  generator's frame is on the stack; and it counts there, whatever other generators have left in the context
  variable meanwhile.
- A `with` can be left in another context than it was entered in (a generator that another thread drops). What
  has ended is never current, wherever it is still found.

Where a scope of a generator is found in another thread or task, it can't be known whether the generator or
its caller has started that. Then it does not count: no user is better than the wrong one.

All state is in the scopes and in `_generators`, whose single operations are atomic under the GIL. A
generator's frame runs in one thread at a time, so no two threads change the same entry.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import FrameType
from typing import Any

from ..engine.sync import Lock, ReleasingOnError
from ..logs import warn

NOTHING: Mapping[str, Any] = {}
_GENERATOR = 0x20 | 0x200  # inspect.CO_GENERATOR, CO_ASYNC_GENERATOR
_OURS = __name__.rpartition(".")[0]

Origin = tuple[int, object]


class Scope:
    """What surrounds some code.

    Attributes:
        metadata: all that is set here, outer scopes' included.
        span: the innermost `Span` that is open here, or None; a scope only carries it.
        parent: the scope that was current when this one was opened.
        ended: never current from now on.
        pinned: current whatever generators are on the stack.
    """

    __slots__ = ("_generator", "_origin", "_outer", "ended", "metadata", "parent", "pinned", "span")

    def __init__(
        self, metadata: Mapping[str, Any], span: Any, parent: Scope | None, *, pinned: bool = False
    ) -> None:
        self.metadata = metadata
        self.span = span
        self.parent = parent
        self.pinned = pinned
        self.ended = False
        self._generator: FrameType | None = None
        self._origin: Origin = _NOWHERE
        self._outer: Scope | None = None  # the one that the same generator had open before

    # -- with a `with` ----------------------------------------------------------------------------------

    def enter(self) -> None:
        """Make it current until `leave`, for the frame that opens it."""
        self._generator = generator = _generator_that_opens()
        if generator is not None:
            self._origin = _here()
            self._outer = _generators.get(generator)
            _generators[generator] = self
        _current.set(self)

    def leave(self) -> None:
        """End it. Puts back what was current before, unless something else has become current here."""
        self.ended = True
        if self._generator is not None:
            self._forget_in(self._generator)
        if _current.get() is self:
            _current.set(self.parent or ROOT)

    def _forget_in(self, generator: FrameType) -> None:
        innermost = _generators.get(generator)
        while innermost is not None and innermost.ended:
            innermost = innermost._outer
        if innermost is None:
            _generators.pop(generator, None)
        else:
            _generators[generator] = innermost

    # -- around a call, or one step of a driven generator ------------------------------------------------

    def resume(self) -> Scope:
        """Make it current until `pause`, which takes what this returns; in between no generator yields."""
        before = _current.get()
        _current.set(self)
        return before

    @staticmethod
    def pause(before: Scope) -> None:
        """Put back what was current before `resume`."""
        _current.set(before)

    # -- whether it counts ------------------------------------------------------------------------------

    def is_suspended(self, running: set[FrameType]) -> bool:
        """Whether its generator does not run here now. Counts cases where that can't be known."""
        if self._generator is None or self.ended or self._generator in running:
            return False
        if self._origin != _here():
            _note_unknown()
        return True


_NOWHERE: Origin = (0, None)
_generators: dict[FrameType, Scope] = {}  # the innermost scope that each generator has open
ROOT = Scope(NOTHING, None, None)
_current: ContextVar[Scope] = ContextVar("banyan_hp_scope", default=ROOT)


def current() -> Scope:
    """The scope of the code that calls this."""
    top = _current.get()
    if top.pinned:
        return top
    if _generators:
        return _with_generators(top)
    while top.ended and top.parent is not None:
        top = top.parent
    return top


def metadata_here() -> Mapping[str, Any]:
    """What `context` has set for the code that calls this."""
    if _current.get() is ROOT and not _generators:  # the usual case, at each log call
        return NOTHING
    return current().metadata


def inside(metadata: Mapping[str, Any] | None = None, span: Any = None) -> Scope:
    """A scope inside the current one, to be entered or resumed."""
    around = current()
    merged = {**around.metadata, **metadata} if metadata else around.metadata
    return Scope(merged, span or around.span, around)


def pin(metadata: Mapping[str, Any], span: Any = None) -> Scope:
    """Begin what `pinned` does, until `Scope.pause` of what this returns; at half the cost."""
    return Scope(metadata, span, ROOT, pinned=True).resume()


def is_pinned() -> bool:
    """Whether what surrounds this code is pinned."""
    return _current.get().pinned


@contextmanager
def pinned(metadata: Mapping[str, Any], span: Any = None) -> Iterator[None]:
    """Just this metadata and span, whatever surrounds the code, for a block that does not yield."""
    before = pin(metadata, span)
    try:
        yield
    finally:
        Scope.pause(before)


def forget_all() -> None:
    """Begin anew, as if nothing surrounded this code: for tests."""
    _current.set(ROOT)


def _with_generators(top: Scope) -> Scope:
    running, innermost = _on_the_stack()
    chain = []
    found: Scope = top
    scope: Scope | None = top
    while scope is not None:
        chain.append(scope)
        if scope.parent is not None and (
            scope.is_suspended(running) or (scope is found and scope.ended)
        ):  # what a suspended generator's scope surrounds does not count either
            found = scope.parent
        scope = scope.parent
    if innermost is None or innermost in chain[chain.index(found) :]:
        return found
    return innermost


def _on_the_stack() -> tuple[set[FrameType], Scope | None]:
    """The generators that run here and have scopes open, and the innermost one's scope."""
    running: set[FrameType] = set()
    innermost: Scope | None = None
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        scope = _generators.get(frame)
        if scope is not None:
            running.add(frame)
            innermost = innermost or scope
        frame = frame.f_back
    return running, innermost


def _generator_that_opens() -> FrameType | None:
    """The frame of the generator whose `with` this is; None if it is that of a function or coroutine.

    The generator of a `@contextmanager` function opens scopes on behalf of the `with` that it is used in.
    """
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and (_is_passing_on(frame) or _serves_contextlib(frame)):
        frame = frame.f_back
    return frame if frame is not None and frame.f_code.co_flags & _GENERATOR else None


def _is_passing_on(frame: FrameType) -> bool:
    name = str(frame.f_globals.get("__name__"))
    ours = name.startswith(_OURS) and not frame.f_code.co_flags & _GENERATOR
    return ours or name == "contextlib"


def _serves_contextlib(frame: FrameType) -> bool:
    caller = frame.f_back
    return caller is not None and caller.f_globals.get("__name__") == "contextlib"


def _here() -> Origin:
    """The thread and the task that run."""
    asyncio = sys.modules.get("asyncio")
    task: object = None
    if asyncio is not None:
        try:
            task = asyncio.current_task()
        except RuntimeError:  # no loop runs here
            task = None
    return threading.get_ident(), task


# -- what can't be known -------------------------------------------------------------------------------------

_unknown_lock = Lock()  # a destructor that logs may come in the middle
_unknown = 0


def unknown() -> int:
    """How often a generator's scope was found in another thread or task, and did not count."""
    return _unknown


def _note_unknown() -> None:
    global _unknown
    with ReleasingOnError((_unknown_lock,)), _unknown_lock:
        _unknown += 1
    warn(
        "context of a generator",
        "a `with` inside a generator does not reach the tasks and threads that start meanwhile: records made "
        "there go without its metadata and interaction; open the `with` there, or decorate the generator",
    )
