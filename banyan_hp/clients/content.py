"""Records without their texts (`content="off"`): times, tokens, names and errors' types, but nothing said.

Each record passes `ContentRules.hidden` before the engine has it, so that nothing behind it (queue, disk,
network, captures, callbacks) can know a text. Kept is what is listed here; any other field of a record or
step is taken for a text. Metadata is the application's own and stays, but for what the library writes there
itself from what was said: steps, errors' texts, what a request asks for, and a score's comment.

With `content="hash"` a text becomes its length and a keyed hash, by our threads: the record waits for that
without its texts, and goes without them if hashing fails.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..engine.records.encode import text_of
from ..engine.records.freeze import as_text, freeze
from ..engine.records.record import Deferred
from ..foreign import kind_of
from ..logs import warn
from ..settings import CONTENT, Settings
from .arguments import DURATION, LOG_NUMBERS, InvalidRecordError

OFF = "[content off]"
_HASH_DIGITS = 32
_KEPT = frozenset(
    {
        *("prompt_id", "prompt_name", "version", "branch_name"),
        *("experiment_id", "experiment_version_id", "sticky_key", "sticky_value"),
        *("model", "llm_model", "llm_model2", "duration_ms", "token_count", "response_time"),
        *("record_id", "message_id", "session_id", "user_id", "user_roles", "user_metadata"),
        *("org_id", "org_uuid", "mode", "traceparent", "trace_id", "span_id"),
    }
)
_KEPT_IN_STEPS = frozenset(
    {"id", "type", "token", "response_time", "input_tokens", "output_tokens", "llm_model", "record_id"}
)
_SAID = frozenset({"input", "output", "user_prompt", "response", "user_question", "prompt_response"})
_NO_TEXT = frozenset({int, float, bool})  # but for what was said: there a number is an answer
_OURS = frozenset({"", "[score]", "[no prompt]", "[no response]"})  # texts of the library's own
_ERRORS = ("error", "stack")
_EXCEPTION = "exception"  # of a line of a log
# What a wrapped client's request asks for: schemas, stop words, names of files.
_ASKED = ("parameters", "files")
_STEPS = ("step_data", "step_details")
_SCORE = "banyan_hp"
_SET_ASIDE = DURATION.keys() | LOG_NUMBERS.keys()  # numbers that were none are in the metadata

Hide = Callable[[Any], str]


class ContentRules:
    """Which records go without their texts; made of a client's settings.

    Args:
        settings: `content` and `content_hash_key`.
        prompts: names or ids of prompts whose records go without; `content="off"` for these alone.
    """

    def __init__(self, settings: Settings, prompts: Sequence[str] = ()) -> None:
        self._content = settings.content
        self._key = settings.hash_key
        self._prompts = frozenset(prompts)
        self.apply = self._content != "on" or bool(self._prompts)

    def hidden(
        self, body: dict[str, Any], deferred: Deferred | None, content: object
    ) -> tuple[dict[str, Any], Deferred | None]:
        """The record as it may leave, and what completes it.

        Args:
            body: the record, as it would be logged.
            deferred: what completes it, if anything does.
            content: what the call says; None: the prompt, or else the settings decide.

        Raises:
            InvalidRecordError: `content` is not allowed.
        """
        chosen = self._chosen(body, content)
        if chosen == "on":
            return body, deferred
        frozen = freeze(body)
        texts, held = frozen.value, 0 if deferred is None else deferred.size
        bare = without_content(texts, _off)
        if chosen == "off" or self._key is None:
            return bare, None if deferred is None else Deferred(_completing(deferred, _off), held)
        completed = _completing(deferred, self._hashed)
        return bare, Deferred(lambda given: {**given, **completed(texts)}, held + frozen.size)

    def _chosen(self, body: Mapping[str, Any], content: object) -> str:
        if content is not None:
            chosen = checked_content(content)
            if chosen == "hash" and self._key is None:
                warn("content hash", "content='hash' needs the setting content_hash_key: content is off")
            return chosen
        if self._prompts and not self._prompts.isdisjoint(_named(body)):
            return "hash" if self._content == "hash" else "off"
        return self._content

    def _hashed(self, value: Any) -> str:
        text = as_text(value)
        said = text if isinstance(text, str) else text_of(text)
        digest = hmac.digest(self._key or b"", said.encode("utf-8", "surrogatepass"), hashlib.sha256)
        return f"[content off, {len(said)} characters, HMAC-SHA-256 {digest.hex()[:_HASH_DIGITS]}]"


def checked_content(content: object) -> str:
    """One of the allowed words.

    Raises:
        InvalidRecordError: it is not.
    """
    if type(content) is str and content in CONTENT:
        return content
    found = "another text" if isinstance(content, str) and content else kind_of(content)
    raise InvalidRecordError(f"content must be one of {', '.join(map(repr, CONTENT))}, was {found}")


def _named(body: Mapping[str, Any]) -> list[str]:
    names = (body.get("prompt_name"), body.get("prompt_id"))
    return [name for name in names if isinstance(name, str)]


def _completing(deferred: Deferred | None, hide: Hide) -> Callable[[dict[str, Any]], dict[str, Any]]:
    if deferred is None:
        return lambda body: without_content(body, hide)
    return lambda body: without_content(freeze(deferred.complete(body)).value, hide)


def _off(_: Any) -> str:
    return OFF


# -- where texts are -----------------------------------------------------------------------------------------


def without_content(body: Mapping[str, Any], hide: Hide) -> dict[str, Any]:
    """A frozen record of either client, whose texts `hide` has replaced."""
    bare: dict[str, Any] = {}
    for name, value in body.items():
        if name in _KEPT:
            bare[name] = value
        elif name == "metadata":
            bare[name] = _metadata(value, hide)
        elif name in _STEPS:
            bare[name] = _steps(value, hide)
        else:
            bare[name] = _text(value, hide, name)
    return bare


def _text(value: Any, hide: Hide, name: str = "") -> Any:
    kind = type(value)
    if value is None or (kind is str and value in _OURS) or (kind in _NO_TEXT and name not in _SAID):
        return value
    return hide(value)


def _metadata(given: Any, hide: Hide) -> Any:
    """The metadata, or a step's details, without what the library itself has put there from texts."""
    if not isinstance(given, dict):
        return _text(given, hide)
    return {name: _detail(name, value, hide) for name, value in given.items()}


def _detail(name: Any, value: Any, hide: Hide) -> Any:
    if name in _ERRORS or name in _SET_ASIDE:
        return _text(value, hide)
    if name == _EXCEPTION and isinstance(value, dict):
        return {each: item if each == "type" else _numbers(item, hide) for each, item in value.items()}
    if name in _ASKED or name == _EXCEPTION:
        return _numbers(value, hide)
    if name in _STEPS:
        return _steps(value, hide)
    if name == _SCORE and isinstance(value, dict):
        return _score(value, hide)
    return value


def _numbers(given: Any, hide: Hide) -> Any:
    """Numbers as they are, whatever holds them; texts hidden."""
    if isinstance(given, list):
        return [_numbers(each, hide) for each in given]
    if isinstance(given, dict):
        return {name: _numbers(value, hide) for name, value in given.items()}
    return _text(given, hide)


def _score(score: Mapping[str, Any], hide: Hide) -> dict[str, Any]:
    """A score without its comment; its name and value are no texts."""
    bare = {name: value for name, value in score.items() if name != "comment"}
    if "comment" in score and hide is not _off:
        bare["comment"] = _text(score["comment"], hide)
    return bare


def _steps(given: Any, hide: Hide) -> Any:
    if not isinstance(given, list):
        return _text(given, hide)
    return [_step(each, hide) if isinstance(each, dict) else _text(each, hide) for each in given]


def _step(step: Mapping[str, Any], hide: Hide) -> Any:
    """One of `step_data`, which has questions and answers, or of `step_details`, which is metadata."""
    if "user_question" not in step and "prompt_response" not in step:
        return _metadata(step, hide)
    return {name: _step_field(name, value, hide) for name, value in step.items()}


def _step_field(name: str, value: Any, hide: Hide) -> Any:
    if name in _KEPT_IN_STEPS:
        return value
    return _metadata(value, hide) if name == "metadata" else _text(value, hide, name)
