"""Where tests reach into the library's private names: `python -m tests.support.private [folder …]`.

Counted are the attributes `_x` of anything but `self`, `cls` and other libraries' modules, imports of `_x`
from the package, and private names that `setattr`, `delattr` or `patch` replace. What a file defines itself
does not count.
"""

from __future__ import annotations

import ast
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parents[1]
_PATCHERS = {"setattr", "delattr", "patch", "object"}


def private_uses(source: str) -> Iterator[tuple[int, str]]:
    """Line and kind (`attribute`, `import`, `patch`) of each place."""
    tree = ast.parse(source)
    own, safe = _defined(tree), {"self", "cls"} | _modules(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and _is_private(node.attr) and node.attr not in own:
            if not (isinstance(node.value, ast.Name) and node.value.id in safe):
                yield node.lineno, "attribute"
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("banyan_hp"):
            yield from ((node.lineno, "import") for alias in node.names if _is_private(alias.name))
        elif (
            isinstance(node, ast.Call)
            and _name_of(node.func) in _PATCHERS
            and any(map(_names_private, node.args[:2]))
        ):
            yield node.lineno, "patch"


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
    return name.startswith("_") and not name.endswith("__") and name != "_"


def _name_of(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _names_private(argument: ast.expr) -> bool:
    if not isinstance(argument, ast.Constant) or not isinstance(argument.value, str):
        return False
    return _is_private(argument.value.rpartition(".")[2])


def main(folders: list[str]) -> int:
    total: Counter[str] = Counter()
    for path in sorted(p for folder in folders or [str(TESTS)] for p in Path(folder).rglob("*.py")):
        found = Counter(kind for _, kind in private_uses(path.read_text(encoding="utf-8")))
        total += found
        if found:
            print(f"{found.total():4}  {path}  {dict(found)}")
    print(f"{total.total():4}  {dict(total)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
