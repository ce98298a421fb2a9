"""Copies and pickles of what lives in one process: loggers, sessions, receipts, interactions.

A copy, deep or shallow, is the same object: each stands for threads, files and records that exist once. A
pickle of a logger carries its settings, and makes another logger where it is loaded. It never carries a key;
that process reads its own from the environment. If the key was given by hand, the pickle carries the key's
fingerprint, so that no record leaves under another key. A collector's headers, too, are read there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Self, TypeVar

from .engine.spool.layout import key_fingerprint
from .errors import ConfigurationError, MissingKeyError
from .settings import env, truthy_env

T = TypeVar("T")


SECRET = ("api_key", "previous_keys", "otlp_headers", "content_hash_key")


class OneObject:
    """An object that is its own copy."""

    __slots__ = ()

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _memo: object) -> Self:
        return self


def pickled(
    make: Callable[..., T], options: Mapping[str, Any], key: str, variable: str
) -> tuple[Callable[..., T], tuple[Any, ...]]:
    """What `__reduce__` returns for a logger.

    Args:
        make: makes the logger from its options.
        options: its settings; keys among them are left out.
        key: its key; empty if logging is switched off.
        variable: the environment variable that holds the key.
    """
    carried = {name: value for name, value in options.items() if name not in SECRET}
    fingerprint = key_fingerprint(key) if key and key != env(variable) else None
    return _made_again, (make, carried, variable, bool(key), fingerprint)


def _made_again(
    make: Callable[..., T], options: dict[str, Any], variable: str, needs_key: bool, fingerprint: str | None
) -> T:
    key = env(variable)
    if needs_key and key is None and not truthy_env("BANYAN_HP_DISABLED"):
        raise MissingKeyError(
            f"a pickled logger carries no API key: set the environment variable {variable} where it is loaded"
        )
    if fingerprint is not None and key is not None and key_fingerprint(key) != fingerprint:
        raise ConfigurationError(
            f"the pickled logger was given an API key other than the one in {variable} here: "
            "its records must not leave under this key"
        )
    return make(**options)
