"""Google's contents as messages: a role and a text each. Pure. What is no text is named, not kept."""

from __future__ import annotations

from typing import Any

from .fields import as_text, field, first_of, items, text
from .responses import lines, part_text, part_tool, tool_call


def messages_of(contents: object, instructions: object = None) -> list[dict[str, str]]:
    """The contents, one text or part or a list of them, as messages; instructions come first."""
    messages: list[dict[str, str]] = []
    if instructions is not None:
        messages.append({"role": "system", "content": _said(_parts_of(instructions))})
    loose: list[object] = []
    for each in items(contents) or (contents,):
        if _has_parts(each):
            _add(messages, loose)
            role = text(field(each, "role")) or "user"
            messages.append({"role": role, "content": _said(_parts_of(each))})
        else:
            loose.append(each)
    _add(messages, loose)
    return messages


def _add(messages: list[dict[str, str]], loose: list[object]) -> None:
    """Parts without a role are one message of the user."""
    if loose:
        messages.append({"role": "user", "content": _said(loose)})
        loose.clear()


def _has_parts(content: object) -> bool:
    return isinstance(field(content, "parts"), (list, tuple))


def _parts_of(content: object) -> Any:
    return items(field(content, "parts")) if _has_parts(content) else items(content) or (content,)


def _said(parts: Any) -> str:
    """Text first, then calls, results, and the names of everything else, a line each."""
    texts = [said for part in parts if (said := part_text(part)) is not None]
    others = [_other(part) for part in parts if part_text(part) is None]
    return lines("".join(texts), filter(None, others))


def _other(part: object) -> str | None:
    if (call := part_tool(part)) is not None:
        return call
    result = first_of(part, "function_response", "functionResponse")
    if result is not None:
        return (
            "[tool result] " + tool_call(field(result, "name"), field(result, "response")).partition("] ")[2]
        )
    blob = first_of(part, "inline_data", "inlineData")
    if blob is not None:
        return _named(blob, len(field(blob, "data") or ""))
    file = first_of(part, "file_data", "fileData") or part
    if first_of(file, "file_uri", "fileUri", "uri") is not None:
        return _named(file, None)
    return None if field(part, "thought") is True else f"[{type(part).__name__}]"


def _named(value: object, size: int | None) -> str:
    kind = as_text(first_of(value, "mime_type", "mimeType")) or "file"
    place = as_text(first_of(value, "file_uri", "fileUri", "uri")).partition("?")[0]
    return f"[{kind}{f', {size} bytes' if size is not None else ''}]{' ' + place if place else ''}"
