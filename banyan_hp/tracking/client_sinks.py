"""The two clients' sinks: from what a span measured to the record that is logged.

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
streams (what the application took to read them, which is not part of the time), `api` (of wrapped clients),
`interaction_id` and `parent_interaction_id` of nested interactions, and `step_details`, a list with the same
of each step, its `id`, its `parent`'s id if it was made within another one, and its `start_ms`: milliseconds
from the start of the interaction to that of the step, by the clock that measures `response_time`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from ..engine.records.freeze import as_text
from ..engine.records.record import Deferred
from .interaction import Interaction, Step
from .reading.fields import as_text_later, without_none
from .reading.received import Received
from .reading.responses import question_text
from .scopes import metadata_here, pinned
from .sink import Contained
from .span import Span

if TYPE_CHECKING:
    from ..types import Log

NO_PROMPT = "[no prompt]"
NO_RESPONSE = "[no response]"

L = TypeVar("L")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
Failed = Callable[[str, BaseException], None]


class HuggingPlaceLogger(Protocol[R_co]):
    """The part of `HuggingPlace` and `Session` that is needed here."""

    def log(self, options: Log) -> R_co:
        """As `HuggingPlace.log`."""

    def score(self, name: str, value: Any, *, record_id: Any, comment: Any, at: Any) -> R_co:
        """As `HuggingPlace.score`, which takes more."""


class BanyanLogger(Protocol):
    """The part of `PromptStackLogger` that is needed here."""

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

    def score(
        self, name: str, value: Any, *, record_id: Any, prompt_data: Any, comment: Any, at: Any
    ) -> bool:
        """As `PromptStackLogger.score`, which takes more."""


class _SpanSink(ABC, Generic[L, R]):
    """The order of work that both records share."""

    __slots__ = ("_logger", "client", "failed")

    def __init__(self, logger: L, client: object, failed: Failed) -> None:
        self._logger = logger
        self.client = client
        self.failed = failed

    def interaction(
        self, question: Any, model: str | None, metadata: Mapping[str, Any] | None, fields: Mapping[str, Any]
    ) -> Interaction[R]:
        """An interaction of this client, not entered yet."""
        return Interaction(self, question, llm_model=model, metadata=metadata, fields=fields)

    @property
    def session_id(self) -> Any:
        """HuggingPlace's sessions have one."""
        return getattr(self._logger, "session_id", None)

    def log_interaction(self, interaction: Interaction[Any]) -> R:
        fields = interaction.fields
        if fields.get("record_id") is None:
            fields = {**fields, "record_id": interaction.record_id}
        if interaction.parent is None:
            return self._log(interaction, interaction.steps, fields)
        with pinned(metadata_here(), interaction.parent):  # they are sampled together
            return self._log(interaction, interaction.steps, fields)

    @abstractmethod
    def score(self, interaction: Interaction[Any], name: Any, value: Any, comment: Any, at: Any) -> R: ...

    def log_step(self, step: Step) -> R:
        if step.interaction is None:
            return self._log(step, [step], {})
        with pinned(metadata_here(), step.interaction):  # it outlived it, and is sampled with it
            return self._log(step, [step], {})

    def _log(self, span: Interaction[Any] | Step, steps: list[Step], fields: Mapping[str, Any]) -> R:
        """Log what is known now; our threads read and add what was received and not read yet."""
        unread = (
            span._unread_size() + sum([step._unread_size() for step in steps])
            if steps
            else span._unread_size()
        )
        if not unread or (fields and self.response_field in fields):
            known = {
                self.question_field: self._question(span),
                **self._duration(span),
                "metadata": span.metadata,
                **fields,
            }
            return self._send(self._completed(known, self._reported(span, steps), span, fields))
        span._freeze()
        for step in steps:
            step._freeze()
        later = Deferred(
            self._completing(span, steps, fields), unread, partial(_may_have_failed, span, steps)
        )
        return self._send(
            {self.question_field: NO_PROMPT, self.response_field: later, "metadata": span.metadata, **fields}
        )

    def _completing(
        self, span: Interaction[Any] | Step, steps: list[Step], fields: Mapping[str, Any]
    ) -> Callable[[dict[str, Any]], dict[str, Any]]:
        def complete(body: dict[str, Any]) -> dict[str, Any]:
            duration = self._duration(span)  # the span has ended, so this is its final time
            with Contained(self, "a response could not be read"):
                reported = {
                    **self._reported(span, steps),
                    **duration,
                    self.question_field: self._question(span),
                }
                body = self._completed(body, reported, span, fields)
                return {
                    **body,
                    **{
                        name: self._as_sent(body[name]) for name in (self.question_field, self.response_field)
                    },
                }
            return {**duration, **body, self.response_field: NO_RESPONSE}

        return complete

    def _completed(
        self,
        body: Mapping[str, Any],
        reported: Mapping[str, Any],
        span: Span,
        fields: Mapping[str, Any],
    ) -> dict[str, Any]:
        """`body` and what was reported; the caller's own fields and metadata win."""
        own = body.get("metadata") or {}
        details = {name: value for name, value in reported["metadata"].items() if name not in span.metadata}
        events = {**reported, "metadata": {**own, **details} or None}
        return {**body, **{name: events[name] for name in events if name not in fields}}

    @property
    @abstractmethod
    def question_field(self) -> str:
        """The name of the record's field for the question."""

    @property
    @abstractmethod
    def response_field(self) -> str:
        """The name of the record's field for the answer."""

    @abstractmethod
    def _question(self, span: Interaction[Any] | Step) -> Any:
        """The question, as the record has it."""

    @abstractmethod
    def _duration(self, span: Span) -> dict[str, Any]:
        """The field with the span's duration."""

    @abstractmethod
    def _reported(self, span: Span, steps: list[Step]) -> dict[str, Any]:
        """The other fields; `metadata` without the caller's own."""

    @abstractmethod
    def _send(self, record: dict[str, Any]) -> R: ...

    def _as_sent(self, answered: Any) -> Any:
        """A question or answer as the client's log call would put it into the record."""
        return answered


class HuggingPlaceSink(_SpanSink[HuggingPlaceLogger[R], R]):
    """Logs to a HuggingPlace client, or to a session of one."""

    __slots__ = ()
    question_field = "user_prompt"
    response_field = "response"

    def _question(self, span: Interaction[Any] | Step) -> Any:
        return question_text(span.question) or NO_PROMPT

    def _duration(self, span: Span) -> dict[str, Any]:
        return {"response_time": seconds(span)}

    def _reported(self, span: Span, steps: list[Step]) -> dict[str, Any]:
        reported = {
            "response": _response(span),
            "llm_model": span.model,
            "token_count": span.usage.total,
            "step_data": [step_data(step) for step in steps] or None,
        }
        return {**without_none(reported), "metadata": span._reported_details()}

    def _send(self, record: dict[str, Any]) -> R:
        record["metadata"] = record["metadata"] or None
        log: Any = without_none(record)
        return self._logger.log(log)

    def score(self, interaction: Interaction[Any], name: Any, value: Any, comment: Any, at: Any) -> R:
        return self._logger.score(name, value, record_id=interaction.record_id, comment=comment, at=at)


class BanyanSink(_SpanSink[BanyanLogger, bool]):
    """Logs to a Banyan client, or to the default one at the time of the record."""

    __slots__ = ()
    question_field = "input"
    response_field = "output"

    def _question(self, span: Interaction[Any] | Step) -> Any:
        return span.question

    def _duration(self, span: Span) -> dict[str, Any]:
        return {"duration_ms": round(span._stopwatch.elapsed * 1000, 3)}

    def _reported(self, span: Span, steps: list[Step]) -> dict[str, Any]:
        tokens = {"token_count": span.usage.total, "step_data": [step_data(step) for step in steps] or None}
        model = {} if span.model is None else {"model": span.model}
        details = {**without_none(tokens), **span._reported_details()}
        return {"output": span.answer.text, **model, "metadata": details}

    def _send(self, record: dict[str, Any]) -> bool:
        record.setdefault("model", None)
        record["metadata"] = record["metadata"] or {}
        return self._logger.log_prompt(record.pop("input"), record.pop("output"), **record)

    def score(self, interaction: Interaction[Any], name: Any, value: Any, comment: Any, at: Any) -> bool:
        with Contained(self, "a score could not be logged"):
            about = {"record_id": interaction.record_id, "prompt_data": interaction.fields.get("prompt_data")}
            return self._logger.score(name, value, **about, comment=comment, at=at)
        return False

    def _as_sent(self, answered: Any) -> Any:
        return as_text(answered)


def _may_have_failed(span: Span, steps: list[Step]) -> bool:
    """Whether one of them ended with an error, or has a response that may tell of one."""
    return any(map(_may_tell_of_an_error, [span, *steps]))


def _may_tell_of_an_error(span: Span) -> bool:
    if span.error is not None:
        return True
    response = span._response
    if span._answer is None and isinstance(response, Received):
        return response.may_have_failed()
    return span.answer.error is not None


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
    """The duration in HuggingPlace's unit."""
    return round(span._stopwatch.elapsed, 6)


def _response(span: Span) -> Any:
    """The answer, or if that is empty, the error."""
    said = span.answer.text
    if said is not None and said != "" and said != [] and said != {} and said != ():
        return said
    _, error = span._failure()
    return NO_RESPONSE if error is None else "Error: " + error
