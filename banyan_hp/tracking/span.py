"""Something that takes time and ends once: what interactions and steps have in common.

A span is opened, may be the current one of its context for a while, and is finished exactly once, by what
comes first: its `with`, a stream's end, the garbage collector. The subclass decides what is logged then; a
failure to log is counted and goes no further.
"""

from __future__ import annotations

import copyreg
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import reduce
from time import perf_counter
from types import TracebackType
from typing import Any, Self

from ..active_span import API
from ..copies import OneObject
from ..engine.records.freeze import freeze
from ..engine.sync import Lock
from ..foreign import is_cancellation, type_name
from .reading.fields import as_dict_of, count, error_text, without_none
from .reading.received import Received
from .reading.responses import Reading, read_response
from .reading.usage import NO_USAGE, Usage
from .scopes import Scope, current, inside, metadata_here, pin
from .sink import Contained, Sink
from .traces import kept_for_later

Clock = Callable[[], float]

CLOSED_EARLY = "closed early"
NOTHING_MORE: Mapping[str, Any] = {}


class Stopwatch:
    """Runs from its construction (or the last `restart`) until `stop`; `lap` marks the first chunk."""

    __slots__ = ("_lap", "_started", "_stopped", "clock")

    def __init__(self, clock: Clock = perf_counter) -> None:
        self.clock = clock
        self._stopped: float | None = None
        self._lap: float | None = None
        self._started = clock()

    def restart(self) -> None:
        """Start from zero again."""
        self._stopped = None
        self._lap = None
        self._started = self.clock()

    def lap(self) -> None:
        """Note the time, the first time only."""
        if self._lap is None:
            self._lap = self.clock()

    def stop(self, at: float | None = None) -> None:
        """Note the end, the first time only: now, or `at` an earlier time of the clock."""
        if self._stopped is None:
            self._stopped = self.clock() if at is None else at

    def __reduce__(self) -> tuple[Callable[..., Stopwatch], tuple[float, float | None]]:
        """Pickled as stopped: the clock means nothing in another process."""
        return _stopped_at, (self.elapsed, self.first)

    @property
    def elapsed(self) -> float:
        """Seconds until `stop`, or until now."""
        return (self.clock() if self._stopped is None else self._stopped) - self._started

    def since(self, earlier: Stopwatch) -> float:
        """Seconds from the start of another stopwatch of this clock to the start of this one; at least 0."""
        return max(0.0, self._started - earlier._started)

    @property
    def first(self) -> float | None:
        """Seconds until the first `lap`; None if there was none."""
        return None if self._lap is None else self._lap - self._started


def _stopped_at(elapsed: float, first: float | None) -> Stopwatch:
    watch = Stopwatch()
    watch._started, watch._stopped, watch._lap = 0.0, elapsed, first
    return watch


class Span(OneObject):
    """Times a call, and keeps its question, its answer and how it ended."""

    __slots__ = (
        "_answer",
        "_entered",
        "_finished",
        "_lock",
        "_metadata_around",
        "_read_seconds",
        "_request_details",
        "_request_size",
        "_requested_model",
        "_response",
        "_scope",
        "_sink",
        "_stopwatch",
        "_tokens",
        "_usage",
        "ended",
        "error",
        "llm_model",
        "metadata",
        "parent",
    )

    def __init__(
        self,
        sink: Sink[Any],
        parent: Span | None,
        llm_model: str | None,
        metadata: Mapping[str, Any] | None,
        clock: Clock,
    ) -> None:
        self._sink = sink
        self.parent = parent
        self.llm_model = llm_model
        self._requested_model: str | None = None
        self._request_details: Mapping[str, Any] = NOTHING_MORE  # of a wrapped client's call
        self._request_size = 0  # bytes of a wrapped client's question, of which this span has the only copy
        self.metadata: dict[str, Any] = as_dict_of(metadata)
        self._response: Any = None
        self.error: BaseException | None = None
        self.ended: str | None = None  # how it ended, if before its natural end
        self._read_seconds: float | None = None  # what the application took to read a stream
        self._tokens = NO_USAGE
        self._answer: Reading | None = None
        self._usage: Usage | None = None
        self._metadata_around = kept_for_later(current().metadata)
        self._scope: Scope | None = None
        self._entered = False
        # Re-entrant: the garbage collector may end a stream, and with it a step of ours, while we hold it.
        self._lock = Lock()
        self._finished = False  # guarded by _lock
        self._stopwatch = Stopwatch(clock)

    def set_tokens(
        self,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
        total_tokens: int | None = None,
    ) -> None:
        """Set the number of tokens, where `response` does not have it; these win over what it has.

        A value that is not a number of 0 or more counts as missing.
        """
        with Contained(self._sink, "tokens given by hand could not be read"):
            reported = Usage(count(input_tokens), count(output_tokens), count(total_tokens))
            both = reported.input_tokens is not None and reported.output_tokens is not None
            self._tokens = reported._replace(total_tokens=reported.total) if both else reported

    @property
    def response(self) -> Any:
        """The response: plain data as it was when it was set, a provider's object as it is at the end."""
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
        """Pickled as ended: only the original is logged."""
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

    def _finish(self, error: BaseException | None = None, ended: str | None = None) -> None:
        """End it, now, unless it has ended already, and log it. Raises nothing.

        Args:
            error: what the body raised.
            ended: how it ended, where that was before its natural end.
        """
        self._stopwatch.stop()
        if not self._claim():
            return
        with Contained(self._sink, "a finished call could not be logged"):
            cut = error is not None and self._cut_a_stream(error)
            self.error, self.ended = (None, CLOSED_EARLY) if cut else (error, ended)
            if metadata_here() is self._metadata_around and API not in sys.modules:
                self._log()
            else:
                before = pin(self._metadata_around)  # the garbage collector may run us anywhere, in any span
                try:
                    self._log()
                finally:
                    Scope.pause(before)

    def _finish_failed(self, error: BaseException, *, streamed: bool) -> None:
        """End it by the error of a call. Who cancels a stream has closed it, also before its first chunk."""
        if streamed and is_cancellation(error):
            self._finish(ended=CLOSED_EARLY)
        else:
            self._finish(error)

    def _cut_a_stream(self, error: BaseException) -> bool:
        """Whether the error is a cancellation that closed the stream which was read inside."""
        return is_cancellation(error) and any(step.ended == CLOSED_EARLY for step in self._inside()[-1:])

    def _claim(self) -> bool:
        lock, scope = self._lock, self._scope
        held = lock.is_mine()
        try:  # as `ReleasingOnError` does, without a call: every span comes here
            with lock:
                first = not self._finished
                self._finished = True
        except BaseException:
            if not held:
                lock.release_fully()
            raise
        if scope is not None:
            scope.ended = True
        return first

    def _log(self) -> None:
        raise NotImplementedError

    # -- what it came to --------------------------------------------------------------------------------

    @property
    def answer(self) -> Reading:
        """`response`, read. Once the span has ended, it stays what it was when first read."""
        if self._answer is not None:
            return self._answer
        answer = self._read()
        self._answer = answer if self._finished else None
        return answer

    def _read(self) -> Reading:
        with Contained(self._sink, "a response could not be read"):
            response = self.response
            return response.read() if isinstance(response, Received) else read_response(response)
        return Reading(f"<{type_name(self.response)}>")

    def _unread_size(self) -> int:
        """How many bytes of what it received our threads have still to read."""
        response = self._response
        if self._answer is not None or not isinstance(response, Received):
            return 0
        return response.size + self._request_size

    def _freeze(self) -> None:
        """Freeze all that the application could change, since the rest is read later."""
        if self._request_size:  # a wrapped client's: the application can change nothing of it
            return
        if not self._unread_size():
            _ = self.answer
        self.metadata = freeze(self.metadata).value if self.metadata else {}

    @property
    def model(self) -> str | None:
        """The model: as given, as the response has it, or as it was requested."""
        return self.llm_model or self.answer.model or self._requested_model

    @property
    def usage(self) -> Usage:
        """The tokens set by hand, or else of its response and of the steps inside. Kept as `answer` is."""
        if self._usage is not None:
            return self._usage
        usage = self.answer.usage
        usage = self._with_steps(usage) if self._tokens == NO_USAGE else usage.updated(self._tokens)
        self._usage = usage if self._finished else None
        return usage

    def _with_steps(self, own: Usage) -> Usage:
        """`own` and the steps' tokens; `own` only where no step, nor their sum, has reported the same.

        The response is often that of the last step.
        """
        inside = self._inside()
        usage = reduce(Usage.plus, (step.usage for step in inside), NO_USAGE)
        if own.agrees_with(usage) or any(own.agrees_with(each) for each in _usages(inside)):
            return usage
        return own.plus(usage)

    def _inside(self) -> list[Span]:
        raise NotImplementedError

    def _details(self) -> dict[str, Any]:
        """For the metadata: what neither wire format has a field for; the caller's own metadata wins."""
        return {**self._reported_details(), **self.metadata}

    def _reported_details(self) -> dict[str, Any]:
        """The part of the details that comes from the call."""
        usage, reported = self.usage, dict(self._request_details)
        if usage != NO_USAGE:
            for name in ("cached_tokens", "cache_write_tokens", "reasoning_tokens"):
                reported[name] = getattr(usage, name)
        reported["finish_reason"] = self.answer.finish_reason
        if self._stopwatch.first is not None:
            reported["time_to_first_chunk_ms"] = round(self._stopwatch.first * 1000, 3)
        if self._read_seconds is not None:
            reported["read_ms"] = round(self._read_seconds * 1000, 3)
        reported["error_type"], reported["error"] = self._failure()
        reported["ended"] = self._ending()
        return without_none(reported)

    def _failure(self) -> tuple[str | None, str | None]:
        """Type and text of the error that was raised, or else of the one in the answer."""
        if self.error is not None:
            return type_name(self.error), error_text(self.error)
        return self.answer.error_type, self.answer.error

    def _ending(self) -> str | None:
        if self.error is not None or not isinstance(self.response, Received):
            return self.ended
        return self.response.ending(self.ended)

    # -- being the current one --------------------------------------------------------------------------

    def _activate(self) -> Scope:
        """Make it the current one here until `deactivate`, which takes what this returns."""
        if self._scope is None:
            self._scope = inside(span=self)
        return self._scope.resume()

    def _deactivate(self, before: Scope) -> None:
        """Undo `activate`."""
        Scope.pause(before)

    def __enter__(self) -> Self:
        if self._entered:
            raise RuntimeError(f"{type(self).__name__.lower()}s are for one `with` each: make a new one")
        self._entered = True
        self._scope = inside(span=self)
        self._metadata_around = kept_for_later(self._scope.metadata)
        self._stopwatch.restart()
        self._scope.enter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopwatch.stop()
        if self._scope is not None:
            self._scope.leave()
        if isinstance(error, GeneratorExit):  # a generator that is closed early; no error
            self._finish(ended=CLOSED_EARLY)
        else:
            self._finish(error)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)


_PLAIN_DATA = (dict, list, tuple)
_OF_THIS_PROCESS = frozenset({"_lock", "_scope", "_metadata_around"})


def _usages(spans: list[Span]) -> Iterator[Usage]:
    """The tokens of each span, and of each one inside of it."""
    for span in spans:
        yield span.usage
        yield from _usages(span._inside())


def _slots(kind: type) -> Iterator[str]:
    for each in kind.__mro__:
        yield from each.__dict__.get("__slots__", ())


def _plain(error: BaseException | None) -> BaseException | None:
    """An exception that can be pickled: those of other packages often can't be unpickled."""
    if error is None or type(error).__module__ == "builtins":
        return error
    return Exception(error_text(error))
