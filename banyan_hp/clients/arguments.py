"""What callers hand over: checked, and made into the body of a record or into a question.

A log call never raises. Where one of its arguments is wrong, the functions here return a sentence for the
log, or raise `InvalidRecordError` for the call's outer guard. The others raise what the public call
documents.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, NamedTuple
from uuid import UUID

from ..destinations import banyan, huggingplace
from ..engine.captures import open_captures
from ..engine.records.freeze import as_text
from ..engine.records.record import Deferred
from ..errors import ConfigurationError, MissingKeyError, ValidationError
from ..foreign import MOST_PAIRS, as_dict, checking, kind_of, number, put_aside, shown, type_name
from ..prompts.data import PromptData
from ..prompts.queries import PromptQuery, Sticky
from ..settings import Settings, checked_url, first_text, header_text
from ..tracking.context import with_ambient

StickyContext = Mapping[str, str | int | UUID]
_NO_NAMES = (None, None, None, None)
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
        _check_usage(prompt, metadata, experiment)
    asked = input if type(input) is str else as_text(input)
    deferred = None
    if type(output) is Deferred:
        deferred, output = output, ""
    elif type(output) is not str:
        output = as_text(output)
    metadata = with_ambient(metadata)
    body = {"input": asked, "output": output, "metadata": {} if metadata is None else metadata}
    if prompt is not None or names != _NO_NAMES:
        _add_given(body, _prompt_fields(prompt, *names))
    if model is not None:
        body["model"] = as_text(model)
    if with_prompt:
        _add_given(body, _experiment_fields(prompt, experiment))
    return body, deferred


def _check_usage(prompt_data: object, metadata: object, experiment_context: object) -> None:
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


def _add_given(body: dict[str, Any], fields: Mapping[str, Any]) -> None:
    """Add the fields that have a value: published clients leave out the others."""
    body.update((name, value) for name, value in fields.items() if value is not None)


def _optional_text(value: Any) -> Any:
    return None if value is None else as_text(value)


def _prompt_fields(
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


def _experiment_fields(prompt: PromptData | None, context: Mapping[str, str | None] | None) -> dict[str, Any]:
    if context is None:
        context = (prompt.get_experiment_context() if prompt is not None else None) or {}
    return {key: _optional_text(value) for key, value in context.items()}


# -- log and log_step of HuggingPlace ------------------------------------------------------------------------


def problem_with_log(options: object) -> str | None:
    """What is wrong with a record, in a sentence that names the field; None if nothing is."""
    if not isinstance(options, Mapping):
        return f"log() takes a dict, got {kind_of(options)}"
    return _missing(options, ("user_prompt", "response"))


def problem_with_step(step: object) -> str | None:
    """What is wrong with a step, in a sentence that names the field; None if nothing is."""
    if not isinstance(step, Mapping):
        return f"log_step() takes a dict, got {kind_of(step)}"
    return _missing(step, ("type", "user_question", "prompt_response", "token", "response_time"))


def _missing(options: Mapping[Any, Any], names: Sequence[str]) -> str | None:
    for name in names:
        if name not in options:
            return f"{name} is missing; it is required and must not be empty"
        value = options[name]
        if value is None or (isinstance(value, (str, list, tuple, dict)) and not value):
            return f"{name} must not be empty, was {kind_of(value)}"
    return None


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


# -- prompts and experiments ---------------------------------------------------------------------------------


def prompt_question(
    name: str, version: str | None, branch: str, project_id: str | None, sticky: StickyContext | None
) -> PromptQuery:
    name = checked_name("name", name)
    branch = checked_text("branch", branch)
    if project_id is not None:
        project_id = header_text("project_id", checked_text("project_id", project_id))
    values = () if sticky is None else sticky_texts(sticky)
    if version is None:
        return PromptQuery(name, None, branch, project_id, values)
    version = str.__str__(str(version))
    if version == "":
        raise ConfigurationError("version must not be empty; None asks for the current one")
    return PromptQuery(name, version, branch, project_id, ())


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
    return tuple([pair for pair in texts if pair[1]])  # an empty id: such users would all be one


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


# -- the clients' configuration ------------------------------------------------------------------------------


def resolved_identity(
    api_key: str | None, base_url: str | None, project_id: str | None, *, needed: bool
) -> tuple[str, str, str | None]:
    """The Banyan client's URL, key and project from arguments and environment, checked.

    Args:
        api_key: as of `PromptStackLogger`, like the others.
        base_url: likewise.
        project_id: likewise.
        needed: False if logging is switched off: then the key may be missing, and is the empty text. So it
            may be in a capture.
    """
    key = first_text("api_key", api_key, "BANYAN_API_KEY")
    url = checked_url(
        "base_url", first_text("base_url", base_url, "BANYAN_BASE_URL") or banyan.DEFAULT_BASE_URL
    )
    project = first_text("project_id", project_id, "BANYAN_PROJECT_ID")
    if project is not None:
        header_text("project_id", project)
    if key is not None:
        header_text("api_key", key)
    elif needed and not open_captures:
        raise MissingKeyError(
            "no API key: pass api_key='psk_…', or set the environment variable BANYAN_API_KEY "
            "(or switch logging off with enabled=False or BANYAN_HP_DISABLED=1)"
        )
    return checked_url("base_url", url), key or "", project


def unless_keyless(settings: Settings, key: str) -> Settings:
    """The settings of a client; one that was made in a capture without a key is off outside of captures."""
    return settings if key else replace(settings, enabled=False)


def resolved_config(config: Mapping[str, Any], *, needed: bool) -> dict[str, Any]:
    """The HuggingPlace client's configuration from arguments and environment, checked.

    Args:
        config: the arguments.
        needed: False if logging is switched off: then key and organisation may be missing. So they may be in
            a capture.
    """
    needed = needed and not open_captures
    key = first_text("api_key", config.get("api_key"), "HUGGINGPLACE_API_KEY", ValidationError)
    org = first_text("org_id", config.get("org_id"), "HUGGINGPLACE_ORG_ID", ValidationError)
    mode = first_text("mode", config.get("mode"), "HUGGINGPLACE_MODE", ValidationError) or "prod"
    url = first_text("base_url", config.get("base_url"), "HUGGINGPLACE_BASE_URL", ValidationError)
    url = url or huggingplace.DEFAULT_BASE_URL
    timeout = config.get("timeout")
    timeout = 10_000 if timeout is None else timeout
    if key is None and needed:
        raise MissingKeyError(
            "no API key: pass api_key=…, or set the environment variable HUGGINGPLACE_API_KEY "
            "(or switch logging off with enabled=False)"
        )
    if org is None and needed:
        raise ValidationError(
            "no organisation: pass org_id=…, or set the environment variable HUGGINGPLACE_ORG_ID"
        )
    if mode not in huggingplace.MODES:
        raise ValidationError(f"mode must be 'prod' or 'dev', was {mode!r}")
    with checking("timeout", ValidationError):
        if not _positive(timeout):
            raise ValidationError(f"timeout must be a number of milliseconds above 0, was {shown(timeout)}")
    return {
        "api_key": header_text("api_key", key or ""),
        "org_id": org or "",
        "mode": mode,
        "base_url": checked_url("base_url", url),
        "timeout": timeout,
    }


def _positive(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < float(value) < math.inf
