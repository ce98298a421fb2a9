"""Interactions with a model and the steps in them: the spans that users see. Logged as one record."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from datetime import datetime
from time import perf_counter
from typing import Any, Generic, TypeVar

from ..engine.records.freeze import freeze
from ..engine.sync import ReleasingOnError
from ..foreign import is_uuid
from .reading.fields import as_text_later, without_none
from .reading.responses import Reading
from .scopes import current
from .sink import Sink
from .span import Clock, Span
from .traces import TRACEPARENT, ids_in

__all__ = ["Interaction", "Step"]

R = TypeVar("R")
_WITHOUT_TEXTS = ("off", "hash")


class Interaction(Span, Generic[R]):
    """Measured and logged by the `with` (or `async with`) that it is opened in. Made by the clients.

    Logged once, at the end, also when the body raises: the error goes into the metadata and on to the
    caller. Can be used by several threads and tasks at once.

    Attributes:
        response: set it to the answer: text, or the response object (or dict) of OpenAI, Anthropic, Google
            or Mistral, of which text, model and tokens are read. Not set: the answer of the last step.
        metadata: a dict to add to.
        llm_model: the model, where the response does not have it.
        receipt: after the end, what the client's log call returned: HuggingPlace's `Receipt`, for Banyan
            whether the record was accepted. None if logging failed.
        record_id: the id of its record, from the beginning on: for `score` and `feedback_token`.
    """

    __slots__ = ("_id", "_opened", "_steps", "fields", "question", "receipt", "record_id")

    def __init__(
        self,
        sink: Sink[R],
        question: Any,
        *,
        llm_model: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        fields: Mapping[str, Any] | None = None,
        clock: Clock = perf_counter,
    ) -> None:
        super().__init__(sink, current().span, llm_model, metadata, clock)
        self.question = as_text_later(question)  # an agent may append to its list of messages meanwhile
        self.fields: Mapping[str, Any] = fields or {}
        self.receipt: R | None = None
        self.record_id = _own_id(self.fields) or os.urandom(16).hex()
        self._id: str | None = None
        self._opened = 0  # guarded by _lock, as is _steps
        self._steps: list[Step] = []

    @property
    def output(self) -> Any:
        """Banyan's word for `response`; the same thing."""
        return self.response

    @output.setter
    def output(self, value: Any) -> None:
        self.response = value

    @property
    def steps(self) -> list[Step]:
        """The steps that have ended, in the order of their opening."""
        return sorted(self._steps, key=lambda step: step.number)

    def step(
        self,
        type: str,  # noqa: A002 - the wire's name
        user_question: Any = None,
        *,
        llm_model: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> Step:
        """A step of this interaction, for a `with`; from any thread or task, and inside of other steps.

        Args:
            type: what kind of step, e.g. "sql_generation".
            user_question: what it was asked; default: what the interaction was.
            llm_model: the model, where the step's response does not have it.
            metadata: goes to the step's details in the interaction's metadata.
            fields: further fields of the step, as they are.

        A step that outlives its interaction is logged by itself.
        """
        return self._open_step(type, user_question, llm_model, metadata, fields)

    def _open_step(
        self,
        type: str,  # noqa: A002 - the wire's name
        question: Any,
        llm_model: str | None,
        metadata: Mapping[str, Any] | None,
        fields: Mapping[str, Any],
    ) -> Step:
        """`step`, with fields of whatever names."""
        return Step(
            self._sink,
            type,
            question,
            interaction=self,
            llm_model=llm_model,
            metadata=metadata,
            fields=fields,
        )

    def score(
        self,
        name: str,
        value: bool | float | str,
        *,
        comment: str | None = None,
        at: datetime | float | None = None,
    ) -> R:
        """Score it: `it.score("thumbs", True)`, inside its `with` or any time after it.

        As the client's `score`, about this record, with its prompt and experiment. Where the interaction
        was not logged, the score is sent all the same, and is about a record that never comes.
        """
        hidden = self._content not in (None, "on")
        sent: R = self._sink.score(self, name, value, None if hidden else comment, at)
        return sent

    @property
    def _content(self) -> Any:
        """What its record's `content` is to be; None: what the logger's settings say."""
        return self.fields.get("content")

    def _hide(self, content: str) -> None:
        """Log its record without texts, as one of its steps wants it; "off" stays "off"."""
        if self._content != "off":
            self.fields = {**self.fields, "content": content}

    def _next_step_number(self) -> int:
        """The next step's number, from 1."""
        with ReleasingOnError((self._lock,)), self._lock:
            self._opened += 1
            return self._opened

    def _add_step(self, step: Step) -> bool:
        """Add a step that has ended; False if the interaction has ended before."""
        with ReleasingOnError((self._lock,)), self._lock:
            if not self._finished:
                self._steps.append(step)
            return not self._finished

    @property
    def id(self) -> str:
        """Made on first use, so that only nested interactions pay for it."""
        with ReleasingOnError((self._lock,)), self._lock:
            if self._id is None:
                self._id = uuid.uuid4().hex
            return self._id

    def _sampled_by(self) -> str:
        """What decides whether its records are logged: its session, else its trace, else its own id."""
        around = self._metadata_around
        details = (self.metadata, around)
        named = [self.fields.get("session_id"), self._sink.session_id]
        named += [place.get(name) for name in ("session_id", "trace_id") for place in details]
        found = next((str(each) for each in named if each is not None and each != ""), None)
        return found or (ids_in(around[TRACEPARENT])[0] if TRACEPARENT in around else self.record_id)

    @property
    def model(self) -> str | None:
        """Like every span's; else the one that its steps agree on."""
        reported = super().model
        if reported is not None:
            return reported
        models = {model for step in self.steps if (model := step.model) is not None}
        return models.pop() if len(models) == 1 else None

    def _read(self) -> Reading:
        """`response`, read; where it was not set, the answer of the last step to end."""
        if self.response is None and self.error is None:
            for step in reversed(self._steps):
                if step.answer.text is not None:
                    return Reading(step.answer.text, step.model)
        return super()._read()

    def _freeze(self) -> None:
        """Like every span; and give the interaction around it its id now, which both records have."""
        super()._freeze()
        if self.parent is not None:
            self._parent_id()

    def _reported_details(self) -> dict[str, Any]:
        """Like every span; and the tokens, what the steps' fields can't hold, and how it is nested."""
        reported = {
            "input_tokens": self.usage.input_tokens,
            "output_tokens": self.usage.output_tokens,
            "interaction_id": self._id,
            "parent_interaction_id": self._parent_id(),
            "step_details": [step._step_details() for step in self.steps] or None,
        }
        return {**without_none(reported), **super()._reported_details()}

    def _parent_id(self) -> str | None:
        around = enclosing(self.parent)
        return None if around is None else around.id

    def _inside(self) -> list[Span]:
        return [step for step in self.steps if step.parent is self]

    def _log(self) -> None:
        self.receipt = self._sink.log_interaction(self)

    def __repr__(self) -> str:
        state = "logged" if self._finished else "open"
        return f"<Interaction {state}, {len(self._steps)} steps, {self._stopwatch.elapsed:.3f} s>"


class Step(Span):
    """One step of an interaction, measured by its `with`. Made by `Interaction.step` and the clients' `step`.

    Attributes:
        response: as of an interaction.
        metadata: likewise; goes to `step_details` in the interaction's metadata.
        number: in the order of opening, from 1; `id` on the wire.
    """

    __slots__ = ("_children", "_own_content", "_question", "fields", "interaction", "number", "type")

    def __init__(
        self,
        sink: Sink[Any],
        type: str,  # noqa: A002 - the wire's name
        question: Any,
        *,
        interaction: Interaction[Any] | None = None,
        llm_model: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        fields: Mapping[str, Any] | None = None,
    ) -> None:
        parent: Span | None = interaction
        clock = perf_counter
        if interaction is not None:
            around = current().span
            parent = around if isinstance(around, Step) and around.interaction is interaction else interaction
            clock = interaction._stopwatch.clock
        super().__init__(sink, parent, llm_model, metadata, clock)
        self.type = type
        self.fields = fields or {}
        self._own_content: str | None = None
        self.interaction: Interaction[Any] | None = interaction
        if self.fields.get("content") in _WITHOUT_TEXTS:
            self.fields = dict(self.fields)
            self._hide(self.fields.pop("content"))
        self.number = 1 if interaction is None else interaction._next_step_number()
        self._question = as_text_later(question)
        self._children: list[Step] = []

    @property
    def question(self) -> Any:
        """Its own question, or else the interaction's."""
        if self._question is None and self.interaction is not None:
            return self.interaction.question
        return self._question

    @property
    def _content(self) -> Any:
        """As of an interaction, for a step that is logged by itself."""
        around = None if self.interaction is None else self.interaction._content
        return self._own_content or around

    def _hide(self, content: str) -> None:
        """Log it, and with it the record of its interaction, without texts."""
        self._own_content = content
        if self.interaction is not None:
            self.interaction._hide(content)

    def _freeze(self) -> None:
        """Like every span, and its fields."""
        super()._freeze()
        if self.fields:
            self.fields = freeze(dict(self.fields)).value

    def _step_details(self) -> dict[str, Any]:
        """Its number, that of the step it was made in, when it started, and its details."""
        parent, interaction = self.parent, self.interaction
        where: dict[str, Any] = {"id": self.number}
        if isinstance(parent, Step):
            where["parent"] = parent.number
        if interaction is not None:
            where["start_ms"] = round(self._stopwatch.since(interaction._stopwatch) * 1000, 3)
        return {**where, **self._details()}

    def _inside(self) -> list[Span]:
        return list(self._children)

    def _log(self) -> None:
        if self.interaction is None or not self.interaction._add_step(self):
            self._sink.log_step(self)
        elif isinstance(self.parent, Step):
            self.parent._children.append(self)

    def __repr__(self) -> str:
        return f"<Step {self.number} {self.type!r}, {'ended' if self._finished else 'open'}>"


def _own_id(fields: Mapping[str, Any]) -> str | None:
    """The id that the caller gives the record, where it is one; the client checks it more closely."""
    given = fields.get("record_id")
    return str(given) if type(given) in (str, int) or is_uuid(given) else None


def enclosing(span: Span | None) -> Interaction[Any] | None:
    """The interaction that `span` is, or is in."""
    while span is not None and not isinstance(span, Interaction):
        span = span.parent
    return span


def outermost(span: Span | None) -> Interaction[Any] | None:
    """The interaction that `span` is, or is in, and that is in no other one."""
    found = None
    while (around := enclosing(span)) is not None:
        found, span = around, around.parent
    return found


def open_interaction(client: object) -> Interaction[Any] | None:
    """The innermost interaction of `client` that is open here."""
    found = enclosing(current().span)
    while found is not None and (found.finished or found._sink.client is not client):
        found = enclosing(found.parent)
    return found


def opened_span(sink: Sink[Any], question: Any, metadata: Mapping[str, Any]) -> Interaction[Any] | Step:
    """For a call of a wrapped client: a step of the interaction that is open here, or else an interaction."""
    around = open_interaction(sink.client)
    span: Interaction[Any] | Step = (
        Interaction(sink, question, metadata=metadata)
        if around is None
        else around.step("completion", question, metadata=metadata)
    )
    if sink.content is not None:
        span._hide(sink.content)
    return span
