"""Calls are made of spans behind intake: the thread that does it, and the rule as the store asks for it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from .prices import Prices
from .spans.attributes import mapping
from .spans.calls import call_of
from .spans.duplicates import Group, Node, calls_among
from .spans.evidence import View
from .spans.facts import Facts, Told, facts_of, joined
from .spans.kinds import Role
from .store.database import BusyError, SlowQueryError
from .store.spans import Derived, Neighbourhood, Rule, Spans, StoredSpan

logger = logging.getLogger(__name__)

ARRIVALS = 500  # of one step
PAUSE_SECONDS = 0.5  # between two looks
MAINTAIN_SECONDS = 3600.0
RETRY_SECONDS = 5.0
_STOP_SECONDS = 10.0
_MOST_GIVEN_WAY = 0.5


def rule_of(prices: Prices) -> Rule:
    """Which calls spans tell of, at these prices."""

    def rule(found: Neighbourhood) -> list[Derived]:
        nodes = [_node(span, found.events.get(span.key, ())) for span in found.spans]
        made = (_derived(found.project, group, prices) for group in calls_among(nodes))
        return [each for each in made if each is not None]

    return rule


def _derived(project: str, group: Group, prices: Prices) -> Derived | None:
    """The call of some spans; None if it can't be made, which is logged: no other may suffer."""
    try:
        call = call_of(project, group, prices)
    except Exception:  # foreign data, as any sender writes it
        logger.exception("no call can be made of the span %s-%s; it is kept as it is", *group.key)
        return None
    return Derived(
        call, [(told.trace_id, told.span_id) for view in group.views for told in (view.span, *view.more)]
    )


def _node(span: StoredSpan, events: Sequence[Mapping[str, Any]]) -> Node:
    parent = (span.trace_id, span.parent_id) if span.parent_id else None
    if not span.counted:
        return Node(span.key, parent, Role(span.role), span.session, span.user)
    told, facts = _read(span, events)
    return Node(span.key, parent, facts.role, facts.session, facts.user, View(told, facts))


def _read(span: StoredSpan, events: Sequence[Mapping[str, Any]]) -> tuple[Told, Facts]:
    """What a span says; without the log events that join it, where they can't be read."""
    told = told_of(span, events)
    try:
        return told, facts_of(told)
    except Exception:  # foreign data, as any sender writes it; the span itself was read when it came
        if not events:
            raise
        logger.exception("log events of the span %s-%s can't be read", *span.key)
        told = told_of(span)
        return told, facts_of(told)


def told_of(span: StoredSpan, events: Sequence[Mapping[str, Any]] = ()) -> Told:
    """A stored span with the log events that join it, as `spans/` reads it."""
    body = span.body
    own: Mapping[str, Any] = body.get("attributes", {})
    return Told(
        trace_id=span.trace_id,
        span_id=span.span_id,
        parent_id=span.parent_id,
        name=span.name,
        start=span.start,
        end=span.end,
        status=span.status,
        message=body.get("message", ""),
        scope=span.scope,
        resource=body.get("resource", {}),
        attributes=joined(own, [each.get("attributes", {}) for each in events]),
        events=[
            *((each["name"], each["time"], each["attributes"]) for each in body.get("events", ())),
            *((each["name"], span.start, mapping(each.get("body"))) for each in events if "name" in each),
        ],
        received_at=span.received_at,
    )


class Deriving:
    """The thread. A context manager. Any number of processes may have one: they take turns.

    Args:
        spans: to make calls of.
        rule: which these are.
        busy: whether spans are being stored now, which it gives way to for a while.
    """

    def __init__(self, spans: Spans, rule: Rule, busy: Callable[[], bool] = lambda: False) -> None:
        self._spans = spans
        self._rule = rule
        self._busy = busy
        self._maintain_at = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="banyan_hp-deriving", daemon=True)

    def __enter__(self) -> Deriving:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(_STOP_SECONDS)

    def _run(self) -> None:
        pause = PAUSE_SECONDS
        while not self._stop.wait(pause):
            if self._busy():
                self._stop.wait(_MOST_GIVEN_WAY)
            pause = self._step()

    def _step(self) -> float:
        """How long to wait for the next one."""
        try:
            self._maintain()
            taken = self._spans.derive(ARRIVALS, self._rule)
        except (BusyError, SlowQueryError, SQLAlchemyError) as error:
            logger.warning("calls are made of spans later: %s", str(error).partition("\n")[0])
            return RETRY_SECONDS
        except Exception:  # the thread's outermost loop: without it no calls are made of anybody's spans
            logger.exception("calls are made of spans later")
            return RETRY_SECONDS
        return 0.0 if taken == ARRIVALS else PAUSE_SECONDS

    def _maintain(self) -> None:
        if time.monotonic() >= self._maintain_at:
            self._maintain_at = time.monotonic() + MAINTAIN_SECONDS
            self._spans.maintain(datetime.now(UTC))
