"""The table of what is recorded: its columns, and the cells that were seen."""

from __future__ import annotations

from pathlib import Path

from tests.sdks.ways import WAYS, Way

FIELDS = {  # and where in the metadata, if there
    "question": "",
    "model": "",
    "input": "input_tokens",
    "output": "output_tokens",
    "cached": "cached_tokens",
    "reasoning": "reasoning_tokens",
    "finish reason": "finish_reason",
    "text": "",
    "tool calls": "",
    "error": "",
    "first chunk": "",
}
_seen: set[tuple[str, str, str]] = set()


def seen(way: Way, field: str) -> None:
    """A cell is as it should be."""
    _seen.add((way.api, way.name, field))


def write(path: Path) -> None:
    """The table as Markdown: ✓ recorded, – not in such an answer, ✗ wrong or missing."""
    lines = [f"| | | {' | '.join(FIELDS)} |", f"|---|---|{'---|' * len(FIELDS)}"]
    before = ""
    for way in WAYS:
        if way.installed:
            api = "" if way.api == before else way.api
            lines.append(f"| {api} | `{way.name}` | {' | '.join(_mark(way, field) for field in FIELDS)} |")
            before = way.api
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _mark(way: Way, field: str) -> str:
    if (way.api, way.name, field) not in _seen:
        return "✗"
    absent = (field == "tool calls" and not way.tools) or (field == "first chunk" and not way.streamed)
    return "–" if absent else "✓"
