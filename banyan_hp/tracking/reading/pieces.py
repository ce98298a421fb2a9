"""The pieces of one streamed answer: its text, and its tool calls, put together from what belongs to each."""

from __future__ import annotations

import json

from .fields import as_text, count, field, first_of, items, path, text
from .responses import (
    TOOL_BLOCKS,
    content_text,
    item_call,
    lines,
    part_text,
    part_tool,
    text_without_tools,
    tool_call,
)

MOST_CHARACTERS = 1_000_000
CUT = "… [cut]"


class Room:
    """How much text of a stream is still kept."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = MOST_CHARACTERS

    @property
    def full(self) -> bool:
        """Whether the marker is there already; nothing follows it."""
        return self._left < 0

    def within(self, said: str) -> str:
        """What of a text is kept, with a marker where that is not all."""
        if self._left < 0:
            return ""
        kept = said if len(said) <= self._left else said[: self._left] + CUT
        self._left -= len(said)
        return kept


class _ToolCall:
    """One tool call so far."""

    __slots__ = ("arguments", "id", "index", "name", "whole")

    def __init__(self, ident: str | None, index: object) -> None:
        self.id = ident
        self.index = index
        self.name: str | None = None
        self.whole: object = None  # arguments that came at once
        self.arguments: list[str] = []

    def line(self) -> str:
        """Its line, as in the whole answer, whose arguments are a text or a value."""
        if not self.arguments:
            return tool_call(self.name, self.whole)
        arguments = "".join(self.arguments)
        if isinstance(self.whole, dict):
            try:
                return tool_call(self.name, json.loads(arguments))
            except ValueError:
                pass  # cut
        return tool_call(self.name, arguments)

    @property
    def is_whole(self) -> bool:
        """Whether its arguments are complete: what comes with a name again is another call."""
        try:
            json.loads("".join(self.arguments))
        except ValueError:
            return False
        return True


class Choice:
    """One answer of a stream so far."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._said: list[str] = []
        self._refused: list[str] = []
        self._spoken: list[str] = []
        self._calls: list[_ToolCall] = []
        self._parts: list[str] = []

    def text(self) -> str:
        """As the whole answer has it: the text, a refusal or a transcript instead, and the calls."""
        said = "".join(self._said) or "".join(self._refused) or "".join(self._spoken)
        return lines(said, [*self._parts, *(call.line() for call in self._calls if call.name is not None)])

    def say(self, said: str | None) -> None:
        """A piece of text."""
        if said:
            self._said.append(self._room.within(said))

    def leave_out(self) -> None:
        """Mark where something is left out."""
        self._said.append(CUT)

    # -- OpenAI's ---------------------------------------------------------------------------------------

    def delta(self, delta: object) -> None:
        """What a chunk of a chat completion adds."""
        self.say(content_text(field(delta, "content")))
        if refusal := text(field(delta, "refusal")):
            self._refused.append(self._room.within(refusal))
        if spoken := text(path(delta, "audio", "transcript")):
            self._spoken.append(self._room.within(spoken))
        for call in items(field(delta, "tool_calls")):
            function = first_of(call, "function", "custom")
            self._call(text(field(call, "id")), field(call, "index"), function)
        if (function := field(delta, "function_call")) is not None:
            self._call(None, None, function)

    def _call(self, ident: str | None, index: object, function: object) -> _ToolCall:
        name = text(field(function, "name")) or None
        call = self._call_of(ident or None, count(index), name)
        call.name = call.name or name
        arguments = first_of(function, "arguments", "input")
        if arguments is not None and (piece := as_text(arguments)):
            call.arguments.append(self._room.within(piece))
        return call

    def _call_of(self, ident: str | None, index: int | None, name: str | None) -> _ToolCall:
        """The call that a piece belongs to: by its id, for some give all calls the index 0, or none."""
        if ident is not None:
            found = next((call for call in self._calls if call.id == ident), None)
            if found is None and (begun := self._last(index)) is not None and begun.id is None:
                found = begun if begun.name is None else None
        else:
            found = self._last(index)
            if found is not None and name is not None and found.name is not None and found.is_whole:
                found = None
        if found is None:
            found = _ToolCall(ident, index)
            self._calls.append(found)
        found.id = found.id or ident
        return found

    def _last(self, index: object) -> _ToolCall | None:
        calls = reversed(self._calls)
        return next((call for call in calls if index is None or call.index == index), None)

    # -- Anthropic's ------------------------------------------------------------------------------------

    def block(self, index: object, block: object) -> None:
        """A block of content begins."""
        if text(field(block, "type")) in TOOL_BLOCKS:
            call = _ToolCall(None, index)
            call.name, call.whole = text(field(block, "name")), field(block, "input")
            self._calls.append(call)
        else:
            self.say(content_text([block]))

    def block_delta(self, index: object, delta: object) -> None:
        """A block goes on."""
        if text(field(delta, "type")) not in _THOUGHT:
            self.say(text(field(delta, "text")))
        arguments = text(first_of(delta, "partial_json", "arguments"))
        call = self._last(index)
        if arguments and call is not None:
            call.arguments.append(self._room.within(arguments))

    # -- LangChain's ------------------------------------------------------------------------------------

    def message_chunk(self, message: object) -> None:
        """What a chunk of a message adds; the pieces of its tool calls are listed beside the content."""
        self.say(text_without_tools(field(message, "content")))
        for piece in items(field(message, "tool_call_chunks")):
            named = {"name": field(piece, "name"), "arguments": field(piece, "args")}
            call = self._call(text(field(piece, "id")), field(piece, "index"), named)
            call.whole = {}  # the whole message has its arguments parsed

    # -- Google's ---------------------------------------------------------------------------------------

    def parts(self, parts: object) -> None:
        """The parts of a candidate."""
        for part in items(parts):
            if (said := part_text(part)) is not None:
                self.say(said)
            elif (call := part_tool(part)) is not None:
                self._parts.append(self._room.within(call))

    def step(self, index: object, step: object) -> None:
        """A step of an interaction begins."""
        kind = text(field(step, "type"))
        if kind == "model_output":
            self.say(content_text(field(step, "content")))
        elif item_call(step) is not None:
            call = _ToolCall(text(field(step, "id")), index)
            call.name = text(field(step, "name")) or str(kind).removesuffix("_call")
            call.whole = field(step, "arguments")
            self._calls.append(call)

    def step_delta(self, index: object, delta: object) -> None:
        """A step goes on."""
        self.block_delta(index, delta)


_THOUGHT = ("thought", "thought_summary", "thinking_delta", "signature_delta")
