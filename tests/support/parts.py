"""Parts of a client, found by their type: tests of the inside need no private name on the way to them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any, TypeVar

from banyan_hp.engine.sync import Lock

P = TypeVar("P")


def part_of(whole: object, kind: type[P]) -> P:
    """The nearest object of this type that `whole` holds, through objects of ours and plain containers."""
    waiting, seen = deque([whole]), {id(whole)}
    while waiting:
        holder = waiting.popleft()
        if isinstance(holder, kind):
            return holder
        for part in _parts(holder):
            if id(part) not in seen:
                seen.add(id(part))
                waiting.append(part)
    raise LookupError(f"no {kind.__name__} in {type(whole).__name__}")


def lock_in(owner: object) -> tuple[Any, str]:
    """An object or a module with the name of the one lock that it has, for whoever replaces or asks it."""
    (name,) = [name for name in _names(owner) if isinstance(getattr(owner, name, None), Lock)]
    return owner, name


def _parts(holder: object) -> Iterator[object]:
    if isinstance(holder, dict):
        yield from holder.values()
    elif isinstance(holder, (list, tuple, set, frozenset, deque)):
        yield from holder
    elif type(holder).__module__.partition(".")[0] in ("banyan_hp", "tests"):
        yield from (getattr(holder, name, None) for name in _names(holder))


def _names(holder: object) -> list[str]:
    slots = [name for kind in type(holder).__mro__ for name in kind.__dict__.get("__slots__", ())]
    return [*getattr(holder, "__dict__", {}), *slots]
