"""What callers hand over: checked, and made ready for a record or a question."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Any
from uuid import UUID

from ..engine.records.freeze import as_text
from ..errors import ConfigurationError
from ..foreign import MOST_PAIRS, as_dict, checking, kind_of, shown, type_name
from ..prompts.data import PromptData
from ..prompts.questions import PromptQuestion, Sticky
from ..settings import header_text

StickyContext = Mapping[str, str | int | UUID]
NO_NAMES = (None, None, None, None)
_EXPERIMENT_FIELDS = ("experiment_id", "experiment_version_id", "sticky_key", "sticky_value")


def is_switched_off(prompt_data: object) -> bool:
    return isinstance(prompt_data, PromptData) and not prompt_data.enable_logging


def usage_problem(prompt_data: object, metadata: object, experiment_context: object) -> str | None:
    """What is wrong with the arguments, in a sentence that names the thing; None if nothing is."""
    if prompt_data is not None and not isinstance(prompt_data, PromptData):
        return f"prompt_data must be a PromptData (from get_prompt) or None, was {kind_of(prompt_data)}"
    if metadata is not None and not isinstance(metadata, Mapping):
        return f"metadata must be a dict or None, was {kind_of(metadata)}"
    return _context_problem(experiment_context)


def _context_problem(context: object) -> str | None:
    if context is None:
        return None
    if not isinstance(context, Mapping):
        return f"experiment_context must be a dict or None, was {kind_of(context)}"
    unknown = [key for key in islice(context, MOST_PAIRS) if key not in _EXPERIMENT_FIELDS]
    if unknown:
        allowed = ", ".join(_EXPERIMENT_FIELDS)
        return (
            f"experiment_context has a key that is not allowed ({kind_of(unknown[0])}); allowed are {allowed}"
        )
    return None


def _optional_text(value: Any) -> Any:
    return None if value is None else as_text(value)


def prompt_fields(
    prompt: PromptData | None,
    prompt_id: str | None,
    prompt_name: str | None,
    version: str | None,
    branch_name: str | None,
) -> dict[str, Any]:
    """What names the prompt: the arguments, and for those not given the prompt's own."""
    return {
        "prompt_id": _optional_text(prompt_id) or (prompt.prompt_id if prompt else None),
        "prompt_name": _optional_text(prompt_name) or (prompt.name if prompt else None),
        "version": _optional_text(version) or (prompt.version if prompt else None),
        "branch_name": _optional_text(branch_name) or (prompt.branch if prompt else None),
    }


def experiment_fields(prompt: PromptData | None, context: Mapping[str, str | None] | None) -> dict[str, Any]:
    if context is None:
        context = (prompt.get_experiment_context() if prompt is not None else None) or {}
    return {key: _optional_text(value) for key, value in context.items()}


def prompt_question(
    name: str, version: str | None, branch: str, project_id: str | None, sticky: StickyContext | None
) -> PromptQuestion:
    name = checked_name("name", name)
    branch = checked_text("branch", branch)
    if project_id is not None:
        project_id = header_text("project_id", checked_text("project_id", project_id))
    values = () if sticky is None else sticky_texts(sticky)
    if version is None:
        return PromptQuestion(name, None, branch, project_id, values)
    version = str.__str__(str(version))
    if version == "":
        raise ConfigurationError("version must not be empty; None asks for the current one")
    return PromptQuestion(name, version, branch, project_id, ())


def checked_name(argument: str, name: object) -> str:
    text = checked_text(argument, name)
    if text in ("", ".", ".."):
        raise ConfigurationError(f"{argument} must not be empty, '.' or '..'; was {text!r}")
    return text


def checked_text(argument: str, text: object) -> str:
    with checking(argument):
        if isinstance(text, str):
            return str.__str__(text)
    raise ConfigurationError(f"{argument} must be a string, was {type_name(text)}")


def check_fallback(fallback: object) -> None:
    if fallback is not None and not isinstance(fallback, (str, PromptData)) and not callable(fallback):
        raise ConfigurationError(
            f"fallback must be a string, a PromptData, a function or None, was {type_name(fallback)}"
        )


def sticky_texts(context: StickyContext | None) -> Sticky:
    if context is None:
        return ()
    if not isinstance(context, Mapping):
        raise ConfigurationError(f"sticky_context must be a dict, was {type_name(context)}")
    texts = [(_sticky_key(key), _sticky_value(key, value)) for key, value in as_dict(context).items()]
    return tuple([pair for pair in texts if pair[1]])  # nobody's id: they would all be one user


def _sticky_key(key: object) -> str:
    if not isinstance(key, str) or not key:
        raise ConfigurationError(f"a key of sticky_context must be a string, was {shown(key)}")
    return str.__str__(key)


def _sticky_value(key: str, value: object) -> str:
    if isinstance(value, str):
        return str.__str__(value)
    if not isinstance(value, (int, UUID)) or isinstance(value, bool):
        raise ConfigurationError(
            f"sticky_context[{key!r}] must be a string, an int or a UUID, was {type_name(value)}"
        )
    return str.__str__(str(value))
