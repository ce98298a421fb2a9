"""What LangChain hands to its callbacks: questions, answers, tokens, the application's own metadata. Pure.

Values are told by their shape, as everywhere in `tracking.reading`: no class of LangChain is needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..foreign import is_uuid
from ..tracking.reading.fields import as_text, field, first_of, items, path, text
from ..tracking.reading.responses import (
    Reading,
    is_framework_message,
    joined,
    read_response,
    tool_call,
)
from ..tracking.reading.usage import NO_USAGE, read_usage

Values = Mapping[str, Any]

SESSIONS = ("session_id", "thread_id", "conversation_id")
_ROLES = {"human": "user", "ai": "assistant", "AIMessageChunk": "assistant", "HumanMessageChunk": "user"}
_ASKED = ("question", "query", "input", "user_input", "prompt", "text")
_ANSWERED = ("output", "answer", "result", "response", "text")
_DEEPEST = 6
_OF_THE_RECORD = ("prompt_data", "experiment_context", "record_id")
_INTERNAL = ("ls_", "langgraph_", "checkpoint_", "lc_", "__")
_INTERNAL_TAGS = ("seq:step:", "graph:step:", "map:key:", "condition:", "langsmith:")


def name_of(serialized: object, given: Values) -> str:
    """The name of a run: as configured, or that of its class."""
    name = text(given.get("name")) or text(field(serialized, "name"))
    ident = items(field(serialized, "id"))
    return name or (text(ident[-1]) if ident else None) or "run"


# -- what was asked ------------------------------------------------------------------------------------------


def messages(given: object) -> list[Any]:
    """Messages as a list of dicts with a role and a content."""
    return [_message(each) for each in items(given)]


def question_of_model(asked: Sequence[Any]) -> Any:
    """What a model was asked: the one list of messages in here, or the one text."""
    first = next(iter(asked), "")
    return first if isinstance(first, str) else messages(first)


def is_not_known_yet(inputs: object) -> bool:
    """Whether these are a stream's inputs at its beginning: the end has the real ones."""
    return type(inputs) is dict and len(inputs) == 1 and text(inputs.get("input")) == ""


def question_of(given: object) -> Any:
    """What a chain was asked: messages, a text, or the values it was given."""
    if is_framework_message(given):
        return messages([given])
    if items(given) and _is_message(items(given)[-1]):
        return messages(given)
    if calls := _tool_calls(given):
        return "\n".join(calls)
    if _is_command(given):
        answered = first_of(given, "resume", "update")
        return answered if isinstance(answered, str) else plain(answered)
    if isinstance(given, Mapping):
        if items(said := field(given, "messages")):
            return messages(said)
        asked = [given[name] for name in _ASKED if name in given]
        if len(given) == 1 and asked and isinstance(asked[0], str):
            return asked[0]
    return given if isinstance(given, str) else plain(given)


def last_of_user(question: Any) -> Any:
    """Of messages the user's last one, of which a step shows the text; anything else as it is."""
    if not isinstance(question, list):
        return question
    own = [each for each in question if field(each, "role") == "user"]
    return (own or question)[-1:]


def _tool_calls(given: object) -> list[str]:
    """What LangGraph gives to a node that runs tools."""
    found = [first_of(each, "tool_call") or each for each in items(given) or [given]]
    if not all(isinstance(each, Mapping) and each.get("type") == "tool_call" for each in found):
        return []
    return [tool_call(field(each, "name"), field(each, "args")) for each in found]


def _is_command(value: object) -> bool:
    """Whether it is LangGraph's `Command`."""
    return type(value).__name__ == "Command" and type(value).__module__.startswith("langgraph.")


def _is_message(value: object) -> bool:
    if isinstance(value, tuple):  # ("user", "hello")
        return len(value) == 2 and isinstance(value[0], str)
    named = isinstance(value, Mapping) and "content" in value and ("role" in value or "type" in value)
    return named or is_framework_message(value)


def _message(value: object) -> Any:
    if isinstance(value, tuple) and _is_message(value):
        return {"role": _ROLES.get(value[0], value[0]), "content": plain(value[1])}
    if isinstance(value, str):
        return {"role": "user", "content": value}
    if not is_framework_message(value):
        return plain(value)
    kind = text(field(value, "type")) or ""
    role = text(field(value, "role")) or _ROLES.get(kind, kind.removesuffix("MessageChunk").lower())
    more = {name: plain(found) for name in ("tool_calls", "tool_call_id") if (found := field(value, name))}
    return {"role": role, "content": plain(field(value, "content")), **more}


def plain(value: object, depth: int = _DEEPEST) -> Any:
    """A value with messages and documents in it as dicts of what people want to see of them."""
    if depth <= 0:
        return as_text(value)
    if is_framework_message(value):
        return _message(value)
    if text(field(value, "type")) == "Document" and text(field(value, "page_content")) is not None:
        return {"page_content": field(value, "page_content"), "metadata": field(value, "metadata")}
    if isinstance(value, dict):
        return {str(name): plain(each, depth - 1) for name, each in list(value.items())}
    if isinstance(value, (list, tuple)):
        return [plain(each, depth - 1) for each in items(value)]
    return value


# -- what came of it -----------------------------------------------------------------------------------------


def answer_of(returned: object) -> str | None:
    """What a chain, tool or retriever has returned, as text; a graph's messages are its last one."""
    if returned is None or isinstance(returned, str):
        return returned
    if is_framework_message(returned):
        return text(read_response(returned).text)
    if _is_command(returned):
        return answer_of(field(returned, "update"))
    if isinstance(returned, Mapping):
        if said := items(field(returned, "messages")):
            return answer_of(said[-1])
        found = [returned[name] for name in _ANSWERED if name in returned]
        if len(found) == 1 and isinstance(found[0], str):
            return found[0]
    if items(returned) and (is_framework_message(items(returned)[-1]) or _is_command(items(returned)[-1])):
        return answer_of(items(returned)[-1])
    if _is_message(returned):
        return as_text(returned[1] if isinstance(returned, tuple) else field(returned, "content"))
    return as_text(plain(returned))


def reading_of(result: object) -> Reading:
    """What a model has answered, by LangChain's `LLMResult`: text, tokens, model, the reason it ended."""
    choices = items(next(iter(items(field(result, "generations"))), ()))
    counted = field(result, "llm_output")
    if not choices:
        return Reading("", model=_model(counted))
    spoken = [each for choice in choices if (each := field(choice, "message")) is not None]
    if not spoken:
        info = field(choices[0], "generation_info")
        said = joined([as_text(field(choice, "text")) for choice in choices])
        usage = read_usage({"usage": first_of(counted, "token_usage", "usage")})
        return Reading(said, _model(counted) or _model(info), usage, text(field(info, "finish_reason")))
    readings = [read_response(message) for message in spoken]
    whole = joined([as_text(each.text) for each in readings])
    usage = readings[0].usage
    if usage == NO_USAGE or len(readings) > 1:  # of several answers each message may say what all took
        counted_usage = read_usage({"usage": first_of(counted, "token_usage", "usage")})
        usage = usage if counted_usage == NO_USAGE else counted_usage
    return readings[0]._replace(text=whole, usage=usage, model=readings[0].model or _model(counted))


def _model(details: object) -> str | None:
    return text(first_of(details, "model_name", "model"))


# -- metadata ------------------------------------------------------------------------------------------------


def own_metadata(given: Values) -> dict[str, Any]:
    """The application's part of a run's metadata."""
    return {
        name: value
        for name, value in given.items()
        if name not in _OF_THE_RECORD and not str(name).startswith(_INTERNAL)
    }


def own_tags(tags: Sequence[str] | None) -> list[str]:
    """The application's tags of a run."""
    return [tag for tag in tags or () if not str(tag).startswith(_INTERNAL_TAGS)]


def model_metadata(given: Values) -> dict[str, Any]:
    """What LangChain's metadata says of a model."""
    said = {
        "provider": given.get("ls_provider"),
        "temperature": given.get("ls_temperature"),
        "max_tokens": given.get("ls_max_tokens"),
    }
    return {name: value for name, value in said.items() if value is not None}


def model_asked(given: Values, metadata: Values) -> str | None:
    """The model that a request names."""
    asked = given.get("invocation_params")
    return text(first_of(asked, "model", "model_name") or metadata.get("ls_model_name"))


def is_control_flow(error: BaseException) -> bool:
    """Whether LangGraph ends a node by it on purpose: an interrupt, or a command to the graph around."""
    return _is_langgraphs(error, "GraphBubbleUp")


def is_interrupt(error: BaseException) -> bool:
    """Whether it waits for a person."""
    return _is_langgraphs(error, "GraphInterrupt")


def _is_langgraphs(error: BaseException, name: str) -> bool:
    kinds = type(error).__mro__
    return any(kind.__name__ == name and kind.__module__.startswith("langgraph.") for kind in kinds)


def configured(config: Values, names: Sequence[str]) -> Any:
    """The first of these that a run's metadata or its `configurable` has.

    LangChain keeps `configurable` out of the metadata, but for a few names.
    """
    for part in ("metadata", "configurable"):
        for name in names:
            value = path(config, part, name)
            if (isinstance(value, (str, int)) and not isinstance(value, bool)) or is_uuid(value):
                return str(value)
    return None
