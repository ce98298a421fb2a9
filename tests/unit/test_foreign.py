"""What a guard keeps and what it lets pass; what is safe to say of a caller's object."""

from __future__ import annotations

import os
import signal
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import pytest

import banyan_hp as banyan
from banyan_hp import HuggingPlace, PromptStackLogger, ValidationError
from banyan_hp.foreign import as_dict, is_deliberate, kind_of, trouble, type_name
from tests.conftest import MakeLogger
from tests.support.hostile import EndlessDict, EndlessList, EndlessMapping, of_bad_metaclass
from tests.support.untyped import untyped

NOWHERE = "http://127.0.0.1:9"


class SoftTimeLimitExceeded(Exception):
    """Celery's, by its full name."""

    __module__ = "billiard.exceptions"


class SoftLimit(SoftTimeLimitExceeded):
    """An application's own kind of Celery's."""


class StrandedTask(BaseException):
    """As gevent's Timeout: no Exception."""


DELIBERATE = [KeyboardInterrupt, SystemExit, GeneratorExit, StrandedTask, SoftTimeLimitExceeded, SoftLimit]


class Raising:
    """Raises in whatever it is asked for."""

    def __init__(self, error: type[BaseException]) -> None:
        self._error = error

    def __str__(self) -> NoReturn:
        raise self._error("a secret")

    __repr__ = __len__ = __bool__ = __float__ = __iter__ = __str__
    model_dump = items = get = __str__


def caught(error: BaseException) -> BaseException:
    """With a traceback."""
    try:
        raise error
    except BaseException as raised:  # noqa: BLE001
        return raised


@pytest.mark.parametrize("kind", DELIBERATE)
def test_what_stops_a_thread_is_deliberate(kind: type[BaseException]) -> None:
    """No Exception, or one of the known interruptions, or a subclass of these."""
    assert is_deliberate(caught(kind()))


def test_celery_s_own_interruption_is_deliberate() -> None:
    """The class that is installed has the name that we know."""
    exceptions = pytest.importorskip("billiard.exceptions")
    assert is_deliberate(caught(exceptions.SoftTimeLimitExceeded()))


@pytest.mark.parametrize("kind", [ValueError, TimeoutError, RecursionError, MemoryError, StopIteration])
def test_what_an_object_raises_is_not(kind: type[Exception]) -> None:
    """A TimeoutError of a lazy object's own request, say."""
    assert not is_deliberate(caught(kind()))


@contextmanager
def handling(handler: Callable[..., object]) -> Iterator[None]:
    before = signal.signal(signal.SIGUSR1, handler)
    yield
    signal.signal(signal.SIGUSR1, before)


class Alarm:
    def wake(self, *_: object) -> NoReturn:
        raise TimeoutError("time is up")

    __call__ = wake


@pytest.mark.parametrize("handler", [Alarm().wake, Alarm(), lambda *_: Alarm().wake()])
def test_what_a_signal_handler_raises_passes(make_logger: MakeLogger, handler: Callable[..., object]) -> None:
    """Of whatever class: somebody has set a limit to the call."""

    class Slow:
        def __repr__(self) -> str:
            os.kill(os.getpid(), signal.SIGUSR1)
            return "slow"

    logger = make_logger(NOWHERE)
    with handling(handler), pytest.raises(TimeoutError, match="time is up"):
        logger.log_prompt("q", Slow())
    assert logger.get_stats()["logs_rejected"] == 0


@pytest.mark.parametrize("kind", DELIBERATE)
def test_what_stops_the_thread_passes_every_public_call(
    make_logger: MakeLogger, kind: type[BaseException]
) -> None:
    """Through freezing, describing, tracking and the guards; nothing is rejected for it."""
    logger = make_logger(NOWHERE)
    with HuggingPlace("key", "org", base_url=NOWHERE, spool=False) as place:
        calls: list[Callable[[], object]] = [
            lambda: logger.log_prompt("q", Raising(kind)),
            lambda: logger.log_prompt("q", "a", metadata={"deep": [Raising(kind)]}),
            lambda: logger.get_prompt("p", version=Raising(kind), fallback="f"),  # type: ignore[call-overload]
            lambda: logger.get_prompt("p", fallback=lambda: _raise(kind)),
            lambda: place.log({"user_prompt": "p", "response": Raising(kind)}),
            lambda: place.start_session(Raising(kind)),  # type: ignore[arg-type]
            lambda: place.trace(lambda prompt: Raising(kind))("q"),
            lambda: place.log_with_timing("q", lambda: "r", untyped({"extra": Raising(kind)})),
        ]
        for call in calls:
            with pytest.raises(kind):
                call()
        assert place.get_stats()["logs_rejected"] == 0
    assert logger.get_stats()["logs_rejected"] == 0


def _raise(kind: type[BaseException]) -> NoReturn:
    raise kind


def test_a_fallback_is_given_where_the_arguments_can_not_be_read(
    make_logger: MakeLogger, caplog: pytest.LogCaptureFixture
) -> None:
    """The ladder ends at the fallback, whatever a lazy object in `sticky_context` raises."""
    logger = make_logger(NOWHERE)
    user: Any = {"user_id": type("Bad", (int,), {"__str__": lambda _: _raise(ValueError)})(1)}
    prompt = logger.get_prompt("greeting", sticky_context=user, fallback="Hello")
    assert prompt is not None
    assert (prompt.content, prompt.name, prompt.source) == ("Hello", "greeting", "fallback")
    assert logger.get_stats()["prompt_errors"] == 1
    assert "a prompt could not be asked for: ValueError in _raise" in caplog.text


def test_warnings_name_the_argument_and_the_type_never_the_value(
    make_logger: MakeLogger, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was to be logged may be a secret; so may be what an exception says of it."""
    monkeypatch.setattr("banyan_hp.logs.EVERY_SECONDS", 0.0)
    logger = make_logger(NOWHERE)
    secret: Any = "my password is hunter2"
    for wrong in ("metadata", "prompt_data", "experiment_context"):
        assert not logger.log_prompt("q", "a", **{wrong: secret})
    assert logger.log_prompt("q", "a", duration_ms=secret)
    assert not logger.log_prompt("q", "a", experiment_context={secret: "x"})
    with HuggingPlace("key", "org", base_url=NOWHERE, spool=False) as place:
        place.log(secret)
        place.log({"user_prompt": "p", "response": "r", "token_count": secret})
        place.log_step(untyped({"type": secret}))
        place.trace(prompt=boom)(lambda prompt: "r")(secret)
    assert "hunter2" not in caplog.text
    assert "metadata must be a dict or None, was str" in caplog.text
    assert "token_count must be a number, 0 or more, was str" in caplog.text
    assert "ValueError in boom" in caplog.text


def boom(value: object) -> NoReturn:
    raise ValueError(f"no: {value}")


@pytest.mark.parametrize("endless", [EndlessMapping, EndlessDict, EndlessList])
def test_endless_iterables_are_cut_while_they_are_read(make_logger: MakeLogger, endless: Any) -> None:
    """What is kept of them is bounded, and so is what they cost in memory meanwhile."""
    logger = make_logger(NOWHERE)
    tracemalloc.start()
    with banyan.context(user_id="u"):
        assert logger.log_prompt("q", "a", metadata={"all": endless()})
        assert logger.log_prompt("q", endless())
        logger.log_prompt("q", "a", metadata=endless())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 32 * 1024 * 1024
    assert len(as_dict(EndlessMapping())) == 20_001


@pytest.mark.parametrize("setting", ["api_key", "org_id", "mode", "base_url"])
@pytest.mark.parametrize("by", ["argument", "environment"])
def test_a_lone_surrogate_in_a_text_is_a_validation_error(
    monkeypatch: pytest.MonkeyPatch, setting: str, by: str
) -> None:
    """It can't be encoded: not in a header, not in a body, not in a directory's name."""
    given = {"api_key": "key", "org_id": "org", setting: "\udcff"}
    if by == "environment":
        monkeypatch.setenv(f"HUGGINGPLACE_{setting.upper()}", given.pop(setting))
    with pytest.raises(ValidationError, match=f"{setting} has a lone surrogate"):
        HuggingPlace(**given)  # type: ignore[arg-type]


def test_names_of_types_are_had_past_their_metaclass() -> None:
    """`type(value).__qualname__` would run the metaclass."""
    value = of_bad_metaclass(ValueError)
    assert type_name(value) == "Bad"
    assert kind_of(value) == "Bad"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "None"),
        ("", "an empty str"),
        ("secret", "str"),
        ([], "an empty list"),
        (-5, "a negative int"),
        (5, "int"),
        (True, "bool"),
        (-0.5, "a negative float"),
        (float("inf"), "infinite"),
        (float("-inf"), "a negative float"),
        (float("nan"), "not a number (nan)"),
    ],
)
def test_what_is_said_of_a_value_is_its_kind(value: object, words: str) -> None:
    """Enough to see why it is wrong."""
    assert kind_of(value) == words


def test_trouble_tells_where_it_was_raised() -> None:
    """And not what the exception says, which may be what was to be logged."""
    assert trouble(caught(ValueError("hunter2"))).startswith("ValueError in caught (test_foreign.py:")
    assert trouble(ValueError("hunter2")) == "ValueError"


def test_a_log_handler_that_raises_is_not_the_caller_s_problem(
    make_logger: MakeLogger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our warning gets lost, nothing else."""
    monkeypatch.setattr("banyan_hp.logs.logger.warning", boom)
    logger: PromptStackLogger = make_logger(NOWHERE)
    assert logger.log_prompt("q", "a", metadata="no dict") is False  # type: ignore[arg-type]
