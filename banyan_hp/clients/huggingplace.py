"""The HuggingPlace client: `HuggingPlace` and `Session`."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from types import TracebackType
from typing import Any, NamedTuple, Self

from ..copies import OneObject, pickled
from ..destinations.huggingplace import HuggingPlaceDestination, step_body
from ..engine.delivery.loops import on_few_threads
from ..engine.engine import Engine, http_transport
from ..engine.http.transport import NoResponse, never_raising
from ..engine.records.encode import encode
from ..engine.records.record import Deferred
from ..engine.succession import Succession
from ..engine.sync import Lock, ReleasingOnError
from ..errors import ValidationError
from ..foreign import as_dict, checking
from ..settings import Settings
from ..tracking.client_sinks import HuggingPlaceSink
from ..tracking.context import options_with_ambient
from ..tracking.methods import HuggingPlaceTracking
from ..tracking.sink import Contained
from .arguments import LOG_NUMBERS, keep_numbers, problem_with_log, problem_with_step, resolved_config
from .base import Client, Lifeline
from .receipts import Receipt, Source

__all__ = ["HuggingPlace", "Session"]

_OWN = ("api_key", "org_id", "mode", "base_url", "timeout")
_IDENTITY = ("api_key", "org_id", "base_url")


class _Line(NamedTuple):
    """What a log call needs, read in one step: `update_config` may replace it at any time."""

    engine: Engine
    source: Source
    org_id: str
    mode: str


class HuggingPlace(HuggingPlaceTracking[Receipt], Client):
    """Logs LLM interactions, in the background or awaited. Thread-safe; a context manager.

    Args:
        api_key: default: the environment variable HUGGINGPLACE_API_KEY. Or a dict of all arguments.
        org_id: default: HUGGINGPLACE_ORG_ID.
        mode: "prod" or "dev"; default: HUGGINGPLACE_MODE, else "prod".
        base_url: default: HUGGINGPLACE_BASE_URL, else the hosted production instance.
        timeout: milliseconds for a request; default 10,000.
        options: the settings in the guide's table (`banyan-hp help settings`), except `timeout`.

    Raises:
        MissingKeyError: there is no API key; it is an AuthenticationError and a ValidationError.
        ValidationError: there is no organisation, or the mode or timeout is not allowed.
        ConfigurationError: another setting is wrong.
    """

    def __init__(
        self,
        api_key: str | Mapping[str, Any] | None = None,
        org_id: str | None = None,
        mode: str | None = None,
        base_url: str | None = None,
        timeout: float | None = None,
        **options: Any,
    ) -> None:
        given = {"org_id": org_id, "mode": mode, "base_url": base_url, "timeout": timeout, **options}
        with checking("the configuration", ValidationError):
            config = as_dict(api_key) if isinstance(api_key, Mapping) else {"api_key": api_key}
            config.update((name, value) for name, value in given.items() if value is not None)
            self._options = {name: value for name, value in config.items() if name not in _OWN}
        self._config = resolved_config(config, needed=Settings.from_options(self._options).enabled)
        settings = _settings(self._config, self._options)
        self._succession = Succession(_destination(self._config), settings)
        self._lifeline = Lifeline(self._succession)
        self._use(self._succession.current)

    def _use(self, engine: Engine) -> None:
        """Log to this engine from now on."""
        self._engine = engine
        source = Source(engine, self._lifeline)
        self._line = _Line(engine, source, self._config["org_id"], self._config["mode"])

    def _engines(self) -> Succession:
        return self._succession

    # -- logging ----------------------------------------------------------------------------------------

    def log(self, options: Mapping[str, Any]) -> Receipt:
        """Log an interaction. It is enqueued at once; awaiting the receipt is optional.

        Args:
            options: `user_prompt` and `response` are required and must not be empty. `token_count` and
                `response_time` (seconds, or a timedelta) are numbers, 0 or more; any other value goes into
                `metadata` under its name, is logged and counted (`values_set_aside`). All other fields are
                sent as they are. The dict is copied.

        Returns:
            A `Receipt`. Await it, or call `.result(timeout=…)`, to wait until the record is delivered; both
            raise AuthenticationError, ValidationError, NetworkError, RateLimitError or ServerError. Or
            ignore it: the record is delivered in the background.
        """
        try:
            own = _own(options)
            return self._submit(problem_with_log(own), own)
        except Exception as error:  # noqa: BLE001 - the caller's objects may raise anything
            return self._refused("log()", error)

    def log_step(self, step: Mapping[str, Any]) -> Receipt:
        """Log one processing step by itself.

        Args:
            step: `type`, `user_question` and `prompt_response` are required and must not be empty; `token`
                and `response_time` (seconds) are required numbers, 0 or more. All other fields are sent as
                they are.
        """
        try:
            own = _own(step)
            problem = problem_with_step(own)
            return self._submit(problem, step_body(own) if problem is None else {})
        except Exception as error:  # noqa: BLE001 - the caller's objects may raise anything
            return self._refused("log_step()", error)

    def _submit(self, problem: str | None, body: dict[str, Any]) -> Receipt:
        """Hand a record to the engine, unless its arguments are wrong. The dict is ours."""
        engine, source, org_id, mode = line = self._line
        if not engine.settings.enabled:
            return Receipt(source)
        if problem is not None:
            engine.reject()
            return Receipt(source, error=ValidationError(problem))
        self._note_set_aside(keep_numbers(body, LOG_NUMBERS))
        body = options_with_ambient(body)
        body["org_id"] = org_id
        body["mode"] = mode
        deferred = body.get("response")
        if type(deferred) is Deferred:  # of our own tracking
            body["response"] = ""
        else:
            deferred = None
        record = engine.submit(body, max_text=engine.settings.max_record_bytes, deferred=deferred)
        if record is not None:
            return Receipt(source, record)
        if line is not self._line:  # update_config() came in between, and this engine has ended
            return self._submit(None, body if deferred is None else {**body, "response": deferred})
        return Receipt(source, error=ValidationError("shutdown() was called: no more records are accepted"))

    def _refused(self, call: str, error: Exception) -> Receipt:
        return Receipt(self._line.source, error=ValidationError(self._not_logged(call, error)))

    def _sink(self) -> HuggingPlaceSink[Receipt]:
        return HuggingPlaceSink(self, self, self._tracking_failed)

    def start_session(
        self,
        session_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        user_metadata: Mapping[str, Any] | None = None,
    ) -> Session:
        """Start a session. Its logs carry its id and defaults; the default id is random."""
        return Session(self, session_id, metadata, user_metadata)

    # -- operation --------------------------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        """The configuration, without the key."""
        return {name: value for name, value in self._config.items() if name != "api_key"}

    def update_config(self, **changes: Any) -> None:
        """Change `api_key`, `org_id`, `mode`, `base_url`, `timeout` or `previous_keys` for later records.

        Records accepted earlier are sent with the key, URL and organisation with which they were logged. They
        are sent under the new key only if the old one is named here: `update_config(api_key=new,
        previous_keys=[old])`. A change of key, URL or organisation without `previous_keys` forgets the
        previous keys named earlier. A new timeout also applies to waiting records.

        Raises:
            ValidationError: as at construction, or the name of an argument is not one of these.
            ConfigurationError: `previous_keys` is not a list of keys.
        """
        allowed = (*_OWN, "previous_keys")
        unknown = sorted(set(changes) - set(allowed))
        if unknown:
            raise ValidationError(
                f"update_config() can't change {unknown[0]!r}; allowed are {', '.join(allowed)}"
            )
        changing = self._succession.changing
        with ReleasingOnError((changing,)), changing:
            self._change(changes)

    def _change(self, changes: dict[str, Any]) -> None:
        options = dict(self._options)
        named = [changes.pop("previous_keys")] if "previous_keys" in changes else []
        config = resolved_config({**self._config, **changes}, needed=True)
        if named or any(config[name] != self._config[name] for name in _IDENTITY):
            options["previous_keys"] = named[0] if named else ()
        settings = _settings(config, options)

        def publish(engine: Engine) -> None:
            self._config, self._options = config, options
            self._use(engine)

        self._succession.change(_destination(config), settings, publish)

    async def test_connection(self) -> bool:
        """Whether the backend responds and accepts the key.

        A backend that takes batches gets an empty one. Others, like the hosted one, have no call that writes
        nothing: they get one minimal record, marked as a connection test.
        """
        return await on_few_threads(self._test_connection)

    def _test_connection(self) -> bool:
        config = self._config
        destination, settings = _destination(config), _settings(config, self._options)
        transport = never_raising(http_transport)(destination, settings)
        try:
            if destination.may_batch:
                response = transport.send(destination.batch((), compress=False), settings.timeout)
                if not isinstance(response, NoResponse) and destination.takes_batches(response)[0]:
                    return True
            test = {"user_prompt": "connection test", "response": "connection test"}
            body = {**test, "org_id": config["org_id"], "mode": config["mode"]}
            response = transport.send(destination.post(encode(body)), settings.timeout)
            return not isinstance(response, NoResponse) and 200 <= response.status < 300
        finally:
            transport.close()

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


class Session(HuggingPlaceTracking[Receipt], OneObject):
    """Logs that belong together. Thread-safe. `with` marks the block; leaving it does nothing."""

    def __init__(
        self,
        client: HuggingPlace,
        session_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        user_metadata: Mapping[str, Any] | None = None,
    ) -> None:
        self.session_id = str(uuid.uuid4())
        self._client = client
        self._lock = Lock()  # guards the replacement of _defaults
        self._defaults: dict[str, dict[Any, Any]] = {"metadata": {}, "user_metadata": {}}
        with Contained(self._sink(), "a session's id could not be read"):
            self.session_id = str.__str__(str(session_id)) if session_id is not None else self.session_id
        self.update_defaults(metadata, user_metadata)

    def log(self, options: Mapping[str, Any]) -> Receipt:
        """`HuggingPlace.log` with the session's id and defaults; the call's own values win."""
        try:
            own = _own(options)
            problem = problem_with_log(own)
            return self._client._submit(problem, self._completed(own) if problem is None else {})
        except Exception as error:  # noqa: BLE001 - the caller's objects may raise anything
            return self._client._refused("log()", error)

    def log_step(self, step: Mapping[str, Any]) -> Receipt:
        """`HuggingPlace.log_step` with the session's id and defaults."""
        try:
            own = _own(step)
            problem = problem_with_step(own)
            return self._client._submit(problem, self._completed(step_body(own)) if problem is None else {})
        except Exception as error:  # noqa: BLE001 - the caller's objects may raise anything
            return self._client._refused("log_step()", error)

    def _sink(self) -> HuggingPlaceSink[Receipt]:
        return HuggingPlaceSink(self, self._client, self._client._tracking_failed)

    def _completed(self, options: Mapping[str, Any]) -> dict[str, Any]:
        body = {"session_id": self.session_id, **options}
        for name, values in self._defaults.items():
            own = options.get(name)
            if values and (own is None or isinstance(own, Mapping)):
                body[name] = values if own is None else {**values, **as_dict(own)}
        return body

    def update_defaults(
        self, metadata: Mapping[str, Any] | None = None, user_metadata: Mapping[str, Any] | None = None
    ) -> None:
        """Add to the defaults of later logs; a value replaces an earlier one of the same name."""
        for name, given in {"metadata": metadata, "user_metadata": user_metadata}.items():
            if given is None:
                continue
            with Contained(self._sink(), f"a session's {name} could not be read"):
                added = as_dict(given)
                with ReleasingOnError((self._lock,)), self._lock:
                    self._defaults = {**self._defaults, name: {**self._defaults[name], **added}}

    def get_session_info(self) -> dict[str, Any]:
        """`{"session_id", "metadata", "user_metadata"}`."""
        defaults = {name: dict(values) for name, values in self._defaults.items()}
        return {"session_id": self.session_id, **defaults}

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


def _settings(config: Mapping[str, Any], options: Mapping[str, Any]) -> Settings:
    return Settings.from_options({**options, "timeout": config["timeout"] / 1000})


def _destination(config: Mapping[str, Any]) -> HuggingPlaceDestination:
    return HuggingPlaceDestination(config["base_url"], config["api_key"], config["org_id"])


def _own(options: Any) -> Any:
    """A copy of a dict, made in one step: another thread may be changing it. Anything else as it is."""
    return as_dict(options) if isinstance(options, Mapping) else options
