"""orjson, where it is installed and safe."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def usable_orjson() -> Any:
    """The module, or None.

    In subinterpreters it isn't asked for: from the second one on that imports it (version 3.13.0), the
    process ends in a segmentation fault at a collection.
    """
    if in_a_subinterpreter():
        return None
    try:
        return import_module("orjson")
    except ImportError:
        return None


def in_a_subinterpreter() -> bool:
    for name in ("_interpreters", "_xxsubinterpreters"):  # from CPython 3.13 on, and before
        try:
            interpreters: Any = import_module(name)
        except ImportError:
            continue
        return bool(interpreters.get_current() != interpreters.get_main())
    return False
