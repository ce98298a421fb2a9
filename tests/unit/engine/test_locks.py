"""`banyan_hp/engine/README.md` names every lock of the library."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[3] / "banyan_hp"
PAGE = PACKAGE / "engine" / "README.md"
_ASIDE = {"server", "testing"}  # no part of the library that applications run
_MAKES_A_LOCK = re.compile(r"\w*Lock|allocate_lock|Condition|(Bounded)?Semaphore")
_NAMED = re.compile(r"^\| `([\w.]+)` \|", re.MULTILINE)


@cache
def locks_of_the_library() -> set[str]:
    """Each as `Class.attribute`, or as `module.variable` below the package."""
    paths = [path for path in PACKAGE.rglob("*.py") if path.relative_to(PACKAGE).parts[0] not in _ASIDE]
    return {name for path in paths for name in _locks_of(path)}


def _locks_of(path: Path) -> Iterator[str]:
    module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    owners = {
        each: node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        for each in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _makes_a_lock(node.func):
            target = next((each for each in ast.walk(tree) if _assigns(each, node)), None)
            assert target is not None, f"{path}:{node.lineno}: a lock without a name"
            yield f"{owners.get(node, module)}.{_target(target)}"


def _makes_a_lock(function: ast.expr) -> bool:
    """Of threads: what `asyncio` calls a lock is a queue of coroutines."""
    of_asyncio = isinstance(function, ast.Attribute) and _last_name(function.value) == "asyncio"
    return _MAKES_A_LOCK.fullmatch(_last_name(function)) is not None and not of_asyncio


def _last_name(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _assigns(node: ast.AST, value: ast.Call) -> bool:
    return isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is value


def _target(node: ast.AST) -> str:
    assert isinstance(node, (ast.Assign, ast.AnnAssign))
    return _last_name(node.targets[0] if isinstance(node, ast.Assign) else node.target)


def test_every_lock_is_named_on_the_page() -> None:
    """And none that is no more."""
    named = set(_NAMED.findall(PAGE.read_text(encoding="utf-8")))
    assert named == locks_of_the_library()


def test_the_page_names_all_locks_in_the_order_in_which_they_are_taken() -> None:
    """Those that are held while others are taken."""
    order = PAGE.read_text(encoding="utf-8").partition("## Order")[2].partition("## ")[0]
    assert set(re.findall(r"`([\w.]+(?:\.lock|_lock|_turn|\.changing))`", order)) <= locks_of_the_library()
