"""What a setting may be: a function for each kind. Each raises what names the setting and what is allowed."""

from __future__ import annotations

import math
import os
import re
import stat
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FunctionType
from typing import Any
from urllib.parse import unquote

from .errors import ConfigurationError
from .foreign import shown


def header_text(name: str, value: str) -> str:
    """`value`, if it can travel in an HTTP header. The value itself never gets into the message."""
    if not value.isascii() or not value.isprintable():
        raise ConfigurationError(
            f"{name} has characters that an HTTP header can't carry; allowed are printable ASCII characters"
        )
    return value


Check = Callable[[str, Any], None]


def refused(name: str, value: object, allowed: str) -> ConfigurationError:
    return ConfigurationError(f"{name} must be {allowed}, was {shown(value)}")


def integer(low: int) -> Check:
    def check(name: str, value: Any) -> None:
        if not isinstance(value, int) or isinstance(value, bool) or value < low:
            raise refused(name, value, f"an integer of at least {low}")

    return check


def seconds(name: str, value: Any) -> None:
    if not is_finite(value) or value < 0:
        raise refused(name, value, "a number of seconds, 0 or more")


def positive_seconds(name: str, value: Any) -> None:
    if not is_finite(value) or value <= 0:
        raise refused(name, value, "a number of seconds above 0")


def is_finite(value: Any) -> bool:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond all floats
        return False


def share(name: str, value: Any) -> None:
    if not is_finite(value) or not 0 <= value <= 1:
        raise refused(name, value, "a number from 0 to 1")


def boolean(name: str, value: Any) -> None:
    if not isinstance(value, bool):
        raise refused(name, value, "True or False")


def optional_boolean(name: str, value: Any) -> None:
    if value is not None and not isinstance(value, bool):
        raise refused(name, value, "True, False or None")


def one_of(*allowed: str) -> Check:
    def check(name: str, value: Any) -> None:
        if value not in allowed:
            raise refused(name, value, "one of " + ", ".join(map(repr, allowed)))

    return check


def callable_or_none(name: str, value: Any) -> None:
    if value is not None and not callable(value):
        raise refused(name, value, "a callable or None")


def before_send(name: str, value: Any) -> None:
    """A function of `banyan_hp.redact` that nobody has called would fail at each record."""
    callable_or_none(name, value)
    if isinstance(value, FunctionType) and value.__module__ == "banyan_hp.redact.pieces":
        raise ConfigurationError(f"{name} must be what {value.__name__}() returns: call it")


def keys(name: str, value: Any) -> None:
    """The values never get into a message."""
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise ConfigurationError(f"{name} must be a list of API keys, was {type(value).__name__}")
    for number, key in enumerate(value):
        if not isinstance(key, str) or not key.strip():
            raise ConfigurationError(f"{name}[{number}] must be an API key, was an empty text or no string")
        header_text(f"{name}[{number}]", key.strip())


def directory(name: str, value: Any) -> None:
    if value is None:
        return
    if not isinstance(value, (str, os.PathLike)):
        raise refused(name, value, "a path or None")
    try:
        in_the_way = not stat.S_ISDIR(Path(value).stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):  # created when it is needed
        return
    except (OSError, ValueError) as error:
        raise refused(name, value, f"a path that can exist ({error})") from error
    if in_the_way:
        raise refused(name, value, "a directory (it is a file)")


def existing(name: str, value: Any) -> None:
    if value is None:
        return
    if not isinstance(value, (str, os.PathLike)):
        raise refused(name, value, "a path or None")
    try:
        there = Path(value).exists()
    except (OSError, ValueError):
        there = False
    if not there:
        raise refused(name, value, "the path of a file that exists")


def client_cert(name: str, value: Any) -> None:
    pair = [value] if value is None or isinstance(value, (str, os.PathLike)) else value
    if not isinstance(pair, (list, tuple)) or len(pair) not in (1, 2) or (len(pair) == 2 and None in pair):
        raise refused(name, value, "a path, or a pair of paths (certificate, key)")
    for path in pair:
        existing(name, path)


def optional(check: Check) -> Check:
    """None is allowed, too."""

    def checked(name: str, value: Any) -> None:
        if value is not None:
            check(name, value)

    return checked


def text(name: str, value: Any) -> None:
    if not isinstance(value, str) or not value.strip():
        raise refused(name, value, "a text that is not empty")


def texts(name: str, value: Any) -> None:
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
        raise refused(name, value, "a list of texts")
    for number, each in enumerate(value):
        text(f"{name}[{number}]", each)


_LEAST_SECRET = 16


def secret(name: str, value: Any) -> None:
    """The value never gets into a message."""
    if not isinstance(value, (str, bytes)):
        raise ConfigurationError(f"{name} must be a text or bytes, was {type(value).__name__}")
    size = len(value if isinstance(value, bytes) else value.encode("utf-8", "replace"))
    if size < _LEAST_SECRET:
        raise ConfigurationError(f"{name} must have at least {_LEAST_SECRET} bytes; it has {size}")


_PROTOCOLS = ("http/json", "http/protobuf")


def otlp_protocol(name: str, value: Any) -> None:
    """Raises `ConfigurationError`; the message says what to use instead of gRPC."""
    if value == "grpc":
        raise ConfigurationError(
            f"{name} must be 'http/json' or 'http/protobuf', was 'grpc', which is not supported: collectors "
            "take both of these on port 4318"
        )
    one_of(*_PROTOCOLS)(name, value)


def headers(name: str, value: Any) -> None:
    """HTTP headers: a dict, or the text of a variable. The values never get into a message."""
    if isinstance(value, str):
        parsed_headers(name, value)
        return
    if not isinstance(value, Mapping):
        raise ConfigurationError(
            f"{name} must be a dict of texts, or 'name=value,name=value', was {type(value).__name__}"
        )
    for header, content in value.items():
        _header(name, header, content)


def parsed_headers(name: str, given: str) -> dict[str, str]:
    """The headers in `name=value,name=value`, values percent-encoded, by their names in small letters."""
    found = {}
    for pair in filter(None, (each.strip() for each in given.split(","))):
        header, equals, content = pair.partition("=")
        if not equals:
            raise ConfigurationError(f"{name} must be 'name=value,name=value'; a part of it has no '='")
        header, content = unquote(header.strip()), unquote(content.strip())
        _header(name, header, content)
        found[header.lower()] = content
    return found


def _header(name: str, header: object, content: object) -> None:
    if not isinstance(header, str) or not _TOKEN.fullmatch(header):
        raise ConfigurationError(f"{name} has a header whose name HTTP does not allow: {shown(header)}")
    if not isinstance(content, str):
        raise ConfigurationError(f"{name}[{header!r}] must be a text, was {type(content).__name__}")
    header_text(f"{name}[{header!r}]", content)


_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
