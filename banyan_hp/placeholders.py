"""The `{{name}}` of prompts: which there are in a text, and the text with values in their place.

Nothing is evaluated: no attributes, no expressions, no sections; and what is put in is not looked at again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

_MAX_SHOWN = 60  # characters of a tag in an error
# A tag is `{{…}}` without another one in it, or Mustache's forms with more braces. Looking from the first
# brace of a run only keeps the time linear, whatever the text.
_BODY = r"(?:(?!\{\{|\}\}).)*"
_TAG = re.compile(rf"(?<!\{{)(?:\{{\{{(?!\{{)({_BODY})\}}\}}|\{{{{3,}}{_BODY}\}}\}}+)", re.DOTALL)
_NAME = re.compile(r"[^\W\d][\w.\-]*")


def names_in(contents: Iterable[str]) -> tuple[str, ...]:
    """The names that occur, each once, in their order."""
    found = (_name(tag) for content in contents for tag in _TAG.finditer(content))
    return tuple(dict.fromkeys(filter(None, found)))


def filled(content: str, given: Mapping[str, object], as_text: Callable[[object], str]) -> str:
    """The text with values in the place of their names; a name without one stays."""

    def replaced(tag: re.Match[str]) -> str:
        name = _name(tag)
        return as_text(given[name]) if name and name in given else tag[0]

    return _TAG.sub(replaced, content)


def unfilled_in(contents: Iterable[str], given: Mapping[str, object]) -> tuple[str, ...]:
    """Each once: the name of a missing value, and a tag that is no name as it is written."""
    named = [(_name(tag), tag[0]) for content in contents for tag in _TAG.finditer(content)]
    return tuple(dict.fromkeys(name or _shown(tag) for name, tag in named if not name or name not in given))


def _name(tag: re.Match[str]) -> str:
    """Empty: it is no name, and nothing fills it."""
    inside = (tag[1] or "").strip()
    return inside if _NAME.fullmatch(inside) else ""


def _shown(tag: str) -> str:
    return tag if len(tag) <= _MAX_SHOWN else tag[: _MAX_SHOWN - 3] + "…}}"
