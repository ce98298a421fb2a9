"""Runs of a framework that reports by callbacks: what begins and ends, by its id and that of the run around.

The outermost run is a step of the interaction that is open, or else an interaction; runs inside are steps in
it. A run is also the current span for the code that it runs, as in a `with`: what a tool records is a step of
the tool, and a wrapped client inside of a model's run does not record the same call again. Where a framework
begins several runs before the work of the first one, it can't be known whose work follows: then none of them
is current. Nor is one that a generator begins, but for a model's.

Runs are kept until they end. Of more than `MOST_OPEN` the oldest is logged as it is ("never ended"), and
counted as an error of tracking; what is open when the process ends is logged then. No lock: single operations
on the dict are atomic under the GIL.
"""

from __future__ import annotations

import os
import sys
from collections import OrderedDict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from ..engine.process.exit import before_exit
from .context import recorded
from .generators import AT_EXIT
from .interaction import Interaction, Step, enclosing, open_interaction
from .reading.fields import as_text_later
from .scopes import GENERATOR, ROOT, Scope, current, origin
from .sink import Sink
from .span import CLOSED_EARLY, Span

MOST_OPEN = 10_000
NEVER_ENDED = "never ended"
_OURS = __name__.partition(".")[0] + "."


@dataclass(frozen=True, slots=True)
class Beginning:
    """What is known of a run when it begins.

    Attributes:
        name: the type of step.
        question: what it is asked.
        model: the model that is asked.
        metadata: its own.
        is_call: it is one call of a model.
        is_hidden: nobody wants to see it: the runs inside belong to the run around it.
    """

    name: str
    question: Any = None
    model: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    is_call: bool = False
    is_hidden: bool = False


class Run:
    """A run that has begun.

    Attributes:
        span: its span, or of a hidden one that of the run around it.
        outermost: the outermost run around it, or itself.
        ended: how it ended, if that was not its natural end.
    """

    __slots__ = ("_pid", "_scope", "ended", "is_hidden", "outermost", "span")

    def __init__(self, span: Span, outermost: Run | None, *, is_hidden: bool) -> None:
        self.span = span
        self.outermost = outermost or self
        self.is_hidden = is_hidden
        self.ended: str | None = None
        self._scope: _RunScope | None = None
        self._pid = os.getpid()

    @property
    def is_of_this_process(self) -> bool:
        """A forked child must not log its parent's."""
        return self._pid == os.getpid()

    def first_chunk(self) -> None:
        """The first piece of a stream has come."""
        self.span._stopwatch.lap()

    def ask(self, question: Any) -> None:
        """What it was asked, where that was not known at its beginning."""
        if isinstance(self.span, Step) and self.span._question is None:
            self.span._question = as_text_later(question)
        elif isinstance(self.span, Interaction) and self.span.question is None:
            self.span.question = as_text_later(question)

    def end(self, error: BaseException | None = None) -> None:
        """End it; `span.response` is what it has returned."""
        if self._scope is not None:
            self._scope.leave()
        if self.is_hidden or not self.is_of_this_process:
            return
        if isinstance(error, GeneratorExit):
            self.span._finish(ended=CLOSED_EARLY)
        elif error is not None:
            self.span._finish_failed(error, streamed=self.span._stopwatch.first is not None)
        else:
            self.span._finish(ended=self.ended)


_open: OrderedDict[Hashable, Run] = OrderedDict()


def begin(sink: Sink[Any], ident: Hashable, parent: Hashable, beginning: Beginning, framework: str) -> Run:
    """Open a run.

    Args:
        sink: of the client that logs it.
        ident: the run's id.
        parent: the id of the run around it; one that is not open counts as none.
        beginning: what is known of it.
        framework: the package whose functions stand between the run's start and this call.
    """
    around = _open.get(parent)
    if around is not None and beginning.is_hidden:
        run = Run(around.span, around.outermost, is_hidden=True)
    else:
        here = current()
        span = _inside(around, beginning) or _outermost(sink, beginning, here)
        span._requested_model = beginning.model
        run = Run(span, None if around is None else around.outermost, is_hidden=False)
        run._scope = _made_current(span, here, beginning, framework)
    _open[ident] = run
    if len(_open) > MOST_OPEN:
        _give_up(*_open.popitem(last=False))
    return run


def run_of(ident: Hashable) -> Run | None:
    """The run with this id, if it is open."""
    return _open.get(ident)


def ending(ident: Hashable) -> Run | None:
    """The same, which is to be ended now."""
    return _open.pop(ident, None)


def _outermost(sink: Sink[Any], beginning: Beginning, here: Scope) -> Span:
    """A step or interaction outside of all runs: a batch begins all of its runs before any does its work."""
    outside: Scope = here
    while isinstance(outside, _RunScope):
        outside = outside.parent or ROOT
    before = outside.resume()
    try:
        around = open_interaction(sink.client)
        if around is not None:
            return _step(around, beginning)
        return Interaction(sink, beginning.question, metadata=beginning.metadata)
    finally:
        Scope.pause(before)


def _inside(around: Run | None, beginning: Beginning) -> Step | None:
    interaction = None if around is None else enclosing(around.span)
    if around is None or interaction is None:
        return None
    step = _step(interaction, beginning)
    step.parent = around.span
    return step


def _step(interaction: Interaction[Any], beginning: Beginning) -> Step:
    return interaction._open_step(beginning.name, beginning.question, None, beginning.metadata, {})


def _give_up(_: Hashable, run: Run) -> None:
    if not run.is_hidden and run.is_of_this_process:
        run.span._sink.failed(f"a run was given up: {MOST_OPEN} are open", OverflowError())
        run.ended = NEVER_ENDED
        run.end()


def _at_exit() -> None:
    """Inner ones first: they began later."""
    while _open:
        _, run = _open.popitem()
        run.ended = AT_EXIT
        run.end()


before_exit(_at_exit)


# -- being the current one -----------------------------------------------------------------------------------


class _RunScope(Scope):
    """The scope of a run's work."""

    __slots__ = ("_run",)

    def __init__(self, run: Span, here: Scope) -> None:
        self._run = run
        alone = not isinstance(here, _RunScope) or here.may_hold(run)
        super().__init__(here.metadata, run if alone else run.parent, here)
        self._origin = origin()

    def may_hold(self, run: Span) -> bool:
        """Whether a run that begins in here is part of this run's work, or of other work, elsewhere."""
        around = run.parent
        while around is not None and around is not self._run:
            around = around.parent
        return around is not None or self._origin != origin()


class _Mark:
    """True while the code that asks is part of this run: for `recorded`."""

    __slots__ = ("_scope",)

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def __bool__(self) -> bool:
        if self._scope.ended:
            return False
        scope: Scope | None = current()
        while scope is not None and scope is not self._scope:
            scope = scope.parent
        return scope is not None


def _made_current(span: Span, here: Scope, beginning: Beginning, framework: str) -> _RunScope | None:
    generator = _generator_that_begins(framework)
    if generator is not None and not beginning.is_call:
        return None
    scope = _RunScope(span, here)
    scope.enter_in(generator)
    if beginning.is_call:
        recorded.set(_Mark(scope))
    return scope


def _generator_that_begins(framework: str) -> FrameType | None:
    """The generator in which a run begins; None if that is a function or a coroutine.

    It may end long after another piece of code has asked it for its next item.
    """
    between = (_OURS, framework)
    frame: FrameType | None = sys._getframe(3)
    while frame is not None and str(frame.f_globals.get("__name__")).startswith(between):
        frame = frame.f_back
    return frame if frame is not None and frame.f_code.co_flags & GENERATOR else None
