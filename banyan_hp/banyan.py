"""The Banyan client: `PromptStackLogger`, and the same as module functions around a default logger."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any
from uuid import UUID

from .client import Client
from .destinations.banyan import DEFAULT_BASE_URL, BanyanDestination, headers_for, usage_body
from .engine.engine import Engine
from .engine.flushing import FlushResult
from .engine.ledger import Term
from .engine.log import warn
from .engine.records import describe, encode, freeze
from .errors import ConfigurationError, MissingKeyError
from .prompts import PromptClient, PromptData
from .settings import Settings, checked_seconds, checked_url, env, first_text, header_text, truthy_env
from .tracking.context import with_ambient
from .tracking.methods import BanyanTracking
from .tracking.sinks import BanyanSink

NO_KEY = (
    "no API key: pass api_key='psk_…', or set the environment variable BANYAN_API_KEY "
    "(or switch logging off with enabled=False or BANYAN_HP_DISABLED=1)"
)


class PromptStackLogger(BanyanTracking, Client):
    """Fetches prompts and logs their use, in the background.

    Thread-safe. Construction does no network I/O and starts no thread; the worker starts at the first
    record. Usable in a `with`, which ends with `shutdown()`.

    Args:
        api_key: default: the environment variable BANYAN_API_KEY.
        base_url: default: BANYAN_BASE_URL, else the hosted production instance.
        project_id: default: BANYAN_PROJECT_ID, else none.
        max_retries: attempts after the first before records go to disk.
        retry_delay: seconds; the first back-off's upper bound, doubled each time, at most 30.
        queue_size: records in memory.
        flush_interval: seconds; the longest wait to fill a batch.
        background_thread: False delivers on the caller's thread, before `log_prompt` returns.
        options: all other settings of the README's table, by keyword.

    Raises:
        AuthenticationError: no API key anywhere.
        ConfigurationError: a setting is wrong; the message names it, its value and what is allowed.
    """

    def __init__(
        self,
        api_key: str | None = None,
        base_url: str | None = None,
        project_id: str | None = None,
        max_retries: int = 3,
        retry_delay: float = 1.0,
        queue_size: int = 10_000,
        flush_interval: float = 1.0,
        background_thread: bool = True,
        **options: Any,
    ) -> None:
        settings = Settings.from_options(
            {
                "max_retries": max_retries,
                "retry_delay": retry_delay,
                "queue_size": queue_size,
                "flush_interval": flush_interval,
                "background_thread": background_thread,
                **options,
            }
        )
        key = first_text("api_key", api_key, "BANYAN_API_KEY")
        url = checked_url("base_url", first_text("base_url", base_url, "BANYAN_BASE_URL") or DEFAULT_BASE_URL)
        project = first_text("project_id", project_id, "BANYAN_PROJECT_ID")
        if project is not None:
            header_text("project_id", project)
        if key is not None:
            header_text("api_key", key)
        elif settings.enabled:
            raise MissingKeyError(NO_KEY)
        self._settings = settings
        self._base_url = url
        self._engine = Engine(BanyanDestination(url, key or "", project), settings)
        self._prompts = PromptClient(url, headers_for(key or "", project), settings.timeout)

    # -- prompts ----------------------------------------------------------------------------------------

    def get_prompt(
        self,
        name: str,
        version: str | None = None,
        branch: str = "main",
        use_cache: bool = True,
        sticky_context: Mapping[str, str | int | UUID] | None = None,
        project_id: str | None = None,
    ) -> PromptData | None:
        """A prompt by name, fetched or from the cache (60 s).

        Args:
            name: any text; it is URL-quoted.
            version: a certain version; default: the branch's current one.
            branch: default "main".
            use_cache: False asks the backend in any case.
            sticky_context: e.g. `{"user_id": "user_123"}`; the backend routes running experiments by it.
            project_id: another project than the logger's.

        Returns:
            None if there is no such prompt. When the backend can't be asked: the last answer it gave, or
            None; that is logged and counted as `prompt_errors`, not raised.

        Raises:
            ConfigurationError: `name` is empty, or `sticky_context` is not a dict of strings, ints or UUIDs.
        """
        if not isinstance(name, str) or name in ("", ".", ".."):
            raise ConfigurationError(f"name must be a prompt's name, not empty, '.' or '..'; was {name!r}")
        sticky = _sticky_texts(sticky_context)
        if not self._settings.enabled:
            return None
        wanted = None if version is None else str(version)
        return self._prompts.get(name, wanted, branch, project_id, sticky, use_cache=use_cache)

    # -- logging ----------------------------------------------------------------------------------------

    def log_prompt(
        self,
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
    ) -> bool:
        """Log one use of a prompt. Costs microseconds, does no I/O and never raises.

        Args:
            input: what the model was given: text, or messages as a list or dict (sent as JSON text).
            output: what it answered, likewise; may be empty.
            prompt_data: from `get_prompt`: its ids, version, branch and experiment go along. With
                `enable_logging=False` nothing is sent and True is returned.
            prompt_id: instead of `prompt_data`, or to override it.
            prompt_name: likewise.
            version: likewise.
            branch_name: likewise.
            model: the model's name.
            metadata: a dict; anything in it that is not JSON is converted.
            duration_ms: milliseconds, 0 or more.
            blocking: deliver before returning; waits at most `timeout` times `max_retries + 1`.

        Returns:
            True: accepted; with `blocking=True` or `background_thread=False`: delivered. False: not
            accepted (bad input, after `shutdown()`, dropped because the queue is full; counted in
            `get_stats()` and logged) — or, when blocking, not delivered yet: if `logs_spooled` went up, it
            is safe on disk and will be sent; don't log it again.
        """
        if not self._settings.enabled or _is_switched_off(prompt_data):
            return True
        problem = _problem(prompt_data, metadata, duration_ms)
        if problem is not None:
            self._engine.reject()
            warn("bad input", "a record was not accepted: %s", problem)
            return False
        body = usage_body(
            input=_as_text(input),
            output=_as_text(output),
            metadata=with_ambient(metadata),
            **_prompt_fields(prompt_data, prompt_id, prompt_name, version, branch_name),
            model=_optional_text(model),
            duration_ms=duration_ms,
            **_experiment_fields(prompt_data),
        )
        record = self._engine.submit(freeze(body, max_text=self._settings.max_record_bytes))
        if record is None:
            return False
        if blocking:
            return self._engine.wait_for(record)
        if not self._settings.background_thread:
            return record.term is Term.DELIVERED
        return record.term is not Term.DROPPED

    log = log_prompt

    def _sink(self) -> BanyanSink:
        return BanyanSink(self, self, self._tracking_failed)

    # -- operation --------------------------------------------------------------------------------------

    def shutdown(self, timeout: float = 30) -> FlushResult:
        """As `Client.shutdown`; the connections for prompts are closed, too."""
        seconds = checked_seconds("timeout", timeout)
        self._prompts.close()
        return super().shutdown(seconds)

    async def aget_prompt(
        self,
        name: str,
        version: str | None = None,
        branch: str = "main",
        use_cache: bool = True,
        sticky_context: Mapping[str, str | int | UUID] | None = None,
        project_id: str | None = None,
    ) -> PromptData | None:
        """`get_prompt` without blocking the event loop."""
        wanted = (name, version, branch, use_cache, sticky_context, project_id)
        return await asyncio.to_thread(self.get_prompt, *wanted)

    def get_stats(self) -> dict[str, Any]:
        """As `Client.get_stats`, and the prompts' counters."""
        return {**super().get_stats(), **asdict(self._prompts.counters)}

    @property
    def closed(self) -> bool:
        """Whether `shutdown()` was called."""
        return self._engine.closing

    @property
    def exit_timeout(self) -> float:
        """Seconds that draining may take at exit."""
        return self._settings.exit_timeout

    def __repr__(self) -> str:
        state = self._engine.stats()["state"] if self._settings.enabled else "disabled"
        return f"<PromptStackLogger {self._base_url} {state}>"


def _is_switched_off(prompt_data: object) -> bool:
    return isinstance(prompt_data, PromptData) and not prompt_data.enable_logging


def _problem(prompt_data: object, metadata: object, duration_ms: object) -> str | None:
    """What is wrong with the arguments, in a sentence that names the thing; None if nothing is."""
    if prompt_data is not None and not isinstance(prompt_data, PromptData):
        return f"prompt_data must be a PromptData (from get_prompt) or None, was {describe(prompt_data)}"
    if metadata is not None and not isinstance(metadata, Mapping):
        return f"metadata must be a dict or None, was {describe(metadata)}"
    if duration_ms is None:
        return None
    if not isinstance(duration_ms, (int, float)) or isinstance(duration_ms, bool) or not duration_ms >= 0:
        return f"duration_ms must be a number of milliseconds, 0 or more, was {describe(duration_ms)}"
    if duration_ms == float("inf"):
        return "duration_ms must be finite, was infinite"
    return None


def _as_text(value: Any) -> str:
    """Texts as they are; messages, given as lists or dicts, as JSON text; None as the empty text."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    frozen = freeze(value).value
    return frozen if isinstance(frozen, str) else encode(frozen).decode("utf-8")


def _optional_text(value: Any) -> str | None:
    return None if value is None else _as_text(value)


def _prompt_fields(
    prompt: PromptData | None,
    prompt_id: str | None,
    prompt_name: str | None,
    version: str | None,
    branch_name: str | None,
) -> dict[str, str | None]:
    """What names the prompt: the arguments, and for those not given the prompt's own."""
    return {
        "prompt_id": _optional_text(prompt_id) or (prompt.prompt_id if prompt else None),
        "prompt_name": _optional_text(prompt_name) or (prompt.name if prompt else None),
        "version": _optional_text(version) or (prompt.version if prompt else None),
        "branch_name": _optional_text(branch_name) or (prompt.branch if prompt else None),
    }


def _experiment_fields(prompt: PromptData | None) -> Mapping[str, str | None]:
    return (prompt.get_experiment_context() if prompt is not None else None) or {}


def _sticky_texts(context: Mapping[str, str | int | UUID] | None) -> dict[str, str]:
    if context is None:
        return {}
    if not isinstance(context, Mapping):
        raise ConfigurationError(f"sticky_context must be a dict, was {type(context).__name__}")
    for key, value in context.items():
        if not isinstance(key, str) or not key:
            raise ConfigurationError(f"a key of sticky_context must be a string, was {key!r}")
        if not isinstance(value, (str, int, UUID)) or isinstance(value, bool):
            raise ConfigurationError(
                f"sticky_context[{key!r}] must be a string, an int or a UUID, was {type(value).__name__}"
            )
    return {key: str(value) for key, value in context.items()}


# -- the default logger --------------------------------------------------------------------------------------

_default: PromptStackLogger | None = None
_default_lock = threading.Lock()
_NOTHING = FlushResult(delivered=True, pending=0, spooled=0, lost=0, ledger={})


def configure(
    api_key: str | None = None, base_url: str | None = None, project_id: str | None = None, **options: Any
) -> PromptStackLogger:
    """Make the logger that the module functions use, and return it.

    Arguments and errors are those of `PromptStackLogger`. Called again, it replaces the logger and shuts
    the old one down in order: what that one can't deliver within its `exit_timeout` is on disk.
    """
    global _default
    logger = PromptStackLogger(api_key, base_url, project_id, **options)
    with _default_lock:
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
    with _default_lock:
        if _default is None:
            _default = PromptStackLogger()
        return _default


def get_prompt(
    name: str,
    version: str | None = None,
    branch: str = "main",
    use_cache: bool = True,
    sticky_context: Mapping[str, str | int | UUID] | None = None,
    project_id: str | None = None,
) -> PromptData | None:
    """`PromptStackLogger.get_prompt` of the default logger."""
    return _configured().get_prompt(name, version, branch, use_cache, sticky_context, project_id)


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
) -> bool:
    """`PromptStackLogger.log_prompt` of the default logger."""
    logger = _configured()
    record = (input, output, prompt_data, prompt_id, prompt_name, version, branch_name, model, metadata)
    logged = logger.log_prompt(*record, duration_ms, blocking)
    if not logged and logger is not _default and logger.closed:  # configure() has just replaced it
        return _configured().log_prompt(*record, duration_ms, blocking)
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
    sticky_context: Mapping[str, str | int | UUID] | None = None,
    project_id: str | None = None,
) -> PromptData | None:
    """`PromptStackLogger.aget_prompt` of the default logger."""
    return await _configured().aget_prompt(name, version, branch, use_cache, sticky_context, project_id)


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


class _DefaultLogger:
    """The module function as a method."""

    log_prompt = staticmethod(log_prompt)


def _not_configured(doing: str) -> None:
    warn(doing, "%s; the application is not affected", doing, exc_info=True)


_tracking = _DefaultTracking()
interaction = _tracking.interaction
step = _tracking.step
trace = _tracking.trace
wrap_anthropic = _tracking.wrap_anthropic
wrap_openai = _tracking.wrap_openai
