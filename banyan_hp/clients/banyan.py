"""The Banyan client as module functions around a default logger."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from ..destinations.banyan import DEFAULT_BASE_URL
from ..engine.delivery.flushing import FlushResult
from ..engine.engine import http_transport
from ..engine.http.transport import never_raising
from ..engine.sync import Lock, ReleasingOnError
from ..errors import ConfigurationError
from ..foreign import trouble
from ..logs import warn
from ..prompts.client import UNSET, Fallback, Unset
from ..prompts.data import PromptData
from ..settings import env, truthy_env
from ..tracking.methods import BanyanTracking
from ..tracking.sinks import BanyanSink
from .arguments import StickyContext
from .prompt_logger import PromptStackLogger

__all__ = [
    "aflush",
    "aget_prompt",
    "ashutdown",
    "clear_cache",
    "configure",
    "experiment",
    "flush",
    "get_prompt",
    "get_stats",
    "health",
    "interaction",
    "invalidate",
    "log",
    "log_prompt",
    "prefetch",
    "shutdown",
    "step",
    "trace",
    "wrap_anthropic",
    "wrap_openai",
]


_default: PromptStackLogger | None = None
_default_lock = Lock()  # re-entrant: a destructor may log while the logger is being made
_NOTHING = FlushResult(delivered=True, pending=0, spooled=0, lost=0, ledger={})


def _after_fork_in_child() -> None:
    """Another thread of the parent may have held the lock."""
    global _default_lock
    _default_lock = Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def configure(
    api_key: str | None = None, base_url: str | None = None, project_id: str | None = None, **options: Any
) -> PromptStackLogger:
    """Make the logger that the module functions use, and return it.

    Arguments and errors are those of `PromptStackLogger`. Called again with the same settings, it keeps the
    logger, as in a notebook's cell that runs again. With others it replaces the logger and shuts the old one
    down in order: what that one can't deliver within its `exit_timeout` is on disk.
    """
    global _default
    logger = PromptStackLogger(api_key, base_url, project_id, **options)
    with ReleasingOnError((_default_lock,)), _default_lock:
        if _default is not None and _default._goes_on_as(logger):
            return _default
        old, _default = _default, logger
    if old is not None:
        old.shutdown(old.exit_timeout)
    return logger


def _configured() -> PromptStackLogger:
    """The default logger; made from the environment if that has a key, or says that logging is off.

    Raises:
        ConfigurationError: neither `configure()` was called nor is there a key in the environment.
    """
    global _default
    logger = _default
    if logger is not None:
        return logger
    if env("BANYAN_API_KEY") is None and not truthy_env("BANYAN_HP_DISABLED"):
        raise ConfigurationError(
            "call configure() first: there is no logger yet, and BANYAN_API_KEY is not set in the environment"
        )
    with ReleasingOnError((_default_lock,)), _default_lock:
        if _default is None:
            _default = _MadeByACall()
        return _default


class _MadeByACall(PromptStackLogger):
    """Made without `configure()`, at the first call, which must not raise for a proxy that can't be used."""

    _transport = staticmethod(never_raising(http_transport))


def get_prompt(
    name: str,
    version: str | None = None,
    branch: str = "main",
    use_cache: bool = True,
    sticky_context: StickyContext | None = None,
    project_id: str | None = None,
    fallback: Fallback | Unset = UNSET,
) -> PromptData | None:
    """`PromptStackLogger.get_prompt` of the default logger."""
    wanted = (name, version, branch, use_cache, sticky_context, project_id, fallback)
    return _configured().get_prompt(*wanted)


def experiment(
    experiment_id: str, sticky_context: StickyContext | None = None, input_text: str | None = None
) -> PromptData | None:
    """`PromptStackLogger.experiment` of the default logger."""
    return _configured().experiment(experiment_id, sticky_context, input_text)


def prefetch(names: Iterable[str], branch: str = "main", project_id: str | None = None) -> int:
    """`PromptStackLogger.prefetch` of the default logger."""
    return _configured().prefetch(names, branch, project_id)


def invalidate(name: str | None = None) -> None:
    """`PromptStackLogger.invalidate` of the default logger; nothing if there is none."""
    if _default is not None:
        _default.invalidate(name)


def clear_cache() -> None:
    """`PromptStackLogger.clear_cache` of the default logger; nothing if there is none."""
    if _default is not None:
        _default.clear_cache()


def log_prompt(
    input: Any,  # noqa: A002 - the published name
    output: Any,
    prompt_data: PromptData | None = None,
    prompt_id: str | None = None,
    prompt_name: str | None = None,
    version: str | None = None,
    branch_name: str | None = None,
    model: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    duration_ms: float | None = None,
    blocking: bool = False,
    experiment_context: Mapping[str, str | None] | None = None,
) -> bool:
    """`PromptStackLogger.log_prompt` of the default logger."""
    logger = _configured()
    record = (input, output, prompt_data, prompt_id, prompt_name, version, branch_name, model, metadata)
    how = (duration_ms, blocking, experiment_context)
    logged = logger.log_prompt(*record, *how)
    if not logged and logger is not _default and logger.closed:  # configure() has just replaced it
        return _configured().log_prompt(*record, *how)
    return logged


log = log_prompt


def flush(timeout: float = 30) -> FlushResult:
    """`PromptStackLogger.flush` of the default logger; true if there is none."""
    return _default.flush(timeout) if _default is not None else _NOTHING


def shutdown(timeout: float = 30) -> FlushResult:
    """`PromptStackLogger.shutdown` of the default logger; true if there is none."""
    return _default.shutdown(timeout) if _default is not None else _NOTHING


async def aget_prompt(
    name: str,
    version: str | None = None,
    branch: str = "main",
    use_cache: bool = True,
    sticky_context: StickyContext | None = None,
    project_id: str | None = None,
    fallback: Fallback | Unset = UNSET,
) -> PromptData | None:
    """`PromptStackLogger.aget_prompt` of the default logger."""
    wanted = (name, version, branch, use_cache, sticky_context, project_id, fallback)
    return await _configured().aget_prompt(*wanted)


async def aflush(timeout: float = 30) -> FlushResult:
    """`PromptStackLogger.aflush` of the default logger; true if there is none."""
    return await _default.aflush(timeout) if _default is not None else _NOTHING


async def ashutdown(timeout: float = 30) -> FlushResult:
    """`PromptStackLogger.ashutdown` of the default logger; true if there is none."""
    return await _default.ashutdown(timeout) if _default is not None else _NOTHING


def get_stats() -> dict[str, Any]:
    """`PromptStackLogger.get_stats` of the default logger; all zero if there is none."""
    return (_default or _unconfigured()).get_stats()


def health() -> dict[str, Any]:
    """`PromptStackLogger.health` of the default logger; says so if there is none."""
    if _default is not None:
        return _default.health()
    return {"status": "ok", "reasons": ["not configured"], "state": "idle"}


def _unconfigured() -> PromptStackLogger:
    """A logger that is switched off, for its zeroes."""
    return PromptStackLogger(base_url=DEFAULT_BASE_URL, enabled=False)


class _DefaultTracking(BanyanTracking):
    """Tracking by the default logger: by whichever it is when a record is logged.

    Where there is none to be had, the traced code runs all the same, and a warning is logged.
    """

    def _sink(self) -> BanyanSink:
        logger = _default
        if logger is None:
            return BanyanSink(_DefaultLogger(), self, _not_configured)
        return BanyanSink(_DefaultLogger(), logger, logger._tracking_failed)

    def __reduce__(self) -> str:
        return "_tracking"


class _DefaultLogger:
    """The module function as a method."""

    log_prompt = staticmethod(log_prompt)


def _not_configured(doing: str, error: BaseException) -> None:
    warn(doing, "%s (%s); the application is not affected", doing, _said(error))


def _said(error: BaseException) -> str:
    """Our own words where the logger could not be made, which say what to do."""
    return str(error) if isinstance(error, ConfigurationError) else trouble(error)


_tracking = _DefaultTracking()
interaction = _tracking.interaction
step = _tracking.step
trace = _tracking.trace
wrap_anthropic = _tracking.wrap_anthropic
wrap_openai = _tracking.wrap_openai
