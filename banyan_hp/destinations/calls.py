"""The attributes of one span: of a record, or of one of its steps. Pure.

Each record comes through here before it is sent: what it costs, a sender has to spend for every record.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .. import semconv
from .attributes import DETAILS, SESSION, WORDS, Attributes
from .messages import input_messages, output_messages, plain

_PROVIDERS = {"google": "gcp.gemini", "mistral": "mistral_ai"}
_LONGEST_SECONDS = 1e9


@dataclass(frozen=True, slots=True)
class Form:
    """How a record's own fields are called, by the client that logged it; or a step's.

    Attributes:
        duration, per_second: the field with the duration, and how many of its units a second has.
        fields: all fields that are known, and the attributes that they become by themselves.
    """

    question: str
    answer: str
    model: str
    duration: str
    per_second: float
    fields: Mapping[str, tuple[str, ...]]


_SILENT: dict[str, tuple[str, ...]] = {"metadata": (), "step_data": (), "org_id": ()}
BANYAN = Form(
    *("input", "output", "model", "duration_ms", 1000.0),
    {
        **_SILENT,
        "input": (),
        "output": (),
        "duration_ms": (),
        "model": (semconv.REQUEST_MODEL,),
        "prompt_name": (semconv.PROMPT_NAME,),
        "prompt_id": (semconv.PROMPT_ID,),
        "version": (semconv.PROMPT_VERSION,),
        "branch_name": (semconv.PROMPT_BRANCH,),
        "experiment_id": (semconv.EXPERIMENT_ID,),
        "experiment_version_id": (semconv.EXPERIMENT_VERSION_ID,),
        "sticky_key": (semconv.STICKY_KEY,),
        "sticky_value": (semconv.STICKY_VALUE,),
    },
)
HUGGINGPLACE = Form(
    *("user_prompt", "response", "llm_model", "response_time", 1.0),
    {
        **_SILENT,
        "user_prompt": (),
        "response": (),
        "response_time": (),
        "token_count": (),
        "llm_model": (semconv.REQUEST_MODEL,),
        "session_id": SESSION,
        "user_id": (semconv.USER_ID,),
        "mode": (semconv.MODE,),
    },
)
STEP = Form(
    *("user_question", "prompt_response", "llm_model", "response_time", 1.0),
    {
        "user_question": (),
        "prompt_response": (),
        "response_time": (),
        "id": (),
        "token": (),
        "input_tokens": (),
        "output_tokens": (),
        "llm_model": (semconv.REQUEST_MODEL,),
        "type": (semconv.STEP_TYPE,),
    },
)


def add_attributes(
    found: Attributes, form: Form, body: Mapping[str, Any], details: Mapping[str, Any], *, content: bool
) -> None:
    """Add what the span says of its call.

    Args:
        found: what it says already.
        form: names the body's fields.
        body: of the record or step.
        details: of its metadata. What has an attribute of its own becomes that, the rest is one text.
        content: with question and answer.
    """
    left, rest = {}, {}
    known, fields = DETAILS.get, form.fields.get
    for name, value in details.items():
        if name in WORDS and type(value) is str:
            for key in WORDS[name]:
                found[key] = value
            continue
        detail = known(name)
        if detail is None or not detail(found, value):
            left[name] = value
    for name, value in body.items():
        keys = fields(name)
        if keys is None:
            rest[name] = value
        elif keys and value is not None:
            text = value if type(value) is str else plain(value)
            for key in keys:
                found[key] = text
    if left:
        if "api" in left and semconv.PROVIDER not in found:
            found[semconv.PROVIDER] = _provider(left["api"])
        found[semconv.METADATA] = plain(left)
    if rest:
        found[semconv.EXTRA] = plain(rest)
    if content:
        question, answer = body.get(form.question), body.get(form.answer)
        if question is not None:
            found[semconv.INPUT_MESSAGES] = input_messages(question)
        if answer is not None:
            found[semconv.OUTPUT_MESSAGES] = output_messages(answer, details.get("finish_reason"))


def _provider(api: object) -> str:
    """Of a wrapped client's call, `openai.chat.completions` say."""
    provider = plain(api).partition(".")[0]
    return _PROVIDERS.get(provider, provider)


def seconds_of(duration: object, per_second: float) -> float:
    """A duration in seconds; 0 for what is none."""
    if duration is None or not isinstance(duration, (int, float)):
        return 0.0
    return duration / per_second if 0 <= duration <= _LONGEST_SECONDS * per_second else 0.0
