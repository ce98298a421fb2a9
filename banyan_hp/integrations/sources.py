"""Whose figures are exported: loggers by name, checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from ..clients import banyan
from ..errors import ConfigurationError
from ..foreign import kind_of


class Client(Protocol):
    """`PromptStackLogger`, `HuggingPlace`."""

    def get_stats(self) -> Any:
        """The counters."""


Loggers = Client | Mapping[str, Client] | None
Sources = dict[str, Callable[[], Client]]


def sources_of(loggers: Loggers) -> Sources:
    """By the value of the label `logger`: what finds it. `configure()` may replace the default logger.

    Raises:
        ConfigurationError: this is no logger, and no dict of loggers by name.
    """
    if loggers is None:
        return {"default": banyan._any}
    named = loggers if isinstance(loggers, Mapping) else {"default": loggers}
    wrong = [kind_of(each) for each in named.values() if not _is_client(each)]
    wrong += [f"a name that is {kind_of(name)}" for name in named if not isinstance(name, str)]
    if not named or wrong:
        found = kind_of(loggers) if not wrong or named is not loggers else f"a dict with {wrong[0]} in it"
        raise ConfigurationError(
            "logger must be a PromptStackLogger, a HuggingPlace, a dict of them by name, or None, "
            f"was {found}"
        )
    return {name: _always(client) for name, client in named.items()}


def _is_client(value: object) -> bool:
    return callable(getattr(value, "get_stats", None)) and not isinstance(value, type)


def _always(client: Client) -> Callable[[], Client]:
    return lambda: client


def readings(sources: Sources) -> dict[str, Mapping[str, Any]]:
    """What each counts now."""
    return {name: find().get_stats() for name, find in sources.items()}
