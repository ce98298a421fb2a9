"""Pages about the code, held to what they name: `python -m tests.support.pages` lists what is not there.

A page names code in backticks, in one of these forms:

- `engine/core.py` or `engine/spool/`: a path from the repository, the package, or the page's own folder;
- `engine/core.py: Core.accept`, `clients/base.py: Client`: what that file defines;
- `Core.accept`, `tracking.scopes.inside`: what some file, or that file, of the package defines;
- `encode()`, `batch_size`, `Ledger`: what some file of the package at least says.
"""

from __future__ import annotations

import ast
import builtins
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "banyan_hp"
# The guide is for users: `tests/integration/test_docs.py` looks after it.
PAGES = sorted(path for path in PACKAGE.rglob("*.md") if path.parent != PACKAGE / "guide")
_FENCE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
_CODE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[^)\s]*)?\)")
_PLACE = re.compile(r"([\w./-]+\.py): ([A-Za-z_][\w.]*)(?:\(\))?")
_PATH = re.compile(r"[\w.-]+(?:/[\w.-]+)*(?:/|\.(?:py|md|cfg|txt|toml|json|svg))")
_MEMBER = re.compile(r"([A-Z]\w*\.\w+)(?:\(\))?")
_MOST_PLACES = 3
_DOTTED = re.compile(r"([a-z]\w*(?:\.\w+)+)(?:\(\))?")
_NAME = re.compile(r"(\w+)\(\)|([a-z]+(?:_[a-z0-9]+)+)|([A-Z]\w*[a-z]\w*)")


class Code:
    """What the files of a package define."""

    def __init__(self, package: Path = PACKAGE) -> None:
        self.package = package
        self._texts = {path: path.read_text(encoding="utf-8") for path in sorted(package.rglob("*.py"))}
        self._defined = {path: set(_definitions(ast.parse(text))) for path, text in self._texts.items()}

    def defines(self, path: Path, name: str) -> bool:
        return name in self._defined.get(path.resolve(), set())

    def has(self, dotted: str) -> bool:
        """Whether `room.module.name` is defined; a name that begins elsewhere (`os._exit`) is not ours."""
        first, *rest = dotted.split(".")
        if not (self.package / first).is_dir() and not (self.package / f"{first}.py").exists():
            return True
        for length in range(len(rest)):
            path = self.package.joinpath(first, *rest[:length]).with_suffix(".py")
            if path.exists():
                return self.defines(path, ".".join(rest[length:]))
        return False

    def places_of(self, name: str) -> str:
        """Where this is defined now: what a page should say instead."""
        last = name.rpartition(".")[2]
        for wanted in (name, last):
            found = [
                f"{path.relative_to(self.package)}: {each}"
                for path, names in self._defined.items()
                for each in sorted(names)
                if each == wanted or each.endswith(f".{wanted}")
            ]
            if found:
                return f"now {', '.join(found[:_MOST_PLACES])}{', …' if len(found) > _MOST_PLACES else ''}"
        return "defined nowhere"

    @cached_property
    def anywhere(self) -> set[str]:
        return set().union(*self._defined.values())

    @cached_property
    def words(self) -> set[str]:
        """All names and words of the sources: settings, stats keys, reasons of losses."""
        return set(re.findall(r"\w+", "\n".join(self._texts.values()))) | set(dir(builtins))


def _definitions(node: ast.AST, above: str = "") -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            yield above + child.name
            yield from _definitions(
                child, f"{above}{child.name}." if isinstance(child, ast.ClassDef) else above
            )
        elif isinstance(child, (ast.Assign, ast.AnnAssign)):
            targets = child.targets if isinstance(child, ast.Assign) else [child.target]
            for target in targets:
                yield from _assigned(target, above)
        else:
            yield from _definitions(child, above)


def _assigned(target: ast.expr, above: str) -> Iterator[str]:
    if isinstance(target, (ast.Name, ast.Attribute)):
        yield above + (target.id if isinstance(target, ast.Name) else target.attr)
    elif isinstance(target, (ast.Tuple, ast.List)):
        for each in target.elts:
            yield from _assigned(each, above)


@dataclass(frozen=True)
class Page:
    """One Markdown file."""

    path: Path
    text: str

    @classmethod
    def read(cls, path: Path) -> Page:
        return cls(path, path.read_text(encoding="utf-8"))

    @property
    def _shown(self) -> Path:
        return self.path.relative_to(ROOT) if self.path.is_relative_to(ROOT) else Path(self.path.name)

    def missing(self, code: Code) -> list[str]:
        """What it names and nothing is, with the line, and with where the name is now."""
        prose = _FENCE.sub(lambda block: "\n" * block.group().count("\n"), self.text)
        found = []
        for number, line in enumerate(prose.splitlines(), 1):
            named = [*_CODE.findall(line), *_LINK.findall(_CODE.sub("", line))]
            found += [
                f"{self._shown}:{number}: {each}" for name in named if (each := self._wrong(name, code))
            ]
        return found

    def _wrong(self, name: str, code: Code) -> str | None:
        if place := _PLACE.fullmatch(name):
            path = self._file(place[1])
            if path is None:
                return f"`{name}`: no such file; {code.places_of(place[2])}"
            return None if code.defines(path, place[2]) else f"`{name}`: {code.places_of(place[2])}"
        if _PATH.fullmatch(name):
            return None if self._file(name) else f"`{name}`: no such path"
        if member := _MEMBER.fullmatch(name):
            return None if member[1] in code.anywhere else f"`{name}`: {code.places_of(member[1])}"
        if dotted := _DOTTED.fullmatch(name):
            return None if code.has(dotted[1]) else f"`{name}`: {code.places_of(dotted[1])}"
        if word := _NAME.fullmatch(name):
            return None if word[word.lastindex or 0] in code.words else f"`{name}`: not in the sources"
        return None

    def _file(self, name: str) -> Path | None:
        bases = (ROOT, PACKAGE, self.path.parent)
        return next((base / name for base in bases if (base / name).exists()), None)


def main() -> int:
    code = Code()
    missing = [each for path in PAGES for each in Page.read(path).missing(code)]
    print("\n".join(missing) or "All that the pages name is there.")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
