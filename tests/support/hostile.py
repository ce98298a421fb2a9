"""Objects that an application may hand over by mistake or by malice, as hypothesis strategies.

They raise in every method, lie about their class, never end, or are already dead.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo
from decimal import Decimal
from functools import partial
from typing import Any, NoReturn

from hypothesis import strategies as st


class Unprintable(Exception):
    """An exception whose text raises, too."""

    def __str__(self) -> str:
        raise ValueError("no text")

    __repr__ = __str__


ERRORS: list[type[Exception]] = [
    AttributeError,
    KeyError,
    OSError,
    RecursionError,
    RuntimeError,
    StopIteration,
    TypeError,
    UnicodeError,
    Unprintable,
    ValueError,
]
# What Python itself may call on a value, but for what makes and destroys it.
METHODS = (
    "__bool__", "__bytes__", "__call__", "__contains__", "__delitem__", "__dir__", "__enter__", "__eq__",
    "__exit__", "__float__", "__format__", "__fspath__", "__ge__", "__getitem__", "__gt__", "__hash__",
    "__index__", "__int__", "__iter__", "__le__", "__len__", "__lt__", "__ne__", "__next__", "__repr__",
    "__reversed__", "__str__", "__sub__", "__add__", "__mul__", "__truediv__", "__and__", "items", "keys",
    "values", "get", "copy", "strip", "encode", "isoformat", "total_seconds", "tolist", "model_dump", "parse",
)  # fmt: skip


def failing(error: type[Exception]) -> dict[str, Any]:
    """Members of a class all of whose methods raise."""

    def fail(*_: object, **__: object) -> NoReturn:
        raise error("a secret")

    return dict.fromkeys(METHODS, fail)


def lazy(error: type[Exception]) -> Any:
    """A lazy object that can't be loaded: whatever is asked of it raises, its class, too."""

    def fail(*_: object) -> NoReturn:
        raise error("a secret")

    return type("Lazy", (), {**failing(error), "__getattribute__": fail})()


CONTENTS: dict[type, Any] = {
    bytes: b"b", dict: {"a": 1}, float: 2.5, int: 3, list: [1], str: "text", tuple: (1,)
}  # fmt: skip


def subclass_of(base: type, error: type[Exception]) -> Any:
    """A str, int, … with a content, whose methods all raise."""
    contents: dict[type, Any] = {
        dict: {"a": 1},
        list: [1],
        tuple: (1,),
        str: "text",
        bytes: b"b",
        int: 3,
        float: 2.5,
    }
    return type(f"Bad{base.__name__}", (base,), failing(error))(contents[base])


def of_bad_metaclass(error: type[Exception]) -> Any:
    """Whatever is asked of its class raises: its name, its module, its methods."""

    def fail(_cls: type, _name: str) -> NoReturn:
        raise error("a secret")

    return type("BadMeta", (type,), {"__getattribute__": fail})("Bad", (), {})()


def dead_reference() -> Any:
    class Model:
        """It will be gone."""

    return weakref.proxy(Model())


class BadMapping(Mapping[str, Any]):
    """A Mapping that fails at the second key."""

    def __init__(self, error: type[Exception]) -> None:
        self._error = error

    def __getitem__(self, key: str) -> Any:
        raise self._error("a secret")

    def __iter__(self) -> Iterator[str]:
        yield "user_id"
        raise self._error("a secret")

    def __len__(self) -> int:
        return 2


class EndlessMapping(Mapping[str, Any]):
    """New keys for ever."""

    def __getitem__(self, key: str) -> Any:
        return 1

    def __iter__(self) -> Iterator[str]:
        return map(str, itertools.count())

    def __len__(self) -> int:
        return 1


class EndlessDict(dict[str, Any]):
    def items(self) -> Any:
        return ((str(number), number) for number in itertools.count())


class EndlessList(list[Any]):
    def __iter__(self) -> Iterator[Any]:
        return itertools.count()


class EndlessSet(Set[Any]):
    def __contains__(self, item: object) -> bool:
        return True

    def __iter__(self) -> Iterator[Any]:
        return itertools.repeat("x")

    def __len__(self) -> int:
        return 1


class Itself:
    """Every conversion gives it back."""

    def model_dump(self) -> Any:
        return self

    def tolist(self) -> Any:
        return self

    dtype = "itself"

    def __getattr__(self, name: str) -> Any:
        return self

    def __call__(self, *_: object, **__: object) -> Any:
        return self

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        return self


class FutureLike:
    """Says that it is a future of asyncio."""

    _asyncio_future_blocking = True

    def add_done_callback(self, callback: Any) -> NoReturn:
        raise RuntimeError("a secret")


class NoZone(tzinfo):
    def tzname(self, moment: datetime | None) -> str:
        raise RuntimeError("a secret")

    dst = None  # type: ignore[assignment]

    def utcoffset(self, moment: datetime | None) -> timedelta:
        raise RuntimeError("a secret")


@dataclass
class LostField:
    field: int = 1

    def __getattribute__(self, name: str) -> Any:
        if name == "field":
            raise RuntimeError("a secret")
        return super().__getattribute__(name)


def deep(levels: int) -> Any:
    value: Any = "bottom"
    for _ in range(levels):
        value = [value]
    return value


def cycle() -> Any:
    value: dict[str, Any] = {}
    value["self"] = [value]
    return value


@dataclass(frozen=True)
class Recipe:
    """How to make a value: hypothesis must not touch the value itself, not even to show it."""

    name: str
    make: Callable[[], Any] = field(repr=False)


def _recipes(error: type[Exception]) -> list[Recipe]:
    """All that depends on what is raised."""
    subclasses = [Recipe(f"bad {base.__name__}", partial(subclass_of, base, error)) for base in CONTENTS]
    return [
        Recipe("lazy object", partial(lazy, error)),
        Recipe("bad metaclass", partial(of_bad_metaclass, error)),
        Recipe("bad mapping", partial(BadMapping, error)),
        *subclasses,
    ]


def _list_of(inner: Sequence[Recipe]) -> Recipe:
    return Recipe(f"list of {inner}", lambda: [each.make() for each in inner])


def _dict_of(inner: Mapping[str, Recipe]) -> Recipe:
    return Recipe(f"dict of {inner}", lambda: {key: each.make() for key, each in inner.items()})


KINDS = (EndlessMapping, EndlessDict, EndlessList, EndlessSet, Itself, FutureLike, LostField)
HOSTILE = [
    *(recipe for error in ERRORS for recipe in _recipes(error)),
    *(Recipe(kind.__name__, kind) for kind in KINDS),
    Recipe("dead reference", dead_reference),
    Recipe("endless iterator", itertools.count),
    Recipe("time without a zone", lambda: datetime(2026, 1, 1, tzinfo=NoZone())),
    Recipe("deep", partial(deep, 70)),
    Recipe("very deep", partial(deep, 5000)),
    Recipe("cycle", cycle),
]
# Ordinary values at the edge of what JSON and the encoders take, by an expression.
EDGES = [
    Recipe(text, partial(eval, text, {"Decimal": Decimal}))
    for text in (
        "None", "True", "0", "-1", "7**1200", "10**5000", "-(2**63) - 1", "2**64", "float('nan')",
        "float('inf')", "-0.0", "1e308", "''", "'\\ud800'", "'text\\udfff'", "'\\0'", "'x' * 100", "b'\\xff'",
        "Decimal('sNaN')", "()", "[]", "{}", "{1: 2}", "{'\\ud800': 1}", "{None: 1, 'a': float('nan')}",
        "{'user_prompt': 'p'}", "object()", "int", "print",
    )
]  # fmt: skip
ANYTHING: st.SearchStrategy[Recipe] = st.recursive(
    st.sampled_from(HOSTILE) | st.sampled_from(EDGES),
    lambda inner: (
        st.lists(inner, max_size=3).map(_list_of)
        | st.dictionaries(st.sampled_from(["a", "metadata"]), inner).map(_dict_of)
    ),
    max_leaves=4,
)


def some_of(*names: str) -> st.SearchStrategy[dict[str, Recipe]]:
    """One to three of these arguments."""
    return st.dictionaries(st.sampled_from(names), ANYTHING, min_size=1, max_size=3)


def made(recipes: Mapping[str, Recipe]) -> dict[str, Any]:
    """The arguments, anew."""
    return {name: recipe.make() for name, recipe in recipes.items()}
