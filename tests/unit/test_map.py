"""The maintainers' pages name only what is there: a moved file or a renamed function shows here."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.pages import PACKAGE, PAGES, ROOT, Code, Page


@pytest.fixture(scope="module")
def code() -> Code:
    return Code()


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_page_names_is_there(path: Path, code: Code) -> None:
    """Paths, classes, methods, functions, settings."""
    assert not Page.read(path).missing(code)


def test_the_map_names_every_room() -> None:
    """Each sub-package has its row in the table of rooms, and so has each module beside them."""
    section = (PACKAGE / "README.md").read_text(encoding="utf-8").partition("## The rooms")[2]
    rows = set(re.findall(r"`([\w/.]+)`", section.partition("\n## ")[0]))
    rooms = {f"{path.parent.relative_to(PACKAGE)}/" for path in PACKAGE.rglob("__init__.py")} - {"./"}
    modules = {path.name for path in PACKAGE.glob("[!_]*.py")}
    assert (rooms | modules) - rows == set()


def test_what_is_not_there_is_found_with_its_new_place(tmp_path: Path) -> None:
    """Every form in which a page can name something that is gone."""
    (tmp_path / "top.py").write_text(
        "class Thing:\n    size: int\n\n    def turn(self):\n        self.at = 1\n\ndef act():\n    pass\n"
    )
    text = """
`top.py: Thing.turn` `top.py: Thing.at` `top.py: Thing.size` `top.py: act()`
`Thing.turn` `top.py` `act()` [a](top.py#x) `GONE` `banyan-hp ls` `Thing` `top.act` `top.Thing.at` `os._exit`
`top.py: Thing.act` `gone.py: act` `gone.py` [b](gone.md)
`gone/` `Thing.gone` `gone()` `gone_too` `Gone` `top.gone`
```
`gone.py`
```
"""
    page = Page(tmp_path / "PAGE.md", text)
    assert page.missing(Code(tmp_path)) == [
        "PAGE.md:4: `top.py: Thing.act`: now top.py: act",
        "PAGE.md:4: `gone.py: act`: no such file; now top.py: act",
        "PAGE.md:4: `gone.py`: no such path",
        "PAGE.md:4: `gone.md`: no such path",
        "PAGE.md:5: `gone/`: no such path",
        "PAGE.md:5: `Thing.gone`: defined nowhere",
        "PAGE.md:5: `gone()`: not in the sources",
        "PAGE.md:5: `gone_too`: not in the sources",
        "PAGE.md:5: `Gone`: not in the sources",
        "PAGE.md:5: `top.gone`: defined nowhere",
    ]
