"""The package as such: its public names, which way its imports point, and the wheel that is built of it."""

from __future__ import annotations

import ast
import configparser
import re
import subprocess
import sys
import zipfile
from importlib import import_module
from pathlib import Path

import pytest

import banyan_hp
from banyan_hp.guide import TOPICS
from tests.support.imports import Imports

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "banyan_hp"


def test_the_public_surface_is_one_flat_sorted_list() -> None:
    """What is in `__all__` is there, sorted; nothing else public is, but for modules."""
    names: list[str] = vars(banyan_hp)["__all__"]
    assert names == sorted(names) == dir(banyan_hp)
    assert all(hasattr(banyan_hp, name) for name in names)
    public = {name for name in vars(banyan_hp) if not name.startswith(("_", "@"))}  # @: pytest's own
    modules = {path.stem for path in PACKAGE.iterdir()}
    assert public - modules <= set(names)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        getattr(banyan_hp, "nothing")  # noqa: B009 - type checkers know that there is none


def test_type_checkers_see_the_names_that_are_imported_on_first_use() -> None:
    """They read star imports: these modules say in their `__all__` what the package has of them."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {
        f".{node.module}": [alias.name for alias in node.names]
        for node in block.body
        if isinstance(node, ast.ImportFrom)
    }
    assert set(map(tuple, seen.values())) == {("*",)}
    names_of: dict[str, str] = vars(banyan_hp)["_NAMES_OF"]
    offered = {module: import_module(module, "banyan_hp").__all__ for module in seen}
    assert offered == {module: names.split() for module, names in names_of.items()}


def test_importing_the_package_imports_next_to_nothing() -> None:
    """A name's module is imported when the name is used: one client does not pay for the other."""
    program = (
        "import sys, banyan_hp\n"
        "assert 'requests' not in sys.modules and 'banyan_hp.clients.banyan' not in sys.modules\n"
        "banyan_hp.configure(enabled=False)\n"
        "loaded = sorted(name for name in sys.modules if name.partition('.')[0] == 'asyncio')\n"
        "assert not loaded, loaded\n"
        "assert 'banyan_hp.clients.huggingplace' not in sys.modules\n"
    )
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr


IMPORTS = Imports.of(PACKAGE)


def part_of(module: str) -> str:
    """The first name below the package; of the package itself the empty one."""
    return module.partition(".")[2].partition(".")[0]


GROUND = {"errors", "feedback_tokens", "files", "foreign", "local_keys", "logs", "settings", "text", "types"}
SHARED_WITH_SERVER = {
    "experiments",
    "feedback_tokens",
    "files",
    "guide",
    "local_keys",
    "placeholders",
    "semconv",
    "_version",
}
MAY_IMPORT = {
    "__main__.py": {"cli"},
    "_version.py": set(),
    "errors.py": set(),
    "logs.py": {"foreign", "text"},
    "experiments.py": set(),
    "feedback_tokens.py": set(),
    "files.py": set(),
    "placeholders.py": set(),
    "local_keys.py": {"files"},
    "foreign.py": {"errors"},
    "text.py": set(),
    "semconv.py": set(),
    "active_span.py": set(),
    "traceparent.py": set(),
    "checks.py": {"errors", "foreign"},
    "settings.py": {"checks", "errors", "foreign"},
    "types.py": {"settings"},
    "engine": GROUND | {"engine"},
    "destinations": GROUND | {"checks", "destinations", "engine", "semconv", "traceparent", "_version"},
    "prompts": GROUND | {"engine", "experiments", "placeholders", "prompts"},
    "copies.py": {"engine", "errors", "settings"},
    "tracking": GROUND | {"active_span", "copies", "engine", "prompts", "traceparent", "tracking"},
    "clients": GROUND
    | {"active_span", "clients", "copies", "destinations", "engine", "prompts", "semconv", "tracking"},
    "server": SHARED_WITH_SERVER | {"server", "semconv", "_version"},
    "integrations": GROUND
    | {
        "checks",
        "cli",
        "clients",
        "engine",
        "integrations",
        "semconv",
        "traceparent",
        "tracking",
        "_version",
    },
    "guide": set(),
    "testing": {"clients", "engine", "experiments", "feedback_tokens", "testing"},
    "cli": GROUND | {"cli", "clients", "destinations", "engine", "guide", "server", "_version"},
}


def test_every_part_of_the_package_has_its_place() -> None:
    """A new module or subpackage must say what it may import."""
    parts = {
        path.name for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert parts == {*MAY_IMPORT, "__init__.py"}


@pytest.mark.parametrize(("part", "allowed"), MAY_IMPORT.items())
def test_imports_point_down_only(part: str, allowed: set[str]) -> None:
    """The engine imports no client and no wire format; the server shares nothing with the engine."""
    name = part.removesuffix(".py")
    assert any(part_of(module) == name for module in IMPORTS.paths)
    wrong = {
        (start, end)
        for start, end in IMPORTS.arrows
        if part_of(start) == name and part_of(end) not in allowed
    }
    assert not wrong


ROOMS_MAY_IMPORT = {"records": set[str](), "policy": {"records"}, "http": {"policy", "sync", "threads"}}


@pytest.mark.parametrize(("room", "allowed"), ROOMS_MAY_IMPORT.items())
def test_the_engine_s_lower_rooms_import_nothing_above_them(room: str, allowed: set[str]) -> None:
    """Records know nothing of policies, policies nothing of HTTP, and none of spool or delivery."""
    inside = f"banyan_hp.engine.{room}"
    imported = {
        end
        for start, end in IMPORTS.arrows
        if start.startswith(inside) and end.startswith("banyan_hp.engine.") and not end.startswith(inside)
    }
    assert {end.split(".")[2] for end in imported} <= allowed


def test_the_top_level_shows_what_it_should() -> None:
    """Nothing but these, dotfiles and what git ignores."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    visible = {name.split("/")[0] for name in listed if not name.startswith(".")}
    assert visible == {
        "CHANGELOG.md", "LICENSE", "Makefile", "README.md",
        "banyan_hp", "examples", "findings", "setup.cfg", "setup.py", "tests",
    }  # fmt: skip


def test_the_version_is_in_one_place() -> None:
    """`setup.cfg` reads it from where the package has it."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    assert config["metadata"]["version"] == "attr: banyan_hp._version.__version__"
    assert re.fullmatch(r"\d+\.\d+\.\d+", banyan_hp.__version__)


def test_the_wheel_has_three_dependencies_all_modules_and_all_data(wheel: Path) -> None:
    """Typed, licensed, with exactly three runtime dependencies, and every file that the package reads."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = archive.read(next(name for name in names if name.endswith("METADATA"))).decode()
    required = [
        line for line in metadata.splitlines() if line.startswith("Requires-Dist") and "extra" not in line
    ]
    assert sorted(re.findall(r"Requires-Dist: (\w+)", "\n".join(required))) == [
        "platformdirs",
        "requests",
        "urllib3",
    ]
    packaged = {name for name in names if name.startswith("banyan_hp/")}
    assert packaged == _tracked("banyan_hp", but_for={"README.md", "DECISIONS.md"})
    assert {"banyan_hp/py.typed", "banyan_hp/cli/demo/shop.json"} <= packaged
    assert {"banyan_hp/server/docs.css", *(f"banyan_hp/guide/{topic}.md" for topic in TOPICS)} <= packaged
    assert any(name.endswith("LICENSE") for name in names)
    assert not any(name.startswith(("tests/", "examples/")) for name in names)


def _tracked(directory: str, but_for: set[str]) -> set[str]:
    """The files of a directory, without what git ignores and the pages for maintainers."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", directory],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    return {name for name in listed if Path(name).name not in but_for and (ROOT / name).exists()}


def test_importing_the_package_needs_no_extra() -> None:
    """It imports neither the server's libraries nor, where it is missing, orjson."""
    program = """
import sys
sys.modules.update(dict.fromkeys(["orjson", "starlette", "uvicorn"]))  # None: an import fails
import banyan_hp
from banyan_hp.engine.records.encode import encode
assert encode({"a": 1}) == b'{"a":1}'
"""
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
