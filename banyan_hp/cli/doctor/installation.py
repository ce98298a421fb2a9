"""What is installed: the interpreter, the packages, orjson."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from collections.abc import Iterator
from contextlib import suppress

from ..._version import __version__
from ...engine.records.encode import in_a_subinterpreter, usable_orjson
from .findings import Finding, good, note, wrong

_NEEDED = ("requests", "urllib3", "platformdirs")
_WELCOME = ("certifi", "PySocks", "starlette", "uvicorn")


def findings() -> Iterator[Finding]:
    """Versions, and what is missing."""
    yield good("Python", f"{platform.python_implementation()} {platform.python_version()}, {sys.platform}")
    yield _packages()
    yield _orjson()


def _packages() -> Finding:
    versions = {name: _version(name) for name in (*_NEEDED, *_WELCOME)}
    missing = [name for name in _NEEDED if versions[name] is None]
    there = [f"{name} {version}" for name, version in versions.items() if version]
    found = ", ".join([f"banyan-hp {__version__}", *there])
    if missing:
        return wrong("packages", f"{', '.join(missing)} can't be found", "pip install banyan-hp")
    return good("packages", found)


def _orjson() -> Finding:
    if usable_orjson() is not None:
        return good("orjson", _version("orjson") or "used")
    if in_a_subinterpreter():
        return note("orjson", "not used in a subinterpreter, where it is not safe")
    advice = "pip install 'banyan-hp[speedups]' means less CPU in the background."
    return note("orjson", "not installed; the standard library encodes", advice)


def _version(name: str) -> str | None:
    with suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(name)
    return None
