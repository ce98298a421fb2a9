"""LiteLLM: each call, in the SDK, its router or its proxy, as a record, with the cost that LiteLLM computes.

litellm.callbacks = [BanyanLogger(logger)]
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import cache
from hashlib import sha256
from typing import Any

from litellm.integrations.custom_logger import CustomLogger
from litellm.litellm_core_utils.logging_worker import GLOBAL_LOGGING_WORKER

from ..clients.huggingplace import HuggingPlace
from ..clients.prompt_logger import PromptStackLogger
from ..engine.process.exit import before_exit
from ..errors import ConfigurationError
from ..foreign import number, shown, type_name
from ..logs import warn
from ..tracking.reading.fields import error_text, field, first_of, path, text, without_none
from ..tracking.reading.parameters import parameters_in
from ..tracking.reading.responses import NOTHING, Reading, question_text, read_response
from ..tracking.scopes import metadata_here

__all__ = ["BanyanLogger"]

Client = PromptStackLogger | HuggingPlace
_EMPTY = "[empty]"
_MOST_SEEN = 10_000
_ASYNC = (
    *("acompletion", "aembedding", "aresponses", "atext_completion"),
    *("aimage_", "aspeech", "atranscription"),
)
_PROMPT = ("prompt_name", "prompt_id", "version", "branch_name")
_USERS = ("user_id", "trace_user_id")
_KEYS_USERS = ("user_api_key_end_user_id", "user_api_key_user_id")
_NOBODY = "default_user_id"  # as the proxy calls whoever has the master key
_OF_KEYS = {"key_alias": "user_api_key_alias", "team_alias": "user_api_key_team_alias"}


class BanyanLogger(CustomLogger):  # type: ignore[misc, unused-ignore]
    """Makes a record of each call, when LiteLLM reports its end: of sync and async ones, whole and streamed.

    A call that the router repeats, or makes of another model instead, is a record for each attempt;
    `litellm_trace_id` joins them. User and session come from the call's `metadata` (`user_id`, `session_id`),
    else from LiteLLM's own (`user`, `litellm_session_id`, the proxy's key); a prompt from its `prompt_name`,
    `prompt_id`, `version` and `branch_name`; `context()` holds as it is where the call is made.

    Args:
        logger: takes the records; it stays open.
        metadata: names of other entries of the calls' `metadata` that go on the records. Not all do: LiteLLM
            keeps keys and headers there.
        turn_off_message_logging: LiteLLM's own: questions and answers stay out.

    Raises:
        ConfigurationError: the logger is not one, or a name is no text.
    """

    def __init__(
        self, logger: Client, *, metadata: Sequence[str] = (), turn_off_message_logging: bool = False
    ) -> None:
        # 1.110 looks only at the older one for what the hooks get.
        super().__init__(
            turn_off_message_logging=turn_off_message_logging, message_logging=not turn_off_message_logging
        )
        if not isinstance(logger, Client):
            raise ConfigurationError(
                f"logger must be a PromptStackLogger or a HuggingPlace, was {shown(logger)}"
            )
        if isinstance(metadata, str) or not all(isinstance(name, str) for name in metadata):
            raise ConfigurationError(f"metadata must be a list of names, was {shown(metadata)}")
        self._logger = logger
        self._names = tuple(metadata)
        # Bounded, and without a lock: single operations on a dict are atomic under the GIL.
        self._seen: dict[str, object] = {}  # ids of records
        self._around: dict[str, Mapping[str, Any]] = {}  # by LiteLLM's ids: `context` where the call was made
        _have_reports_first()

    def log_pre_api_call(self, model: Any, messages: Any, kwargs: Any) -> None:  # noqa: ARG002 - LiteLLM's
        """LiteLLM's hook: a call begins, where `context()` of the application still holds."""
        try:
            around, ident = metadata_here(), text(field(kwargs, "litellm_call_id"))
            if around and ident:
                self._around[ident] = around
                _bound(self._around)
        except Exception as error:  # noqa: BLE001 - as in `_log`
            warn("a call of LiteLLM", "the context of a call could not be read (%s)", type_name(error))

    def log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """LiteLLM's hook: a call has succeeded, or a stream has come to its end."""
        self._log(kwargs, response_obj, start_time, end_time, failed=False)

    def log_failure_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """LiteLLM's hook: a call, or an attempt at one, has failed."""
        self._log(kwargs, response_obj, start_time, end_time, failed=True)

    async def async_log_success_event(
        self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any
    ) -> None:
        """As `log_success_event`, of async calls."""
        self._log(kwargs, response_obj, start_time, end_time, failed=False)

    async def async_log_failure_event(
        self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any
    ) -> None:
        """As `log_failure_event`, of async calls."""
        self._log(kwargs, response_obj, start_time, end_time, failed=True)

    def _log(self, call: Any, response: Any, start: Any, end: Any, *, failed: bool) -> None:
        try:
            ident = _record_id(call, start, failed=failed)
            if not self._is_first(ident):
                return
            answer = NOTHING if failed else read_response(response)
            metadata = self._metadata(call, answer, start, failed=failed)
            log = self._log_prompt if isinstance(self._logger, PromptStackLogger) else self._log_interaction
            log(call, answer, metadata, _seconds(start, end), ident)
        except Exception as error:  # noqa: BLE001 - logging must not break a call, nor the proxy
            warn("a call of LiteLLM", "a call of LiteLLM could not be logged (%s)", type_name(error))

    def _is_first(self, ident: str) -> bool:
        """LiteLLM may report a call by its sync hook and by its async one."""
        mark = object()
        if self._seen.setdefault(ident, mark) is not mark:
            return False
        _bound(self._seen)
        return True

    def _metadata(self, call: Any, answer: Reading, start: Any, *, failed: bool) -> dict[str, Any]:
        given, told = _given(call), field(call, "standard_logging_object")
        own = {name: found for name in self._names if (found := _first(given, (name,))) is not None}
        error = field(call, "exception")
        usage = answer.usage
        found = {
            "api": _api(call),
            "operation": "embeddings" if _api(call).endswith("embedding") else None,
            "provider": text(field(call, "custom_llm_provider")),
            "user_id": _user(call, given, told),
            "session_id": _session(call, given, told),
            "tags": _tags(told),
            "input_tokens": usage.input_tokens,
            "output_tokens": usage.output_tokens,
            "cached_tokens": usage.cached_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
            "reasoning_tokens": usage.reasoning_tokens,
            "token_count": usage.total,
            "cost": None if failed else number(field(call, "response_cost")),
            "finish_reason": answer.finish_reason,
            "time_to_first_chunk_ms": _first_chunk(call, start),
            "cache_hit": True if field(call, "cache_hit") is True else None,
            "model_group": field(told, "model_group") or None,
            "litellm_call_id": text(field(call, "litellm_call_id")),
            "litellm_trace_id": text(field(told, "trace_id")),
            **{name: path(told, "metadata", key) for name, key in _OF_KEYS.items()},
            "error_type": type_name(error) if failed and error is not None else None,
            "error": (_failure(error, told) or "failed") if failed else None,
            **parameters_in(field(call, "optional_params") or {}),
        }
        around = self._around.get(text(field(call, "litellm_call_id")) or "", {})
        return {**around, **own, **without_none(found)}

    def _log_prompt(
        self, call: Any, answer: Reading, metadata: dict[str, Any], seconds: float | None, ident: str
    ) -> None:
        if isinstance(self._logger, PromptStackLogger):
            given = _given(call)
            prompt = {name: text(_first(given, (name,))) for name in _PROMPT}
            self._logger.log_prompt(
                _asked(call),
                answer.text or "",
                **without_none(prompt),
                model=_model(call, answer),
                metadata=metadata,
                duration_ms=None if seconds is None else seconds * 1000,
                record_id=ident,
            )

    def _log_interaction(
        self, call: Any, answer: Reading, metadata: dict[str, Any], seconds: float | None, ident: str
    ) -> None:
        if isinstance(self._logger, HuggingPlace):
            error = metadata.get("error")
            record: Any = {
                "user_prompt": question_text(_asked(call)) or _EMPTY,
                "response": answer.text or (f"Error: {error}" if error else _EMPTY),
                "llm_model": _model(call, answer),
                "user_id": metadata.get("user_id"),
                "session_id": metadata.get("session_id"),
                "token_count": metadata.get("token_count"),
                "response_time": seconds,
                "metadata": metadata,
                "record_id": ident,
            }
            self._logger.log(without_none(record))  # type: ignore[arg-type]


# -- the exit ------------------------------------------------------------------------------------------------


@cache
def _have_reports_first() -> None:
    """LiteLLM reports what waits at its own `atexit`, which comes after ours: too late to be sent."""
    before_exit(_report_what_waits)


def _report_what_waits() -> None:
    with suppress(RuntimeError):
        asyncio.get_running_loop()
        return  # a signal ends the process in the middle of a loop, which can't be entered again
    try:
        asyncio.run(GLOBAL_LOGGING_WORKER.clear_queue())
    except Exception as error:  # noqa: BLE001 - others' callbacks, at the exit
        warn("a call of LiteLLM", "what LiteLLM had to report was not read (%s)", type_name(error))


# -- what LiteLLM says of a call -----------------------------------------------------------------------------


def _bound(entries: dict[str, Any]) -> None:
    """Forget the oldest ones of too many."""
    if len(entries) > _MOST_SEEN:
        for oldest in list(entries)[: len(entries) - _MOST_SEEN]:
            entries.pop(oldest, None)


def _record_id(call: Any, start: Any, *, failed: bool) -> str:
    """The same for both hooks. LiteLLM's own id is not enough: fallbacks of a call share it."""
    parts = (field(call, "litellm_call_id"), start, failed)
    return f"litellm-{sha256(repr(parts).encode('utf-8', 'replace')).hexdigest()[:32]}"


def _given(call: Any) -> tuple[Any, ...]:
    """Where the metadata of the call is that the application gave: to the proxy, or to the SDK."""
    told = path(call, "standard_logging_object", "metadata", "requester_metadata")
    params = field(call, "litellm_params")
    return tuple(
        each for each in (told, field(params, "metadata"), field(params, "litellm_metadata")) if each
    )


def _first(sources: tuple[Any, ...], names: Sequence[str]) -> Any:
    return next((found for each in sources if (found := first_of(each, *names)) is not None), None)


def _user(call: Any, given: tuple[Any, ...], told: Any) -> Any:
    asked = field(told, "end_user") or path(call, "optional_params", "user") or field(call, "user")
    user = _first(given, _USERS) or asked or first_of(field(told, "metadata"), *_KEYS_USERS)
    return None if user == _NOBODY else user


def _tags(told: Any) -> list[Any] | None:
    """Those of the call: the proxy adds the client's user agent."""
    tags = field(told, "request_tags")
    return [each for each in tags if not str(each).startswith("User-Agent: ")] or None if tags else None


def _session(call: Any, given: tuple[Any, ...], told: Any) -> Any:
    own = path(call, "litellm_params", "litellm_session_id")
    return _first(given, ("session_id",)) or own or field(told, "session_id") or None


def _api(call: Any) -> str:
    """As one name for sync and async: `litellm.completion`."""
    kind = text(field(call, "call_type")) or "completion"
    return f"litellm.{kind[1:] if kind.startswith(_ASYNC) else kind}"


def _asked(call: Any) -> Any:
    """The messages; of calls that have none, what they were given instead."""
    embeds = _api(call).endswith("embedding")
    return (field(call, "input") if embeds else None) or first_of(call, "messages", "input", "prompt") or ""


def _model(call: Any, answer: Reading) -> str | None:
    """As the response says; the proxy puts its own name for the model there, which is `model_group`."""
    own = answer.model == path(call, "standard_logging_object", "model_group")
    return text(field(call, "model")) or answer.model if own else answer.model or text(field(call, "model"))


def _failure(error: Any, told: Any) -> str | None:
    return error_text(error) if isinstance(error, BaseException) else text(field(told, "error_str"))


def _seconds(start: Any, end: Any) -> float | None:
    if isinstance(start, datetime) and isinstance(end, datetime):
        return max(0.0, (end - start).total_seconds())
    return None


def _first_chunk(call: Mapping[str, Any], start: Any) -> float | None:
    """How long the first chunk of a stream took, in milliseconds."""
    seconds = _seconds(start, field(call, "completion_start_time")) if field(call, "stream") is True else None
    return None if seconds is None else round(seconds * 1000, 3)
