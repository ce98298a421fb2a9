"""The one filter that every text from outside passes before people, logs or files see it.

Outside are backends, proxies and sockets, exceptions that repeat what those sent, and files. A backend may
repeat the key that it refuses, and anyone may send characters that forge a log line or move a terminal's
cursor. The order matters: secrets first, while they are whole, then control characters, the length last.

What is secret about requests is said in one place: `engine.http.transport.text_filter`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote

LENGTH = 300
STRUCK_OUT = "[secret]"
_LOOKED_AT = 64 * 1024  # characters of a text; a page of megabytes must not keep a sender busy
_SHORTEST_PART = 8  # characters of a secret that was cut short at its source
_IN_HTML = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;"}
)  # as html.escape
_CONTROL = re.compile(r"[^ -~]")  # printable ASCII needs no closer look


class TextFilter:
    """Cleans texts. Immutable.

    Args:
        secrets: keys and passwords, which no text may repeat. Empty ones are ignored.
    """

    __slots__ = ("_begins", "_longest", "_secrets")

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        forms = {form for secret in secrets if secret for form in _forms(secret)}
        self._secrets = sorted(forms, key=len, reverse=True)
        self._longest = max(map(len, self._secrets), default=0)
        self._begins = re.compile("|".join(map(_pattern, self._secrets)) or "(?!)")

    def __call__(self, text: object, length: int = LENGTH) -> str:
        """The text as one line of at most this many characters, without secrets and control characters."""
        whole = as_text(text)
        known = self._struck_out(whole[:_LOOKED_AT])
        if len(whole) > _LOOKED_AT and self._longest:
            known = known[: -self._longest]  # the beginning of a secret may stand there
        return printable(" ".join(known.split())[:length])[:length]

    def _struck_out(self, text: str) -> str:
        """The text without secrets and without beginnings of secrets that were cut short at their source."""
        pieces = []
        at = 0
        while (found := self._begins.search(text, at)) is not None:
            pieces += [text[at : found.start()], STRUCK_OUT]
            at = found.start() + max(_common(text, found.start(), secret) for secret in self._secrets)
        return "".join([*pieces, text[at:]])


def _pattern(secret: str) -> str:
    """Matches the beginning of a secret; a short secret only where it is not a part of a word."""
    if len(secret) < _SHORTEST_PART:
        return rf"(?<!\w){re.escape(secret)}(?!\w)"
    return re.escape(secret[: max(_SHORTEST_PART, len(secret) // 2)])


def _common(text: str, start: int, secret: str) -> int:
    """How many characters of a secret the text has at `start`."""
    if text.startswith(secret, start):
        return len(secret)
    pairs = zip(text[start : start + len(secret)], secret, strict=False)
    return next((count for count, (one, other) in enumerate(pairs) if one != other), len(text) - start)


def printable(text: str) -> str:
    """The text as one line: white space becomes blanks, what can't be printed the escapes of Python's `repr`.

    The latter are control characters (C0, C1, DEL), line separators, marks of the writing direction and
    lone surrogates.
    """
    return _CONTROL.sub(_shown, text)


def printable_json(text: str) -> str:
    """JSON that means the same and is harmless to a terminal."""
    return _CONTROL.sub(_escaped, text)


def _shown(match: re.Match[str]) -> str:
    char = match[0]
    if char.isprintable():
        return char
    return " " if char.isspace() else repr(char)[1:-1]


def _escaped(match: re.Match[str]) -> str:
    char = match[0]
    if char.isprintable():
        return char
    return " " if char in "\t\r\n" else json.dumps(char)[1:-1]  # these only stand between JSON's values


def as_text(text: object) -> str:
    """`str(text)`, or the type's name if that fails."""
    try:
        return str(text)
    except (RecursionError, ValueError):  # nested too deep, or a number with too many digits
        return f"<{type(text).__name__}>"


def json_object(body: bytes) -> dict[str, Any] | None:
    """The JSON object that a response is; None: it is none, whatever else it is."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _forms(secret: str) -> Iterator[str]:
    """A secret as it is, and as messages quote it."""
    yield secret
    yield repr(secret)[1:-1]
    yield repr(repr(secret)[1:-1])[1:-1]  # an error within an error
    yield json.dumps(secret)[1:-1]
    yield quote(secret, safe="", errors="replace")
    yield secret.translate(_IN_HTML)  # html.escape, whose module has thousands of entities


clean = TextFilter()
"""For texts without secrets: from disk, or filtered before."""
