"""From what was measured to what is logged: the two clients' records. Knows the clients by a Protocol.

HuggingPlace: `response_time` and those of the steps are seconds, `token_count` is the total. `step_data` has
of each step `id` (in the order of opening, from 1), `type`, `user_question`, `prompt_response`, `token`,
`response_time`, `input_tokens`, `output_tokens`, `llm_model`, as the published README shows them; a step made
within another one is in the list like the others, and its time and tokens are in its parent's, too. The
backend refuses an empty `user_prompt` and `response`: "[no prompt]" and "[no response]" stand in for them,
and "Error: …" where the body raised before there was a response.

Banyan: `duration_ms` is milliseconds; `output` may be empty; tokens and `step_data` (the same dicts, times in
seconds) go into the metadata.

Whatever has no field of its own is in the metadata: `input_tokens`, `output_tokens`, `cached_tokens`,
`cache_write_tokens`, `reasoning_tokens`, `finish_reason`, `time_to_first_chunk_ms`, `error`, `error_type`,
`ended` ("closed early", "garbage-collected", "process ended", "broken off", "not fetched"), `read_ms` of
streams (what the application took to read them, told apart from the time), `api` (of wrapped clients),
`interaction_id` and `parent_interaction_id` of nested interactions, and `step_details`, a list with the same
of each step that has any, and its `parent`'s id.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Generic, Protocol, TypeVar

from ..engine.records.freeze import as_text
from ..engine.records.record import Deferred
from .interaction import Interaction, Step
from .reading.fields import as_text_later, without_none
from .reading.responses import question_text
from .sink import Contained
from .span import Span

NO_PROMPT = "[no prompt]"
NO_RESPONSE = "[no response]"

L = TypeVar("L")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
Failed = Callable[[str, BaseException], None]


class HuggingPlaceLogger(Protocol[R_co]):
    """What of `HuggingPlace` and `Session` is needed here."""

    def log(self, options: Mapping[str, Any]) -> R_co:
        """As `HuggingPlace.log`."""


class BanyanLogger(Protocol):
    """What of `PromptStackLogger` is needed here."""

    def log_prompt(
        self,
        input: Any,  # noqa: A002 - the published name
        output: Any,
        *,
        model: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        duration_ms: float | None = None,
    ) -> bool:
        """As `PromptStackLogger.log_prompt`, which takes more: what names the prompt."""


class _SpanSink(ABC, Generic[L, R]):
    """What a span comes down to, whatever the record is made of."""

    __slots__ = ("_logger", "client", "failed")

    def __init__(self, logger: L, client: object, failed: Failed) -> None:
        self._logger = logger
        self.client = client
        self.failed = failed

    def log_interaction(self, interaction: Interaction[Any]) -> R:
        return self._log(interaction, interaction.steps, interaction.fields)

    def log_step(self, step: Step) -> R:
        return self._log(step, [step], {})

    def _log(self, span: Interaction[Any] | Step, steps: list[Step], fields: Mapping[str, Any]) -> R:
        """Hand over what is known; what was received and not read yet is left to our threads."""
        unread = (
            span._unread_size() + sum([step._unread_size() for step in steps])
            if steps
            else span._unread_size()
        )
        if not unread or (fields and self.answer in fields):
            known = {
                self.question: self._asked(span),
                **self._taken(span),
                "metadata": span.metadata,
                **fields,
            }
            return self._send(self._completed(known, self._told(span, steps), span, fields))
        span._freeze()
        for step in steps:
            step._freeze()
        later = Deferred(self._completing(span, steps, fields), unread)
        return self._send({self.question: NO_PROMPT, self.answer: later, "metadata": span.metadata, **fields})

    def _completing(
        self, span: Interaction[Any] | Step, steps: list[Step], fields: Mapping[str, Any]
    ) -> Callable[[dict[str, Any]], dict[str, Any]]:
        def complete(body: dict[str, Any]) -> dict[str, Any]:
            taken = self._taken(span)  # it has ended: this is no other time than that of the end
            with Contained(self, "an answer could not be read"):
                reported = {**self._told(span, steps), **taken, self.question: self._asked(span)}
                body = self._completed(body, reported, span, fields)
                return {**body, **{name: self._sent_as(body[name]) for name in (self.question, self.answer)}}
            return {**taken, **body, self.answer: NO_RESPONSE}

        return complete

    def _completed(
        self,
        body: Mapping[str, Any],
        reported: Mapping[str, Any],
        span: Span,
        fields: Mapping[str, Any],
    ) -> dict[str, Any]:
        """`body` and what was told; what the caller gave wins."""
        own = body.get("metadata") or {}
        details = {name: value for name, value in reported["metadata"].items() if name not in span.metadata}
        events = {**reported, "metadata": {**own, **details} or None}
        return {**body, **{name: events[name] for name in events if name not in fields}}

    @property
    @abstractmethod
    def question(self) -> str:
        """The field that holds what was asked."""

    @property
    @abstractmethod
    def answer(self) -> str:
        """The field that holds what was answered."""

    @abstractmethod
    def _asked(self, span: Interaction[Any] | Step) -> Any:
        """What was asked, as the record has it."""

    @abstractmethod
    def _taken(self, span: Span) -> dict[str, Any]:
        """The field that holds the time it took."""

    @abstractmethod
    def _told(self, span: Span, steps: list[Step]) -> dict[str, Any]:
        """The others; `metadata` without the caller's own."""

    @abstractmethod
    def _send(self, record: dict[str, Any]) -> R: ...

    def _sent_as(self, answered: Any) -> Any:
        """What was answered as the client's log call would have it in the record."""
        return answered


class HuggingPlaceSink(_SpanSink[HuggingPlaceLogger[R], R]):
    """Logs to a HuggingPlace client, or to a session of one."""

    __slots__ = ()
    question = "user_prompt"
    answer = "response"

    def _asked(self, span: Interaction[Any] | Step) -> Any:
        return question_text(span.question) or NO_PROMPT

    def _taken(self, span: Span) -> dict[str, Any]:
        return {"response_time": seconds(span)}

    def _told(self, span: Span, steps: list[Step]) -> dict[str, Any]:
        reported = {
            "response": _response(span),
            "llm_model": span.model,
            "token_count": span.usage.total,
            "step_data": [step_data(step) for step in steps] or None,
        }
        return {**without_none(reported), "metadata": span._reported_details()}

    def _send(self, record: dict[str, Any]) -> R:
        record["metadata"] = record["metadata"] or None
        return self._logger.log(without_none(record))


class BanyanSink(_SpanSink[BanyanLogger, bool]):
    """Logs to a Banyan client, or to whichever is the default one when a record is logged."""

    __slots__ = ()
    question = "input"
    answer = "output"

    def _asked(self, span: Interaction[Any] | Step) -> Any:
        return span.question

    def _taken(self, span: Span) -> dict[str, Any]:
        return {"duration_ms": round(span._stopwatch.elapsed * 1000, 3)}

    def _told(self, span: Span, steps: list[Step]) -> dict[str, Any]:
        tokens = {"token_count": span.usage.total, "step_data": [step_data(step) for step in steps] or None}
        model = {} if span.model is None else {"model": span.model}
        details = {**without_none(tokens), **span._reported_details()}
        return {"output": span.answer.text, **model, "metadata": details}

    def _send(self, record: dict[str, Any]) -> bool:
        record.setdefault("model", None)
        record["metadata"] = record["metadata"] or {}
        return self._logger.log_prompt(record.pop("input"), record.pop("output"), **record)

    def _sent_as(self, answered: Any) -> Any:
        return as_text(answered)


def step_data(step: Step) -> dict[str, Any]:
    """A step as `step_data` has it; the caller's own fields win."""
    usage = step.usage
    reported = {
        "id": step.number,
        "type": step.type,
        "user_question": question_text(step.question) or NO_PROMPT,
        "prompt_response": as_text_later(_response(step)),
        "token": usage.total or 0,
        "response_time": seconds(step),
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "llm_model": step.model,
        **step.fields,
    }
    return without_none(reported)


def seconds(span: Span) -> float:
    """What it took, as HuggingPlace has it."""
    return round(span._stopwatch.elapsed, 6)


def _response(span: Span) -> Any:
    """What it answered, and if that is nothing, why."""
    said = span.answer.text
    if said is not None and said != "" and said != [] and said != {} and said != ():
        return said
    _, error = span._failure()
    return NO_RESPONSE if error is None else "Error: " + error
