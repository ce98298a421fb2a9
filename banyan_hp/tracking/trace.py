"""Recording what functions take and return: plain ones, coroutines, generators and async generators.

A traced function is of the same kind as before, with the same signature and name; what it returns, yields
and raises passes unchanged.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Mapping
from functools import partial, wraps
from inspect import Parameter
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from ..errors import ConfigurationError
from ..foreign import checking, shown
from .generators import StreamRecorder, async_driver, drive, drive_async
from .sink import Contained, Sink
from .span import Span

if TYPE_CHECKING:
    from asyncio import Future

F = TypeVar("F", bound=Callable[..., Any])
P = ParamSpec("P")
T = TypeVar("T")
Y = TypeVar("Y")
S = TypeVar("S")

GetSink = Callable[[], Sink[Any]]
Open = Callable[[Any], Span]
OpenCall = Callable[[tuple[Any, ...], dict[str, Any]], Span]

NAMES = (
    "prompt", "user_prompt", "question", "user_question", "query", "input", "user_input", "message",
    "messages", "text", "content",
)  # fmt: skip
_BY_POSITION = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)

Find = Callable[[tuple[Any, ...], Mapping[str, Any]], Any]


def traced(
    function: Callable[..., Any], open_span: Open, get_sink: GetSink, prompt: str | Callable[..., Any] | None
) -> Any:
    """`function`, each call of which is a span of `open_span(prompt)`.

    Raises:
        ConfigurationError: it is not a function, or has no argument of the name `prompt`.
    """
    with checking("the function to trace"):
        if isinstance(function, (staticmethod, classmethod)):
            return type(function)(traced(function.__func__, open_span, get_sink, prompt))
        if not callable(function) or isinstance(function, type):
            raise ConfigurationError(f"trace() decorates a function or method, was {shown(function)}")
        return _wrapped(function, _opener(prompt_finder(function, prompt), open_span, get_sink))


def _opener(find: Find, open_span: Open, get_sink: GetSink) -> OpenCall:
    def opened(arguments: tuple[Any, ...], named: dict[str, Any]) -> Span:
        prompt = None
        with Contained(get_sink(), "the prompt of a traced call could not be found"):
            prompt = find(arguments, named)
        return open_span(prompt)

    return opened


def _wrapped(function: Callable[..., Any], opened: OpenCall) -> Callable[..., Any]:
    if inspect.isasyncgenfunction(function):
        return _async_generator(function, opened)
    if inspect.iscoroutinefunction(function):
        return _coroutine(function, opened)
    if inspect.isgeneratorfunction(function):
        return _generator(function, opened)
    return _plain(function, opened)


def _plain(function: Callable[P, T], opened: OpenCall) -> Callable[P, T]:
    @wraps(function)
    def traced_call(*args: P.args, **kwargs: P.kwargs) -> T:
        span = opened(args, kwargs)
        token = span._activate()
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            span._finish(error)
            raise
        finally:
            span._deactivate(token)
        return cast(T, _settled(span, result))

    return traced_call


def _settled(span: Span, result: Any) -> Any:
    """The result, which ends the span: now, or when it has run, if it is a coroutine, generator or future."""
    with Contained(span._sink, "the result of a traced call could not be recorded"):
        return _followed_up(span, result)
    span._finish()
    return result


def _followed_up(span: Span, result: Any) -> Any:
    if isinstance(result, CoroutineType):
        return _finished(span, result)
    if isinstance(result, GeneratorType):
        return _followed(drive(result, recorder := StreamRecorder(span)), recorder)
    if isinstance(result, AsyncGeneratorType):
        return _followed(drive_async(result, recorder := StreamRecorder(span)), recorder)
    if _is_future(result):
        result.add_done_callback(partial(_done, span))
        return result
    span.response = result
    span._finish()
    return result


def _is_future(result: Any) -> bool:
    asyncio = sys.modules.get("asyncio")  # not imported: there are no futures
    return asyncio is not None and bool(asyncio.isfuture(result))


def _done(span: Span, future: Future[Any]) -> None:
    import asyncio

    error: BaseException | None = None
    with Contained(span._sink, "the result of a traced call could not be recorded"):
        error = asyncio.CancelledError() if future.cancelled() else future.exception()
        span.response = None if error is not None else future.result()
    span._finish(error)


def _followed(driven: T, recorder: StreamRecorder) -> T:
    recorder.follow(driven)
    return driven


async def _finished(span: Span, coroutine: Coroutine[Any, Any, T]) -> T:
    token = span._activate()
    try:
        result = await coroutine
    except BaseException as error:
        span._finish(error)
        raise
    finally:
        span._deactivate(token)
    span.response = result
    span._finish()
    return result


def _coroutine(
    function: Callable[P, Coroutine[Any, Any, T]], opened: OpenCall
) -> Callable[P, Coroutine[Any, Any, T]]:
    @wraps(function)
    async def traced_call(*args: P.args, **kwargs: P.kwargs) -> T:
        return await _finished(opened(args, kwargs), function(*args, **kwargs))

    return traced_call


def _generator(
    function: Callable[P, Generator[Y, S, T]], opened: OpenCall
) -> Callable[P, Generator[Y, S, T]]:
    @wraps(function)
    def traced_call(*args: P.args, **kwargs: P.kwargs) -> Generator[Y, S, T]:
        recorder = StreamRecorder(opened(args, kwargs))
        return (yield from drive(function(*args, **kwargs), recorder))

    return traced_call


def _async_generator(
    function: Callable[P, AsyncGenerator[Y, S]], opened: OpenCall
) -> Callable[P, AsyncGenerator[Y, S]]:
    @wraps(function)
    @async_driver
    def traced_call(*args: P.args, **kwargs: P.kwargs) -> tuple[AsyncGenerator[Y, S], StreamRecorder]:
        return function(*args, **kwargs), StreamRecorder(opened(args, kwargs))

    return traced_call


# -- which argument is the prompt ----------------------------------------------------------------------------


def prompt_finder(function: Callable[..., Any], prompt: str | Callable[..., Any] | None) -> Find:
    """A function that finds the prompt in the arguments of a call.

    Args:
        function: whose arguments they are.
        prompt: the argument's name; or a function of all arguments that returns the prompt; or None: the
            first of `NAMES` that is an argument, else the first argument (but for `self` and `cls`).

    Raises:
        ConfigurationError: there is no argument of that name.
    """
    if callable(prompt):
        return lambda arguments, named: prompt(*arguments, **named)
    parameters = _parameters(function)
    if prompt is not None and not _takes(parameters, prompt):
        name = getattr(function, "__qualname__", type(function).__qualname__)
        raise ConfigurationError(
            f"prompt must name an argument of {name}(), was {prompt!r}; "
            f"its arguments are {', '.join(parameters) or 'none'}"
        )
    chosen = prompt or _likely(parameters)
    return _by_likely_name if chosen is None else _by_name(chosen, parameters)


def _by_name(chosen: str, parameters: Mapping[str, Parameter]) -> Find:
    positions = [name for name, each in parameters.items() if each.kind in _BY_POSITION]
    index = positions.index(chosen) if chosen in positions else None
    default = None
    if chosen in parameters:
        default = parameters[chosen].default
        index = len(positions) if parameters[chosen].kind is Parameter.VAR_POSITIONAL else index

    def find(arguments: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
        if chosen in named:
            return named[chosen]
        if index is not None and index < len(arguments):
            return arguments[index]
        return None if default is Parameter.empty else default

    return find


def _by_likely_name(_: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
    """For functions of `**kwargs` only."""
    return next((named[name] for name in NAMES if name in named), None)


def _parameters(function: Callable[..., Any]) -> Mapping[str, Parameter]:
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):  # some builtins have no signature
        return {}


def _takes(parameters: Mapping[str, Parameter], name: str) -> bool:
    return name in parameters or any(each.kind is Parameter.VAR_KEYWORD for each in parameters.values())


def _likely(parameters: Mapping[str, Parameter]) -> str | None:
    named = next((name for name in NAMES if name in parameters), None)
    own = [
        name
        for position, (name, each) in enumerate(parameters.items())
        if each.kind is not Parameter.VAR_KEYWORD and not (position == 0 and name in ("self", "cls"))
    ]
    return named or next(iter(own), None)
