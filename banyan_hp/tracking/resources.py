"""Recording the clients of `google-genai` and `mistralai`: methods of the objects that their clients hold.

The methods are replaced on those objects, which a client makes once. Google's chats, its automatic function
calls and its continuations come down to `generate_content`, a request each. Of that the package's own inner
method is taken, where it has one: so each request is a record with its own tokens, as with `wrap_openai`.

A stream that reads from a response of `httpx` is followed in that response, and stays the object that it was;
one that is a generator passes through another generator.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple, TypeVar

from ..errors import ConfigurationError
from ..foreign import checking, type_name
from .generators import StreamRecorder
from .interaction import opened_span
from .likenesses import Way, is_stream, passed_through, recording, replace_method
from .reading.contents import messages_of
from .reading.fields import as_text_later, field, path, text
from .reading.parameters import fields_of, parameters_in
from .reading.received import Copy
from .reading.responses import question_in
from .sink import Contained, Sink
from .span import Span
from .taps import tap

C = TypeVar("C")
GetSink = Callable[[], Sink[Any]]
Options = Mapping[str, Any]


class _Method(NamedTuple):
    """A method to record: where it is, its names (the first that exists), and how a record calls it."""

    place: str
    names: tuple[str, ...]
    api: str
    streams: bool | None = None
    """Whether it returns a stream; None: where its argument `stream` says so."""


_GENERATE = ("_generate_content", "generate_content")
_GENERATE_STREAM = ("_generate_content_stream", "generate_content_stream")
_METHODS = {
    "google_genai": (
        *(
            _Method(f"{before}models", names, "google.generate_content", streams)
            for before in ("", "aio.")
            for names, streams in ((_GENERATE, False), (_GENERATE_STREAM, True))
        ),
        *(_Method(f"{before}interactions", ("create",), "google.interactions") for before in ("", "aio.")),
    ),
    "mistral": tuple(
        _Method(place, (f"{name}{end}",), f"mistral.{place}", name == "stream")
        for place in ("chat", "fim", "agents")
        for name in ("complete", "stream")
        for end in ("", "_async")
    ),
}
_PACKAGES = {"google_genai": "google-genai", "mistral": "mistralai"}
_NEEDED = {"google_genai": ("models", "generate_content"), "mistral": ("chat", "complete")}


def wrap(client: C, provider: str, get_sink: GetSink) -> C:
    """Record every answer of a model to `client`; return the client. Wrapping again is as with `wrap_openai`.

    Raises:
        ConfigurationError: it is not such a client.
    """
    with checking("the client"):
        place, name = _NEEDED[provider]
        if not callable(path(client, place, name)) or not _is_kept(client, place):
            raise ConfigurationError(
                f"wrap_{provider}() takes a client of {_PACKAGES[provider]}, was {type_name(client)}"
            )
        details = _served_by(client, provider)
        for method in _METHODS[provider]:
            owner = path(client, *method.place.split("."))
            found = next((each for each in method.names if callable(field(owner, each))), None)
            if found is not None:
                way = Way(partial(_opened, method.api, details), partial(_streams, method), _settled)
                replace_method(owner, found, partial(recording, way, get_sink))
    return client


def _is_kept(client: object, place: str) -> bool:
    """Whether it is the same object at each use: otherwise nothing can be replaced on it."""
    return field(client, place) is field(client, place)


def _served_by(client: object, provider: str) -> dict[str, Any]:
    if provider == "mistral":
        return {"provider": "mistral_ai"}
    return {"provider": "gcp.vertex_ai" if field(client, "vertexai") is True else "gcp.gemini"}


def _streams(method: _Method, options: Options) -> bool:
    return _asked(options).get("stream") is True if method.streams is None else method.streams


def _asked(options: Options) -> Options:
    """What is asked for: the arguments, or the fields of the one argument that holds them all."""
    request = options.get("request")
    return options if request is None else {**options, **fields_of(request)}


# -- one call ------------------------------------------------------------------------------------------------


def _opened(api: str, details: Options, sink: Sink[Any], options: Options) -> Span | None:
    with Contained(sink, "a call could not be recorded"):
        asked = _asked(options)
        span = opened_span(sink, as_text_later(_question(asked)), {"api": api})
        span._requested_model = text(asked.get("model")) or text(asked.get("agent"))
        span._request_details = {**parameters_in(asked), **details}
        return span
    return None


def _question(asked: Options) -> Any:
    """Google's contents as messages; of the others what was asked, with the instructions."""
    if "contents" in asked:
        return messages_of(asked["contents"], field(asked.get("config"), "system_instruction"))
    question, instructions = question_in(asked), asked.get("system_instruction")
    return question if instructions is None else {"instructions": instructions, "input": question}


def _settled(span: Span, result: Any, streamed: bool) -> Any:
    """`result`, which ends `span` now or, being a stream, later."""
    with Contained(span._sink, "a response could not be recorded"):
        if streamed and is_stream(result):
            response = field(result, "response")
            if hasattr(response, "is_stream_consumed") and tap(response, span, streamed=True):
                return result
            return passed_through(result, StreamRecorder(span))
        span.response = Copy(result)
    span._finish()
    return result
