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
`ended` ("closed early", "garbage-collected", "process ended"), `api` (of wrapped clients), `interaction_id`
and `parent_interaction_id` of nested interactions, and `step_details`, a list with the same of each step that
has any, and its `parent`'s id.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Generic, Protocol, TypeVar

from .fields import as_text_later
from .interaction import Interaction
from .messages import question_text
from .span import Span, error_text, without_none
from .steps import Step

NO_PROMPT = "[no prompt]"
NO_RESPONSE = "[no response]"

L = TypeVar("L")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
Failed = Callable[[str, BaseException], None]


class Sink(Protocol[R_co]):
    """Where finished interactions go. Made for each, or kept; has no state of its own."""

    @property
    def client(self) -> object:
        """Whose it is: steps join the interactions of the same client."""

    def log_interaction(self, interaction: Interaction[Any]) -> R_co:
        """Log it, with its steps."""

    def log_step(self, step: Step) -> object:
        """Log a step that has no interaction, or outlived it."""

    def failed(self, doing: str, error: BaseException) -> None:
        """Count and log what went wrong while a call was followed, and in doing what."""


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
        steps = [step_data(step) for step in interaction.steps]
        return self._log(interaction, interaction.question, steps, interaction.details(), interaction.fields)

    def log_step(self, step: Step) -> R:
        return self._log(step, step.question, [step_data(step)], step.details(), {})

    @abstractmethod
    def _log(
        self,
        span: Interaction[Any] | Step,
        question: Any,
        steps: list[dict[str, Any]],
        metadata: dict[str, Any],
        fields: Mapping[str, Any],
    ) -> R: ...


class HuggingPlaceSink(_SpanSink[HuggingPlaceLogger[R], R]):
    """Logs to a HuggingPlace client, or to a session of one."""

    __slots__ = ()

    def _log(
        self,
        span: Interaction[Any] | Step,
        question: Any,
        steps: list[dict[str, Any]],
        metadata: dict[str, Any],
        fields: Mapping[str, Any],
    ) -> R:
        options = {
            "user_prompt": question_text(question) or NO_PROMPT,
            "response": _response(span),
            "llm_model": span.model,
            "token_count": span.usage.total,
            "response_time": seconds(span),
            "metadata": metadata or None,
            "step_data": steps or None,
            **fields,
        }
        return self._logger.log(without_none(options))


class BanyanSink(_SpanSink[BanyanLogger, bool]):
    """Logs to a Banyan client, or to whichever is the default one when a record is logged."""

    __slots__ = ()

    def _log(
        self,
        span: Interaction[Any] | Step,
        question: Any,
        steps: list[dict[str, Any]],
        metadata: dict[str, Any],
        fields: Mapping[str, Any],
    ) -> bool:
        total = span.usage.total
        tokens = {} if total is None else {"token_count": total}
        inside = {"step_data": steps} if steps else {}
        record = {
            "model": span.model,
            "metadata": {**tokens, **inside, **metadata},
            "duration_ms": round(span.watch.elapsed * 1000, 3),
            **fields,
        }
        return self._logger.log_prompt(question, span.answer.text, **record)


def step_data(step: Step) -> dict[str, Any]:
    """A step as `step_data` has it; the caller's own fields win."""
    usage = step.usage
    told = {
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
    return without_none(told)


def seconds(span: Span) -> float:
    """What it took, as HuggingPlace has it."""
    return round(span.watch.elapsed, 6)


def _response(span: Span) -> Any:
    """What it answered, and if that is nothing, why."""
    said = span.answer.text
    if said is not None and said != "" and said != [] and said != {} and said != ():
        return said
    return NO_RESPONSE if span.error is None else "Error: " + error_text(span.error)
