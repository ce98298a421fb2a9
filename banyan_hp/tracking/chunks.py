"""Putting a streamed answer together from its chunks, whoever sent them. Pure; bounded in memory.

Known are the chunks of OpenAI's chat completions (and of those who speak like it, Mistral's `data` events
included), completions and responses, Anthropic's events, Google's GenAI, the events that the helpers of the
`openai` and `anthropic` packages make of them, and plain strings. Where no chunk is of a known kind their
texts are taken as `str` gives them.
"""

from __future__ import annotations

from typing import Any

from .fields import as_text, count, field, first_of, items, path, text
from .reading import Reading, Usage
from .responses import content_text, joined, read_response, read_usage, tool_call

MOST_CHARACTERS = 1_000_000
CUT = "… [cut]"


class Chunks:
    """What has come of one stream so far."""

    def __init__(self) -> None:
        self._said: dict[int, list[str]] = {}
        self._tools: dict[tuple[int, object], list[str]] = {}
        self._strange: list[str] = []
        self._left = MOST_CHARACTERS
        self._model: str | None = None
        self._usage = Usage()
        self._finish_reason: str | None = None
        self._whole: Reading | None = None
        self._known = False

    def add(self, chunk: Any) -> None:
        """Take in the next chunk."""
        if isinstance(chunk, str):
            self._say(0, chunk)
        elif not (self._choices(chunk) or self._event(chunk) or self._candidates(chunk)):
            self._stranger(chunk)

    def reading(self) -> Reading:
        """The answer so far."""
        if self._whole is not None:
            return self._whole
        if not self._known:
            return Reading("".join(self._strange) or None)
        choices = sorted({0, *self._said, *(choice for choice, _ in self._tools)})
        answer = joined([self._choice(number) for number in choices])
        return Reading(answer, self._model, self._usage, self._finish_reason)

    def _choice(self, number: int) -> str:
        said = "".join(self._said.get(number, ()))
        tools = [
            tool_call(name, "".join(arguments))
            for (choice, _), (name, *arguments) in self._tools.items()
            if choice == number
        ]
        return "\n".join([*([said] if said else []), *tools])

    # -- kinds of chunks: each returns False for one that is not of it ----------------------------------

    def _choices(self, chunk: object) -> bool:
        choices = field(chunk, "choices")
        if not isinstance(choices, (list, tuple)):
            return False
        for choice in items(choices):
            number = count(field(choice, "index")) or 0
            delta = field(choice, "delta")
            self._say(number, content_text(first_of(delta, "content", "refusal")))
            self._say(number, text(field(choice, "text")))
            for call in items(field(delta, "tool_calls")):
                function = field(call, "function")
                key = (number, count(field(call, "index")) or 0)
                self._call(key, field(function, "name"), field(function, "arguments"))
            self._finish_reason = text(field(choice, "finish_reason")) or self._finish_reason
        self._told(chunk)
        return True

    def _candidates(self, chunk: object) -> bool:
        reading = read_response(chunk) if isinstance(field(chunk, "candidates"), (list, tuple)) else None
        if reading is None:
            return False
        self._say(0, text(reading.text))
        self._finish_reason = reading.finish_reason or self._finish_reason
        self._told(chunk)
        self._model = reading.model or self._model
        return True

    def _event(self, event: object) -> bool:
        kind = text(field(event, "type"))
        if kind is None:
            return self._wrapped(field(event, "data"))
        if kind == "chunk":
            return self._wrapped(field(event, "chunk"))
        if kind.startswith("response."):
            self._response_event(kind, event)
        elif kind.startswith(("message_", "content_block_")):
            self._message_event(kind, event)
        else:
            return False
        self._known = True
        return True

    def _wrapped(self, chunk: object) -> bool:
        return chunk is not None and not isinstance(chunk, str) and self._choices(chunk)

    def _response_event(self, kind: str, event: object) -> None:
        if kind in ("response.output_text.delta", "response.refusal.delta"):
            self._say(0, text(field(event, "delta")))
        elif kind in ("response.completed", "response.incomplete", "response.failed"):
            self._whole = read_response(field(event, "response"))
        elif kind == "response.output_item.done":
            item = field(event, "item")
            if (name := text(field(item, "name"))) is not None:
                self._call((0, len(self._tools)), name, first_of(item, "arguments", "input"))
        elif kind == "response.created":
            self._told(field(event, "response"))

    def _message_event(self, kind: str, event: object) -> None:
        if kind == "message_start":
            self._told(field(event, "message"))
        elif kind == "content_block_start":
            block = field(event, "content_block")
            if (name := text(field(block, "name"))) is not None:
                self._call((0, field(event, "index")), name, None)
            self._say(0, text(field(block, "text")))
        elif kind == "content_block_delta":
            delta = field(event, "delta")
            self._say(0, text(field(delta, "text")))
            if (arguments := text(field(delta, "partial_json"))) is not None:
                self._call((0, field(event, "index")), None, arguments)
        elif kind == "message_delta":
            self._finish_reason = text(path(event, "delta", "stop_reason")) or self._finish_reason
            self._told(event)

    def _stranger(self, chunk: object) -> None:
        if not self._known and self._left >= 0:
            self._strange.append(self._within(as_text(chunk)))

    # -- what they tell ---------------------------------------------------------------------------------

    def _say(self, choice: int, said: str | None) -> None:
        if said:
            self._known = True
            if self._left >= 0:
                self._said.setdefault(choice, []).append(self._within(said))

    def _call(self, key: tuple[int, object], name: object, arguments: object) -> None:
        self._known = True
        call = self._tools.setdefault(key, [""])
        call[0] = call[0] or text(name) or ""
        if (more := as_text(arguments)) and self._left >= 0:
            call.append(self._within(more))

    def _told(self, chunk: object) -> None:
        self._known = True
        self._model = text(field(chunk, "model")) or self._model
        self._usage = self._usage.updated(read_usage(chunk))

    def _within(self, said: str) -> str:
        kept = said if len(said) <= self._left else said[: self._left] + CUT
        self._left -= len(said)  # below zero: the marker is there, and nothing follows it
        return kept
