"""The package keeps its shape: no new circles, and nothing grows beyond what a reader can hold.

What is over a limit shows with `python -m tests.support.house`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import house
from tests.support.house import House, Size, measure
from tests.support.imports import Imports, circles

LIMITS = {
    "files in circles": 0,
    "circles of rooms": 0,
    "files over 400 lines": 0,
    "classes over 300 lines": 0,
    "constructors over 7 arguments": 0,
    "functions over 40 lines": 0,
}


@pytest.fixture(scope="module")
def measured() -> House:
    return measure()


def figures(measured: House) -> dict[str, tuple[int, object]]:
    """How much there is of what should not be, and what it is."""
    return {
        "files in circles": (len(measured.in_circles()), measured.imports.circles),
        "circles of rooms": (len(measured.imports.room_circles), measured.imports.room_circles),
        "files over 400 lines": _beyond(measured.files, house.LONG_FILE),
        "classes over 300 lines": _beyond(measured.classes, house.LARGE_CLASS),
        "constructors over 7 arguments": _beyond(measured.constructors, house.MOST_ARGUMENTS),
        "functions over 40 lines": _beyond(measured.functions, house.LONG_FUNCTION),
    }


def _beyond(sizes: list[Size], limit: int) -> tuple[int, list[str]]:
    return house.over(sizes, limit), [str(size) for size in sizes if size.number > limit]


@pytest.mark.parametrize("name", LIMITS)
def test_the_house_keeps_its_shape(measured: House, name: str) -> None:
    """Circles, long files, large classes, wide constructors and long functions: none."""
    count, what = figures(measured)[name]
    assert count <= LIMITS[name], what


def test_every_import_counts(tmp_path: Path) -> None:
    """Under `TYPE_CHECKING`, in functions, relative or not; a name's module is told from a module's name."""
    files = {
        "__init__.py": "",
        "top.py": "from .room import inner\nfrom .room.inner import thing as other\nimport os\n",
        "room/__init__.py": "import typing\nif typing.TYPE_CHECKING:\n    from ..ground import word\n",
        "room/inner.py": "def late():\n    from house.room import nothing\n    import house.ground\n",
        "ground.py": "from . import top\nfrom ..elsewhere import nobody\n",
    }
    (tmp_path / "house" / "room").mkdir(parents=True)
    for name, text in files.items():
        (tmp_path / "house" / name).write_text(text, encoding="utf-8")
    imports = Imports.of(tmp_path / "house")
    assert sorted(imports.arrows) == [
        ("house.ground", "house.top"),
        ("house.room", "house.ground"),
        ("house.room.inner", "house.ground"),
        ("house.room.inner", "house.room"),
        ("house.top", "house.room.inner"),
    ]
    assert imports.rooms == {"house.room"}
    assert imports.circles == [["house.ground", "house.room", "house.room.inner", "house.top"]]
    assert imports.room_circles == [["house.ground", "house.room", "house.top"]]
    assert imports.within("house.room") == {("house.room.inner", "house.room")}


def test_circles_are_the_groups_that_reach_each_other() -> None:
    """What only leads into a circle, or out of it, is not part of it."""
    arrows = [("a", "b"), ("b", "c"), ("c", "b"), ("c", "d"), ("e", "f"), ("f", "e")]
    assert circles(arrows) == [["b", "c"], ["e", "f"]]


def test_measures_are_those_a_reader_would_take(tmp_path: Path) -> None:
    """A constructor's `self` and a function's docstring don't count; the largest stands first."""
    source = (
        "class Large:\n"
        "    def __init__(self, a, *, b=1, **c):\n"
        "        'Nothing.\\n'\n"
        "        pass\n\n\n"
        "def f():\n"
        "    pass\n"
    )
    (tmp_path / "house").mkdir()
    (tmp_path / "house" / "__init__.py").write_text(source, encoding="utf-8")
    found = measure(tmp_path / "house")
    assert found.files == [Size(8, "house")]
    assert found.classes == [Size(4, "house.Large")]
    assert found.constructors == [Size(3, "house.Large")]
    assert found.functions == [Size(2, "house.Large.__init__"), Size(2, "house.f")]
