"""The Banyan client: `PromptStackLogger`, and the same as module functions around a default logger."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import UUID

from ..copies import pickled
from ..destinations.banyan import DEFAULT_BASE_URL, BanyanDestination, add_fields, headers_for, usage_body
from ..engine.delivery.flushing import FlushResult
from ..engine.engine import Engine, http_transport
from ..engine.http.transport import connecting_as, never_raising
from ..engine.records.freeze import as_text
from ..engine.records.ledger import Term
from ..engine.records.record import Deferred
from ..engine.spool.address import Address, spool_bases
from ..engine.sync import Lock, ReleasingOnError
from ..errors import BanyanHPError, ConfigurationError, MissingKeyError
from ..foreign import MOST_PAIRS, as_dict, checking, kind_of, number, put_aside, shown, trouble, type_name
from ..logs import warn
from ..prompts.client import UNSET, Fallback, PromptClient, Unset
from ..prompts.data import PromptData
from ..prompts.questions import Asking, PromptQuestion, Sticky
from ..settings import (
    PromptSettings,
    Settings,
    checked_seconds,
    checked_url,
    env,
    first_text,
    header_text,
    truthy_env,
)
from ..tracking.context import with_ambient
from ..tracking.methods import BanyanTracking
from ..tracking.sinks import BanyanSink
from .base import Client, Lifeline

__all__ = [
    "PromptStackLogger",
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

NO_KEY = (
    "no API key: pass api_key='psk_…', or set the environment variable BANYAN_API_KEY "
    "(or switch logging off with enabled=False or BANYAN_HP_DISABLED=1)"
)
StickyContext = Mapping[str, str | int | UUID]
_NO_NAMES = (None, None, None, None)
_EXPERIMENT_FIELDS = ("experiment_id", "experiment_version_id", "sticky_key", "sticky_value")


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

    _transport = staticmethod(http_transport)

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
        prompt_settings = PromptSettings.taken_from(options)
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
        self._prompt_settings = prompt_settings
        self._base_url = url
        destination = BanyanDestination(url, key or "", project)
        self._engine = Engine(destination, settings, transport=self._transport)
        self._lifeline = Lifeline(self._engine)
        self._prompts = PromptClient(
            Asking(url, key or "", headers_for(key or "", project)),
            prompt_settings,
            _prompt_directories(settings, destination),
            threaded=settings.background_thread,
            connect=connecting_as(settings),
        )

    # -- prompts ----------------------------------------------------------------------------------------

    def get_prompt(
        self,
        name: str,
        version: str | None = None,
        branch: str = "main",
        use_cache: bool = True,
        sticky_context: StickyContext | None = None,
        project_id: str | None = None,
        fallback: Fallback | Unset = UNSET,
    ) -> PromptData | None:
        """A prompt by name, from the first of these that has it:

        1. the cache, if the backend confirmed it within `prompt_cache_ttl`, or a `version` within
           `prompt_pinned_ttl`;
        2. the cache, at once, while a thread in the background asks again;
        3. the backend, waiting at most `prompt_timeout`; threads that ask for the same wait for one request;
        4. the disk, where an earlier process left the last good answer;
        5. `fallback`;
        6. None.

        Args:
            name: any text; it is URL-quoted.
            version: a certain version; no experiment applies. As it is corrected or deleted seldom, the
                backend is asked seldom whether it still holds: at start and every `prompt_pinned_ttl`. One
                that the backend answers with another version ("latest", say) is asked for like any prompt.
                Default: the branch's current one.
            branch: default "main".
            use_cache: False asks the backend in any case, and takes the ladder's next rungs in trouble only.
            sticky_context: e.g. `{"user_id": "user_123"}`, or any other key. A running experiment that goes
                by one of these keys decides the version: the first key that one goes by counts. Values are
                strings, ints or UUIDs, and are taken as their text: 1 and "1" are the same user; an empty
                text counts as no value. Without a key that an experiment goes by, the default version is
                given and counted (`experiment_key_missing`).
            project_id: another project than the logger's.
            fallback: a text, a `PromptData`, or a function of no arguments that returns one (or None), for
                when there is nothing else. An empty text counts. A prompt that does not exist takes it, too.

        Returns:
            None if the backend says that there is no such prompt (remembered for 5 s), or if nothing is
            known of it. When the backend can't be asked, or refuses the key, that is logged and counted as
            `prompt_errors`, never raised.

        Raises:
            ConfigurationError: an argument is not as described; the message names it.
        """
        try:
            question = _question(name, version, branch, project_id, sticky_context)
            if fallback is not UNSET:
                _check_fallback(fallback)
            if not self._settings.enabled:
                return None if fallback is UNSET else self._prompts.fall_back(fallback, question)
            return self._prompts.get(question, fallback, use_cache=bool(use_cache))
        except BanyanHPError:
            raise
        except Exception as error:  # noqa: BLE001 - the caller's objects may raise anything
            return self._prompts.failed(error, name, fallback)

    def experiment(
        self,
        experiment_id: str,
        sticky_context: StickyContext | None = None,
        input_text: str | None = None,
    ) -> PromptData | None:
        """The version of an experiment's prompt that a user gets, as the server routes it.

        Keeps no state between calls: pass the prompt on to `log_prompt(prompt_data=…)`.

        Args:
            experiment_id: as the backend names it.
            sticky_context: as in `get_prompt`; the experiment's `sticky_type` says which key counts.
            input_text: for experiments by content, where no `input_hash` is in the context: its
                `banyan_hp.input_hash` is the sticky value.

        Returns:
            The prompt; at its default version if the experiment is not running, or there is no value for its
            key (counted as `experiment_key_missing`). None if nothing is known of the experiment.

        Raises:
            ConfigurationError: an argument is not as described; the message names it.
        """
        try:
            name = _checked_name("experiment_id", experiment_id)
            text = None if input_text is None else _checked_text("input_text", input_text)
            values = dict(_sticky_texts(sticky_context))
            return self._prompts.experiment(name, values, text) if self._settings.enabled else None
        except BanyanHPError:
            raise
        except Exception as error:  # noqa: BLE001 - the caller's objects may raise anything
            return self._prompts.failed(error, "")

    def prefetch(self, names: Iterable[str], branch: str = "main", project_id: str | None = None) -> int:
        """Fetch prompts at the same time, at start-up say, so that no request has to wait for them.

        Of more names than the cache holds (`prompt_cache_size`) the first ones are fetched.

        Returns:
            How many of them are there, be it from an earlier process's disk copy. Waits at most
            `prompt_timeout` for all together (with `background_thread=False`: and one fetch).

        Raises:
            ConfigurationError: a name is empty or not a string, or `names` is one string.
        """
        try:
            if isinstance(names, str):
                raise ConfigurationError(f"names must be a list of names, was the string {shown(names)}")
            wanted = islice(iter(names), self._prompts.size)
            questions = [_question(name, None, branch, project_id, None) for name in wanted]
            return self._prompts.prefetch(questions) if self._settings.enabled else 0
        except BanyanHPError:
            raise
        except Exception as error:  # noqa: BLE001 - the caller's objects may raise anything
            self._prompts.failed(error, "")
            return 0

    def invalidate(self, name: str | None = None) -> None:
        """Have the next `get_prompt` of `name` (default: of all prompts) wait for the backend.

        What is known stays the next best answer, should the backend not answer.

        Raises:
            ConfigurationError: `name` is not a string.
        """
        self._prompts.answers.invalidate(None if name is None else _checked_text("name", name))

    def clear_cache(self) -> None:
        """Forget all prompts and experiments, those on disk, too."""
        self._prompts.answers.clear()

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
        experiment_context: Mapping[str, str | None] | None = None,
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
            duration_ms: milliseconds, 0 or more; any kind of number, or a timedelta. What can't be that is
                kept in the metadata under this name, logged and counted (`values_set_aside`).
            blocking: deliver before returning; waits at most `timeout` times `max_retries + 1`.
            experiment_context: what `PromptData.get_experiment_context()` returned, where the prompt itself
                is not at hand (in another process, say); wins over the prompt's own.

        Returns:
            True: accepted; with `blocking=True` or `background_thread=False`: delivered. False: not
            accepted (bad input, after `shutdown()`, dropped because the queue is full; counted in
            `get_stats()` and logged) — or, when blocking, not delivered yet: if `logs_spooled` went up, it
            is safe on disk and will be sent; don't log it again.
        """
        settings = self._settings
        if not settings.enabled:
            return True
        try:  # around all that touches the caller's objects; costs nothing where nothing is raised
            if prompt_data is not None and _is_switched_off(prompt_data):
                return True
            plain = prompt_data is None and experiment_context is None and duration_ms is None
            if not plain or (metadata is not None and type(metadata) is not dict):
                problem = _problem(prompt_data, metadata, experiment_context)
                if problem is not None:
                    self._engine.reject()
                    warn("bad input", "a record was not accepted: %s", problem)
                    return False
            asked = input if type(input) is str else as_text(input)
            deferred, answered = None, output
            if type(output) is Deferred:  # of our own tracking
                deferred, answered = output, ""
            elif type(output) is not str:
                answered = as_text(output)
            body = usage_body(asked, answered, with_ambient(metadata))
            names = (prompt_id, prompt_name, version, branch_name)
            if prompt_data is not None or names != _NO_NAMES:
                add_fields(body, _prompt_fields(prompt_data, *names))
            if model is not None:
                body["model"] = as_text(model)
            if not plain:
                self._add_duration(body, duration_ms)
                add_fields(body, _experiment_fields(prompt_data, experiment_context))
            blocking = blocking is not False and bool(blocking)  # asked before the record is taken
            record = self._engine.submit(body, max_text=settings.max_record_bytes, deferred=deferred)
        except Exception as error:  # noqa: BLE001 - the caller's objects may raise anything
            self._not_logged("log_prompt()", error)
            return False
        if record is None:
            return False
        if blocking:
            return self._engine.wait_for(record)
        if not settings.background_thread:
            return record.term is Term.DELIVERED
        return not record.turned_away

    log = log_prompt

    def _add_duration(self, body: dict[str, Any], given: Any) -> None:
        """Milliseconds; what can't be that goes into the metadata: it must not cost the record."""
        kept = given if given is None else number(given, per_second=1000.0)
        if kept is not None:
            body["duration_ms"] = kept
        elif given is not None:
            body["metadata"] = put_aside(body["metadata"], "duration_ms", given, 1000.0)
            wrong = "duration_ms must be a number of milliseconds, 0 or more, was %s; it is in the metadata"
            warn("value set aside", wrong, kind_of(given))
            self._engine.set_aside()

    def _sink(self) -> BanyanSink:
        return BanyanSink(self, self, self._tracking_failed)

    # -- operation --------------------------------------------------------------------------------------

    def shutdown(self, timeout: float = 30) -> FlushResult:
        """As `Client.shutdown`; the connections for prompts are closed, too."""
        seconds = checked_seconds("timeout", timeout)
        self._prompts.answers.close()
        return super().shutdown(seconds)

    async def ashutdown(self, timeout: float = 30) -> FlushResult:
        """As `Client.ashutdown`; the connections for prompts are closed, too."""
        seconds = checked_seconds("timeout", timeout)
        self._prompts.answers.close()
        return await super().ashutdown(seconds)

    async def aget_prompt(
        self,
        name: str,
        version: str | None = None,
        branch: str = "main",
        use_cache: bool = True,
        sticky_context: StickyContext | None = None,
        project_id: str | None = None,
        fallback: Fallback | Unset = UNSET,
    ) -> PromptData | None:
        """`get_prompt` without blocking the event loop: what is in the cache is given on the spot.

        A `fallback` that is a function is called on a thread.
        """
        try:
            question = _question(name, version, branch, project_id, sticky_context)
            if fallback is not UNSET:
                _check_fallback(fallback)
            if not self._settings.enabled:
                return None if fallback is UNSET else await self._prompts.afall_back(fallback, question)
            return await self._prompts.aget(question, fallback, use_cache=bool(use_cache))
        except BanyanHPError:
            raise
        except Exception as error:  # noqa: BLE001 - the caller's objects may raise anything
            return self._prompts.failed(error, name, fallback)

    def get_stats(self) -> dict[str, Any]:
        """As `Client.get_stats`, and the counters of prompts and experiments."""
        stats = super().get_stats()
        stats.update(self._prompts.stats())
        return stats

    def _goes_on_as(self, other: PromptStackLogger) -> bool:
        """Take the place of a logger with the same settings; False if it has others, or if this one ended."""
        ours, theirs = self._engine.destination, other._engine.destination
        same_place = (ours.identity, ours.key) == (theirs.identity, theirs.key)
        same = same_place and self._prompt_settings == other._prompt_settings
        if self.closed or not (same and self._settings.same_but_for_callbacks(other._settings)):
            return False
        self._settings = other._settings
        self._engine.reconfigure_callbacks(other._settings)
        return True

    @property
    def closed(self) -> bool:
        """Whether `shutdown()` was called."""
        return self._engine.closing

    @property
    def exit_timeout(self) -> float:
        """Seconds that draining may take at exit."""
        return self._settings.exit_timeout

    def __reduce__(self) -> tuple[Any, ...]:
        """Its settings, without the key, see `copies`."""
        destination = self._engine.destination
        options = {**self._settings.chosen(), **self._prompt_settings.chosen(), "base_url": self._base_url}
        project = destination.identity[2]
        if project:
            options["project_id"] = project
        key = destination.key if self._settings.enabled else ""
        return pickled(type(self), options, key, "BANYAN_API_KEY")

    def __repr__(self) -> str:
        state = self._engine.stats()["state"] if self._settings.enabled else "disabled"
        return f"<PromptStackLogger {self._base_url} {state}>"


def _is_switched_off(prompt_data: object) -> bool:
    return isinstance(prompt_data, PromptData) and not prompt_data.enable_logging


def _prompt_directories(settings: Settings, destination: BanyanDestination) -> list[Path]:
    """Where prompts outlive the process: beside the spool, for the same URL, project and key only."""
    if not settings.spool or not settings.enabled:
        return []
    try:
        bases = spool_bases(settings.spool_dir)
    except (RuntimeError, OSError, KeyError):  # no home directory; the engine says so
        return []
    name = Address.of(destination.identity, destination.key).directory_name
    return [base / "prompts" / name for base in bases]


def _problem(prompt_data: object, metadata: object, experiment_context: object) -> str | None:
    """What is wrong with the arguments, in a sentence that names the thing; None if nothing is."""
    if prompt_data is not None and not isinstance(prompt_data, PromptData):
        return f"prompt_data must be a PromptData (from get_prompt) or None, was {kind_of(prompt_data)}"
    if metadata is not None and not isinstance(metadata, Mapping):
        return f"metadata must be a dict or None, was {kind_of(metadata)}"
    return _context_problem(experiment_context)


def _context_problem(context: object) -> str | None:
    if context is None:
        return None
    if not isinstance(context, Mapping):
        return f"experiment_context must be a dict or None, was {kind_of(context)}"
    unknown = [key for key in islice(context, MOST_PAIRS) if key not in _EXPERIMENT_FIELDS]
    if unknown:
        allowed = ", ".join(_EXPERIMENT_FIELDS)
        return (
            f"experiment_context has a key that is not allowed ({kind_of(unknown[0])}); allowed are {allowed}"
        )
    return None


def _optional_text(value: Any) -> Any:
    return None if value is None else as_text(value)


def _prompt_fields(
    prompt: PromptData | None,
    prompt_id: str | None,
    prompt_name: str | None,
    version: str | None,
    branch_name: str | None,
) -> dict[str, Any]:
    """What names the prompt: the arguments, and for those not given the prompt's own."""
    return {
        "prompt_id": _optional_text(prompt_id) or (prompt.prompt_id if prompt else None),
        "prompt_name": _optional_text(prompt_name) or (prompt.name if prompt else None),
        "version": _optional_text(version) or (prompt.version if prompt else None),
        "branch_name": _optional_text(branch_name) or (prompt.branch if prompt else None),
    }


def _experiment_fields(prompt: PromptData | None, context: Mapping[str, str | None] | None) -> dict[str, Any]:
    if context is None:
        context = (prompt.get_experiment_context() if prompt is not None else None) or {}
    return {key: _optional_text(value) for key, value in context.items()}


def _question(
    name: str, version: str | None, branch: str, project_id: str | None, sticky: StickyContext | None
) -> PromptQuestion:
    name = _checked_name("name", name)
    branch = _checked_text("branch", branch)
    if project_id is not None:
        project_id = header_text("project_id", _checked_text("project_id", project_id))
    values = () if sticky is None else _sticky_texts(sticky)
    if version is None:
        return PromptQuestion(name, None, branch, project_id, values)
    version = str.__str__(str(version))
    if version == "":
        raise ConfigurationError("version must not be empty; None asks for the current one")
    return PromptQuestion(name, version, branch, project_id, ())


def _checked_name(argument: str, name: object) -> str:
    text = _checked_text(argument, name)
    if text in ("", ".", ".."):
        raise ConfigurationError(f"{argument} must not be empty, '.' or '..'; was {text!r}")
    return text


def _checked_text(argument: str, text: object) -> str:
    with checking(argument):
        if isinstance(text, str):
            return str.__str__(text)
    raise ConfigurationError(f"{argument} must be a string, was {type_name(text)}")


def _check_fallback(fallback: object) -> None:
    if fallback is not None and not isinstance(fallback, (str, PromptData)) and not callable(fallback):
        raise ConfigurationError(
            f"fallback must be a string, a PromptData, a function or None, was {type_name(fallback)}"
        )


def _sticky_texts(context: StickyContext | None) -> Sticky:
    if context is None:
        return ()
    if not isinstance(context, Mapping):
        raise ConfigurationError(f"sticky_context must be a dict, was {type_name(context)}")
    texts = [(_sticky_key(key), _sticky_value(key, value)) for key, value in as_dict(context).items()]
    return tuple([pair for pair in texts if pair[1]])  # nobody's id: they would all be one user


def _sticky_key(key: object) -> str:
    if not isinstance(key, str) or not key:
        raise ConfigurationError(f"a key of sticky_context must be a string, was {shown(key)}")
    return str.__str__(key)


def _sticky_value(key: str, value: object) -> str:
    if isinstance(value, str):
        return str.__str__(value)
    if not isinstance(value, (int, UUID)) or isinstance(value, bool):
        raise ConfigurationError(
            f"sticky_context[{key!r}] must be a string, an int or a UUID, was {type_name(value)}"
        )
    return str.__str__(str(value))


# -- the default logger --------------------------------------------------------------------------------------

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
