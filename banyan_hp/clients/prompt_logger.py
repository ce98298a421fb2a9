"""`PromptStackLogger`, the Banyan client."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from ..copies import pickled
from ..destinations.banyan import BanyanDestination, headers_for
from ..engine.captures import open_captures
from ..engine.delivery.waiters import FlushResult
from ..engine.engine import Engine, http_transport
from ..engine.http.transport import connecting_as
from ..engine.records.ledger import Term
from ..engine.spool.layout import Address, spool_bases
from ..prompts import counters
from ..prompts.data import PromptData
from ..semconv import PROJECT
from ..settings import PromptSettings, Settings, checked_seconds
from ..tracking.methods import BanyanTracking, sinks
from .arguments import DURATION, keep_numbers, switches_logging_off, usage
from .base import Lifeline, sampling_of
from .configuration import resolved_identity, unless_keyless
from .exporting import export_of
from .feedback import BanyanFeedback
from .prompt_calls import PromptCalls

if TYPE_CHECKING:
    from typing import Unpack
    from uuid import UUID

    from ..engine.records.record import Record
    from ..tracking.client_sinks import BanyanSink
    from ..types import Health, LoggerSettings, LoggerStats
    from .questions import AskedPrompts
    from .results import ExperimentResults

__all__ = ["PromptStackLogger"]


class PromptStackLogger(PromptCalls, BanyanTracking, BanyanFeedback):
    """Fetches prompts and logs their use, in the background.

    Thread-safe. Construction does no network I/O and starts no thread; the worker starts at the first
    record. As a context manager it ends with `shutdown()`.

    Args:
        api_key: default: the environment variable BANYAN_API_KEY.
        base_url: default: BANYAN_BASE_URL, else the hosted production instance.
        project_id: default: BANYAN_PROJECT_ID, else no project.
        max_retries: attempts after the first one before records go to disk.
        retry_delay: seconds; upper bound of the first back-off, doubled each time, at most 30.
        queue_size: most records in memory.
        flush_interval: seconds; the longest wait to fill a batch.
        background_thread: False delivers on the caller's thread, before `log_prompt` returns.
        options: the other settings in the guide's table (`banyan-hp help settings`), by keyword.

    Raises:
        AuthenticationError: there is no API key.
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
        **options: Unpack[LoggerSettings],
    ) -> None:
        given = cast("dict[str, Any]", options)
        prompt_settings = PromptSettings.taken_from(given)
        settings = Settings.from_options(
            {
                "max_retries": max_retries,
                "retry_delay": retry_delay,
                "queue_size": queue_size,
                "flush_interval": flush_interval,
                "background_thread": background_thread,
                **given,
            },
            besides=("api_key", "base_url", "project_id", "cache_ttl", *PromptSettings.names()),
        )
        needed = settings.enabled and settings.export_to == "backend"
        url, key, project = resolved_identity(api_key, base_url, project_id, needed=needed)
        self._settings = settings = unless_keyless(settings, key)
        self._prompt_settings = prompt_settings
        self._base_url = url
        self._backend = backend = BanyanDestination(url, key, project)
        export = export_of(settings, backend, {PROJECT: project})
        self._engine = Engine(export.destination, export.settings, transport=self._transport)
        self._lifeline = Lifeline(self._engine)
        self._sampling = sampling_of(self._engine)
        self._prompt_directories = _prompt_directories(settings, backend)

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
        record_id: str | int | UUID | None = None,
    ) -> bool:
        """Log one use of a prompt. Costs microseconds, does no I/O and never raises.

        Args:
            input: what the model was given: text, or messages as a list or dict (sent as JSON text).
            output: what it answered, likewise; may be empty.
            prompt_data: from `get_prompt`; the record gets its ids, version, branch and experiment. If it has
                `enable_logging=False`, nothing is sent and the call returns True.
            prompt_id: instead of `prompt_data`, or to override its value.
            prompt_name: likewise.
            version: likewise.
            branch_name: likewise.
            model: the model's name.
            metadata: a dict; values that are not JSON are converted.
            duration_ms: milliseconds, 0 or more: any kind of number, or a timedelta. Any other value goes
                into the metadata under this name, is logged and counted (`values_set_aside`).
            blocking: deliver before returning; waits at most `timeout` times `max_retries + 1`.
            experiment_context: what `PromptData.get_experiment_context()` returned, where the prompt itself
                is not available (in another process, say); overrides the prompt's own.
            record_id: the record's id, 1 to 128 printable ASCII characters without spaces at the ends. Where
                the backend keeps ids, as the local one does, the same record twice is stored once. Default:
                an id of the library's. Any other value goes into the metadata, as with `duration_ms`.

        Returns:
            True: the record is accepted; with `blocking=True` or `background_thread=False`, it is delivered.
            Or it is not to be logged: logging is switched off, or sampling leaves it out
            (`logs_sampled_out`).
            False: it is not accepted (wrong arguments, after `shutdown()`, dropped because the queue is
            full), which is logged and counted in `get_stats()`. Or, when blocking, it is not delivered yet:
            if `logs_spooled` went up, it is safe on disk and will be sent; don't log it again.
        """
        if not self._settings.enabled and not open_captures:
            return True
        try:  # around everything that touches the caller's objects; free unless something is raised
            if prompt_data is not None and switches_logging_off(prompt_data):
                return True
            names = (prompt_id, prompt_name, version, branch_name)
            if self._sampling is not None:
                given = (input, output, model, metadata, prompt_data, names, experiment_context)
                logged, metadata = self._sampling.take_usage(given, duration_ms, record_id)
                if not logged:
                    return True
            body, deferred = usage(input, output, metadata, model, prompt_data, names, experiment_context)
            if duration_ms is not None:
                self._add_duration(body, duration_ms)
            ident = None if record_id is None else self._own_id(body, record_id)
            blocking = blocking is not False and bool(blocking)  # may raise, so before the record is taken
            longest = self._settings.max_record_bytes
            record = self._engine.submit(body, max_text=longest, deferred=deferred, ident=ident)
        except Exception as error:  # noqa: BLE001 - the caller's objects may raise anything
            self._not_logged("log_prompt()", error)
            return False
        if record is None or blocking or not self._settings.background_thread:
            return record is not None and self._is_delivered(record, wait=blocking)
        return not record.turned_away

    log = log_prompt

    def _add_duration(self, body: dict[str, Any], given: Any) -> None:
        body["duration_ms"] = given
        self._note_set_aside(keep_numbers(body, DURATION))

    def _is_delivered(self, record: Record, *, wait: bool) -> bool:
        return self._engine.wait_for(record) if wait else record.term is Term.DELIVERED

    def _sink(self) -> BanyanSink:
        sink: BanyanSink = sinks().BanyanSink(self, self, self._tracking_failed)
        return sink

    # -- prompts ----------------------------------------------------------------------------------------

    def _make_prompts(self) -> AskedPrompts:
        from ..prompts.queries import Endpoint
        from .questions import AskedPrompts

        key, project = self._backend.key, self._backend.identity[2] or None
        return AskedPrompts(
            Endpoint(self._base_url, key, headers_for(key, project)),
            self._prompt_settings,
            self._prompt_directories,
            threaded=self._settings.background_thread,
            connect=connecting_as(self._settings),
            on_trouble=self._engine.note_error,
        )

    def experiment_results(
        self,
        experiment_id: str,
        metric: str | None = None,
        segment: int | None = None,
        interval: Literal["always", "fixed"] = "always",
        alpha: float = 0.05,
        effect: float = 0.1,
    ) -> ExperimentResults:
        """Ask the backend what came of an experiment. Takes up to a minute; the key must be allowed to read.

        Args:
            experiment_id: of an experiment of the key's project.
            metric: only this one: a score's name, or a measure like "latency". Default: all.
            segment: the number of an earlier stretch between two changes; default: the last one.
            interval: "always" may be looked at as often as you like; "fixed" holds for one look, planned
                beforehand.
            alpha: the probability that any of a metric's intervals is wrong.
            effect: the relative difference for which `more_users` is reckoned.

        Raises:
            ConfigurationError: `experiment_id` is not a string, or is empty.
            ValidationError: the backend refuses an argument, or has no such experiment.
            AuthenticationError: it refuses the key.
            RateLimitError: it limits the rate of requests.
            NetworkError: it can't be reached, or its response can't be read.
            ServerError: it failed, or has no results of experiments.
        """
        from . import results  # only notebooks and the like need it

        asked = results.asked_for(metric, segment, interval, alpha, effect)
        destination = self._engine.destination
        headers = headers_for(destination.key, destination.identity[2] or None)
        return results.fetch(
            results.checked(experiment_id),
            asked,
            results.Source(self._base_url, headers, connecting_as(self._settings)),
        )

    def _close_prompts(self) -> None:
        prompts = self._prompts_if_used()
        if prompts is not None:
            prompts.cache.close()

    # -- operation --------------------------------------------------------------------------------------

    def shutdown(self, timeout: float = 30) -> FlushResult:
        """As `Client.shutdown`; also closes the connections for prompts."""
        seconds = checked_seconds("timeout", timeout)
        self._close_prompts()
        return super().shutdown(seconds)

    async def ashutdown(self, timeout: float = 30) -> FlushResult:
        """As `Client.ashutdown`; also closes the connections for prompts."""
        seconds = checked_seconds("timeout", timeout)
        self._close_prompts()
        return await super().ashutdown(seconds)

    def get_stats(self) -> LoggerStats:
        """As `Client.get_stats`, and the counters of prompts and experiments."""
        prompts = self._prompts_if_used()
        own = counters.unused() if prompts is None else prompts.stats()
        return cast("LoggerStats", {**super().get_stats(), **own})

    def health(self) -> Health:
        """As `Client.health`; prompts that can't be fetched count as well."""
        health, prompts = super().health(), self._prompts_if_used()
        problem = None if prompts is None else prompts.cache.problem
        if problem is not None:
            health["reasons"].append(problem)
            health["status"] = "degraded" if health["status"] == "ok" else health["status"]
        return health

    def _stands_in_for(self, other: PromptStackLogger) -> bool:
        """Take over the callbacks of a logger with the same settings.

        Returns:
            False if its other settings differ, or if this logger has ended: it can't be used instead.
        """
        same = self._goes_to() == other._goes_to() and self._prompt_settings == other._prompt_settings
        if self.closed or not (same and self._settings.same_but_for_callbacks(other._settings)):
            return False
        self._settings = other._settings
        self._engine.reconfigure_callbacks(other._engine.settings)
        self._sampling = sampling_of(self._engine)
        return True

    def _goes_to(self) -> list[tuple[tuple[str, ...], str]]:
        """Where records and prompts are, and under which keys."""
        return [(each.identity, each.key) for each in (self._backend, self._engine.destination)]

    @property
    def closed(self) -> bool:
        """Whether `shutdown()` was called."""
        return self._engine.closed

    @property
    def exit_timeout(self) -> float:
        """Seconds that delivery may take at exit."""
        return self._settings.exit_timeout

    def __reduce__(self) -> tuple[Any, ...]:
        """Its settings, without the key, see `copies`."""
        destination = self._backend
        options = {**self._settings.chosen(), **self._prompt_settings.chosen(), "base_url": self._base_url}
        project = destination.identity[2]
        if project:
            options["project_id"] = project
        key = destination.key if self._settings.enabled else ""
        return pickled(type(self), options, key, "BANYAN_API_KEY")

    def __repr__(self) -> str:
        state = self._engine.stats()["state"] if self._settings.enabled else "disabled"
        return f"<PromptStackLogger {self._base_url} {state}>"


def _prompt_directories(settings: Settings, destination: BanyanDestination) -> list[Path]:
    """Where prompts are kept for later processes: beside the spool, by URL, project and key."""
    if not settings.spool:
        return []
    try:
        bases = spool_bases(settings.spool_dir)
    except (RuntimeError, OSError, KeyError):  # no home directory; the engine says so
        return []
    name = Address.of(destination.identity, destination.key).directory_name
    return [base / "prompts" / name for base in bases]
