"""A version of a prompt as a text: Markdown with a small header. What is written is read back as it was.

    ---
    name: support/answer
    branch: main
    version: 3
    revision: 9f2c61d07ab3e845
    config:
      {
        "model": "m-1"
      }
    ---
    Answer {{question}} in one paragraph.

The content is all behind the header's second line of dashes, but for the file's last line break. Texts in the
header are plain, or JSON strings where they have unusual characters. A chat has `kind: chat` in the header,
and each of its messages a line of its own before it, with an empty line between two messages:

    <!-- message: system -->
    Be brief.

    <!-- message: {"role": "user", "name": "Ada"} -->
    {{question}}

A line of a message that looks like such a line has a backslash before it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .backend import Config, Content, Message

FENCE = "---"
FIELDS = ("name", "branch", "version", "revision", "kind", "config")
_CHAT = "chat"
_PLAIN = re.compile(r"[\w./@-]+( [\w./@-]+)*")
_FIELD = re.compile(r"([a-z_]+):[ \t]*(.*)")
_MARK = re.compile(r"(\\*)<!-- message: (.*) -->")
_MARKED = re.compile(r"^\\*<!-- message: .* -->(?=\r?$)", re.MULTILINE)


class FormatError(ValueError):
    """A file is not as described; the message says what is wrong with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptFile:
    """What a file says.

    Attributes:
        version: the one that it was pulled as; in a new or changed file the name of the one to be made.
        revision: of the version that it was pulled as; None: it was not pulled.
    """

    name: str
    branch: str
    content: Content
    version: str | None = None
    revision: str | None = None
    config: Config = None

    def says(self, content: Content, config: Config) -> bool:
        """Whether a version with these would say the same, to the order of the configuration's fields."""
        return self.content == content and json.dumps(self.config) == json.dumps(config)


# -- written -------------------------------------------------------------------------------------------------


def to_text(file: PromptFile) -> str:
    """The text of a file."""
    chat = not isinstance(file.content, str)
    fields = {
        "name": file.name,
        "branch": file.branch,
        "version": file.version,
        "revision": file.revision,
        "kind": _CHAT if chat else None,
    }
    header = [f"{key}: {_written(value)}" for key, value in fields.items() if value is not None]
    if file.config is not None:
        text = json.dumps(file.config, indent=2, ensure_ascii=False)
        header += ["config:", *(f"  {line}" for line in _escaped(text).split("\n"))]
    content = file.content if isinstance(file.content, str) else _chat_as_text(file.content)
    return "\n".join([FENCE, *header, FENCE, content]) + "\n"


def _written(value: str) -> str:
    return value if _PLAIN.fullmatch(value) else json.dumps(value)


def _escaped(text: str) -> str:
    """JSON in which no character breaks a line or can't be encoded."""
    return "".join(char if char == "\n" or char.isprintable() else json.dumps(char)[1:-1] for char in text)


def _chat_as_text(messages: tuple[Message, ...]) -> str:
    return "\n\n".join(f"{_mark(each)}\n{_escaped_marks(each['content'])}" for each in messages)


def _escaped_marks(content: str) -> str:
    return _MARKED.sub(lambda match: "\\" + match[0], content)


def _mark(message: Message) -> str:
    role = message["role"]
    besides = {key: value for key, value in message.items() if key != "content"}
    plain = besides == {"role": role} and _PLAIN.fullmatch(role)
    return f"<!-- message: {role if plain else json.dumps(besides)} -->"


# -- read ----------------------------------------------------------------------------------------------------


def from_text(text: str) -> PromptFile:
    """What a file's text says.

    Raises:
        FormatError: it is not one.
    """
    header, content = _parts(text.removeprefix("\ufeff"))
    fields = dict(_fields(header))
    for needed in ("name", "branch"):
        if not fields.get(needed):
            raise FormatError(f"the header must have a {needed}")
    if fields.get("kind") not in (None, _CHAT):
        raise FormatError(f"kind must be {_CHAT}, or not there, was {fields['kind']!r}")
    return PromptFile(
        name=fields["name"],
        branch=fields["branch"],
        version=fields.get("version"),
        revision=fields.get("revision"),
        config=fields.get("config"),
        content=_chat_from_text(content) if fields.get("kind") == _CHAT else content,
    )


def _parts(text: str) -> tuple[list[str], str]:
    """The lines of the header, and the content."""
    lines = text.split("\n")
    bare = [line.removesuffix("\r") for line in lines]
    if bare[0] != FENCE or FENCE not in bare[1:]:
        raise FormatError(f"it must begin with a header between two lines {FENCE}, with name and branch")
    end = bare.index(FENCE, 1)
    content = "\n".join(lines[end + 1 :])
    return bare[1:end], content.removesuffix("\n")


def _fields(header: list[str]) -> Iterator[tuple[str, Any]]:
    seen: set[str] = set()
    for name, value in _joined(header):
        if name not in FIELDS:
            raise FormatError(f"{name} is no field of the header; the fields are {', '.join(FIELDS)}")
        if name in seen:
            raise FormatError(f"{name} is there twice")
        seen.add(name)
        yield name, _object(name, value) if name == "config" else _string(name, value)


def _joined(header: list[str]) -> list[tuple[str, str]]:
    """Names and values; what is indented goes on with the line before."""
    fields: list[tuple[str, str]] = []
    for line in header:
        match = _FIELD.fullmatch(line)
        if match is not None:
            fields.append((match[1], match[2].strip()))
        elif fields and (line.startswith((" ", "\t")) or not line):
            name, value = fields[-1]
            fields[-1] = (name, f"{value}\n{line}")
        else:
            raise FormatError(f"each line of the header must be 'field: value', was {line[:80]!r}")
    return fields


def _string(name: str, value: str) -> str:
    text = _json(name, value) if value.startswith('"') else value.strip()
    if not isinstance(text, str) or not text:
        raise FormatError(f"{name} must be a text that isn't empty, was {value[:80]!r}")
    return text


def _object(name: str, value: str) -> Mapping[str, Any]:
    found = _json(name, value)
    if not isinstance(found, dict):
        raise FormatError(f"{name} must be a JSON object")
    return found


def _json(name: str, value: str) -> Any:
    try:
        return json.loads(value, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{name} is not valid JSON: {error}") from error


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON number")


def _chat_from_text(text: str) -> tuple[Message, ...]:
    messages: list[tuple[dict[str, str], list[str]]] = []
    for line in text.split("\n"):
        match = _MARK.fullmatch(line.removesuffix("\r"))
        if match is not None and not match[1]:
            messages.append((_message(match[2]), []))
        elif messages:
            messages[-1][1].append(line[1:] if match is not None else line)
        elif line.strip():
            raise FormatError("a chat must begin with a line like '<!-- message: system -->'")
    if not messages:
        raise FormatError("a chat must have a message")
    last = len(messages) - 1
    return tuple(
        {**message, "content": _message_content(lines, between=number < last)}
        for number, (message, lines) in enumerate(messages)
    )


def _message_content(lines: list[str], *, between: bool) -> str:
    """Without the empty line before the next message."""
    return "\n".join(lines[:-1] if between and lines and not lines[-1].strip() else lines)


def _message(mark: str) -> dict[str, str]:
    if not mark.startswith("{"):
        return {"role": mark}
    message = _json("a message's line", mark)
    texts = isinstance(message, dict) and all(isinstance(each, str) for each in message.values())
    if not texts or not {"role"} <= set(message) <= {"role", "name"}:
        raise FormatError("a message's line must have a role, and may have a name; both are texts")
    found: dict[str, str] = message
    return found
