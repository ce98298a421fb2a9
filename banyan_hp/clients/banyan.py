"""The Banyan client as module functions around a default logger."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache, update_wrapper
from inspect import iscoroutinefunction
from types import MethodType
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from ..destinations.banyan import DEFAULT_BASE_URL
from ..engine.captures import open_captures
from ..engine.delivery.waiters import FlushResult
from ..engine.engine import http_transport
from ..engine.http.transport import never_raising
from ..engine.sync import Lock, ReleasingOnError
from ..errors import ConfigurationError
from ..foreign import trouble
from ..logs import warn
from ..settings import env, truthy_env
from ..tracking.client_sinks import BanyanSink
from ..tracking.methods import BanyanTracking
from .prompt_logger import PromptStackLogger

if TYPE_CHECKING:
    from typing import Unpack

    from ..types import ConfigureSettings, Health, LoggerStats

__all__ = [
    "aflush",
    "aget_prompt",
    "ashutdown",
    "clear_cache",
    "configure",
    "experiment",
    "experiment_results",
    "feedback_token",
    "flush",
    "get_prompt",
    "get_stats",
    "health",
    "interaction",
    "invalidate",
    "log",
    "log_prompt",
    "prefetch",
    "score",
    "shutdown",
    "step",
    "trace",
    "wrap_anthropic",
    "wrap_google_genai",
    "wrap_mistral",
    "wrap_openai",
]


_default: PromptStackLogger | None = None
_default_lock = Lock()  # re-entrant: a destructor may log while the logger is being made


def _after_fork_in_child() -> None:
    """Another thread of the parent may have held the lock."""
    global _default_lock
    _default_lock = Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def configure(
    api_key: str | None = None,
    base_url: str | None = None,
    project_id: str | None = None,
    **options: Unpack[ConfigureSettings],
) -> PromptStackLogger:
    """Make the logger that the module functions use, and return it.

    Arguments and errors are those of `PromptStackLogger`. A second call with the same settings keeps the
    logger, as when a notebook's cell runs again. A call with other settings replaces it and shuts the old one
    down: what that one can't deliver within its `exit_timeout` is on disk.
    """
    global _default
    logger = PromptStackLogger(api_key, base_url, project_id, **options)
    with ReleasingOnError((_default_lock,)), _default_lock:
        if _default is not None and _default._stands_in_for(logger):
            return _default
        old, _default = _default, logger
    if old is not None:
        old.shutdown(old.exit_timeout)
    return logger


def _configured() -> PromptStackLogger:
    """The default logger. Without one, it is made if the environment has a key or switches logging off.

    In a capture it needs no key: one that has none is used, and is not the default logger.

    Raises:
        ConfigurationError: `configure()` was not called, and the environment has no key.
    """
    global _default
    logger = _default
    if logger is not None:
        return logger
    if env("BANYAN_API_KEY") is None and not truthy_env("BANYAN_HP_DISABLED"):
        if open_captures:
            return _keyless()
        raise ConfigurationError(
            "call configure() first: there is no logger yet, and BANYAN_API_KEY is not set in the environment"
        )
    with ReleasingOnError((_default_lock,)), _default_lock:
        if _default is None:
            _default = _MadeByACall()
        return _default


@cache
def _keyless() -> PromptStackLogger:
    """For captures: two threads that come together may make one each, which does no harm."""
    return PromptStackLogger(base_url=DEFAULT_BASE_URL, enabled=False)


class _MadeByACall(PromptStackLogger):
    """A default logger that the first call made, without `configure()`.

    That call must not raise because of a proxy that can't be used.
    """

    _transport = staticmethod(never_raising(http_transport))


# -- functions around it -------------------------------------------------------------------------------------

P = ParamSpec("P")
R = TypeVar("R")


def _as_function(
    method: Callable[Concatenate[PromptStackLogger, P], R], call: Callable[..., Any]
) -> Callable[P, R]:
    """`call` as a module function with the method's name, docstring and signature."""
    bound = MethodType(method, call)  # to any object: `inspect` takes the signature from it, without `self`
    update_wrapper(call, bound, assigned=("__name__", "__doc__", "__annotations__"))
    call.__qualname__ = call.__name__
    return call


def _forwarder(
    method: Callable[Concatenate[PromptStackLogger, P], R], find: Callable[[], object]
) -> Callable[P, R]:
    """The function that calls this method of what `find` returns."""
    name = method.__name__

    def forward(*args: Any, **kwargs: Any) -> Any:
        return getattr(find(), name)(*args, **kwargs)

    async def aforward(*args: Any, **kwargs: Any) -> Any:
        return await getattr(find(), name)(*args, **kwargs)

    return _as_function(method, aforward if iscoroutinefunction(method) else forward)


class _NoLogger:
    """Stands for the default logger while there is none, in the calls that don't need one."""

    def invalidate(self, name: str | None = None) -> None:
        """Nothing is cached."""

    def clear_cache(self) -> None:
        """Nothing is cached."""

    def flush(self, timeout: float = 30) -> FlushResult:  # noqa: ARG002 - callers may name it
        return FlushResult(delivered=True, pending=0, spooled=0, lost=0, ledger={})

    async def aflush(self, timeout: float = 30) -> FlushResult:
        return self.flush(timeout)

    shutdown = flush
    ashutdown = aflush

    def get_stats(self) -> LoggerStats:
        """All zero: those of a logger that is switched off."""
        return PromptStackLogger(base_url=DEFAULT_BASE_URL, enabled=False).get_stats()

    def health(self) -> Health:
        return {"status": "ok", "reasons": ["not configured"], "state": "idle"}


_NO_LOGGER = _NoLogger()


def _any() -> PromptStackLogger | _NoLogger:
    return _default or _NO_LOGGER


def _log_prompt(*args: Any, **kwargs: Any) -> bool:
    logger = _configured()
    logged = logger.log_prompt(*args, **kwargs)
    if not logged and logger is not _default and logger.closed:  # configure() has just replaced it
        return _configured().log_prompt(*args, **kwargs)
    return logged


def _score(*args: Any, **kwargs: Any) -> bool:
    logger = _configured()
    sent = logger.score(*args, **kwargs)
    if not sent and logger is not _default and logger.closed:  # likewise
        return _configured().score(*args, **kwargs)
    return sent


log = log_prompt = _as_function(PromptStackLogger.log_prompt, _log_prompt)
score = _as_function(PromptStackLogger.score, _score)
feedback_token = _forwarder(PromptStackLogger.feedback_token, _configured)
if TYPE_CHECKING:  # a `ParamSpec` stands for one signature; these have two
    get_prompt = PromptStackLogger().get_prompt
    aget_prompt = PromptStackLogger().aget_prompt
else:
    get_prompt = _forwarder(PromptStackLogger.get_prompt, _configured)
    aget_prompt = _forwarder(PromptStackLogger.aget_prompt, _configured)
experiment = _forwarder(PromptStackLogger.experiment, _configured)
experiment_results = _forwarder(PromptStackLogger.experiment_results, _configured)
prefetch = _forwarder(PromptStackLogger.prefetch, _configured)
invalidate = _forwarder(PromptStackLogger.invalidate, _any)
clear_cache = _forwarder(PromptStackLogger.clear_cache, _any)
flush = _forwarder(PromptStackLogger.flush, _any)
aflush = _forwarder(PromptStackLogger.aflush, _any)
shutdown = _forwarder(PromptStackLogger.shutdown, _any)
ashutdown = _forwarder(PromptStackLogger.ashutdown, _any)
get_stats = _forwarder(PromptStackLogger.get_stats, _any)
health = _forwarder(PromptStackLogger.health, _any)


# -- tracking ------------------------------------------------------------------------------------------------


class _DefaultTracking(BanyanTracking):
    """Tracking by the logger that is the default one when a record is logged.

    Without a default logger the traced code runs all the same, and a warning is logged.
    """

    def _sink(self) -> BanyanSink:
        logger = _default
        if logger is None:
            return BanyanSink(_DefaultLogger(), self, _not_configured)
        return BanyanSink(_DefaultLogger(), logger, logger._tracking_failed)

    def __reduce__(self) -> str:
        return "_tracking"


class _DefaultLogger:
    """The module functions as methods."""

    log_prompt = staticmethod(log_prompt)
    score = staticmethod(score)


def _not_configured(doing: str, error: BaseException) -> None:
    warn(doing, "%s (%s); the application is not affected", doing, _said(error))


def _said(error: BaseException) -> str:
    """Our own message, which says what to do, if the logger could not be made."""
    return str(error) if isinstance(error, ConfigurationError) else trouble(error)


_tracking = _DefaultTracking()
interaction = _tracking.interaction
step = _tracking.step
trace = _tracking.trace
wrap_anthropic = _tracking.wrap_anthropic
wrap_google_genai = _tracking.wrap_google_genai
wrap_mistral = _tracking.wrap_mistral
wrap_openai = _tracking.wrap_openai
