"""The figures of the house: `python -m tests.support.house` prints them as a table.

A function's lines are counted without its docstring; a class's and a file's with everything.
"""

from __future__ import annotations

import ast
import statistics
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.imports import Imports

PACKAGE = Path(__file__).parents[2] / "banyan_hp"
LONG_FUNCTION = 40
LONG_FILE = 400
LARGE_CLASS = 300
MOST_ARGUMENTS = 7
_CLIENTS = {"PromptStackLogger", "HuggingPlace"}


@dataclass(frozen=True, order=True)
class Size:
    """How much of something there is, and where."""

    number: int
    name: str

    def __str__(self) -> str:
        return f"{self.number} ({self.name})"


@dataclass(frozen=True)
class House:
    """A package's measures; each list begins with the largest."""

    imports: Imports
    files: list[Size]
    classes: list[Size]
    constructors: list[Size]
    """The arguments of each `__init__`, without `self`, and without those of the published clients."""
    functions: list[Size]

    def in_circles(self) -> list[str]:
        """Modules that take part in a circle."""
        return sorted({module for circle in self.imports.circles for module in circle})


def measure(directory: Path = PACKAGE) -> House:
    """Read all files of a package, or of one of its sub-packages' directories."""
    imports = Imports.of(directory)
    files, classes, constructors, functions = [], [], [], []
    for module, path in imports.paths.items():
        text = path.read_text(encoding="utf-8")
        files.append(Size(len(text.splitlines()), module))
        for name, node in _definitions(ast.parse(text), module):
            if isinstance(node, ast.ClassDef):
                classes.append(Size(_lines(node), name))
                continue
            functions.append(Size(_lines(node) - _docstring_lines(node), name))
            owner = name.rpartition(".")[0].rpartition(".")[2]
            if node.name == "__init__" and owner not in _CLIENTS:
                constructors.append(Size(_arguments(node), name.rpartition(".")[0]))
    for sizes in (files, classes, constructors, functions):
        sizes.sort(key=lambda size: (-size.number, size.name))
    return House(imports, files, classes, constructors, functions)


Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def _definitions(node: ast.AST, above: str) -> Iterator[tuple[str, Definition]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            name = f"{above}.{child.name}"
            yield name, child
            yield from _definitions(child, name)
        else:
            yield from _definitions(child, above)


def _lines(node: Definition) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def _docstring_lines(node: Definition) -> int:
    if ast.get_docstring(node) is None:
        return 0
    first = node.body[0]
    return (first.end_lineno or first.lineno) - first.lineno + 1


def _arguments(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    arguments = node.args
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return len(named) - 1 + sum(each is not None for each in (arguments.vararg, arguments.kwarg))


def table(houses: dict[str, House]) -> str:
    """The figures as Markdown, a column for each house."""
    rows: dict[str, Callable[[House], object]] = {
        "files": lambda house: len(house.files),
        "lines": lambda house: sum(size.number for size in house.files),
        "rooms": lambda house: len(house.imports.rooms),
        "arrows between files": lambda house: len(house.imports.arrows),
        "arrows between rooms": lambda house: len(house.imports.room_arrows),
        "circles of files": lambda house: len(house.imports.circles),
        "files in circles": lambda house: len(house.in_circles()),
        "circles of rooms": lambda house: len(house.imports.room_circles),
        "longest file": lambda house: house.files[0],
        f"files over {LONG_FILE} lines": lambda house: over(house.files, LONG_FILE),
        "largest class": lambda house: house.classes[0],
        f"classes over {LARGE_CLASS} lines": lambda house: over(house.classes, LARGE_CLASS),
        "most constructor arguments": lambda house: house.constructors[0],
        f"constructors over {MOST_ARGUMENTS}": lambda house: over(house.constructors, MOST_ARGUMENTS),
        "longest function": lambda house: house.functions[0],
        f"functions over {LONG_FUNCTION} lines": lambda house: over(house.functions, LONG_FUNCTION),
        "median function": lambda house: statistics.median(size.number for size in house.functions),
    }
    lines = ["| | " + " | ".join(houses) + " |", "|---" * (len(houses) + 1) + "|"]
    lines += [f"| {name} | " + " | ".join(str(row(each)) for each in houses.values()) + " |"
              for name, row in rows.items()]  # fmt: skip
    return "\n".join(lines)


def over(sizes: list[Size], limit: int) -> int:
    """How many are larger than allowed."""
    return sum(size.number > limit for size in sizes)


def main() -> int:
    house = measure()
    print(table({"banyan_hp": house, "engine": measure(PACKAGE / "engine")}))
    for title, found in (("files", house.imports.circles), ("rooms", house.imports.room_circles)):
        print(f"\nCircles of {title}:" if found else f"\nNo circle of {title}.")
        for circle in found:
            print(f"- {', '.join(circle)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
