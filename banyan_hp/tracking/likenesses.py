"""Recording objects that only look like a client of `openai` or `anthropic`: fakes, mocks, others' clients.

Their methods `create` and `parse` are replaced on the objects that hold them. What they return is read at
once; an iterator that a call with `stream=True` returns is passed through a generator.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial, wraps
from typing import Any, NamedTuple, TypeVar

from ..errors import ConfigurationError
from ..foreign import type_name
from .context import recorded, restore
from .generators import StreamRecorder, async_generator_of, drive, drive_async, generator_of
from .interaction import opened_span
from .reading.fields import path, text
from .reading.parameters import parameters_in
from .reading.responses import question_in
from .sink import Contained, Sink
from .span import Span

C = TypeVar("C")
GetSink = Callable[[], Sink[Any]]

ORIGINAL = "_banyan_hp_original"
PLACES = {"openai": ("chat.completions", "responses", "completions"), "anthropic": ("messages",)}
METHODS = ("create", "parse")


def refusal(client: object, provider: str) -> str:
    """The error for a client that can't be wrapped."""
    return (
        f"wrap_{provider}() takes a client of the {provider} package, or one made like it "
        f"(with {PLACES[provider][0]}.create), was {type_name(client)}"
    )


def wrap(client: C, provider: str, get_sink: GetSink) -> C:
    """Record what the methods of `client` return.

    Raises:
        ConfigurationError: it lacks them, or makes the objects that hold them anew at each use.
    """
    first, *others = PLACES[provider]
    if not callable(path(client, *first.split("."), "create")):
        raise ConfigurationError(refusal(client, provider))
    for place in (first, *others):
        for name in METHODS:
            way = Way(partial(_opened, f"{provider}.{place}"), _is_streamed, _settled)
            replace_method(path(client, *place.split(".")), name, partial(recording, way, get_sink))
    if ORIGINAL not in getattr(path(client, *first.split("."), "create"), "__dict__", {}):
        raise ConfigurationError(
            f"wrap_{provider}() can't record a {type_name(client)}: its {first} is another object at "
            "each use; use client.interaction() or @client.trace around its calls"
        )
    return client


def replace_method(owner: object, name: str, make: Callable[[Callable[..., Any]], Any]) -> None:
    """Have `make` wrap a method, in place of an earlier wrapper; without such a method do nothing."""
    method = getattr(owner, name, None)
    if not callable(method):
        return
    # Not by getattr: a mock would have it.
    original = getattr(method, "__dict__", {}).get(ORIGINAL, method)
    replacement = make(original)
    setattr(replacement, ORIGINAL, original)
    setattr(owner, name, replacement)


class Way(NamedTuple):
    """How the calls of one method are recorded.

    Attributes:
        opened: makes the span of a call, of the sink and the keyword arguments; None: it is not recorded.
        streamed: whether a call with these arguments returns its answer bit by bit.
        settled: notes what was returned, and returns what the application gets.
    """

    opened: Callable[[Sink[Any], Mapping[str, Any]], Span | None]
    streamed: Callable[[Mapping[str, Any]], bool]
    settled: Callable[[Span, Any, bool], Any]


def recording(way: Way, get_sink: GetSink, method: Callable[..., Any]) -> Callable[..., Any]:
    """A method that records each call of `method`, which may be a coroutine function."""

    @wraps(method)
    def called(*arguments: Any, **options: Any) -> Any:
        sink = get_sink()
        span = None if recorded.get() else way.opened(sink, options)
        if span is None:
            return method(*arguments, **options)
        streamed = way.streamed(options)
        with _within(span, streamed):
            result = method(*arguments, **options)
        with Contained(sink, "a response could not be recorded"):
            if inspect.isawaitable(result):
                return _awaited(way, span, result, streamed)
            return way.settled(span, result, streamed)
        span._finish()
        return result

    @wraps(method)
    async def called_async(*arguments: Any, **options: Any) -> Any:
        return await called(*arguments, **options)

    return called_async if inspect.iscoroutinefunction(method) else called


def _opened(api: str, sink: Sink[Any], options: Mapping[str, Any]) -> Span | None:
    with Contained(sink, "a call could not be recorded"):
        span = opened_span(sink, question_in(options), {"api": api})
        span._request_details = parameters_in(options)
        span._requested_model = text(options.get("model"))
        return span
    return None


@contextmanager
def _within(span: Span, streamed: bool) -> Iterator[None]:
    """While the client's code runs: its errors end the span, its calls to itself are not recorded."""
    token = recorded.set(True)
    try:
        yield
    except BaseException as error:
        span._finish_failed(error, streamed=streamed)
        raise
    finally:
        restore(recorded, token)


def _is_streamed(options: Mapping[str, Any]) -> bool:
    return bool(options.get("stream"))


async def _awaited(way: Way, span: Span, result: Awaitable[Any], streamed: bool) -> Any:
    span._stopwatch.restart()
    with _within(span, streamed):
        outcome = await result
    return way.settled(span, outcome, streamed)


def _settled(span: Span, result: Any, streamed: bool) -> Any:
    """`result`, which ends `span` now or, being a stream, later."""
    with Contained(span._sink, "a response could not be recorded"):
        if streamed and is_stream(result):
            return passed_through(result, StreamRecorder(span))
        span.response = result
    span._finish()
    return result


def is_stream(value: object) -> bool:
    """Whether it is to be iterated over, once."""
    return hasattr(type(value), "__next__") or hasattr(type(value), "__anext__")


def passed_through(stream: Any, recorder: StreamRecorder) -> Any:
    """An iterator, sync or async, as a generator that `recorder` follows."""
    followed: Any = (
        drive_async(async_generator_of(stream), recorder)
        if isinstance(stream, AsyncIterator)
        else drive(generator_of(stream), recorder)
    )
    recorder.follow(followed)
    return followed
