"""How deep values of JSON may be nested: what is stored must be read again, however deep its reader is."""

from __future__ import annotations

MAX_DEPTH = 200  # well inside what the standard library's json can write and read again


def is_shallow(value: object) -> bool:
    """Whether a JSON value is nested at most `MAX_DEPTH` deep."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [child for parent in level for child in _children(parent)]
        if not level:
            return True
    return False


def _children(value: object) -> list[object]:
    if isinstance(value, dict):
        value = list(value.values())
    return [child for child in value if isinstance(child, (dict, list))] if isinstance(value, list) else []
