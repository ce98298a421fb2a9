"""Who imports whom in a package: arrows between files and rooms, and circles.

Every import statement counts, wherever it stands: at the top, in a function, under `TYPE_CHECKING`. What a
module imports by a string (`importlib`) is not seen.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

Arrow = tuple[str, str]


@dataclass(frozen=True)
class Imports:
    """The import graph of a package. Modules have their dotted names, a sub-package's `__init__` its own."""

    package: str
    paths: Mapping[str, Path]
    arrows: frozenset[Arrow]

    @classmethod
    def of(cls, directory: Path) -> Imports:
        """Read all modules below a package's directory."""
        paths = {_dotted(path, directory): path for path in sorted(directory.rglob("*.py"))}
        arrows = {
            (module, target)
            for module, path in paths.items()
            for target in _targets(module, path, paths)
            if target != module
        }
        return cls(directory.name, paths, frozenset(arrows))

    @cached_property
    def packages(self) -> frozenset[str]:
        return frozenset(name for name, path in self.paths.items() if path.name == "__init__.py")

    @cached_property
    def rooms(self) -> frozenset[str]:
        """The sub-packages."""
        return self.packages - {self.package}

    def home(self, module: str) -> str:
        """The package that a module lies in; a package's `__init__` lies in that package."""
        return module if module in self.packages else module.rpartition(".")[0]

    def place(self, module: str) -> str:
        """What stands for a module between rooms: its room, or itself beside sub-packages.

        A file beside sub-packages may lie above some of them and below others.
        """
        home = self.home(module)
        has_rooms = any(room.rpartition(".")[0] == home for room in self.rooms)
        return module if has_rooms else home

    @cached_property
    def room_arrows(self) -> frozenset[Arrow]:
        """Arrows between places, see `place`."""
        arrows = {(self.place(start), self.place(end)) for start, end in self.arrows}
        return frozenset((start, end) for start, end in arrows if start != end)

    @cached_property
    def circles(self) -> list[list[str]]:
        """Groups of modules each of which imports, directly or not, all others of its group; sorted."""
        return circles(self.arrows)

    @cached_property
    def room_circles(self) -> list[list[str]]:
        return circles(self.room_arrows)

    def within(self, room: str) -> frozenset[Arrow]:
        """The arrows of which both ends lie in a sub-package or below it."""
        below = f"{room}."
        return frozenset(
            arrow for arrow in self.arrows if all(end == room or end.startswith(below) for end in arrow)
        )


def _dotted(path: Path, directory: Path) -> str:
    parts = path.relative_to(directory.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _targets(module: str, path: Path, known: Iterable[str]) -> Iterator[str]:
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            base = _base(node, package)
            for alias in node.names:
                name = f"{base}.{alias.name}"
                yield from (each for each in (name if name in known else base,) if each in known)


def _base(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    above = package.split(".")[: len(package.split(".")) - (node.level - 1)]
    return ".".join([*above, *([node.module] if node.module else [])])


def circles(arrows: Iterable[Arrow]) -> list[list[str]]:
    """The strongly connected parts of a graph that have more than one member."""
    after: dict[str, set[str]] = {}
    for start, end in arrows:
        after.setdefault(start, set()).add(end)
    reached = {start: _reached(start, after) for start in after}
    found = {
        frozenset(end for end in ends if start in reached.get(end, ()))
        for start, ends in reached.items()
        if start in ends
    }
    return sorted(sorted(circle) for circle in found)


def _reached(start: str, after: Mapping[str, set[str]]) -> set[str]:
    reached: set[str] = set()
    waiting = [start]
    while waiting:
        new = after.get(waiting.pop(), set()) - reached
        reached |= new
        waiting += new
    return reached
