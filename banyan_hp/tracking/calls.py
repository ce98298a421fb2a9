"""Which of a provider's requests are recorded, as what, who serves them, and which span a later request ends.

Recorded are the requests by which a model answers, embeds, draws, speaks or transcribes. Others pass
unrecorded, as they are: counts of tokens, batches, files, moderations, videos, assistants and their threads,
realtime and WebSocket connections, and stored responses that are fetched again.

A response in the background is requested once and fetched by later requests. The span of the first stays open
until a later one brings the end. One that is never fetched is logged as it began when the process ends, or
when too many are open. No lock guards the open ones, since a fork could leave it held: single operations on
the dict are atomic under the GIL, and no step here relies on two of them.
"""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Any, NamedTuple

from ..engine.process.exit import before_exit
from ..foreign import class_names
from .reading.fields import as_text, field
from .span import Span

_ANSWERED = {
    "openai": {
        "chat/completions": "chat.completions",
        "completions": "completions",
        "responses": "responses",
        "embeddings": "embeddings",
        "images/generations": "images.generate",
        "images/edits": "images.edit",
        "images/variations": "images.create_variation",
        "audio/speech": "audio.speech",
        "audio/transcriptions": "audio.transcriptions",
        "audio/translations": "audio.translations",
    },
    "anthropic": {"messages": "messages"},
}
_ELSEWHERE = ("threads", "evals", "conversations")  # their messages and runs are another thing
_IN_TWO = ("chat", "images", "audio")  # the first part of names that have two
_MEDIA = ("embeddings", "images", "audio")


class Call(NamedTuple):
    """A request that is recorded.

    Attributes:
        api: its name in the records.
        background: the id of the background response that is fetched.
        media: whether the response is vectors, images or audio, or says what was heard.
    """

    api: str
    background: str | None = None
    media: bool = False


def call_of(provider: str, options: Any) -> Call | None:
    """What a request is recorded as; None if it is not.

    Args:
        provider: "openai" or "anthropic".
        options: the request as the SDKs have it, with `method`, `url` and `qualifiers`.
    """
    call = _call(provider, options.method, str(options.url))
    if call is None or provider != "anthropic":
        return call
    qualifiers = field(options, "qualifiers")
    return _beta(call) if qualifiers and field(qualifiers, "beta") == "true" else call


@lru_cache(maxsize=64)
def _beta(call: Call) -> Call:
    return call._replace(api=call.api.replace(".", ".beta.", 1))


@lru_cache(maxsize=512)
def _call(provider: str, method: str, url: str) -> Call | None:
    method = method.lower()
    place, _, query = url.partition("?")
    parts = tuple(part for part in place.split("/") if part)
    name = _name(provider, method, parts)
    if name is None or any(part in _ELSEWHERE for part in parts):
        return None
    beta = "beta." if "beta=true" in query.split("&") else ""
    if name == "responses" and parts[-1] != "responses":
        return Call(f"{provider}.{beta}{name}", _response_id(parts))
    return Call(f"{provider}.{beta}{name}", media=name.startswith(_MEDIA))


def _name(provider: str, method: str, parts: tuple[str, ...]) -> str | None:
    if provider == "openai" and _response_id(parts) is not None and _may_end(method, parts):
        return "responses"
    if method != "post" or not parts:
        return None
    in_two = len(parts) > 1 and parts[-2] in _IN_TWO
    return _ANSWERED[provider].get("/".join(parts[-2:]) if in_two else parts[-1])


def _response_id(parts: tuple[str, ...]) -> str | None:
    """Of `/responses/{id}` and `/responses/{id}/cancel`."""
    if parts[-1:] == ("cancel",):
        parts = parts[:-1]
    return parts[-1] if parts[-2:-1] == ("responses",) else None


def _may_end(method: str, parts: tuple[str, ...]) -> bool:
    return method == ("post" if parts[-1] == "cancel" else "get")


# -- who serves the model ------------------------------------------------------------------------------------

# By the host of the base URL, or what it ends with. Names: OpenTelemetry's where it has one.
_HOSTS = {
    "api.openai.com": "openai",
    ".api.openai.com": "openai",
    ".openai.azure.com": "azure.ai.openai",
    ".services.ai.azure.com": "azure.ai.inference",
    ".models.ai.azure.com": "azure.ai.inference",
    ".cognitiveservices.azure.com": "azure.ai.openai",
    "api.anthropic.com": "anthropic",
    "generativelanguage.googleapis.com": "gcp.gemini",
    "aiplatform.googleapis.com": "gcp.vertex_ai",
    "-aiplatform.googleapis.com": "gcp.vertex_ai",
    ".amazonaws.com": "aws.bedrock",
    "api.mistral.ai": "mistral_ai",
    "api.groq.com": "groq",
    "api.deepseek.com": "deepseek",
    "api.perplexity.ai": "perplexity",
    "api.x.ai": "x_ai",
    "api.cohere.ai": "cohere",
    "api.cohere.com": "cohere",
    "api.moonshot.ai": "moonshot_ai",
    "api.moonshot.cn": "moonshot_ai",
    ".ml.cloud.ibm.com": "ibm.watsonx.ai",
    "openrouter.ai": "openrouter",
    "api.together.xyz": "together_ai",
    "api.together.ai": "together_ai",
    "api.fireworks.ai": "fireworks",
    "api.cerebras.ai": "cerebras",
}


_CLASSES = {
    "AzureOpenAI": "azure.ai.openai",
    "AsyncAzureOpenAI": "azure.ai.openai",
    "AnthropicBedrock": "aws.bedrock",
    "AsyncAnthropicBedrock": "aws.bedrock",
    "AnthropicVertex": "gcp.vertex_ai",
    "AsyncAnthropicVertex": "gcp.vertex_ai",
}


def provider_of(client: object) -> str | None:
    """Who serves a client's models: by its class, or the host of its base URL. None: it is not known here."""
    named = (name.partition(".")[2] for name in class_names(client))
    found = next((_CLASSES[name] for name in named if name in _CLASSES), None)
    return found or provider_at(as_text(field(field(client, "base_url"), "host")))


def provider_at(host: str) -> str | None:
    """The provider that a host belongs to, by its name in OpenTelemetry's `gen_ai.provider.name`; or None."""
    host = host.lower().rstrip(".")
    ends = (name for end, name in _HOSTS.items() if end[0] in ".-" and host.endswith(end))
    return _HOSTS.get(host) or next(ends, None)


# -- responses that are worked out in the background --------------------------------------------------------

MAX_IN_BACKGROUND = 1_000
NOT_FETCHED = "not fetched"
FINAL_STATUSES = frozenset({"completed", "failed", "incomplete", "cancelled"})

_open: dict[str, tuple[int, Span]] = {}  # by response id: the process and the span


def keep_open(response_id: str, span: Span) -> None:
    """Keep `span` open until the end of this response is fetched."""
    _open[response_id] = (os.getpid(), span)
    for oldest in list(_open)[: len(_open) - MAX_IN_BACKGROUND]:
        _give_up(oldest)


def open_span_of(response_id: str) -> Span | None:
    """The span that was opened for this response; None once it has ended."""
    _, span = _open.get(response_id, (0, None))
    return None if span is None or span.finished else span


def forget_response(response_id: str) -> None:
    """Its end has been fetched."""
    _open.pop(response_id, None)


def _give_up(response_id: str) -> None:
    pid, span = _open.pop(response_id, (0, None))
    if span is not None and pid == os.getpid():  # a forked child must not log its parent's
        span._finish(ended=NOT_FETCHED)


def _at_exit() -> None:
    for response_id in list(_open):
        _give_up(response_id)


before_exit(_at_exit)
