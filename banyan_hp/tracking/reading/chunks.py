"""Putting a streamed answer together from its chunks, of any provider. Pure; bounded in memory.

Known are the chunks of OpenAI's chat completions (and of providers with the same format, Mistral's `data`
events included), completions and responses, Anthropic's events, Google's GenAI and its interactions, the
events that the helpers of the `openai` and `anthropic` packages make of them, LangChain's chunks of messages,
and plain strings. Where no chunk is of a known kind their texts are taken as `str` gives them.

A stream gives what the whole answer gives: the same text, calls, model, tokens and reason.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .fields import as_text, count, field, first_of, items, path, text
from .pieces import Choice, Room
from .responses import (
    Reading,
    block_reason,
    failure_of,
    framework_details,
    is_framework_message,
    item_call,
    joined,
    lines,
    read_response,
)
from .usage import NO_USAGE, counters_of, larger, read_usage, usage_of

DONE = object()  # what `data: [DONE]` comes to


class Chunks:
    """One stream so far."""

    def __init__(self) -> None:
        self._room = Room()
        self._choices: dict[int, Choice] = {}
        self._items: list[str] = []
        self._strange: list[str] = []
        self._model: str | None = None
        self._counters: dict[str, int] = {}
        self._usage = NO_USAGE  # of chunks that add up
        self._finish_reason: str | None = None
        self._failure: tuple[str, str] | None = None
        self._whole: Reading | None = None
        self._known = False
        self._ended = False

    def add(self, chunk: Any) -> None:
        """Add the next chunk."""
        if chunk is DONE:
            self._ended = True
        elif isinstance(chunk, str):
            self._say(0, chunk)
        elif not any(take(chunk) for take in self._kinds()):
            self._stranger(chunk)

    def leave_out(self) -> None:
        """Mark a gap: chunks are missing before the next one."""
        self._choice(0).leave_out()

    @property
    def complete(self) -> bool:
        """Whether the end of the answer has come."""
        return self._ended or self._finish_reason is not None

    def reading(self) -> Reading:
        """The answer so far."""
        if self._whole is not None:
            return self._whole
        if not self._known:
            return Reading("".join(self._strange) or None)
        texts = [self._choice(number).text() for number in sorted({0, *self._choices})]
        answer = lines(joined(texts), self._items)
        usage = usage_of(self._counters).plus(self._usage)
        kind, error = self._failure or (None, None)
        return Reading(answer, self._model, usage, self._finish_reason, error, kind)

    def _choice(self, number: int) -> Choice:
        choice = self._choices.get(number)
        if choice is None:
            choice = self._choices[number] = Choice(self._room)
        return choice

    # -- kinds of chunks: each returns False for one that is not of it ----------------------------------

    def _kinds(self) -> tuple[Callable[[object], bool], ...]:
        return (
            self._completion,
            self._message_chunk,
            self._event,
            self._interaction,
            self._candidates,
            self._failed,
        )

    def _completion(self, chunk: object) -> bool:
        choices = field(chunk, "choices")
        if not isinstance(choices, (list, tuple)):
            return False
        for choice in items(choices):
            number = count(field(choice, "index")) or 0
            self._choice(number).delta(first_of(choice, "delta", "message"))
            self._say(number, text(field(choice, "text")))
            if number == 0:
                self._finish_reason = text(field(choice, "finish_reason")) or self._finish_reason
                self._failure = self._failure or failure_of(choice)
        self._failure = self._failure or failure_of(chunk)
        self._read_details(chunk)
        return True

    def _message_chunk(self, chunk: object) -> bool:
        """LangChain's; their tokens add up, as the sum of its chunks has them."""
        if not is_framework_message(chunk):
            return False
        self._known = True
        self._choice(0).message_chunk(chunk)
        model, ended = framework_details(chunk)
        self._model, self._finish_reason = model or self._model, ended or self._finish_reason
        self._usage = self._usage.plus(read_usage(chunk))
        return True

    def _candidates(self, chunk: object) -> bool:
        """Google's; a chunk that only blocks the prompt, or only counts, has no candidates."""
        candidates, blocked = field(chunk, "candidates"), block_reason(chunk)
        reported = isinstance(candidates, (list, tuple)) or blocked is not None
        if not reported and not any("token_count" in name for name in counters_of(chunk)):
            return False
        for candidate in items(candidates):
            number = count(field(candidate, "index")) or 0
            self._choice(number).parts(path(candidate, "content", "parts"))
            if number == 0:
                ended = text(first_of(candidate, "finish_reason", "finishReason"))
                self._finish_reason = ended or self._finish_reason
        self._finish_reason = self._finish_reason or blocked
        self._read_details(chunk)
        self._model = text(first_of(chunk, "model_version", "modelVersion")) or self._model
        return True

    def _event(self, event: object) -> bool:
        kind = text(field(event, "type"))
        if kind is None:
            return self._wrapped(field(event, "data"))
        if kind == "chunk":
            return self._wrapped(field(event, "chunk"))
        if kind == "error":
            self._failure = failure_of(event) or failure_of({"error": event})
        elif kind.startswith("response."):
            self._response_event(kind, event)
        elif kind.startswith(("message_", "content_block_")):
            self._message_event(kind, event)
        elif kind.startswith("transcript."):
            self._transcript_event(kind, event)
        else:
            return False
        self._known = True
        return True

    def _wrapped(self, chunk: object) -> bool:
        return chunk is not None and not isinstance(chunk, str) and self._completion(chunk)

    def _failed(self, chunk: object) -> bool:
        failure = failure_of(chunk) if isinstance(chunk, dict) and set(chunk) <= _ONLY_AN_ERROR else None
        if failure is None:
            return False
        self._known, self._failure = True, self._failure or failure
        return True

    def _response_event(self, kind: str, event: object) -> None:
        if kind in ("response.output_text.delta", "response.refusal.delta"):
            self._say(0, text(field(event, "delta")))
        elif kind in _RESPONSE_ENDS:
            self._ended = True
            self._whole = read_response(field(event, "response"))
        elif kind == "response.output_item.done":
            call = item_call(field(event, "item"))
            if call is not None:
                self._items.append(self._room.within(call))
        elif kind == "response.created":
            self._read_details(field(event, "response"))

    def _message_event(self, kind: str, event: object) -> None:
        if kind == "message_start":
            self._read_details(field(event, "message"))
        elif kind == "content_block_start":
            self._choice(0).block(field(event, "index"), field(event, "content_block"))
        elif kind == "content_block_delta":
            self._choice(0).block_delta(field(event, "index"), field(event, "delta"))
        elif kind == "message_delta":
            self._finish_reason = text(path(event, "delta", "stop_reason")) or self._finish_reason
            self._read_details(event)
        elif kind == "message_stop":
            self._ended = True

    def _transcript_event(self, kind: str, event: object) -> None:
        if kind == "transcript.text.delta":
            self._say(0, text(field(event, "delta")))
        elif kind == "transcript.text.done":
            self._ended = True
            self._read_details(event)

    def _interaction(self, event: object) -> bool:
        """An event of Google's interactions."""
        kind = text(field(event, "event_type"))
        if kind is None:
            return False
        if kind == "error":
            self._failure = failure_of(event)
        elif kind == "step.start":
            self._choice(0).step(field(event, "index"), field(event, "step"))
        elif kind == "step.delta":
            self._choice(0).step_delta(field(event, "index"), field(event, "delta"))
        elif kind.startswith("interaction."):
            self._interaction_state(kind, first_of(event, "interaction") or event)
        self._known = True
        return True

    def _interaction_state(self, kind: str, interaction: object) -> None:
        self._read_details(interaction)
        if kind == "interaction.completed":
            self._ended = True
            self._finish_reason = text(field(interaction, "status")) or self._finish_reason
            self._failure = self._failure or failure_of(interaction)

    def _stranger(self, chunk: object) -> None:
        if not self._known and not self._room.full:
            self._strange.append(self._room.within(as_text(chunk)))

    # -- what they have in common -----------------------------------------------------------------------

    def _say(self, choice: int, said: str | None) -> None:
        if said:
            self._known = True
            self._choice(choice).say(said)

    def _read_details(self, chunk: object) -> None:
        self._known = True
        self._model = text(field(chunk, "model")) or self._model
        counters = counters_of(chunk)
        if counters:
            self._counters = larger(self._counters, counters)


_ONLY_AN_ERROR = {"error", "type", "code", "message", "request_id", "user_id"}
_RESPONSE_ENDS = ("response.completed", "response.incomplete", "response.failed", "response.cancelled")
