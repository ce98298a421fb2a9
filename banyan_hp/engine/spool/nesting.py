"""How deeply JSON values are nested: asked here, since Pythons and parsers differ in what they stop at."""

from __future__ import annotations


def is_within(levels: int, value: object) -> bool:
    """Whether there are no more objects and arrays than that, one inside the other."""
    level = [value]
    for _ in range(levels):
        level = [child for parent in level for child in _children(parent)]
        if not level:
            return True
    return False


def _children(value: object) -> list[object]:
    if isinstance(value, dict):
        value = list(value.values())
    return [child for child in value if isinstance(child, (dict, list))] if isinstance(value, list) else []
