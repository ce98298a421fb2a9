"""Whether two spans of different instrumentations tell of one call.

What speaks against it decides first: another time, process, model, result, response or text. What speaks for
it is the response's id, the same texts, or the same tokens from the same process. A pair that nothing speaks
against and nothing for is possible, and no more.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

from .facts import Facts, Told
from .kinds import Role
from .usage import sum_of

SLACK = 10_000  # microseconds by which a span may reach beyond the one around it
_DATED = re.compile(r"[-@:](?:v?\d[\d.-]*|latest|preview.*)")
_PROCESS = ("service.instance.id", "host.name", "host.id", "process.pid")
Key = tuple[str, str]


class Evidence(IntEnum):
    """How sure it is that two spans tell of one call."""

    NONE = 0
    POSSIBLE = 1
    CERTAIN = 2


@dataclass(frozen=True, slots=True)
class View:
    """A call as one instrumentation tells it: a span, or two where it writes two for a stream.

    A record of our own has its `steps`, each with the tokens that are its own.
    """

    span: Told
    facts: Facts
    more: tuple[Told, ...] = ()
    steps: tuple[View, ...] = ()

    @property
    def key(self) -> Key:
        """Which span it is."""
        return self.span.trace_id, self.span.span_id

    def with_steps(self, steps: Sequence[View]) -> View:
        """A record with its steps, and with their tokens."""
        usage = sum_of([self.facts.usage, *(step.facts.usage for step in steps)])
        told = tuple(step.span for step in steps)
        return View(self.span, replace(self.facts, usage=usage), told, tuple(steps))

    def continued(self, other: View) -> View:
        """With the span that ends it: its tokens and what was said."""
        facts = replace(
            other.facts,
            role=self.facts.role,
            first_chunk_ms=self.facts.first_chunk_ms or other.facts.first_chunk_ms,
            stream=True,
        )
        return View(replace(self.span, end=max(self.span.end, other.span.end)), facts, (other.span,))


def evidence(one: View, other: View) -> Evidence:
    """How sure it is."""
    if not _within(one.span, other.span) and not _within(other.span, one.span):
        return Evidence.NONE
    if _differ(one, other):
        return Evidence.NONE
    mine, theirs = one.facts, other.facts
    if mine.response_id and mine.response_id == theirs.response_id:
        return Evidence.CERTAIN
    return Evidence.CERTAIN if _agree(one, other) else Evidence.POSSIBLE


def _within(inner: Told, outer: Told) -> bool:
    return inner.start >= outer.start - SLACK and inner.end <= outer.end + SLACK


def _differ(one: View, other: View) -> bool:
    mine, theirs = one.facts, other.facts
    if mine.response_id and theirs.response_id:
        return mine.response_id != theirs.response_id
    return (
        any(_unequal(one.span.resource.get(name), other.span.resource.get(name)) for name in _PROCESS)
        or not same_model(mine, theirs)
        or (mine.error is None) is not (theirs.error is None)
        or _unequal(mine.usage.input, theirs.usage.input)
        or _unequal(mine.usage.output, theirs.usage.output)
        or _unequal(mine.question, theirs.question)
        or _unequal(mine.answer, theirs.answer)
    )


def _agree(one: View, other: View) -> bool:
    """By texts, or by tokens: what both know is the same, and it is enough."""
    mine, theirs = one.facts, other.facts
    same_question = mine.question is not None and theirs.question is not None
    same_answer = mine.answer is not None and theirs.answer is not None
    if same_question and (same_answer or mine.error is not None):
        return True
    if mine.error is not None and theirs.error is not None and same_process(one, other):
        return mine.error in theirs.error or theirs.error in mine.error  # a mere type, or the whole message
    if not _counted(mine) or not _counted(theirs):
        return False
    return same_question or same_answer or same_process(one, other)


def same_process(one: View, other: View) -> bool:
    """Whether they come from one process: what they say of it is the same."""
    return bool(one.span.resource) and one.span.resource == other.span.resource


def _counted(facts: Facts) -> bool:
    return facts.usage.input is not None and (facts.usage.output is not None or facts.role is Role.EMBEDDING)


def same_model(one: Facts, other: Facts) -> bool:
    """Whether they may be one: a name and the same with a date count as one, an unknown one as any."""
    mine, theirs = _names(one), _names(other)
    return not mine or not theirs or any(_alike(name, each) for name in mine for each in theirs)


def _names(facts: Facts) -> set[str]:
    return {name.rpartition("/")[2].lower() for name in (facts.model, facts.request_model) if name}


def _alike(one: str, other: str) -> bool:
    short, long = sorted((one, other), key=len)
    return long == short or (long.startswith(short) and _DATED.fullmatch(long[len(short) :]) is not None)


def _unequal(mine: object, theirs: object) -> bool:
    return mine is not None and theirs is not None and mine != theirs
