"""Objects that the application hands over: they may raise in any method, lie about their class, or never end.

Owned here: which exceptions a guard may keep, and how to read such an object without trusting it. The outer
guard of a public call is always this:

    except Exception as error:
        if is_deliberate(error):
            raise
        …count it, log `trouble(error)`, and return what the call promises
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from itertools import islice
from math import inf, isfinite, isinf
from pathlib import PurePath
from types import CodeType, TracebackType
from typing import Any

from .errors import BanyanHPError, ConfigurationError

MOST_PAIRS = 20_000
MOST_CHARACTERS = 200

# Subclasses of Exception that a framework raises into a thread to end what runs there. They are known by
# their names, because importing a framework would load it into every application. What a signal handler
# raises needs no entry.
INTERRUPTIONS = frozenset(
    {
        "billiard.exceptions.SoftTimeLimitExceeded",  # Celery's soft_time_limit
        "rq.timeouts.BaseTimeoutException",  # RQ's job_timeout
        "airflow.exceptions.AirflowTaskTimeout",  # Airflow's execution_timeout
        "stopit.utils.TimeoutException",  # stopit's ThreadingTimeout
    }
)

# Bypasses metaclasses: `type(value).__qualname__` would run their code.
_qualname = type.__dict__["__qualname__"].__get__
_module = type.__dict__["__module__"].__get__
_mro = type.__dict__["__mro__"].__get__
_traceback = BaseException.__dict__["__traceback__"].__get__


# -- exceptions ----------------------------------------------------------------------------------------------


def is_deliberate(error: BaseException) -> bool:
    """Whether an exception is meant to stop the thread: a guard must let it pass.

    True for all that is not an `Exception` (`KeyboardInterrupt`, `SystemExit`, gevent's `Timeout`), for
    `INTERRUPTIONS` and their subclasses, and for whatever a signal handler has raised.
    """
    if not isinstance(error, Exception):
        return True
    return not INTERRUPTIONS.isdisjoint(map(_full_name, _mro(type(error)))) or _from_a_signal_handler(error)


def is_cancellation(error: BaseException | None) -> bool:
    """Whether it is what `asyncio` (or `trio`) raises in a task that is cancelled."""
    return error is not None and not _CANCELLATIONS.isdisjoint(map(_full_name, _mro(type(error))))


_CANCELLATIONS = {"asyncio.exceptions.CancelledError", "trio.Cancelled"}


def _full_name(kind: type) -> str:
    return f"{_text(_module(kind))}.{_text(_qualname(kind))}"


def _from_a_signal_handler(error: BaseException) -> bool:
    codes = _code_of_signal_handlers()
    return any(step.tb_frame.f_code in codes for step in _steps(error)) if codes else False


def _code_of_signal_handlers() -> set[CodeType]:
    import signal  # only needed after an error

    handlers = map(signal.getsignal, signal.valid_signals())
    functions = [getattr(each, "__func__", each) for each in handlers if callable(each)]
    codes = [getattr(each, "__code__", getattr(type(each).__call__, "__code__", None)) for each in functions]
    return {code for code in codes if isinstance(code, CodeType)}


def _steps(error: BaseException) -> Iterator[TracebackType]:
    """The entries of its traceback, from the outermost call to the one that raised."""
    step: TracebackType | None = _traceback(error)
    while step is not None:
        yield step
        step = step.tb_next


def trouble(error: BaseException) -> str:
    """An exception for a log line: its type and where it was raised. Its text may hold what was logged."""
    steps = list(_steps(error))
    if not steps:
        return type_name(error)
    code = steps[-1].tb_frame.f_code
    return f"{type_name(error)} in {code.co_name} ({PurePath(code.co_filename).name}:{steps[-1].tb_lineno})"


@contextmanager
def checking(name: str, wrong: type[BanyanHPError] = ConfigurationError) -> Iterator[None]:
    """Around the inspection of an argument: if that raises anything, the argument is wrong.

    Raises:
        BanyanHPError: of the kind `wrong`. An exception that is meant to stop the thread passes.
    """
    try:
        yield
    except BanyanHPError:
        raise
    except Exception as error:
        if is_deliberate(error):
            raise
        raise wrong(f"{name} could not be read: {trouble(error)}") from error


# -- values --------------------------------------------------------------------------------------------------


def type_name(value: object) -> str:
    """The qualified name of its type; total, whatever the metaclass does."""
    return _text(_qualname(type(value)))


def class_names(value: object) -> Iterator[str]:
    """The top-level package and the name of its class and of each that it inherits from; total."""
    for kind in _mro(type(value)):
        yield f"{_text(_module(kind)).partition('.')[0]}.{_text(_qualname(kind))}"


def is_uuid(value: object) -> bool:
    """By its name: the module, which takes a millisecond to import, is there if there is a UUID."""
    return "uuid.UUID" in class_names(value)


def kind_of(value: object) -> str:
    """A wrong value for a log line: its type and why it is wrong, never the value."""
    name = type_name(value)
    if value is None:
        return "None"
    if type(value) in _EMPTY and not value:
        return f"an empty {name}"
    if type(value) is int and value < 0:
        return f"a negative {name}"
    if type(value) is float and not value >= 0:
        return "a negative float" if value < 0 else "not a number (nan)"
    return "infinite" if type(value) is float and isinf(value) else name


_EMPTY = (str, list, tuple, dict)


def shown(value: object) -> str:
    """A value for the message of an exception, by a bounded `repr`; total. Not for log lines."""
    try:
        text = str.__str__(repr(value))
    except Exception as error:
        if is_deliberate(error):
            raise
        return f"<{type_name(value)}>"
    return text if len(text) <= MOST_CHARACTERS else text[:MOST_CHARACTERS] + "…"


def _text(name: object) -> str:
    """A plain text: a class's name may be of a subclass of str, and `__module__` anything."""
    return str.__str__(name) if isinstance(name, str) else "?"


def number(value: object, *, per_second: float | None = None) -> int | float | None:
    """A number of any kind, if it is finite and 0 or more; None for anything else.

    A number has `__index__` or `__float__`: those of numpy, `Decimal`, `Fraction`; bools don't count.

    Args:
        value: what was passed as a number.
        per_second: if it may be a time: the field's units in a second.
    """
    found = _number(value, per_second)
    return found if found is not None and 0 <= found < inf else None


def signed_number(value: object) -> int | float | None:
    """As `number`, without a time, but of either sign."""
    found = _number(value, None)
    try:
        return found if found is not None and isfinite(found) else None
    except OverflowError:  # an integer beyond all floats
        return None


def _number(value: Any, per_second: float | None) -> int | float | None:
    kind = type(value)
    if kind is float or kind is int:
        return value  # type: ignore[no-any-return]
    try:
        seconds = _seconds(value)
        if seconds is not None:
            return None if per_second is None else seconds * per_second
        if isinstance(value, (bool, str)) or getattr(getattr(value, "dtype", None), "kind", "") in ("b", "M"):
            return None
        if hasattr(kind, "__index__"):
            return int.__int__(kind.__index__(value))
        return float.__float__(kind.__float__(value)) if hasattr(kind, "__float__") else None
    except Exception as error:
        if is_deliberate(error):
            raise
        return None


def _seconds(value: Any) -> float | None:
    """The seconds of a `timedelta`, numpy's included."""
    if isinstance(value, timedelta):
        return timedelta.total_seconds(value)
    if getattr(getattr(value, "dtype", None), "kind", "") == "m":
        return float(value.astype("timedelta64[ns]").astype("int64")) / 1e9
    return None


def put_aside(metadata: object, name: str, value: object, per_second: float | None = None) -> dict[Any, Any]:
    """Metadata with a value that a field can't have, under the field's name unless that is taken."""
    own = as_dict(metadata) if isinstance(metadata, Mapping) else {}
    if metadata is not None and not isinstance(metadata, Mapping):
        own["metadata"] = metadata
    found = _number(value, per_second)
    kept = value if found is None else found
    own.setdefault(name, str(kept) if isinstance(kept, float) and not -inf < kept < inf else kept)
    return own


def as_dict(mapping: Mapping[Any, Any]) -> dict[Any, Any]:
    """A copy: of a plain dict all, of other mappings, which may have no end, `MOST_PAIRS` pairs and one more.

    Raises:
        Exception: whatever the mapping raises.
    """
    if type(mapping) is dict:
        return mapping.copy()  # one step under the GIL: another thread may be changing the original
    # Not by `dict()`, which would not stop.
    return {key: value for key, value in islice(iter(mapping.items()), MOST_PAIRS + 1)}  # noqa: C416
