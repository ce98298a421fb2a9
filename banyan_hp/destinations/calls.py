"""What one span says: of a record, or of one of its steps. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from .. import semconv
from . import attributes as as_attribute
from .attributes import DETAILS, TOKENS, Attribute, is_count
from .messages import input_messages, output_messages, plain

TRACEPARENT = "traceparent"  # W3C's format; only our own bodies on their way to a collector have it
_PROVIDERS = {"google": "gcp.gemini", "mistral": "mistral_ai"}
COUNTED: tuple[str, ...] = ("input_tokens", "output_tokens")
_LONGEST_SECONDS = 1e9


class Form(NamedTuple):
    """How a record's own fields are called, by the client that logged it; or a step's.

    Attributes:
        seconds: the field with the duration, and how many of its units a second has.
        texts: other fields, and the attributes that they become.
        silent: fields that are no attributes of their own.
    """

    question: str
    answer: str
    model: str
    seconds: tuple[str, float]
    texts: Mapping[str, tuple[str, ...]]
    silent: tuple[str, ...]

    @property
    def known(self) -> frozenset[str]:
        return frozenset((self.question, self.answer, self.model, self.seconds[0], *self.texts, *self.silent))


_SILENT = ("metadata", "step_data", "org_id", TRACEPARENT)
BANYAN = Form(
    "input",
    "output",
    "model",
    ("duration_ms", 1000.0),
    {
        "prompt_name": (semconv.PROMPT_NAME,),
        "prompt_id": (semconv.PROMPT_ID,),
        "version": (semconv.PROMPT_VERSION,),
        "branch_name": (semconv.PROMPT_BRANCH,),
        "experiment_id": (semconv.EXPERIMENT_ID,),
        "experiment_version_id": (semconv.EXPERIMENT_VERSION_ID,),
        "sticky_key": (semconv.STICKY_KEY,),
        "sticky_value": (semconv.STICKY_VALUE,),
    },
    _SILENT,
)
HUGGINGPLACE = Form(
    "user_prompt",
    "response",
    "llm_model",
    ("response_time", 1.0),
    {
        "session_id": (semconv.SESSION_ID, semconv.CONVERSATION_ID),
        "user_id": (semconv.USER_ID,),
        "mode": (semconv.MODE,),
    },
    (*_SILENT, "token_count"),
)
STEP = Form(
    "user_question",
    "prompt_response",
    "llm_model",
    ("response_time", 1.0),
    {"type": (semconv.STEP_TYPE,)},
    (*COUNTED, "id", "token"),
)
_KNOWN = {form.question: form.known for form in (BANYAN, HUGGINGPLACE, STEP)}


class Call:
    """What a span says besides its ids and times.

    Attributes:
        details: of the metadata; `leave_to` takes from their tokens.
        steps: the steps inside.
    """

    def __init__(self, form: Form, body: Mapping[str, Any], details: Mapping[str, Any]) -> None:
        self._form = form
        self._body = body
        self._known = _KNOWN[form.question]
        self.details = dict(details)
        tokens = {name: self.details.get(name) for name in TOKENS}
        self._reported: dict[str, int] = {name: count for name, count in tokens.items() if is_count(count)}
        self.steps: list[Call] = []

    def leave_to_steps(self) -> None:
        """The tokens of the steps inside are on their own spans: subtract them."""
        if any(step._reported for step in self.steps):
            self.details.pop("token_count", None)
        for name, reported in self._reported.items():
            left = reported - sum(step._reported.get(name, 0) for step in self.steps)
            if left > 0:
                self.details[name] = left
            else:
                del self.details[name]

    @property
    def seconds(self) -> float:
        """How long it took; 0 if that is not known."""
        name, per_second = self._form.seconds
        return seconds_of(self._body.get(name), per_second)

    @property
    def model(self) -> str:
        model = self._body.get(self._form.model)
        return plain(model) if model else ""

    @property
    def operation(self) -> str:
        """Where the steps have all the tokens, it is no call of a model; empty for a step of another kind."""
        inside = any(step._reported for step in self.steps)
        if any(name in self.details for name in COUNTED):
            return semconv.CHAT
        if self._form is STEP:
            return semconv.CHAT if self.model and not inside else ""
        return semconv.INVOKE_WORKFLOW if inside else semconv.CHAT

    @property
    def name(self) -> str:
        """As the conventions have it: operation and model."""
        operation, model = self.operation, self.model
        if operation == semconv.CHAT:
            return f"{operation} {model}" if model else operation
        return operation or plain(self._body.get("type") or semconv.STEP)

    @property
    def failure(self) -> str | None:
        """Why it failed, if it did."""
        failed = self.details.get("error") or self.details.get("error_type")
        return plain(failed) if failed else None

    def attributes(self, *, content: bool) -> list[Attribute]:
        """All but those of the tree; `content`: with question and answer."""
        found = [*self._of_the_operation(), *self._of_the_details(), *self._of_the_fields()]
        if content:
            found += self._messages()
        return found

    def _of_the_operation(self) -> Iterable[Attribute]:
        if self.operation:
            yield as_attribute.text(semconv.OPERATION, self.operation)
        if self.model:
            yield as_attribute.text(semconv.REQUEST_MODEL, self.model)
        api = self.details.get("api")
        if type(api) is str:
            provider = api.partition(".")[0]
            yield as_attribute.text(semconv.PROVIDER, _PROVIDERS.get(provider, provider))

    def _of_the_details(self) -> list[Attribute]:
        """Of the metadata what has attributes; the rest as one text."""
        found: list[Attribute] = []
        left = {}
        for name, value in self.details.items():
            taken = DETAILS[name](value) if name in DETAILS else None
            if taken:
                found += taken
            else:
                left[name] = value
        if left:
            found.append(as_attribute.text(semconv.METADATA, left))
        return found

    def _of_the_fields(self) -> Iterable[Attribute]:
        body = self._body
        for name, keys in self._form.texts.items():
            value = body.get(name)
            if value is not None:
                yield from [as_attribute.text(key, value) for key in keys]
        rest = {name: value for name, value in body.items() if name not in self._known}
        if rest:
            yield as_attribute.text(semconv.EXTRA, rest)

    def _messages(self) -> Iterable[Attribute]:
        question, answer = self._body.get(self._form.question), self._body.get(self._form.answer)
        if question is not None:
            yield as_attribute.text(semconv.INPUT_MESSAGES, input_messages(question))
        if answer is not None:
            messages = output_messages(answer, self.details.get("finish_reason"))
            yield as_attribute.text(semconv.OUTPUT_MESSAGES, messages)


def seconds_of(duration: object, per_second: float) -> float:
    """A duration in seconds; 0 for what is none."""
    if not isinstance(duration, (int, float)) or not 0 <= duration <= _LONGEST_SECONDS * per_second:
        return 0.0
    return duration / per_second
