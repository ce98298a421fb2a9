"""What callers hand over to be logged: checked, and made into the body of a record.

A log call never raises. Where one of its arguments is wrong, the functions here return a sentence for the
log, or raise `InvalidRecordError` for the call's outer guard.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, MutableMapping
from itertools import islice
from typing import Any, NamedTuple

from ..active_span import API
from ..engine.records.freeze import as_text
from ..engine.records.record import Deferred
from ..foreign import MOST_PAIRS, is_uuid, kind_of, number, put_aside
from ..prompts.data import PromptData
from ..tracking.context import on_top_of
from ..tracking.scopes import is_pinned, metadata_here

NO_NAMES = (None, None, None, None)
_EXPERIMENT_FIELDS = ("experiment_id", "experiment_version_id", "sticky_key", "sticky_value")


class InvalidRecordError(Exception):
    """An argument of a log call is wrong. The message names it and never shows its value."""


# -- log_prompt ----------------------------------------------------------------------------------------------


def switches_logging_off(prompt_data: object) -> bool:
    """Whether uses of this prompt are not logged."""
    return isinstance(prompt_data, PromptData) and not prompt_data.enable_logging


def usage(
    input: Any,  # noqa: A002 - the published name
    output: Any,
    metadata: Mapping[str, Any] | None,
    model: str | None,
    prompt: PromptData | None,
    names: tuple[str | None, str | None, str | None, str | None],
    experiment: Mapping[str, str | None] | None,
) -> tuple[dict[str, Any], Deferred | None]:
    """The body of a usage record, and `output` if it is `Deferred`: what our threads complete the body with.

    Raises:
        InvalidRecordError: an argument is wrong.
        Exception: whatever the caller's objects raise.
    """
    with_prompt = prompt is not None or experiment is not None
    if with_prompt or (metadata is not None and type(metadata) is not dict):
        check_usage(prompt, metadata, experiment)
    asked = input if type(input) is str else as_text(input)
    deferred = None
    if type(output) is Deferred:
        deferred, output = output, ""
    elif type(output) is not str:
        output = as_text(output)
    around = metadata_here()
    if around or (API in sys.modules and not is_pinned()):  # `something_here`, without a call
        metadata = on_top_of(around, metadata)
    body = {"input": asked, "output": output, "metadata": {} if metadata is None else metadata}
    if prompt is not None or names != NO_NAMES:
        add_given(body, prompt_fields(prompt, *names))
    if model is not None:
        body["model"] = model if type(model) is str else as_text(model)
    if with_prompt:
        add_given(body, experiment_fields(prompt, experiment))
    return body, deferred


def check_usage(prompt_data: object, metadata: object, experiment_context: object) -> None:
    """Check what says where a record comes from.

    Raises:
        InvalidRecordError: an argument is wrong.
    """
    if prompt_data is not None and not isinstance(prompt_data, PromptData):
        raise InvalidRecordError(
            f"prompt_data must be a PromptData (from get_prompt) or None, was {kind_of(prompt_data)}"
        )
    if metadata is not None and not isinstance(metadata, Mapping):
        raise InvalidRecordError(f"metadata must be a dict or None, was {kind_of(metadata)}")
    if experiment_context is None:
        return
    if not isinstance(experiment_context, Mapping):
        raise InvalidRecordError(
            f"experiment_context must be a dict or None, was {kind_of(experiment_context)}"
        )
    for key in islice(experiment_context, MOST_PAIRS):
        if key not in _EXPERIMENT_FIELDS:
            raise InvalidRecordError(
                f"experiment_context has a key that is not allowed ({kind_of(key)}); "
                f"allowed are {', '.join(_EXPERIMENT_FIELDS)}"
            )


def add_given(body: dict[str, Any], fields: Mapping[str, Any]) -> None:
    """Add the fields that have a value: published clients leave out the others."""
    body.update((name, value) for name, value in fields.items() if value is not None)


def _optional_text(value: Any) -> Any:
    return None if value is None else as_text(value)


def prompt_fields(
    prompt: PromptData | None,
    prompt_id: str | None,
    prompt_name: str | None,
    version: str | None,
    branch_name: str | None,
) -> dict[str, Any]:
    """The fields that name the prompt: the arguments, or else the prompt's own values."""
    return {
        "prompt_id": _optional_text(prompt_id) or (prompt.prompt_id if prompt else None),
        "prompt_name": _optional_text(prompt_name) or (prompt.name if prompt else None),
        "version": _optional_text(version) or (prompt.version if prompt else None),
        "branch_name": _optional_text(branch_name) or (prompt.branch if prompt else None),
    }


def experiment_fields(prompt: PromptData | None, context: Mapping[str, str | None] | None) -> dict[str, Any]:
    """The fields that name an experiment: the context's, or else the prompt's own."""
    if context is None:
        context = (prompt.get_experiment_context() if prompt is not None else None) or {}
    return {key: _optional_text(value) for key, value in context.items()}


# -- fields that hold numbers --------------------------------------------------------------------------------


class NumberField(NamedTuple):
    """A field that holds a number, 0 or more.

    Attributes:
        wanted: what it holds, for the message.
        per_second: where it is a time: how many of its units a second has.
    """

    wanted: str
    per_second: float | None


DURATION = {"duration_ms": NumberField("a number of milliseconds", 1000.0)}
LOG_NUMBERS = {"token_count": NumberField("a number", None), "response_time": NumberField("a number", 1.0)}


def keep_numbers(body: MutableMapping[str, Any], fields: Mapping[str, NumberField]) -> list[str]:
    """Convert the fields to numbers, in place. A value that is no number, 0 or more, goes into `metadata`.

    Returns:
        A sentence for each value that went there.
    """
    wrong = []
    for name, (wanted, per_second) in fields.items():
        value = body.get(name)
        if value is None or (type(value) is int and value >= 0):
            continue
        body[name] = number(value, per_second=per_second)
        if body[name] is None:
            del body[name]
            body["metadata"] = put_aside(body.get("metadata"), name, value, per_second)
            wrong.append(f"{name} must be {wanted}, 0 or more, was {kind_of(value)}; it is in the metadata")
    return wrong


# -- a record's id -------------------------------------------------------------------------------------------


ID_WANTED = "1 to 128 printable ASCII characters without spaces at the ends"
_RECORD_ID = re.compile(r"[!-~](?:[ -~]{0,126}[!-~])?")


def take_id(body: MutableMapping[str, Any], given: object) -> tuple[str | None, list[str]]:
    """The id that a caller gives its record; one that can't be an id goes into `metadata`.

    Returns:
        The id, None for one of ours; and a sentence if it went there.
    """
    ident = id_text(given)
    if ident is not None:
        return ident, []
    body["metadata"] = put_aside(body.get("metadata"), "record_id", given)
    return None, [
        f"record_id must be {ID_WANTED}, was {kind_of(given)}; it is in the metadata, and the record has an "
        "id of the library's"
    ]


def id_text(given: object) -> str | None:
    """What a caller gives as a record's id, as text; None if it can't be one."""
    if type(given) is str:
        return given if _RECORD_ID.fullmatch(given) else None
    ident = str(given) if type(given) is int or is_uuid(given) else given
    return str.__str__(ident) if isinstance(ident, str) and _RECORD_ID.fullmatch(ident) else None
