"""Wrapping the clients of the `openai` and `anthropic` packages, and of those made like them.

The client stays the object that it was: a few methods of it are replaced by ones that do the same and record
it. Arguments and results are not touched; errors are raised as they come. Nothing of a package is imported.

Recorded are `create`, `parse` and `stream` of `chat.completions`, `responses`, `completions` and `messages`
(those of `beta`, too), sync and async, and what `with_raw_response` makes of them. What is read off the wire
by hand (`with_streaming_response`) passes unrecorded.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, lru_cache, partial, wraps
from typing import Any, TypeVar, cast

from ..errors import ConfigurationError
from ..foreign import checking, type_name
from .context import recorded, restore
from .fields import field, path, text
from .guarding import Contained
from .interaction import Interaction, open_interaction
from .messages import question_in
from .sinks import Sink
from .span import Span
from .streams import given_class, is_stream, subclass, watched

C = TypeVar("C")
GetSink = Callable[[], Sink[Any]]

ORIGINAL = "_banyan_hp_original"
SPAN = "_banyan_hp_span"
BETA = "_banyan_hp_beta"
RAW_HEADER = "x-stainless-raw-response"

PLACES = {"openai": ("chat.completions", "responses", "completions"), "anthropic": ("messages",)}
BETA_PLACES = {"openai": ("chat.completions",), "anthropic": ("messages",)}
METHODS = ("create", "parse", "stream")
COPYING = ("with_options", "copy")


def wrap(client: C, provider: str, get_sink: GetSink) -> C:
    """Record every completion of `client`, and of the clients made from it, and return it.

    Wrapping again changes nothing; with another logger it turns the records to that one.

    Raises:
        ConfigurationError: it has none of the methods that such a client has.
    """
    places = PLACES[provider]
    with checking("the client"):
        _check(client, provider, places)
        _record_below(provider, places, get_sink, client)
        _record_beta(client, partial(_record_below, f"{provider}.beta", BETA_PLACES[provider], get_sink))
        for name in COPYING:
            _replace(client, name, partial(_wrapping, provider, get_sink))
    return client


def _check(client: object, provider: str, places: Sequence[str]) -> None:
    if not any(callable(path(client, *place.split("."), "create")) for place in places):
        raise ConfigurationError(
            f"wrap_{provider}() takes a client of the {provider} package, or one made like it "
            f"(with {places[0]}.create), was {type_name(client)}"
        )


def _record_below(api: str, places: Sequence[str], get_sink: GetSink, owner: C) -> C:
    for place in places:
        resource = path(owner, *place.split("."))
        for name in METHODS:
            _replace(resource, name, partial(_recording, f"{api}.{place}", name, get_sink))
    return owner


def _record_beta(client: object, record: Callable[[Any], Any]) -> None:
    """Now if it is there already, else when it is first asked for: it is made then, of many modules."""
    cls = type(client)
    made_when_asked = isinstance(getattr(cls, "beta", None), cached_property)
    if not made_when_asked or "beta" in vars(client) or not given_class(client, _waiting, {BETA: record}):
        record(field(client, "beta"))


@lru_cache(maxsize=64)
def _waiting(cls: Any) -> type:
    """A subclass of `cls` whose `beta` is recorded from its first use on."""
    if getattr(cls, BETA, False):
        return cast(type, cls)
    inherited: cached_property[Any] = cls.beta

    def beta(self: Any) -> Any:
        return vars(self)[BETA](inherited.func(self))

    return subclass(cls, {"beta": cached_property(beta), BETA: True})


def _replace(owner: object, name: str, make: Callable[[Callable[..., Any]], Any]) -> None:
    method = getattr(owner, name, None)
    if not callable(method):
        return
    # Not by getattr: a mock would have it.
    original = getattr(method, "__dict__", {}).get(ORIGINAL, method)
    replacement = make(original)
    setattr(replacement, ORIGINAL, original)
    setattr(owner, name, replacement)


def _wrapping(provider: str, get_sink: GetSink, copying: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(copying)
    def copied(*arguments: Any, **options: Any) -> Any:
        return wrap(copying(*arguments, **options), provider, get_sink)

    return copied


# -- one call ------------------------------------------------------------------------------------------------


def _recording(api: str, name: str, get_sink: GetSink, method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def called(*arguments: Any, **options: Any) -> Any:
        sink = get_sink()
        span = None if recorded.get() else _opened(api, sink, options)
        if span is None:
            return method(*arguments, **options)
        with _within(span):
            result = method(*arguments, **options)
        with Contained(sink, "a response could not be recorded"):
            if name == "stream" and _is_manager(result):
                return _managed(result, span)
            if inspect.isawaitable(result):
                return _awaited(span, result, _is_streamed(options))
            return _settled(span, result, _is_streamed(options))
        span.finish()
        return result

    @wraps(method)
    async def called_async(*arguments: Any, **options: Any) -> Any:
        return await called(*arguments, **options)

    return called_async if inspect.iscoroutinefunction(method) else called


def _opened(api: str, sink: Sink[Any], options: Mapping[str, Any]) -> Span | None:
    """A step of the interaction that is open here, or an interaction of its own; None: not recorded."""
    with Contained(sink, "a call could not be recorded"):
        if _by_hand(options):
            return None
        question, around = question_in(options), open_interaction(sink.client)
        span: Span = (
            Interaction(sink, question, metadata={"api": api})
            if around is None
            else around.step("completion", question, metadata={"api": api})
        )
        span.asked_model = text(options.get("model"))
        return span
    return None


@contextmanager
def _within(span: Span) -> Iterator[None]:
    """While the provider's code runs: its errors end the span, its calls to itself are not recorded."""
    token = recorded.set(True)
    try:
        yield
    except BaseException as error:
        span.finish(error)
        raise
    finally:
        restore(recorded, token)


async def _awaited(span: Span, result: Awaitable[Any], streamed: bool) -> Any:
    if recorded.get():
        return await result
    span.watch.restart()
    with _within(span):
        outcome = await result
    return _settled(span, outcome, streamed)


def _is_streamed(options: Mapping[str, Any]) -> bool:
    return bool(options.get("stream"))


def _by_hand(options: Mapping[str, Any]) -> bool:
    headers = options.get("extra_headers")
    if not isinstance(headers, Mapping):
        return False
    return any(str(name).lower() == RAW_HEADER and value == "stream" for name, value in headers.items())


def _settled(span: Span, result: Any, streamed: bool) -> Any:
    """`result`, which ends `span` now or, being a stream, later."""
    with Contained(span.sink, "a response could not be recorded"):
        if streamed and is_stream(result):
            return watched(result, span)
        outcome = result.parse() if _is_raw(result) else result
        if streamed and is_stream(outcome):
            watched(outcome, span)  # the raw response keeps it and hands it out
            return result
        span.response = outcome
    span.finish()
    return result


def _is_raw(result: object) -> bool:
    return hasattr(type(result), "parse") and hasattr(result, "http_response")


def _is_manager(result: object) -> bool:
    return hasattr(type(result), "__enter__") or hasattr(type(result), "__aenter__")


# -- what `stream()` returns: a manager, which makes the request when it is entered --------------------------


def _managed(manager: Any, span: Span) -> Any:
    if not given_class(manager, _entering, {SPAN: span}):
        span.finish()  # nothing would tell what comes of it
    return manager


@lru_cache(maxsize=64)
def _entering(cls: type) -> type:
    """A subclass of `cls` whose streams end the span that its instance holds."""
    makers: dict[str, Callable[[Any], Any]] = {"__enter__": _enter, "__aenter__": _aenter}
    entering = {name: make(getattr(cls, name)) for name, make in makers.items() if hasattr(cls, name)}
    return subclass(cls, entering)


def _enter(inherited: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def entered(self: Any) -> Any:
        span = vars(self).pop(SPAN, None)
        if span is None:
            return inherited(self)
        span.watch.restart()
        with _within(span):
            stream = inherited(self)
        return _settled(span, stream, streamed=True)

    return entered


def _aenter(inherited: Callable[[Any], Any]) -> Callable[[Any], Any]:
    async def entered(self: Any) -> Any:
        span = vars(self).pop(SPAN, None)
        if span is None:
            return await inherited(self)
        span.watch.restart()
        with _within(span):
            stream = await inherited(self)
        return _settled(span, stream, streamed=True)

    return entered
