"""Recording the clients of the `openai` and `anthropic` packages, and of those made by the same generator.

All requests of such a client, whatever they are made by (`create`, `parse`, `stream`, raw and streaming
responses, `beta`, the client's own `post`), pass one method of it, `request`. That is replaced on the
instance, and `copy` and `with_options`, so that copies are recorded, too. The class of the client, its
resources, its arguments, results and errors stay what they are. Nothing of a package is imported.

What came back is kept and read later, by our threads (see `received.py`); of what is read bit by bit the body
is followed (see `taps.py`). `likenesses.py` records other objects that look like such a client.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from functools import partial, wraps
from typing import Any, TypeVar

from ..engine.records.encode import AsText
from ..errors import ConfigurationError
from ..foreign import checking
from . import likenesses, media
from .calls import FINAL_STATUSES, Call, call_of, forget_response, keep_open, open_span_of, provider_of
from .context import recorded
from .interaction import opened_span
from .likenesses import replace_method
from .reading.fields import as_text_later, field, is_model, text
from .reading.parameters import parameters_in
from .reading.received import Body, snapshot
from .reading.responses import question_in
from .sink import Contained, Sink
from .span import Span
from .taps import tap

C = TypeVar("C")
GetSink = Callable[[], Sink[Any]]

RESOURCE = {"openai": "chat", "anthropic": "messages"}
COPYING = ("with_options", "copy")


def wrap(client: C, provider: str, get_sink: GetSink) -> C:
    """Record every answer of a model to `client`, and to the clients made from it; return the client.

    Wrapping again changes nothing, but with another logger: then the records go to that one.

    Raises:
        ConfigurationError: it is not such a client.
    """
    with checking("the client"):
        target = _makes_requests(client, provider)
        if target is None:
            return likenesses.wrap(client, provider, get_sink)
        recording = _recording_async if inspect.iscoroutinefunction(target.request) else _recording
        replace_method(target, "request", partial(recording, provider, get_sink))
        for name in COPYING:
            replace_method(target, name, partial(_wrapping, provider, get_sink))
    return client


def _makes_requests(client: Any, provider: str) -> Any:
    """The client, or the one that it holds (those of `instructor` do), whose `request` all requests pass."""
    for each in (client, field(client, "client")):
        if _is_generated(type(each)):
            if not _has(each, RESOURCE[provider]):
                raise ConfigurationError(likenesses.refusal(client, provider))
            return each
    return None


def _is_generated(cls: type) -> bool:
    """Looks at the class, since a mock has every attribute."""
    try:
        return {"cast_to", "options"} <= set(inspect.signature(getattr(cls, "request", None)).parameters)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False


def _has(client: object, name: str) -> bool:
    """Without getting it: that would import the resource's many modules."""
    return name in vars(client) or hasattr(type(client), name)


def _wrapping(provider: str, get_sink: GetSink, copying: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(copying)
    def copied(*arguments: Any, **options: Any) -> Any:
        return wrap(copying(*arguments, **options), provider, get_sink)

    return copied


# -- one request ---------------------------------------------------------------------------------------------


def _recording(provider: str, get_sink: GetSink, request: Callable[..., Any]) -> Callable[..., Any]:
    served_by = _server_of(request)

    @wraps(request)
    def recorded_request(cast_to: Any, options: Any, *arguments: Any, **more: Any) -> Any:
        call, span = _opened(provider, served_by, get_sink, options)
        if call is None or span is None:
            return request(cast_to, options, *arguments, **more)
        try:
            result = request(cast_to, options, *arguments, **more)
        except BaseException as error:
            _failed(span, call, options, error)
            raise
        _came(span, call, options, result)
        return result

    return recorded_request


def _recording_async(provider: str, get_sink: GetSink, request: Callable[..., Any]) -> Callable[..., Any]:
    served_by = _server_of(request)

    @wraps(request)
    async def recorded_request(cast_to: Any, options: Any, *arguments: Any, **more: Any) -> Any:
        call, span = _opened(provider, served_by, get_sink, options)
        if call is None or span is None:
            return await request(cast_to, options, *arguments, **more)
        try:
            result = await request(cast_to, options, *arguments, **more)
        except BaseException as error:
            _failed(span, call, options, error)
            raise
        _came(span, call, options, result)
        return result

    return recorded_request


def _server_of(request: Callable[..., Any]) -> dict[str, Any]:
    """The metadata that says who serves the models of the client whose method this is."""
    name = provider_of(field(request, "__self__"))
    return {} if name is None else {"provider": name}


def _opened(
    provider: str, served_by: Mapping[str, Any], get_sink: GetSink, options: Any
) -> tuple[Call | None, Span | None]:
    """The call and its span: a step of the interaction that is open here, or else an interaction.

    None: it is not recorded.
    """
    sink = get_sink()
    with Contained(sink, "a call could not be recorded"):
        call = call_of(provider, options)
        if call is None or recorded.get():
            return None, None
        if call.background is not None:
            return call, open_span_of(call.background)
        return call, _span(sink, call, options, served_by)
    return None, None


def _span(sink: Sink[Any], call: Call, options: Any, served_by: Mapping[str, Any]) -> Span:
    asked = options.json_data
    if not isinstance(asked, dict):
        asked = {}
    asked_for = (media.question_of(asked) or question_in(asked)) if call.media else question_in(asked)
    question = as_text_later(asked_for)
    span = opened_span(sink, question, {"api": call.api})
    span._requested_model = text(asked.get("model"))
    details = span._request_details = parameters_in(asked)
    if served_by:
        details.update(served_by)
    if call.media:
        details.update(media.asked_besides(call, options))
    span._request_size = 1 + (question.size if isinstance(question, AsText) else len(question or ""))
    return span


def _failed(span: Span, call: Call, options: Any, error: BaseException) -> None:
    """End the span by the error, with the answer that it may carry (one that was cut and can't be parsed)."""
    if call.background is not None:
        return  # only the fetching failed
    with Contained(span._sink, "a response could not be recorded"):
        cut = field(error, "completion")
        if cut is not None:
            span.response = snapshot(cut)
    span._finish_failed(error, streamed=field(options.json_data, "stream") is True)


def _came(span: Span, call: Call, options: Any, result: Any) -> None:
    """End the span by the result: now, or once the application has read it."""
    with Contained(span._sink, "a response could not be recorded"):
        asked = options.json_data
        response = None
        if is_model(result) and not call.media:
            span.response = snapshot(result)
        else:
            response = None if is_model(result) else _http_response(result)
            streamed = response is not None and _is_streamed(call, asked, response)
            if (media.came if call.media else _answered)(span, call, result, response, streamed=streamed):
                return
        may_go_on = call.background is not None or field(asked, "background") is True
        if may_go_on and _goes_on(span, result if response is None else _json(response.content)):
            return
    span._finish()


def _answered(span: Span, _: Call, result: Any, response: Any, *, streamed: bool) -> bool:
    """Note what came; True if the span ends later, with the body."""
    if response is None:
        span.response = snapshot(result)
    elif response.is_stream_consumed:
        span.response = Body([response.content])
    else:
        return tap(response, span, streamed=streamed)
    return False


def _is_streamed(call: Call, asked: Any, response: Any) -> bool:
    """Whether the body is a stream of events; even where one was requested it may be one JSON value."""
    if field(asked, "stream") is not True and call.background is None:
        return False
    return "json" not in str(field(field(response, "headers"), "content-type")).lower()


def _json(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return None


def _goes_on(span: Span, response: Any) -> bool:
    """Whether this is a background response whose end is still to be fetched."""
    status, response_id = text(field(response, "status")), text(field(response, "id"))
    if field(response, "background") is not True or response_id is None:
        return False
    if status in FINAL_STATUSES:
        forget_response(response_id)
        return False
    keep_open(response_id, span)
    return True


def _http_response(result: Any) -> Any:
    """The response of `httpx` that a result is, or is read from; None for one that was read and parsed.

    Streams hold it as `response`, raw and streaming responses as `http_response`.
    """
    for each in (result, field(result, "response"), field(result, "http_response")):
        if hasattr(type(each), "is_stream_consumed") or "is_stream_consumed" in getattr(each, "__dict__", ()):
            return each
    return None
