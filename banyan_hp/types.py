"""The shapes of settings, of what is logged and of stats, for type checkers and editors.

Nothing here is needed at run time, and the library imports it only for type checkers. Import a name under
`TYPE_CHECKING`, or at run time, to say what a dict is that is made piece by piece:

    log = cast(Log, {"user_prompt": question, "response": answer, **fields})

A key that is not listed here is one that no published client has: your own data belongs in `metadata`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Literal, Required, TypedDict
from uuid import UUID

from .settings import BeforeSend, ClientCert, OnDrop, OnError, Sampler

__all__ = [
    "AdoptedLogs",
    "ConfigChanges",
    "ConfigureSettings",
    "Health",
    "HuggingPlaceConfig",
    "HuggingPlaceSettings",
    "Log",
    "LogOptions",
    "LogStep",
    "LoggerSettings",
    "LoggerStats",
    "SessionInfo",
    "SessionOptions",
    "Stats",
    "StepData",
    "UserMetadata",
]

# -- settings ------------------------------------------------------------------------------------------------


class _Delivery(TypedDict, total=False):
    """What both clients take by keyword only. See `banyan_hp.settings.Settings`."""

    batch_size: int
    max_batch_bytes: int
    queue_bytes: int
    overflow: Literal["spill", "drop_oldest", "drop_newest"]
    max_connections: int
    connection_max_age: float
    ca_bundle: str | os.PathLike[str] | None
    client_cert: ClientCert | None
    batching: Literal["auto", "always", "never"]
    compression: Literal["auto", "always", "never"]
    spool: bool
    spool_dir: str | os.PathLike[str] | None
    spool_max_bytes: int
    spool_max_age: float
    durability: Literal["memory", "disk"]
    fsync: Literal["never", "interval", "always"]
    max_record_bytes: int
    send_scores: bool | None
    sample_rate: float
    sampler: Sampler | None
    exit_timeout: float
    on_sigterm: Literal["auto", "off"]
    before_send: BeforeSend | None
    on_error: OnError | None
    on_drop: OnDrop | None
    enabled: bool
    debug: bool
    previous_keys: Sequence[str]
    export_to: Literal["backend", "otlp"]
    otlp_endpoint: str | None
    otlp_headers: Mapping[str, str] | str | None
    otlp_protocol: Literal["http/json", "http/protobuf"] | None
    otlp_compression: Literal["gzip", "none"] | None
    otlp_timeout: float | None
    otlp_content: bool


class _Queueing(TypedDict, total=False):
    """The settings of the published Banyan client."""

    max_retries: int
    retry_delay: float
    queue_size: int
    flush_interval: float
    background_thread: bool


class LoggerSettings(_Delivery, total=False):
    """What `PromptStackLogger` takes besides its named arguments."""

    timeout: float
    prompt_cache_ttl: float
    prompt_pinned_ttl: float
    prompt_timeout: float
    prompt_cache_size: int
    cache_ttl: float


class ConfigureSettings(LoggerSettings, _Queueing, total=False):
    """What `configure` takes besides `api_key`, `base_url` and `project_id`."""


class HuggingPlaceSettings(_Delivery, _Queueing, total=False):
    """What `HuggingPlace` takes besides its named arguments."""

    silent: bool


class _Identity(TypedDict, total=False):
    api_key: str | None
    org_id: str | None
    mode: Literal["prod", "dev"] | None
    base_url: str | None
    timeout: float | None


class HuggingPlaceConfig(HuggingPlaceSettings, _Identity, total=False):
    """All arguments of `HuggingPlace`, as one dict."""


class ConfigChanges(_Identity, total=False):
    """What `HuggingPlace.update_config` changes."""

    silent: bool
    previous_keys: Sequence[str]


# -- records of HuggingPlace ---------------------------------------------------------------------------------


class UserMetadata(TypedDict, total=False):
    """`user_metadata`, as it is published."""

    email: str | None
    username: str | None
    org_name: str | None


class _StepFields(TypedDict, total=False):
    id: int | str | None
    token: float | None
    response_time: float | timedelta | None
    input_tokens: int | None
    output_tokens: int | None
    llm_model: str | None
    metadata: Mapping[str, Any] | None


class StepData(_StepFields, total=False):
    """One entry of `step_data`."""

    type: str | None
    user_question: Any
    prompt_response: Any


class LogStep(_StepFields, total=False):
    """What `log_step` takes. `type`, `user_question` and `prompt_response` are required."""

    type: Required[str]
    user_question: Required[Any]
    prompt_response: Required[Any]
    record_id: str | UUID | None


class LogOptions(TypedDict, total=False):
    """The fields of an interaction that may be left out. None means that a field is not given."""

    user_id: str | int | UUID | None
    session_id: str | float | UUID | None
    file_name: str | None
    llm_model: str | None
    llm_model2: str | None
    token_count: float | None
    response_time: float | timedelta | None
    message_id: str | int | UUID | None
    metadata: Mapping[str, Any] | None
    user_metadata: UserMetadata | Mapping[str, Any] | None
    step_data: Sequence[StepData] | None
    user_roles: str | Sequence[str] | None
    org_uuid: str | UUID | None
    mapping_table: str | None
    record_id: str | UUID | None


class Log(LogOptions, total=False):
    """What `log` takes. `user_prompt` and `response` are required and must not be empty."""

    user_prompt: Required[str | Sequence[Any] | Mapping[str, Any]]
    response: Required[Any]


class SessionOptions(TypedDict, total=False):
    """What `start_session` takes as its second argument, in the published form."""

    metadata: Mapping[str, Any] | None
    user_metadata: UserMetadata | Mapping[str, Any] | None


class SessionInfo(TypedDict):
    """What `Session.get_session_info` returns."""

    session_id: str
    metadata: dict[str, Any]
    user_metadata: dict[str, Any]


# -- stats and health ----------------------------------------------------------------------------------------


class AdoptedLogs(TypedDict):
    """The ledger of records that earlier processes left on disk."""

    logs: int
    recovered: int
    pending: int
    quarantined: int
    dropped: int


class Stats(TypedDict):
    """What `get_stats` returns. The users' guide explains each key."""

    logs_queued: int
    logs_sent: int
    logs_dropped: int
    drops: dict[str, int]
    logs_spooled: int
    logs_quarantined: int
    logs_rejected: int
    logs_sampled_out: int
    logs_recovered: int
    logs_not_durable: int
    quarantine_evicted: int
    adopted: AdoptedLogs
    queue_size: int
    queue_bytes: int
    in_flight: int
    requests_sent: int
    bytes_sent: int
    attempts_failed: int
    retries_attempted: int
    values_cut: int
    values_set_aside: int
    scores_not_sent: int
    records_shortened: int
    records_unscrubbed: int
    spool_errors: int
    callback_errors: int
    tracking_errors: int
    contexts_unknown: int
    traceparents_ignored: int
    worker_restarts: int
    otlp_rejected: int
    worker_alive: bool
    state: str
    last_error: str | None
    last_success_age_s: float | None
    oldest_record_age_s: float | None


class LoggerStats(Stats):
    """What `get_stats` of the Banyan client returns."""

    prompts_fetched: int
    prompts_stale: int
    prompts_from_disk: int
    prompts_fallback: int
    prompt_errors: int
    cache_hits: int
    cache_misses: int
    fallback_errors: int
    experiment_key_missing: int
    experiments_unrouted: int
    experiments_ignored: int
    experiments: dict[str, dict[str, int]]


class Health(TypedDict):
    """What `health` returns."""

    status: Literal["ok", "degraded", "failing"]
    reasons: list[str]
    state: str
