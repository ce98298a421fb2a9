"""The public surface as text: names and signatures, settings, stats, commands, routes.

    python -m tests.support.surface            # show it
    python -m tests.support.surface --write    # after a wanted change: rewrite tests/surface.txt

The text is the same for each version of Python and names no module: a file that moves changes nothing.
"""

from __future__ import annotations

import argparse
import ast
import builtins
import configparser
import importlib
import inspect
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, fields
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn
from unittest.mock import patch

from starlette.routing import Route

import banyan_hp
import banyan_hp.redact
import banyan_hp.testing
from banyan_hp import HuggingPlace, PromptStackLogger, types
from banyan_hp.server.app import create_app
from banyan_hp.server.store.database import Database
from banyan_hp.settings import PromptSettings, Settings

ROOT = Path(__file__).parents[2]
SNAPSHOT = ROOT / "tests" / "surface.txt"
VARIABLES = {
    "PromptStackLogger api_key": "BANYAN_API_KEY",
    "PromptStackLogger base_url": "BANYAN_BASE_URL",
    "PromptStackLogger project_id": "BANYAN_PROJECT_ID",
    "HuggingPlace api_key": "HUGGINGPLACE_API_KEY",
    "HuggingPlace base_url": "HUGGINGPLACE_BASE_URL",
    "HuggingPlace mode": "HUGGINGPLACE_MODE",
    "HuggingPlace org_id": "HUGGINGPLACE_ORG_ID",
    "enabled": "BANYAN_HP_DISABLED",
    "debug": "BANYAN_HP_DEBUG",
    "content_hash_key": "BANYAN_HP_CONTENT_HASH_KEY",
    "spool_dir": "BANYAN_HP_SPOOL_DIR",
    "banyan-hp serve --db": "BANYAN_HP_DB",
    "banyan-hp serve --calls": "BANYAN_HP_CALLS",
    "banyan-hp serve --clickhouse-cluster": "BANYAN_HP_CLICKHOUSE_CLUSTER",
    "banyan-hp serve --keys-file": "BANYAN_HP_SERVE_KEYS",
    "where a backend's own key is kept": "BANYAN_HP_KEYS_DIR",
    "Django's setting, a dict": "BANYAN_HP",
}
"""Which setting an environment variable fills in."""
_VARIABLE = re.compile(r"(BANYAN|HUGGINGPLACE)_[A-Z_]+")
_LONG = 100
_MADE_BY_US = {"Interaction", "Receipt", "Redactor", "Step"}
"""Classes whose constructors applications don't call."""
_URL = "http://127.0.0.1:9"
_SPECIAL = {
    "__aenter__", "__aexit__", "__await__", "__bool__", "__call__", "__enter__", "__exit__", "__iter__",
}  # fmt: skip


def surface() -> str:
    """All of it, sorted within its sections."""
    sections = {
        "Names": _names(banyan_hp),
        "banyan_hp.redact": _names(banyan_hp.redact),
        "banyan_hp.testing": _names(banyan_hp.testing),
        "Types (banyan_hp.types)": sorted(types.__all__),
        "Settings": _settings(),
        "get_stats()": _stats(),
        "health()": _health(),
        "Commands": _commands(),
        "Routes": _routes(),
    }
    return "\n".join(f"## {title}\n\n" + "\n".join(lines) + "\n" for title, lines in sections.items())


def variables_read() -> set[str]:
    """The environment variables of our own that the package names anywhere but in docstrings and messages."""
    found = set()
    for path in sorted(Path(banyan_hp.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found |= {node.value} if _VARIABLE.fullmatch(node.value) else set()
    return found


# -- names ---------------------------------------------------------------------------------------------------


def _names(module: ModuleType) -> list[str]:
    lines: list[str] = []
    for name in dir(module):
        value = getattr(module, name)
        if inspect.isclass(value):
            lines += _class(name, value)
        elif callable(value):
            lines += _function(name, value)
        else:
            lines.append(name)
    return lines


def _class(name: str, cls: type) -> Iterator[str]:
    bases = [base.__name__ for base in cls.__bases__ if _is_public(base)]
    yield f"class {name}" + (f"({', '.join(bases)})" if bases else "")
    ours = [each for each in cls.__mro__ if each.__module__.startswith("banyan_hp")]
    constructed = any("__init__" in vars(each) or "__new__" in vars(each) for each in ours)
    if constructed and name not in _MADE_BY_US:
        yield from _indented([f"{name}{_signature(cls)}"])
    members: dict[str, object] = {}
    for each in reversed(ours):
        members.update(dict.fromkeys(inspect.get_annotations(each)))
        members.update(vars(each))
    for member in sorted(members):
        if member in _SPECIAL or not member.startswith("_"):
            yield from _indented(_member(member, cls))


def _indented(texts: list[str]) -> Iterator[str]:
    yield from (f"    {line}" for text in texts for line in text.split("\n"))


def _is_public(base: type) -> bool:
    name = base.__name__
    return base is not object and (name in dir(banyan_hp) or getattr(builtins, name, None) is base)


def _member(name: str, cls: type) -> list[str]:
    static = inspect.getattr_static(cls, name, None)
    if isinstance(static, property):
        assert static.fget is not None
        return [f"{name}: {_text(inspect.signature(static.fget).return_annotation)} (property)"]
    if inspect.isroutine(static):
        return _function(name, getattr(cls, name))
    annotated = [inspect.get_annotations(each).get(name) for each in cls.__mro__]
    annotation = next((each for each in annotated if each is not None), None)
    return [f"{name}: {_text(annotation)}" if annotation is not None else name]


def _function(name: str, function: Any) -> list[str]:
    prefix = "async def" if inspect.iscoroutinefunction(function) else "def"
    return [f"{prefix} {name}{_signature(function)}"]


def _signature(function: Any) -> str:
    """`str(inspect.signature())` depends on the version of Python, and on where things are."""
    signature = inspect.signature(function)
    parts: list[str] = []
    before: Any = None
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and before not in (
            parameter.KEYWORD_ONLY,
            parameter.VAR_POSITIONAL,
        ):
            parts.append("*")
        if before is parameter.POSITIONAL_ONLY and parameter.kind is not before:
            parts.append("/")
        before = parameter.kind
        parts.append(_parameter(parameter))
    if before is inspect.Parameter.POSITIONAL_ONLY:
        parts.append("/")
    returns = signature.return_annotation
    arrow = "" if returns is signature.empty or inspect.isclass(function) else f" -> {_text(returns)}"
    listed = ", ".join(parts)
    if len(listed) > _LONG:
        listed = "".join(f"\n    {part}," for part in parts) + "\n"
    return f"({listed}){arrow}"


def _parameter(parameter: inspect.Parameter) -> str:
    stars = "*" * (parameter.kind is parameter.VAR_POSITIONAL) + "**" * (
        parameter.kind is parameter.VAR_KEYWORD
    )
    text = f"{stars}{parameter.name}"
    if parameter.annotation is not parameter.empty:
        text += f": {_text(parameter.annotation)}"
    return text if parameter.default is parameter.empty else f"{text} = {_default(parameter.default)}"


def _text(annotation: object) -> str:
    """An annotation as it is written: the package's are strings. Modules' names are left out."""
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return re.sub(r"\b(?:[a-z_]\w*\.)+(?=\w)", "", text)


def _default(value: object) -> str:
    if isinstance(value, Enum):
        return value.name
    if repr(value) == "<factory>":  # of a dataclass's field
        return "…"
    if value is None or isinstance(value, (bool, int, float, str, tuple)):
        return repr(value)
    return getattr(value, "__name__", type(value).__name__)


# -- settings, stats, commands, routes -----------------------------------------------------------------------


def _settings() -> list[str]:
    lines = []
    for each in (*fields(Settings), *fields(PromptSettings)):
        default = "required" if each.default is MISSING else _default(each.default)
        variable = VARIABLES.get(each.name)
        lines.append(f"{each.name}: {_text(each.type)} = {default}" + (f" ({variable})" if variable else ""))
    lines += [f"{what} ({variable})" for what, variable in VARIABLES.items() if " " in what]
    return sorted(lines)


def _keys(value: Mapping[str, Any], above: str = "") -> Iterator[str]:
    for key in sorted(value):
        yield f"{above}{key}"
        if isinstance(value[key], Mapping):
            yield from _keys(value[key], f"{above}{key}.")


def _clients() -> dict[str, Any]:
    quiet: dict[str, Any] = {"spool": False, "on_sigterm": "off"}
    return {
        "PromptStackLogger": PromptStackLogger("psk_x", _URL, **quiet),
        "HuggingPlace": HuggingPlace(api_key="k", org_id="o", base_url=_URL, **quiet),
    }


def _by_client(call: str) -> list[str]:
    """All keys; those that only one client has are marked."""
    keys = {name: set(_keys(getattr(client, call)())) for name, client in _clients().items()}
    everywhere = set.intersection(*keys.values())
    marked = {
        key: f"{key} ({name})" for name, found in keys.items() for key in found if key not in everywhere
    }
    return [marked.get(key, key) for key in sorted(set.union(*keys.values()))]


def _stats() -> list[str]:
    return _by_client("get_stats")


def _health() -> list[str]:
    return _by_client("health")


def _entry_point() -> tuple[str, Any]:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    name, _, target = config["options.entry_points"]["console_scripts"].strip().partition(" = ")
    module, _, function = target.partition(":")
    return name, getattr(importlib.import_module(module), function)


class _Seen(Exception):
    """Carries the parser out of the command."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self.parser = parser


def _stop(parser: argparse.ArgumentParser, *_: object) -> NoReturn:
    raise _Seen(parser)


def _commands() -> list[str]:
    name, main = _entry_point()
    try:
        with patch.object(argparse.ArgumentParser, "parse_args", _stop):
            main([])
    except _Seen as seen:
        return list(_command(name, seen.parser))
    raise RuntimeError("the command reads its arguments by something else than argparse's parse_args")


def _command(path: str, parser: argparse.ArgumentParser) -> Iterator[str]:
    below: dict[str, argparse.ArgumentParser] = {}
    lines = [path]
    for action in parser._actions:  # private: argparse lists its arguments nowhere else
        if isinstance(action, argparse._SubParsersAction):
            below.update(action.choices)
        elif not isinstance(action, argparse._HelpAction):
            lines.append(f"{path} {_option(action)}")
    yield from sorted(lines)
    for name in sorted(below):
        yield from _command(f"{path} {name}", below[name])


def _option(action: argparse.Action) -> str:
    text = ", ".join(action.option_strings) or action.dest
    if action.nargs != 0:
        text += f" {action.metavar or '|'.join(map(str, action.choices or ())) or action.dest.upper()}"
    if isinstance(action, argparse._AppendAction):
        text += " …"
    if action.default not in (None, False, argparse.SUPPRESS, []):
        text += f" = {action.default}"
    return text


def _routes() -> list[str]:
    with tempfile.TemporaryDirectory() as directory:
        database = Database(str(Path(directory, "surface.sqlite3")))
        try:
            app = create_app(database, {})
        finally:
            database.close()
    calls = [f"{path} {method.upper()}" for path, item in app.openapi()["paths"].items() for method in item]
    pages = [f"{route.path} GET" for route in app.routes if type(route) is Route]
    return sorted(calls + pages)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.support.surface")
    parser.add_argument("--write", action="store_true", help=f"rewrite {SNAPSHOT.relative_to(ROOT)}")
    text = surface()
    if parser.parse_args(arguments).write:
        SNAPSHOT.write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
