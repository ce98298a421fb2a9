"""The setting `BANYAN_HP`: a dict of upper-case names, those of `configure()` and of the middleware.

What is wrong with it is found twice: by Django's system checks, name by name, and, where nobody runs these (a
server does not), by the middleware, which raises when the server loads it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from ...clients import banyan
from ...clients.configuration import resolved_identity
from ...clients.prompt_logger import PromptStackLogger
from ...errors import AuthenticationError, BanyanHPError, ConfigurationError
from ...foreign import type_name
from ...settings import PromptSettings, Settings, unknown_setting
from ..web import Reader, WebSettings

NAME = "BANYAN_HP"
_IDENTITY = ("api_key", "base_url", "project_id")
_OF_THE_LOGGER = (*_IDENTITY, *Settings.names(), *PromptSettings.names())
_OF_THE_MIDDLEWARE = WebSettings.names()
_IMPORTED = ("user", "session", "interaction", "logger", "before_send", "on_error", "on_drop")
"""What may be the dotted path of a function or object."""


def setting() -> dict[str, Any]:
    """What the project's settings say, by the library's names; dotted paths are imported.

    Raises:
        ConfigurationError: it is no dict, or a path can't be imported.
    """
    given = getattr(settings, NAME, {})
    if not isinstance(given, Mapping):
        raise ConfigurationError(f"{NAME} must be a dict, was {type_name(given)}")
    return {_lower(name): _imported(name, value) for name, value in given.items()}


def _lower(name: object) -> str:
    if not isinstance(name, str) or name != name.upper():
        raise ConfigurationError(f"the names in {NAME} are written in capitals: {name!r}")
    return name.lower()


def _imported(name: str, value: object) -> object:
    if not isinstance(value, str) or name.lower() not in _IMPORTED:
        return value
    try:
        return import_string(value)
    except ImportError as error:
        raise ConfigurationError(f"{NAME}[{name!r}] can't be imported: {error}") from error


def middleware_settings(reader: Reader, defaults: Mapping[str, Any]) -> WebSettings:
    """The middleware's options.

    Raises:
        ImproperlyConfigured: something in `BANYAN_HP` is wrong: the message says all that is.
    """
    wrong = problems(reader)
    if wrong:
        raise ImproperlyConfigured("; ".join(wrong))
    own = {name: value for name, value in setting().items() if name in _OF_THE_MIDDLEWARE}
    return WebSettings.from_options(reader, {**defaults, **own})


def configure() -> None:
    """Make the default logger, if the setting has anything to say of it.

    Raises:
        BanyanHPError: it can't be made.
    """
    options = _logger_options(setting())
    if options:
        banyan.configure(**options)


def _logger_options(given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if name in _OF_THE_LOGGER}


def problems(reader: Reader) -> list[str]:
    """What is wrong, a sentence each, which names the setting."""
    try:
        given = setting()
    except ConfigurationError as error:
        return [str(error)]
    options = _logger_options(given)
    found = [*_each(given, reader)]
    if found or not options:
        return found
    try:  # all together: some settings need each other
        PromptStackLogger(**{**options, "on_sigterm": "off"})  # no I/O, no thread
    except AuthenticationError as error:
        return [f"{NAME} has no 'API_KEY': {error}"]
    except BanyanHPError as error:
        return [f"{NAME}: {error}"]
    return []


def _each(given: Mapping[str, Any], reader: Reader) -> Iterator[str]:
    allowed = [name.upper() for name in (*_OF_THE_LOGGER, *_OF_THE_MIDDLEWARE)]
    for name, value in given.items():
        if name.upper() not in allowed:
            yield unknown_setting(f"name in {NAME}:", name.upper(), allowed)
            continue
        try:
            _check(name, value, reader)
        except BanyanHPError as error:
            yield f"{NAME}[{name.upper()!r}]: {error}"


def _check(name: str, value: object, reader: Reader) -> None:
    """Check one name by itself."""
    if name in _OF_THE_MIDDLEWARE:
        WebSettings.from_options(reader, {name: value})
    elif value is None:  # as if it were not given
        return
    elif name in _IDENTITY:
        given: dict[str, Any] = {"api_key": "psk_check", "base_url": None, "project_id": None, name: value}
        resolved_identity(given["api_key"], given["base_url"], given["project_id"], needed=True)
    elif name in PromptSettings.names():
        PromptSettings.taken_from({name: value})
    else:
        Settings.check(name, value)
