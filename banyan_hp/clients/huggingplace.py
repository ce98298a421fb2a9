"""The HuggingPlace client: `HuggingPlace` and `Session`."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from ..copies import OneObject, pickled
from ..engine.captures import open_captures
from ..engine.delivery.loops import on_few_threads
from ..engine.engine import Engine
from ..engine.records.freeze import as_text
from ..engine.records.record import Deferred
from ..engine.succession import Succession
from ..engine.sync import Lock, ReleasingOnError
from ..errors import ValidationError
from ..foreign import as_dict, checking
from ..logs import keep_off_stderr
from ..settings import unknown_setting
from ..tracking.context import options_with_ambient
from ..tracking.methods import HuggingPlaceTracking, sinks
from ..tracking.sink import Contained
from .arguments import LOG_NUMBERS, keep_numbers
from .base import Client, Lifeline, sampling_of
from .configuration import CHANGEABLE, IDENTITY, OWN, checked_options, export_by, is_accepted, resolved_config
from .interactions import (
    interaction_body,
    own_copy,
    problem_with_log,
    problem_with_step,
    session_defaults,
    step_record,
    without_none,
)
from .receipts import Line, Receipt, SampledOut, Source
from .scores import Given, HuggingPlaceScores, interaction_of, score_of

if TYPE_CHECKING:
    from typing import Unpack
    from uuid import UUID

    from ..tracking.client_sinks import HuggingPlaceSink
    from ..types import (
        ConfigChanges,
        HuggingPlaceConfig,
        HuggingPlaceSettings,
        Log,
        LogStep,
        SessionInfo,
        SessionOptions,
        UserMetadata,
    )

__all__ = ["HuggingPlace", "Session"]


class HuggingPlace(HuggingPlaceTracking[Receipt], HuggingPlaceScores, Client):
    """Logs LLM interactions, in the background or awaited. Thread-safe; a context manager.

    Args:
        api_key: default: the environment variable HUGGINGPLACE_API_KEY. Or a dict of all arguments.
        org_id: default: HUGGINGPLACE_ORG_ID.
        mode: "prod" or "dev"; default: HUGGINGPLACE_MODE, else "prod".
        base_url: default: HUGGINGPLACE_BASE_URL, else the hosted production instance.
        timeout: milliseconds for a request, 10 or more; default 10,000.
        options: the settings in the guide's table (`banyan-hp help settings`), by keyword, and
            `silent=True`: where the application has not set up logging, the library writes nothing on
            stderr; for the whole process.

    Raises:
        MissingKeyError: there is no API key; it is an AuthenticationError and a ValidationError.
        ValidationError: there is no organisation, or the mode or timeout is not allowed.
        ConfigurationError: another setting is wrong.
    """

    def __init__(
        self,
        api_key: str | HuggingPlaceConfig | None = None,
        org_id: str | None = None,
        mode: Literal["prod", "dev"] | None = None,
        base_url: str | None = None,
        timeout: float | None = None,
        **options: Unpack[HuggingPlaceSettings],
    ) -> None:
        given = {"org_id": org_id, "mode": mode, "base_url": base_url, "timeout": timeout, **options}
        with checking("the configuration", ValidationError):
            config = as_dict(api_key) if isinstance(api_key, Mapping) else {"api_key": api_key}
            config.update((name, value) for name, value in given.items() if value is not None)
            self._options = {name: value for name, value in config.items() if name not in OWN}
        checked = checked_options(self._options)
        to_backend = checked.export_to == "backend"
        self._config = resolved_config(config, needed=checked.enabled and to_backend)
        if to_backend and not self._config["api_key"]:  # see `unless_keyless`
            self._options["enabled"] = False
        if self._config.get("silent"):
            keep_off_stderr()
        export = export_by(self._config, self._options)
        self._succession = Succession(export.destination, export.settings)
        self._lifeline = Lifeline(self._succession)
        self._use(self._succession.current)

    def _use(self, engine: Engine) -> None:
        """Log to this engine from now on."""
        self._engine = engine
        source = Source(engine, self._lifeline)
        self._line = Line(engine, source, self._config["org_id"], self._config["mode"], sampling_of(engine))

    def _engines(self) -> Succession:
        return self._succession

    # -- logging ----------------------------------------------------------------------------------------

    def log(self, options: Log) -> Receipt:
        """Log an interaction. It is enqueued at once; awaiting the receipt is optional.

        Args:
            options: `user_prompt` and `response` are required and must not be empty. `token_count` and
                `response_time` (seconds, or a timedelta) are numbers, 0 or more; any other value goes into
                `metadata` under its name, is logged and counted (`values_set_aside`). All other fields are
                sent as they are. The dict is copied.

        Returns:
            A `Receipt`. Await it, or call `.result(timeout=…)`, to wait until the record is delivered; both
            raise AuthenticationError, ValidationError, NetworkError, RateLimitError or ServerError. Or
            ignore it: the record is delivered in the background, or left out by sampling (`dropped`).
        """
        try:
            own = own_copy(options)
            problem = problem_with_log(own)
            return self._submit(problem, interaction_body(own) if problem is None else {})
        except Exception as error:  # noqa: BLE001 - the caller's objects may raise anything
            return self._refused("log()", error)

    def log_step(self, step: LogStep) -> Receipt:
        """Log one processing step by itself.

        Args:
            step: `type`, `user_question` and `prompt_response` are required and must not be empty; `token`
                and `response_time` (seconds) are required numbers, 0 or more. All other fields are sent as
                they are.
        """
        try:
            own = own_copy(step)
            problem = problem_with_step(own)
            return self._submit(problem, step_record(own) if problem is None else {})
        except Exception as error:  # noqa: BLE001 - the caller's objects may raise anything
            return self._refused("log_step()", error)

    def _score(self, given: Given, session: Session | None = None) -> Receipt:
        engine, source, *_ = self._line
        if not engine.settings.enabled and not open_captures:
            return Receipt(source)
        try:
            score = score_of(given)
            if (why := self._score_kept_back()) is not None:
                return Receipt(source, error=ValidationError(why), said=True)
            if score.cut:
                engine.count("values_cut")
            body = interaction_of(score)
            return self._submit(
                None, body if session is None else session._completed(body), score.at, whole=True
            )
        except Exception as error:  # noqa: BLE001 - the caller's objects may raise anything
            return self._refused("score()", error)

    def _submit(
        self, problem: str | None, body: dict[str, Any], at: float | None = None, *, whole: bool = False
    ) -> Receipt:
        """Hand a record to the engine, unless something is wrong. The dict is ours; `whole`: not sampled."""
        engine, source, org_id, mode, sampling = line = self._line
        if not engine.settings.enabled and not open_captures:
            return Receipt(source)
        if problem is not None:
            engine.reject(problem)
            return Receipt(source, error=ValidationError(problem))
        given = body.pop("record_id", None)
        ident = None if given is None else self._own_id(body, given)
        self._note_set_aside(keep_numbers(body, LOG_NUMBERS))
        body = options_with_ambient(body)
        if not (whole or sampling is None or sampling.take_interaction(body, ident)):
            return SampledOut(source, ident)
        if type(body["user_prompt"]) is not str:
            body["user_prompt"] = as_text(body["user_prompt"])
        if type(body.get("session_id", "")) is not str:
            body["session_id"] = as_text(body["session_id"])
        body["org_id"] = org_id
        body["mode"] = mode
        deferred = body.get("response")
        if type(deferred) is Deferred:  # of our own tracking
            body["response"] = ""
        else:
            deferred = None
        longest = engine.settings.max_record_bytes
        if at is None:
            record = engine.submit(body, max_text=longest, deferred=deferred, ident=ident)
        else:
            record = engine.submit_at(body, at, max_text=longest, ident=ident)
        if record is not None:
            return Receipt(source, record)
        if line is not self._line:  # update_config() came in between, and this engine has ended
            again = {**body, "record_id": ident}
            again = again if deferred is None else {**again, "response": deferred}
            return self._submit(None, again, at, whole=True)
        return Receipt(source, error=ValidationError("shutdown() was called: no more records are accepted"))

    def _refused(self, call: str, error: Exception) -> Receipt:
        return Receipt(self._line.source, error=ValidationError(self._not_logged(call, error)))

    def _sink(self) -> HuggingPlaceSink[Receipt]:
        sink: HuggingPlaceSink[Receipt] = sinks().HuggingPlaceSink(self, self, self._tracking_failed)
        return sink

    def start_session(
        self,
        session_id: str | float | UUID | None = None,
        metadata: Mapping[str, Any] | SessionOptions | None = None,
        user_metadata: UserMetadata | Mapping[str, Any] | None = None,
    ) -> Session:
        """Start a session. Its logs carry its id and defaults.

        Args:
            session_id: text, or a number, which is taken as its text; default: a random id.
            metadata: of each record. Or, as published, one dict of both defaults:
                `start_session("s", {"metadata": {…}, "user_metadata": {…}})`.
            user_metadata: of each record.
        """
        return Session(self, session_id, metadata, user_metadata)

    # -- operation --------------------------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        """The configuration, without the key."""
        return {name: value for name, value in self._config.items() if name != "api_key"}

    def update_config(self, config: ConfigChanges | None = None, /, **changes: Unpack[ConfigChanges]) -> None:
        """Change `api_key`, `org_id`, `mode`, `base_url`, `timeout`, `silent` or `previous_keys` from now on.

        Takes keyword arguments or, as published, one dict. What is None stays as it is.

        Records accepted earlier are sent with the key, URL and organisation with which they were logged. They
        are sent under the new key only if the old one is named here: `update_config(api_key=new,
        previous_keys=[old])`. A change of key, URL or organisation without `previous_keys` forgets the
        previous keys named earlier. A new timeout also applies to waiting records.

        Raises:
            ValidationError: as at construction, or the name of an argument is not one of these.
            ConfigurationError: `previous_keys` is not a list of keys.
        """
        with checking("the configuration", ValidationError):
            given = {**as_dict({} if config is None else config), **changes}
        for name in given:
            if name not in CHANGEABLE:
                raise ValidationError(unknown_setting("setting of update_config()", name, CHANGEABLE))
        changing = self._succession.changing
        with ReleasingOnError((changing,)), changing:
            self._change(without_none(given))

    def _change(self, changes: dict[str, Any]) -> None:
        options = dict(self._options)
        named = [changes.pop("previous_keys")] if "previous_keys" in changes else []
        settings = self._engine.settings
        needed = settings.enabled and settings.export_to == "backend"
        config = resolved_config({**self._config, **changes}, needed=needed)
        if named or any(config[name] != self._config[name] for name in IDENTITY):
            options["previous_keys"] = named[0] if named else ()
        export = export_by(config, options)

        def publish(engine: Engine) -> None:
            self._config, self._options = config, options
            self._use(engine)

        self._succession.change(export.destination, export.settings, publish)
        if "silent" in changes:
            keep_off_stderr(quiet=bool(config.get("silent")))

    async def test_connection(self) -> bool:
        """Whether the backend responds and accepts the key.

        A backend that takes batches gets an empty one. Others, like the hosted one, have no call that writes
        nothing: they get one minimal record, marked as a connection test. So does an OpenTelemetry collector.
        """
        return await on_few_threads(lambda: is_accepted(self._config, self._options))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.ashutdown()

    def __reduce__(self) -> tuple[Any, ...]:
        """Its settings, without the key, see `copies`."""
        key = self._config["api_key"] if self._engine.settings.enabled else ""
        return pickled(type(self), {**self._options, **self._config}, key, "HUGGINGPLACE_API_KEY")

    def __repr__(self) -> str:
        state = self._engine.stats()["state"] if self._engine.settings.enabled else "disabled"
        return f"<HuggingPlace {self._config['base_url']} {state}>"


class Session(HuggingPlaceTracking[Receipt], HuggingPlaceScores, OneObject):
    """Logs that belong together. Thread-safe. `with` marks the block; leaving it does nothing."""

    def __init__(
        self,
        client: HuggingPlace,
        session_id: str | float | UUID | None = None,
        metadata: Mapping[str, Any] | SessionOptions | None = None,
        user_metadata: UserMetadata | Mapping[str, Any] | None = None,
    ) -> None:
        import uuid  # takes a millisecond

        self.session_id = str(uuid.uuid4())
        self._client = client
        self._lock = Lock()  # guards the replacement of _defaults
        self._defaults: dict[str, dict[Any, Any]] = {"metadata": {}, "user_metadata": {}}
        with Contained(self._sink(), "a session's id could not be read"):
            self.session_id = str.__str__(str(session_id)) if session_id is not None else self.session_id
        with Contained(self._sink(), "a session's metadata could not be read"):
            metadata, user_metadata = session_defaults(metadata, user_metadata)
        self.update_defaults(metadata, user_metadata)

    def log(self, options: Log) -> Receipt:
        """`HuggingPlace.log` with the session's id and defaults; the call's own values win."""
        try:
            own = own_copy(options)
            problem = problem_with_log(own)
            body = self._completed(interaction_body(own)) if problem is None else {}
            return self._client._submit(problem, body)
        except Exception as error:  # noqa: BLE001 - the caller's objects may raise anything
            return self._client._refused("log()", error)

    def log_step(self, step: LogStep) -> Receipt:
        """`HuggingPlace.log_step` with the session's id and defaults."""
        try:
            own = own_copy(step)
            problem = problem_with_step(own)
            body = self._completed(step_record(own)) if problem is None else {}
            return self._client._submit(problem, body)
        except Exception as error:  # noqa: BLE001 - the caller's objects may raise anything
            return self._client._refused("log_step()", error)

    def _score(self, given: Given) -> Receipt:
        about = given if given.says_of_what else given._replace(session_id=self.session_id)
        return self._client._score(about, self)

    def _sink(self) -> HuggingPlaceSink[Receipt]:
        failed = self._client._tracking_failed
        sink: HuggingPlaceSink[Receipt] = sinks().HuggingPlaceSink(self, self._client, failed)
        return sink

    def _completed(self, options: Mapping[str, Any]) -> dict[str, Any]:
        body = {"session_id": self.session_id, **options}
        for name, values in self._defaults.items():
            own = options.get(name)
            if values and (own is None or isinstance(own, Mapping)):
                body[name] = values if own is None else {**values, **as_dict(own)}
        return body

    def update_defaults(
        self,
        metadata: Mapping[str, Any] | None = None,
        user_metadata: UserMetadata | Mapping[str, Any] | None = None,
    ) -> None:
        """Add to the defaults of later logs; a value replaces an earlier one of the same name."""
        for name, given in {"metadata": metadata, "user_metadata": user_metadata}.items():
            if given is None:
                continue
            with Contained(self._sink(), f"a session's {name} could not be read"):
                added = as_dict(given)
                with ReleasingOnError((self._lock,)), self._lock:
                    self._defaults = {**self._defaults, name: {**self._defaults[name], **added}}

    def get_session_info(self) -> SessionInfo:
        """`{"session_id", "metadata", "user_metadata"}`."""
        metadata, user_metadata = map(dict, self._defaults.values())
        return {"session_id": self.session_id, "metadata": metadata, "user_metadata": user_metadata}

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Do nothing: records of a session are delivered like any other."""

    def __reduce__(self) -> tuple[type[Session], tuple[Any, ...]]:
        """With its client's settings, see `copies`."""
        reported = self.get_session_info()
        return type(self), (self._client, self.session_id, reported["metadata"], reported["user_metadata"])

    def __repr__(self) -> str:
        return f"<Session {self.session_id}>"
