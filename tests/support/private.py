"""Where tests reach into the library's private names: `python -m tests.support.private [folder …]`.

Counted are the attributes `_x` of anything but `self`, `cls` and other libraries' modules, imports of `_x`
from the package, and private names that `setattr`, `delattr` or `patch` replace. What a file defines itself
does not count, nor what named tuples offer (`_replace`).

Each place says why there is no other way: `# private: …` on its line, or above its statement, or above the
function around it. `parts.py` finds a part of a client by its type; clocks, transports and directories are
parameters.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

TESTS = Path(__file__).parents[1]
_PATCHERS = {"setattr", "delattr", "patch", "object"}
_OFFERED = {"_replace", "_asdict", "_fields", "_make"}
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_REASON = re.compile(r"# private: \w+")


class Place(NamedTuple):
    """A line that reaches into a private name, and whether it says why."""

    line: int
    has_reason: bool


def private_uses(source: str) -> Iterator[Place]:
    """Each place."""
    tree = ast.parse(source)
    yield from _Finder(source.splitlines(), _defined(tree), {"self", "cls"} | _modules(tree)).places(tree)


class _Finder:
    """Looks through one file."""

    def __init__(self, lines: list[str], own: set[str], safe: set[str]) -> None:
        self._lines = lines
        self._own = own
        self._safe = safe

    def places(self, node: ast.AST, explained: bool = False) -> Iterator[Place]:
        """The places in `node`. A reason covers a statement, or a function, but no other block's body."""
        here = explained or (isinstance(node, ast.stmt) and self._is_explained(node))
        if self._is_use(node):
            yield Place(getattr(node, "lineno", 0), here)
        for child in ast.iter_child_nodes(node):
            is_in_block = isinstance(child, ast.stmt) and not isinstance(node, _FUNCTIONS)
            yield from self.places(child, explained if is_in_block else here)

    def _is_use(self, node: ast.AST) -> bool:
        if isinstance(node, ast.Attribute):
            is_safe = isinstance(node.value, ast.Name) and node.value.id in self._safe
            return _is_private(node.attr) and node.attr not in self._own and not is_safe
        if isinstance(node, ast.ImportFrom):
            ours = (node.module or "").startswith("banyan_hp")
            return ours and any(_is_private(alias.name) for alias in node.names)
        patches = isinstance(node, ast.Call) and _name_of(node.func) in _PATCHERS
        return patches and any(map(_names_private, node.args[:2]))  # type: ignore[attr-defined]

    def _is_explained(self, node: ast.stmt) -> bool:
        first = min([node.lineno, *(each.lineno for each in getattr(node, "decorator_list", []))])
        body = getattr(node, "body", None)
        last = body[0].lineno - 1 if body else node.end_lineno or node.lineno
        while first > 1 and self._lines[first - 2].lstrip().startswith("#"):
            first -= 1
        return any(map(_REASON.search, self._lines[first - 1 : last]))


def _defined(tree: ast.Module) -> set[str]:
    """Private names that this file gives to something of its own."""
    found = {node.name for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    return found | {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
    }


def _modules(tree: ast.Module) -> set[str]:
    """`os`, whose `_exit` is public all the same, `argparse`."""
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import)]
    names = {alias.asname or alias.name for node in imports for alias in node.names}
    return {name for name in names if not name.startswith("banyan_hp")}


def _is_private(name: str) -> bool:
    return name not in _OFFERED and name.startswith("_") and not name.endswith("__") and name != "_"


def _name_of(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _names_private(argument: ast.expr) -> bool:
    if not isinstance(argument, ast.Constant) or not isinstance(argument.value, str):
        return False
    return _is_private(argument.value.rpartition(".")[2])


def all_places(folders: list[str]) -> dict[Path, list[Place]]:
    """The places in each file that has some."""
    files = sorted(path for folder in folders for path in Path(folder).rglob("*.py"))
    found = {path: list(private_uses(path.read_text(encoding="utf-8"))) for path in files}
    return {path: places for path, places in found.items() if places}


def main(folders: list[str]) -> int:
    found = all_places(folders or [str(TESTS)])
    for path, places in found.items():
        for place in places:
            print(f"{path}:{place.line}{'' if place.has_reason else ': no reason'}")
    print(sum(map(len, found.values())))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
