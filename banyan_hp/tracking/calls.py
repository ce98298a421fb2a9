"""Which of a provider's requests are recorded, as what, and which span a later request ends.

Recorded are the requests by which a model answers. Others pass unrecorded, as they are: embeddings, counts of
tokens, batches, files, images, audio, moderations, assistants and their threads, realtime and WebSocket
connections, and stored responses that are fetched again.

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
from .reading.fields import field
from .span import Span

_ANSWERED = {
    "openai": {
        "chat/completions": "chat.completions",
        "completions": "completions",
        "responses": "responses",
    },
    "anthropic": {"messages": "messages"},
}
_ELSEWHERE = ("threads", "evals", "conversations")  # their messages and runs are another thing
_CHAT = ("chat", "completions")


class Call(NamedTuple):
    """A request that is recorded.

    Attributes:
        api: its name in the records.
        background: the id of the background response that is fetched.
    """

    api: str
    background: str | None = None


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
    return Call(f"{provider}.{beta}{name}")


def _name(provider: str, method: str, parts: tuple[str, ...]) -> str | None:
    if provider == "openai" and _response_id(parts) is not None and _may_end(method, parts):
        return "responses"
    if method != "post" or not parts:
        return None
    answered = _ANSWERED[provider]
    return answered.get("/".join(parts[-2:]) if parts[-2:] == _CHAT else parts[-1])


def _response_id(parts: tuple[str, ...]) -> str | None:
    """Of `/responses/{id}` and `/responses/{id}/cancel`."""
    if parts[-1:] == ("cancel",):
        parts = parts[:-1]
    return parts[-1] if parts[-2:-1] == ("responses",) else None


def _may_end(method: str, parts: tuple[str, ...]) -> bool:
    return method == ("post" if parts[-1] == "cancel" else "get")


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
