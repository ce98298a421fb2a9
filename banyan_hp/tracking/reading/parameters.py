"""What a request asks for besides its question: its parameters, tools and files. Pure.

A record has them in its metadata: `parameters` (temperature and the like, under the provider's names),
`tools` (names) and `tool_count`, `files` (name, type, bytes). Of schemas `MOST_VALUES`
values are copied. The content of files, images and audio is never looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .fields import field, first_of, is_model, items, path, text

MOST_TOOLS = 100
MOST_FILES = 20
MOST_VALUES = 200
MOST_CHARACTERS = 500
_CUT = "…"
_DEEPEST = 12
_SCALARS = (str, int, float, bool)

_SAMPLING = (
    *("temperature", "top_p", "top_k", "n", "seed", "random_seed", "candidate_count", "min_tokens"),
    *("max_tokens", "max_completion_tokens", "max_output_tokens", "max_tokens_to_sample", "service_tier"),
    *("presence_penalty", "frequency_penalty", "repetition_penalty", "stop", "stop_sequences", "best_of"),
    *("reasoning", "reasoning_effort", "thinking", "thinking_config", "verbosity", "effort", "truncation"),
    *("tool_choice", "tool_config", "parallel_tool_calls", "logprobs", "top_logprobs", "safe_prompt"),
)
_FORMATS = (
    *("response_format", "text", "output_format", "output_config", "response_mime_type"),
    *("response_schema", "response_json_schema", "encoding_format", "dimensions"),
)
_MEDIA = (
    *("modalities", "response_modalities", "audio", "voice", "speed", "language", "stream_format"),
    *("size", "quality", "style", "background", "output_compression", "partial_images", "moderation"),
    *("input_fidelity", "timestamp_granularities", "chunking_strategy", "duration"),
)
_ABSENT = frozenset({"NoneType", "Omit", "NotGiven", "Unset"})  # how packages write that nothing is given
_OBJECTS = ("text", "audio")  # elsewhere content goes by these names
_CONFIGS = ("config", "generation_config")  # Google's, where all that is in an object of its own
_RECORDED = frozenset((*_SAMPLING, *_FORMATS, *_MEDIA, *_CONFIGS, "tools"))


def parameters_in(asked: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a record's metadata that comes from the request."""
    found: dict[str, Any] = {}
    parameters: dict[str, Any] = {}
    for name in sorted(_RECORDED.intersection(asked)):
        value = asked[name]
        kind = type(value)
        if kind.__name__ in _ABSENT or (kind is str and name in _OBJECTS):
            continue
        if kind is float or kind is int or kind is bool:
            parameters[name] = value
        elif name == "tools":
            found.update(tools_in(value))
        elif name in _CONFIGS:
            within = parameters_in(fields_of(value))
            parameters.update(within.pop("parameters", {}))
            found.update(within)
        elif (reduced := _reduced(value)) is not None:
            parameters[name] = reduced
    if parameters:
        found["parameters"] = parameters
    return found


def tools_in(tools: object) -> dict[str, Any]:
    """The names of the tools on offer, and how many there are; empty without any."""
    names = [name for tool in items(tools) for name in _names_of(tool)]
    return {"tools": names[:MOST_TOOLS], "tool_count": len(names)} if names else {}


def files_in(files: object) -> list[dict[str, Any]]:
    """What the files of a request are, as `openai` and `httpx` have them: pairs of a field and a file."""
    pairs = list(files.items()) if isinstance(files, Mapping) else items(files)
    return [_described(pair[1]) for pair in pairs[:MOST_FILES] if isinstance(pair, tuple) and len(pair) == 2]


def fields_of(value: object) -> Mapping[str, Any]:
    """The fields that are set, of a dict or a pydantic model."""
    if isinstance(value, Mapping):
        return value
    if is_model(value):
        return {name: field(value, name) for name in field(value, "model_fields_set") or ()}
    return {}


def _names_of(tool: object) -> Iterator[str]:
    """A tool's name; of Google's sets of functions each, of a tool of the provider's own its type."""
    declared = items(first_of(tool, "function_declarations", "functionDeclarations"))
    if declared:
        for each in declared:
            yield from _names_of(each)
        return
    name = (
        text(field(tool, "name"))
        or text(path(tool, "function", "name"))
        or text(path(tool, "custom", "name"))
    )
    name = name or text(field(tool, "type")) or text(field(tool, "__name__"))
    if name:
        yield name[:MOST_CHARACTERS]


def _described(file: object) -> dict[str, Any]:
    """A file's name, type and size, as far as they are known without reading it."""
    name, content, kind, *_ = (*file, None, None, None) if isinstance(file, tuple) else (None, file, None)
    name = text(name) or text(field(content, "name"))
    size = len(content) if isinstance(content, (bytes, bytearray)) else _size(content)
    known = {"name": name and name.rpartition("/")[2][:MOST_CHARACTERS], "type": text(kind), "bytes": size}
    return {each: value for each, value in known.items() if value is not None}


def _size(content: object) -> int | None:
    """Of a `BytesIO`, which has no name on a disk."""
    view = getattr(content, "getbuffer", None)
    return view().nbytes if callable(view) and type(content).__module__ == "_io" else None


# -- values -------------------------------------------------------------------------------------------------


def _reduced(value: object) -> Any:
    """A copy of a value as far as there is room; None for what is no plain data."""
    return _copy(value, [MOST_VALUES], _DEEPEST)


def _copy(value: object, room: list[int], depth: int) -> Any:
    room[0] -= 1
    if isinstance(value, str):
        value = text(value) or ""
        return value if len(value) <= MOST_CHARACTERS else value[:MOST_CHARACTERS] + _CUT
    if isinstance(value, _SCALARS):
        return value
    if isinstance(value, type):
        return value.__name__
    if is_model(value) or isinstance(value, Mapping):
        return _copied_fields(fields_of(value), room, depth - 1)
    return _copied_items(value, room, depth - 1) if isinstance(value, (list, tuple)) else None


def _copied_fields(fields: Mapping[str, Any], room: list[int], depth: int) -> Any:
    if depth <= 0:
        return _CUT
    copied: dict[str, Any] = {}
    for name, value in fields.items():
        if room[0] <= 0:
            copied[_CUT] = _CUT
            break
        reduced = _copy(value, room, depth)
        if reduced is not None:
            copied[str(name)[:MOST_CHARACTERS]] = reduced
    return copied


def _copied_items(values: Sequence[object], room: list[int], depth: int) -> Any:
    if depth <= 0:
        return _CUT
    copied: list[Any] = []
    for value in values:
        if room[0] <= 0:
            copied.append(_CUT)
            break
        copied.append(_copy(value, room, depth))
    return copied
