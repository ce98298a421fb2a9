"""Something that takes time and ends once: what interactions and steps have in common.

A span is opened, may be the current one of its context for a while, and is finished exactly once, by
whoever comes first: its `with`, a stream's end, the garbage collector. What is logged then is up to the
subclass; a failure to log is counted and goes no further.
"""

from __future__ import annotations

import copyreg
from collections.abc import Iterator, Mapping
from functools import reduce
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from ..copies import OneObject
from ..engine.records.freeze import freeze
from ..engine.sync import Lock
from ..foreign import as_dict, is_deliberate, type_name
from .fields import as_text, count
from .guarding import Contained
from .reading import NO_USAGE, Reading, Usage
from .received import Received
from .responses import read_response
from .scopes import Scope, current, inside, metadata_here, pinned
from .timing import Clock, Stopwatch

if TYPE_CHECKING:
    from .sinks import Sink


MOST_ERROR_CHARACTERS = 2_000
CLOSED_EARLY = "closed early"


class Span(OneObject):
    """Times something, and keeps what it was asked, what it answered and how it ended."""

    __slots__ = (
        "_answer",
        "_entered",
        "_finished",
        "_lock",
        "_metadata_around",
        "_response",
        "_scope",
        "_tokens",
        "_usage",
        "asked_model",
        "asked_size",
        "ended",
        "error",
        "llm_model",
        "metadata",
        "parent",
        "read_seconds",
        "sink",
        "watch",
    )

    def __init__(
        self,
        sink: Sink[Any],
        parent: Span | None,
        llm_model: str | None,
        metadata: Mapping[str, Any] | None,
        clock: Clock,
    ) -> None:
        self.sink = sink
        self.parent = parent
        self.llm_model = llm_model
        self.asked_model: str | None = None
        self.asked_size = 0  # bytes that a wrapped client's question holds; its copy is nobody else's
        self.metadata: dict[str, Any] = _as_dict(metadata)
        self._response: Any = None
        self.error: BaseException | None = None
        self.ended: str | None = None  # how, where that was before its natural end
        self.read_seconds: float | None = None  # what the application took to read what came bit by bit
        self._tokens = NO_USAGE
        self._answer: Reading | None = None
        self._usage: Usage | None = None
        self._metadata_around = current().metadata
        self._scope: Scope | None = None
        self._entered = False
        # Re-entrant: the garbage collector may end a stream, and with it a step of ours, while we hold it.
        self._lock = Lock()
        self._finished = False  # guarded by _lock
        self.watch = Stopwatch(clock)

    def set_tokens(
        self,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
        total_tokens: int | None = None,
    ) -> None:
        """Say how many tokens it took, where `response` does not tell; these win over what it tells.

        What is no number of 0 or more counts as not said.
        """
        with Contained(self.sink, "tokens given by hand could not be read"):
            reported = Usage(count(input_tokens), count(output_tokens), count(total_tokens))
            both = reported.input_tokens is not None and reported.output_tokens is not None
            self._tokens = reported._replace(total_tokens=reported.total) if both else reported

    @property
    def response(self) -> Any:
        """What it answered: plain data as it was when it was set, a provider's object as it is at the end."""
        return self._response

    @response.setter
    def response(self, value: Any) -> None:
        self._response = freeze(value).value if type(value) in _PLAIN_DATA else value

    @property
    def finished(self) -> bool:
        """Whether it has ended."""
        return self._finished

    # -- pickles ----------------------------------------------------------------------------------------

    def __reduce__(self) -> tuple[Any, ...]:
        """An account of it, which has ended: only the original is logged."""
        state = {name: getattr(self, name) for name in _slots(type(self)) if name not in _OF_THIS_PROCESS}
        state.update(_finished=True, _entered=True, error=_plain(self.error))
        return copyreg.__newobj__, (type(self),), state  # type: ignore[attr-defined]

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._lock = Lock()
        self._scope = None
        self._metadata_around = current().metadata
        for name, value in state.items():
            setattr(self, name, value)

    # -- ending -----------------------------------------------------------------------------------------

    def finish(self, error: BaseException | None = None, ended: str | None = None) -> None:
        """End it, now, unless it has ended already, and log it. Raises nothing.

        Args:
            error: what the body raised.
            ended: how it ended, where that was before its natural end.
        """
        self.watch.stop()
        if not self._claim():
            return
        with Contained(self.sink, "a finished call could not be logged"):
            self.error, self.ended = error, ended
            if metadata_here() is self._metadata_around:
                self._log()
            else:
                with pinned(self._metadata_around):  # the garbage collector may run us anywhere
                    self._log()

    def _claim(self) -> bool:
        lock, scope = self._lock, self._scope
        held = lock.is_mine()
        try:  # as `LetsGo` does, without a call: every span comes here
            with lock:
                first = not self._finished
                self._finished = True
        except BaseException:
            if not held:
                lock.let_go()
            raise
        if scope is not None:
            scope.ended = True
        return first

    def _log(self) -> None:
        raise NotImplementedError

    # -- what it came to --------------------------------------------------------------------------------

    @property
    def answer(self) -> Reading:
        """What it answered: `response`, read. Once it has ended, it stays what it was at the first look."""
        if self._answer is not None:
            return self._answer
        answer = self._read()
        self._answer = answer if self._finished else None
        return answer

    def _read(self) -> Reading:
        with Contained(self.sink, "a response could not be read"):
            response = self.response
            return response.read() if isinstance(response, Received) else read_response(response)
        return Reading(f"<{type_name(self.response)}>")

    def unread(self) -> int:
        """How many bytes of what it received have not been read yet: for our threads to do."""
        response = self._response
        if self._answer is not None or not isinstance(response, Received):
            return 0
        return response.size + self.asked_size

    def hold(self) -> None:
        """Keep all that the application could change, while the rest is read later."""
        if self.asked_size:  # made by a wrapped client: nothing of it is the application's
            return
        if not self.unread():
            _ = self.answer
        self.metadata = freeze(self.metadata).value if self.metadata else {}

    @property
    def model(self) -> str | None:
        """The model: as given, as the response tells, or as it was asked for."""
        return self.llm_model or self.answer.model or self.asked_model

    @property
    def usage(self) -> Usage:
        """Its own tokens, or else those of what happened inside. Kept as `answer` is."""
        if self._usage is not None:
            return self._usage
        usage = self.answer.usage.updated(self._tokens)
        if usage == NO_USAGE:
            usage = reduce(Usage.plus, (step.usage for step in self._inside()), NO_USAGE)
        self._usage = usage if self._finished else None
        return usage

    def _inside(self) -> list[Span]:
        raise NotImplementedError

    def details(self) -> dict[str, Any]:
        """What neither wire format has a field for, for the metadata; the caller's own metadata wins."""
        return {**self.reported(), **self.metadata}

    def reported(self) -> dict[str, Any]:
        """Of `details` what the call told."""
        usage, reported = self.usage, {}
        if usage != NO_USAGE:
            reported = {
                name: getattr(usage, name)
                for name in ("cached_tokens", "cache_write_tokens", "reasoning_tokens")
            }
        reported["finish_reason"] = self.answer.finish_reason
        if self.watch.first is not None:
            reported["time_to_first_chunk_ms"] = round(self.watch.first * 1000, 3)
        if self.read_seconds is not None:
            reported["read_ms"] = round(self.read_seconds * 1000, 3)
        reported["error_type"], reported["error"] = self.failure()
        reported["ended"] = self._ending()
        return without_none(reported)

    def failure(self) -> tuple[str | None, str | None]:
        """Type and text of the error that was raised, or else of the one that the answer tells."""
        if self.error is not None:
            return type_name(self.error), error_text(self.error)
        return self.answer.error_type, self.answer.error

    def _ending(self) -> str | None:
        if self.error is not None or not isinstance(self.response, Received):
            return self.ended
        return self.response.ending(self.ended)

    # -- being the current one --------------------------------------------------------------------------

    def activate(self) -> Scope:
        """Make it the current one here until `deactivate`, which takes what this returns."""
        if self._scope is None:
            self._scope = inside(span=self)
        return self._scope.resume()

    def deactivate(self, before: Scope) -> None:
        """Undo `activate`."""
        Scope.pause(before)

    def __enter__(self) -> Self:
        if self._entered:
            raise RuntimeError(f"{type(self).__name__.lower()}s are for one `with` each: make a new one")
        self._entered = True
        self._scope = inside(span=self)
        self._metadata_around = self._scope.metadata
        self.watch.restart()
        self._scope.enter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.watch.stop()
        if self._scope is not None:
            self._scope.leave()
        if isinstance(error, GeneratorExit):  # a generator that nobody wants more of; no error
            self.finish(ended=CLOSED_EARLY)
        else:
            self.finish(error)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)


_PLAIN_DATA = (dict, list, tuple)
_OF_THIS_PROCESS = frozenset({"_lock", "_scope", "_metadata_around"})


def _slots(kind: type) -> Iterator[str]:
    for each in kind.__mro__:
        yield from each.__dict__.get("__slots__", ())


def _plain(error: BaseException | None) -> BaseException | None:
    """An exception that can be pickled: those of other packages often can't be made again."""
    if error is None or type(error).__module__ == "builtins":
        return error
    return Exception(error_text(error))


def without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    """What is known of `values`."""
    return {name: value for name, value in values.items() if value is not None}


def _as_dict(metadata: object) -> dict[str, Any]:
    """A copy; what is no mapping is kept all the same, for this must not raise where a request is served."""
    if metadata is None:
        return {}
    if type(metadata) is dict:
        return metadata.copy()
    try:
        return as_dict(metadata) if isinstance(metadata, Mapping) else {"metadata": metadata}
    except Exception as error:
        if is_deliberate(error):
            raise
        return {"metadata": as_text(metadata)}


def error_text(error: BaseException) -> str:
    """An exception in one text, bounded; its own `__str__` may raise."""
    name = type_name(error)
    try:
        said = str.__str__(str(error))
    except Exception as failure:
        if is_deliberate(failure):
            raise
        said = ""
    return f"{name}: {said[:MOST_ERROR_CHARACTERS]}" if said else name
