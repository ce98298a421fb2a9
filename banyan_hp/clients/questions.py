"""What callers ask about prompts and experiments: checked, and made into queries.

Wrong arguments raise `ConfigurationError`, as the public calls document.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from ..errors import ConfigurationError
from ..foreign import as_dict, checking, is_uuid, shown, type_name
from ..prompts.client import PromptClient
from ..prompts.data import PromptData
from ..prompts.queries import Implied, PromptQuery, Sticky
from ..settings import header_text
from ..tracking.scopes import metadata_here

if TYPE_CHECKING:
    from uuid import UUID

    StickyContext = Mapping[str, str | int | UUID | None]

_IN_CONTEXT = ("user_id", "session_id")


def prompt_question(
    name: str,
    version: str | None,
    branch: str | None,
    project_id: str | None,
    sticky: StickyContext | None,
    label: str | None = None,
) -> PromptQuery:
    name = checked_name("name", name)
    branch = "main" if branch is None else checked_text("branch", branch)
    if project_id is not None:
        project_id = header_text("project_id", checked_text("project_id", project_id))
    values = () if sticky is None else sticky_texts(sticky)  # also where they don't count
    if label is not None:
        return PromptQuery(name, None, branch, project_id, (), _checked_label(label, version))
    if version is None:
        values = sticky_here() if sticky is None else values
        return PromptQuery(name, None, branch, project_id, values)
    version = str.__str__(str(version))
    if version == "":
        raise ConfigurationError("version must not be empty; None asks for the current one")
    return PromptQuery(name, version, branch, project_id, ())


def _checked_label(label: str, version: str | None) -> str:
    label = checked_text("label", label)
    if label == "":
        raise ConfigurationError("label must not be empty; None asks for the released version")
    if version is not None:
        raise ConfigurationError("version and label exclude each other; give one of them")
    return label


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


def sticky_here() -> Sticky:
    """The sticky values of a call that gives none: what `context` says of the user and the session here."""
    around = metadata_here()
    if not around:
        return ()
    found = [(key, around.get(key)) for key in _IN_CONTEXT]
    return Implied(
        [(key, _sticky_value(key, value)) for key, value in found if value and _can_be_sticky(value)]
    )


def _can_be_sticky(value: object) -> bool:
    return (isinstance(value, (str, int)) and not isinstance(value, bool)) or is_uuid(value)


def experiment_context(
    context: object, text: object, key: object, value: object
) -> tuple[StickyContext | None, str | None]:
    """The sticky context and the input text of `experiment`, whose published form has a key and its value.

    Args:
        context: a dict, or a key in the published form.
        text: the input text, or there the key's value.
        key: by keyword, in the published form.
        value: likewise.
    """
    if isinstance(context, str):
        key, value, context, text = context, text if value is None else value, None, None
    if key is not None:
        context = {**({} if context is None else as_dict(cast("StickyContext", context))), key: value}
    if context is None:
        context = dict(sticky_here())
    text = None if text is None else checked_text("input_text", text)
    return cast("StickyContext | None", context), text


def _sticky_key(key: object) -> str:
    if not isinstance(key, str) or not key:
        raise ConfigurationError(f"a key of sticky_context must be a string, was {shown(key)}")
    return str.__str__(key)


def _sticky_value(key: str, value: object) -> str:
    if value is None:  # an anonymous user
        return ""
    if isinstance(value, str):
        return str.__str__(value)
    if not _can_be_sticky(value):
        raise ConfigurationError(
            f"sticky_context[{key!r}] must be a string, an int, a UUID or None, was {type_name(value)}"
        )
    return str.__str__(str(value))


class AskedPrompts(PromptClient):
    """The prompts of a logger, with the checks of what it is asked."""

    question = staticmethod(prompt_question)
    checked_name = staticmethod(checked_name)
    checked_text = staticmethod(checked_text)
    check_fallback = staticmethod(check_fallback)
    sticky_texts = staticmethod(sticky_texts)
    experiment_context = staticmethod(experiment_context)
