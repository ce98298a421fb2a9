"""The settings of the delivery engine: names, defaults, environment variables, and what is allowed.

What belongs to one client only (its key, its URL, its project) is resolved by that client, with the
helpers below.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from types import FunctionType
from typing import Any, Literal
from urllib.parse import urlsplit

from .checks import (
    Check,
    before_send,
    boolean,
    callable_or_none,
    client_cert,
    directory,
    existing,
    headers,
    integer,
    keys,
    one_of,
    optional,
    optional_boolean,
    otlp_protocol,
    positive_seconds,
    seconds,
    secret,
    share,
    text,
    texts,
)
from .checks import header_text as header_text
from .errors import BanyanHPError, ConfigurationError, DeliveryError
from .foreign import checking, shown, type_name

MIB = 1024 * 1024
DAY = 24 * 60 * 60.0
CONTENT = ("on", "off", "hash")

Payload = dict[str, Any]
BeforeSend = Callable[[Payload], Payload | None]
OnError = Callable[[DeliveryError], object]
OnDrop = Callable[[str, int], object]
Sampler = Callable[[Mapping[str, Any]], float | None]
ClientCert = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


@dataclass(frozen=True, slots=True)
class Settings:
    """How records are queued, batched, sent, retried and kept. Sizes are bytes, times are seconds.

    Raises:
        ConfigurationError: a value is not allowed; the message names it and says what is.
    """

    max_retries: int = 3
    retry_delay: float = 1.0
    queue_size: int = 10_000
    flush_interval: float = 1.0
    background_thread: bool = True
    batch_size: int = 500
    max_batch_bytes: int = 4 * MIB
    queue_bytes: int = 64 * MIB
    overflow: Literal["spill", "drop_oldest", "drop_newest"] = "spill"
    timeout: float = 10.0
    max_connections: int = 8
    connection_max_age: float = 300.0
    ca_bundle: str | os.PathLike[str] | None = None
    client_cert: ClientCert | None = None
    batching: Literal["auto", "always", "never"] = "auto"
    compression: Literal["auto", "always", "never"] = "auto"
    spool: bool = True
    spool_dir: str | os.PathLike[str] | None = None
    spool_max_bytes: int = 512 * MIB
    spool_max_age: float = 7 * DAY
    durability: Literal["memory", "disk"] = "memory"
    fsync: Literal["never", "interval", "always"] = "never"
    max_record_bytes: int = MIB
    media: Literal["describe", "keep"] = "describe"
    content: Literal["on", "off", "hash"] = "on"
    content_hash_key: str | bytes | None = field(default=None, repr=False)
    send_scores: bool | None = None
    sample_rate: float = 1.0
    sampler: Sampler | None = None
    exit_timeout: float = 2.0
    on_sigterm: Literal["auto", "off"] = "auto"
    before_send: BeforeSend | None = None
    on_error: OnError | None = None
    on_drop: OnDrop | None = None
    enabled: bool = True
    debug: bool = False
    previous_keys: Sequence[str] = field(default=(), repr=False)
    export_to: Literal["backend", "otlp"] = "backend"
    otlp_endpoint: str | None = None
    otlp_headers: Mapping[str, str] | str | None = field(default=None, repr=False)
    otlp_protocol: Literal["http/json", "http/protobuf"] | None = None
    otlp_compression: Literal["gzip", "none"] | None = None
    otlp_timeout: float | None = None
    otlp_content: bool = True

    def __post_init__(self) -> None:
        for name in _CHECKS:
            self.check(name, getattr(self, name))
        object.__setattr__(self, "previous_keys", tuple(key.strip() for key in self.previous_keys))
        if self.max_record_bytes > self.queue_bytes:
            raise ConfigurationError(
                f"max_record_bytes must be at most queue_bytes ({self.queue_bytes}), "
                f"or such a record would never fit into the queue; was {self.max_record_bytes}"
            )
        if self.durability == "disk" and not self.spool:
            raise ConfigurationError("durability='disk' needs spool=True: it keeps each record in the spool")
        if self.content == "hash" and self.content_hash_key is None:
            raise ConfigurationError(
                "content='hash' needs content_hash_key, or BANYAN_HP_CONTENT_HASH_KEY in the environment: "
                "a secret of at least 16 bytes"
            )

    @property
    def hash_key(self) -> bytes | None:
        """`content_hash_key` as bytes."""
        key = self.content_hash_key
        return key.encode("utf-8", "replace") if isinstance(key, str) else key

    @staticmethod
    def check(name: str, value: object) -> None:
        """Check one setting by itself.

        Raises:
            ConfigurationError: the value is not allowed.
        """
        with checking(name):
            _CHECKS[name](name, value)

    @property
    def patience(self) -> float:
        """The most seconds that a caller waits for one record: the time of all its attempts."""
        return self.timeout * (self.max_retries + 1)

    def same_but_for_callbacks(self, other: Settings) -> bool:
        """Whether others mean the same: a notebook cell or script that runs again makes new callbacks."""
        callbacks = {name: getattr(other, name) for name in _CALLBACKS}
        same = all(_same_function(getattr(self, name), each) for name, each in callbacks.items())
        return same and replace(self, **callbacks) == other

    def chosen(self) -> dict[str, Any]:
        """The options that differ from their defaults: with them the same settings can be made elsewhere."""
        return _chosen(self)

    @classmethod
    def names(cls) -> tuple[str, ...]:
        return tuple(each.name for each in fields(cls))

    @classmethod
    def from_options(cls, options: Mapping[str, Any], besides: Sequence[str] = ()) -> Settings:
        """Settings from keyword options; the environment fills in what they leave out. None is not given.

        `besides` are the names that the client takes itself, for the message about an unknown one.
        """
        for name in options:
            if name not in cls.__dataclass_fields__:
                raise ConfigurationError(unknown_setting("setting", name, (*cls.names(), *besides)))
        filled = {name: value for name, value in options.items() if value is not None}
        with checking("spool_dir"):
            if not str(filled.get("spool_dir") or "").strip():
                filled["spool_dir"] = env("BANYAN_HP_SPOOL_DIR")
        if (hash_key := env("BANYAN_HP_CONTENT_HASH_KEY")) is not None:
            filled.setdefault("content_hash_key", hash_key)
        if truthy_env("BANYAN_HP_DISABLED"):
            filled.setdefault("enabled", False)
        if truthy_env("BANYAN_HP_DEBUG"):
            filled.setdefault("debug", True)
        return cls(**filled)


@dataclass(frozen=True, slots=True)
class PromptSettings:
    """How prompts are fetched and kept, and whose records go without content. Times are seconds.

    Raises:
        ConfigurationError: a value is not allowed; the message names it and says what is.
    """

    prompt_cache_ttl: float = 60.0
    prompt_pinned_ttl: float = 600.0
    prompt_timeout: float = 5.0
    prompt_cache_size: int = 1000
    content_off_prompts: Sequence[str] = ()

    def __post_init__(self) -> None:
        with checking("a setting of prompts"):
            positive_seconds("prompt_cache_ttl", self.prompt_cache_ttl)
            positive_seconds("prompt_pinned_ttl", self.prompt_pinned_ttl)
            positive_seconds("prompt_timeout", self.prompt_timeout)
            integer(1)("prompt_cache_size", self.prompt_cache_size)
            texts("content_off_prompts", self.content_off_prompts)
            object.__setattr__(self, "content_off_prompts", tuple(self.content_off_prompts))

    def chosen(self) -> dict[str, Any]:
        """The options that differ from their defaults: with them the same settings can be made elsewhere."""
        return _chosen(self)

    @classmethod
    def names(cls) -> tuple[str, ...]:
        return tuple(each.name for each in fields(cls))

    @classmethod
    def taken_from(cls, options: dict[str, Any]) -> PromptSettings:
        """Settings from keyword options; removes them from `options`. None is not given."""
        if (ttl := options.pop("cache_ttl", None)) is not None:  # banyan-sdk's name for it
            if options.get("prompt_cache_ttl") is not None:
                raise ConfigurationError("cache_ttl and prompt_cache_ttl are one setting: give one of them")
            options["prompt_cache_ttl"] = ttl
        given = {name: options.pop(name, None) for name in cls.names()}
        return cls(**{name: value for name, value in given.items() if value is not None})


def unknown_setting(what: str, name: object, allowed: Sequence[str]) -> str:
    """The message about an option that there is not: the nearest one, and all that there are."""
    import difflib  # only needed after a mistake

    near = difflib.get_close_matches(name, allowed, 1) if isinstance(name, str) else []
    meant = f"; did you mean {near[0]!r}?" if near else "."
    return f"unknown {what} {shown(name)}{meant} Allowed are: {', '.join(sorted(set(allowed)))}"


_CALLBACKS = ("before_send", "on_error", "on_drop", "sampler")


def _same_function(one: object, other: object) -> bool:
    if isinstance(one, FunctionType) and isinstance(other, FunctionType):
        return one.__code__ == other.__code__
    return one == other


def _chosen(settings: Any) -> dict[str, Any]:
    """The fields that differ from their defaults."""
    values = {each.name: (getattr(settings, each.name), each.default) for each in fields(settings)}
    return {name: value for name, (value, default) in values.items() if value != default}


def env(name: str) -> str | None:
    """An environment variable's text without surrounding blanks; an empty one counts as unset."""
    return os.environ.get(name, "").strip() or None


def truthy_env(name: str) -> bool:
    return (env(name) or "").lower() in {"1", "true", "yes", "on"}


def first_text(
    name: str, given: object, variable: str, wrong: type[BanyanHPError] = ConfigurationError
) -> str | None:
    """The argument, or else the environment variable; blank means not given.

    Raises:
        BanyanHPError: of the kind `wrong`: it is not a string, or can't be encoded.
    """
    with checking(name, wrong):
        if given is not None and not isinstance(given, str):
            raise wrong(f"{name} must be a string, was {type_name(given)}")
        text = (given.strip() if given is not None else "") or env(variable)
        if text is not None and _LONE_SURROGATE.search(text):
            raise wrong(f"{name} has a lone surrogate, which no encoding can carry")
        return text


_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def checked_url(name: str, url: str) -> str:
    """`url` without a trailing slash, if it is an http(s) URL with a host and without credentials."""
    if "@" in url:
        raise ConfigurationError(
            f"{name} must not carry a user name or password: the API key is the credential"
        )
    if "?" in url or "#" in url:
        raise ConfigurationError(f"{name} must not carry a query or fragment, was {url!r}")
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not url.isprintable() or " " in url:
        raise ConfigurationError(f"{name} must be an http:// or https:// URL with a host, was {url!r}")
    return url.rstrip("/")


def checked_seconds(name: str, value: Any) -> float:
    """A time to wait: a number, 0 or more; infinity becomes the longest that a thread can wait.

    Raises:
        ConfigurationError: it is not.
    """
    with checking(name):
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not value >= 0:
            raise ConfigurationError(f"{name} must be a number of seconds, 0 or more, was {shown(value)}")
        return float(min(value, _LONGEST_WAIT))


_LONGEST_WAIT = threading.TIMEOUT_MAX / 2  # with room for rounding, where it is added to a clock's time
_CHECKS: dict[str, Check] = {
    "max_retries": integer(0),
    "retry_delay": seconds,
    "queue_size": integer(1),
    "flush_interval": seconds,
    "background_thread": boolean,
    "batch_size": integer(1),
    "max_batch_bytes": integer(1024),
    "queue_bytes": integer(1024),
    "overflow": one_of("spill", "drop_oldest", "drop_newest"),
    "timeout": positive_seconds,
    "max_connections": integer(1),
    "connection_max_age": positive_seconds,
    "ca_bundle": existing,
    "client_cert": client_cert,
    "batching": one_of("auto", "always", "never"),
    "compression": one_of("auto", "always", "never"),
    "spool": boolean,
    "spool_dir": directory,
    "spool_max_bytes": integer(64 * 1024),
    "spool_max_age": positive_seconds,
    "durability": one_of("memory", "disk"),
    "fsync": one_of("never", "interval", "always"),
    "max_record_bytes": integer(1024),
    "media": one_of("describe", "keep"),
    "content": one_of(*CONTENT),
    "content_hash_key": optional(secret),
    "send_scores": optional_boolean,
    "sample_rate": share,
    "sampler": callable_or_none,
    "exit_timeout": seconds,
    "on_sigterm": one_of("auto", "off"),
    "before_send": before_send,
    "on_error": callable_or_none,
    "on_drop": callable_or_none,
    "enabled": boolean,
    "debug": boolean,
    "previous_keys": keys,
    "export_to": one_of("backend", "otlp"),
    "otlp_endpoint": optional(text),
    "otlp_headers": optional(headers),
    "otlp_protocol": optional(otlp_protocol),
    "otlp_compression": optional(one_of("gzip", "none")),
    "otlp_timeout": optional(positive_seconds),
    "otlp_content": boolean,
}
