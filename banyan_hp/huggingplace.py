"""The HuggingPlace client: `HuggingPlace` and `Session`."""

from __future__ import annotations

import asyncio
import math
import threading
import uuid
from collections.abc import Mapping
from types import TracebackType
from typing import Any, TypeVar

from .client import Client
from .destinations.huggingplace import (
    DEFAULT_BASE_URL,
    MODES,
    HuggingPlaceDestination,
    problem_with_log,
    problem_with_step,
    step_body,
)
from .engine.deferred import Deferred
from .engine.engine import Engine, http_transport
from .engine.records import encode
from .engine.transport import NoAnswer
from .errors import MissingKeyError, ValidationError
from .receipts import Receipt, Waits
from .settings import Settings, checked_url, first_text, header_text
from .tracking.context import options_with_ambient
from .tracking.methods import HuggingPlaceTracking
from .tracking.sinks import HuggingPlaceSink

Self = TypeVar("Self", bound="HuggingPlace")

_OWN = ("api_key", "org_id", "mode", "base_url", "timeout")


class HuggingPlace(HuggingPlaceTracking, Client):
    """Logs LLM interactions, in the background or awaited. Thread-safe; usable in `with` and `async with`.

    Args:
        api_key: default: the environment variable HUGGINGPLACE_API_KEY. Or one dict of all arguments.
        org_id: default: HUGGINGPLACE_ORG_ID.
        mode: "prod" or "dev"; default: HUGGINGPLACE_MODE, else "prod".
        base_url: default: HUGGINGPLACE_BASE_URL, else the hosted production instance.
        timeout: milliseconds for a request; default 10,000.
        options: the engine's settings, as in the README's table (but for `timeout`).

    Raises:
        MissingKeyError: no API key anywhere; an AuthenticationError and a ValidationError.
        ValidationError: no organisation, a mode or timeout that is not allowed.
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
        config = dict(api_key) if isinstance(api_key, Mapping) else {"api_key": api_key}
        given = {"org_id": org_id, "mode": mode, "base_url": base_url, "timeout": timeout, **options}
        config.update((name, value) for name, value in given.items() if value is not None)
        self._options = {name: value for name, value in config.items() if name not in _OWN}
        self._config = _resolved(config, needed=Settings.from_options(self._options).enabled)
        self._engine = Engine(self._destination(), self._settings())
        self._waits = Waits(self._engine)

    def _settings(self) -> Settings:
        return Settings.from_options({**self._options, "timeout": self._config["timeout"] / 1000})

    def _destination(self) -> HuggingPlaceDestination:
        config = self._config
        return HuggingPlaceDestination(config["base_url"], config["api_key"], config["org_id"])

    # -- logging ----------------------------------------------------------------------------------------

    def log(self, options: Mapping[str, Any]) -> Receipt:
        """Log an interaction: enqueued at once; what happens to the returned receipt is up to you.

        Args:
            options: `user_prompt` and `response` are required and not empty; `token_count` and
                `response_time` (seconds), if given, numbers of 0 or more. Everything else passes as it is.
                The dict is not changed, and what you do with it afterwards changes nothing.

        Returns:
            A `Receipt`. `await` it, or call `.result(timeout=…)`, to wait until the record is delivered;
            they raise AuthenticationError, ValidationError, NetworkError, RateLimitError or ServerError.
            Or leave it: the record is delivered in the background.
        """
        return self._submit(problem_with_log(options), options)

    def log_step(self, step: Mapping[str, Any]) -> Receipt:
        """Log one processing step by itself.

        Args:
            step: `type`, `user_question`, `prompt_response` are required and not empty, `token` and
                `response_time` (seconds) numbers of 0 or more. Everything else passes as it is.
        """
        problem = problem_with_step(step)
        return self._submit(problem, step_body(step) if problem is None else {})

    def _submit(self, problem: str | None, options: Mapping[str, Any]) -> Receipt:
        if not self._engine.settings.enabled:
            return Receipt(self._waits)
        problem = problem or self._too_long(options)
        if problem is not None:
            self._engine.reject()
            return Receipt(self._waits, error=ValidationError(problem))
        body = {
            **options_with_ambient(options),
            "org_id": self._config["org_id"],
            "mode": self._config["mode"],
        }
        deferred = body.get("response")
        if isinstance(deferred, Deferred):  # of our own tracking
            body["response"] = ""
            record = self._engine.submit(body, deferred=deferred)
        else:
            record = self._engine.submit(body)
        if record is None:
            error = ValidationError("shutdown() was called: no more records are accepted")
            return Receipt(self._waits, error=error)
        return Receipt(self._waits, record)

    def _sink(self) -> HuggingPlaceSink[Receipt]:
        return HuggingPlaceSink(self, self, self._tracking_failed)

    def _too_long(self, options: Mapping[str, Any]) -> str | None:
        limit = self._engine.settings.max_record_bytes
        for name, value in list(options.items()):  # in one step: another thread may be changing it
            if isinstance(value, str) and len(value) > limit:
                return f"{name} has {len(value)} characters, max_record_bytes allows {limit} bytes in all"
        return None

    def start_session(
        self,
        session_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        user_metadata: Mapping[str, Any] | None = None,
    ) -> Session:
        """A session whose logs carry its id and defaults. Without an id it gets a random one."""
        return Session(self, session_id, metadata, user_metadata)

    # -- operation --------------------------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        """The configuration, without the key."""
        return {name: value for name, value in self._config.items() if name != "api_key"}

    def update_config(self, **changes: Any) -> None:
        """Change `api_key`, `org_id`, `mode`, `base_url` or `timeout`.

        A new key, URL or timeout takes effect for what waits, too; organisation and mode for what is
        logged from now on.

        Raises:
            ValidationError: as at construction, or a name that is not one of these.
        """
        unknown = sorted(set(changes) - set(_OWN))
        if unknown:
            raise ValidationError(
                f"update_config() can't change {unknown[0]!r}; allowed are {', '.join(_OWN)}"
            )
        self._config = _resolved({**self._config, **changes}, needed=True)
        self._engine.turn_to(self._destination(), self._settings())

    async def test_connection(self) -> bool:
        """Whether the backend is there and takes the key.

        A backend that takes batches is sent an empty one. Others, the hosted one among them, have no call
        that writes nothing: there one minimal record is logged, marked as a connection test.
        """
        return await asyncio.to_thread(self._test_connection)

    def _test_connection(self) -> bool:
        destination, settings = self._destination(), self._settings()
        transport = http_transport(destination, settings)
        try:
            if destination.may_batch:
                answer = transport.send(destination.batch((), compress=False), settings.timeout)
                if not isinstance(answer, NoAnswer) and destination.takes_batches(answer)[0]:
                    return True
            test = {"user_prompt": "connection test", "response": "connection test"}
            body = {**test, "org_id": self._config["org_id"], "mode": self._config["mode"]}
            answer = transport.send(destination.post(encode(body)), settings.timeout)
            return not isinstance(answer, NoAnswer) and 200 <= answer.status < 300
        finally:
            transport.close()

    async def __aenter__(self: Self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.ashutdown()

    def __repr__(self) -> str:
        state = self._engine.stats()["state"] if self._engine.settings.enabled else "disabled"
        return f"<HuggingPlace {self._config['base_url']} {state}>"


class Session(HuggingPlaceTracking):
    """Logs that belong together. Thread-safe; usable in `with`, which ends nothing but reads well."""

    def __init__(
        self,
        client: HuggingPlace,
        session_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        user_metadata: Mapping[str, Any] | None = None,
    ) -> None:
        self.session_id = str(session_id) if session_id is not None else str(uuid.uuid4())
        self._client = client
        self._lock = threading.Lock()
        self._defaults = {"metadata": dict(metadata or {}), "user_metadata": dict(user_metadata or {})}

    def log(self, options: Mapping[str, Any]) -> Receipt:
        """`HuggingPlace.log` with the session's id and defaults; the call's own values win."""
        problem = problem_with_log(options)
        return self._client._submit(problem, self._completed(options) if problem is None else {})

    def log_step(self, step: Mapping[str, Any]) -> Receipt:
        """`HuggingPlace.log_step` with the session's id and defaults."""
        problem = problem_with_step(step)
        return self._client._submit(problem, self._completed(step_body(step)) if problem is None else {})

    def _sink(self) -> HuggingPlaceSink[Receipt]:
        return HuggingPlaceSink(self, self._client, self._client._tracking_failed)

    def _completed(self, options: Mapping[str, Any]) -> dict[str, Any]:
        body = {"session_id": self.session_id, **options}
        with self._lock:
            defaults = self._defaults
        for name, values in defaults.items():
            own = options.get(name)
            if values and (own is None or isinstance(own, Mapping)):
                body[name] = {**values, **(own or {})}
        return body

    def update_defaults(
        self, metadata: Mapping[str, Any] | None = None, user_metadata: Mapping[str, Any] | None = None
    ) -> None:
        """Add to the defaults, for logs from now on; given values replace those of the same name."""
        with self._lock:
            self._defaults = {
                "metadata": {**self._defaults["metadata"], **(metadata or {})},
                "user_metadata": {**self._defaults["user_metadata"], **(user_metadata or {})},
            }

    def get_session_info(self) -> dict[str, Any]:
        """`{"session_id", "metadata", "user_metadata"}`."""
        with self._lock:
            defaults = self._defaults
        return {"session_id": self.session_id, **{name: dict(values) for name, values in defaults.items()}}

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing ends with a session: its records are delivered like all others."""

    def __repr__(self) -> str:
        return f"<Session {self.session_id}>"


def _resolved(config: Mapping[str, Any], *, needed: bool) -> dict[str, Any]:
    """Arguments and environment together, checked; `needed` is False where logging is switched off."""
    key = first_text("api_key", config.get("api_key"), "HUGGINGPLACE_API_KEY")
    org = first_text("org_id", config.get("org_id"), "HUGGINGPLACE_ORG_ID")
    mode = first_text("mode", config.get("mode"), "HUGGINGPLACE_MODE") or "prod"
    url = first_text("base_url", config.get("base_url"), "HUGGINGPLACE_BASE_URL") or DEFAULT_BASE_URL
    timeout = config.get("timeout")
    timeout = 10_000 if timeout is None else timeout
    if key is None and needed:
        raise MissingKeyError(
            "no API key: pass api_key=…, or set the environment variable HUGGINGPLACE_API_KEY "
            "(or switch logging off with enabled=False)"
        )
    if org is None and needed:
        raise ValidationError(
            "no organisation: pass org_id=…, or set the environment variable HUGGINGPLACE_ORG_ID"
        )
    if mode not in MODES:
        raise ValidationError(f"mode must be 'prod' or 'dev', was {mode!r}")
    if not _positive(timeout):
        raise ValidationError(f"timeout must be a number of milliseconds above 0, was {timeout!r}")
    return {
        "api_key": header_text("api_key", key or ""),
        "org_id": org or "",
        "mode": mode,
        "base_url": checked_url("base_url", url),
        "timeout": timeout,
    }


def _positive(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < math.inf
