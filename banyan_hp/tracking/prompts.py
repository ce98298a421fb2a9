"""Which of a function's arguments is the prompt."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from inspect import Parameter
from typing import Any

from ..errors import ConfigurationError

NAMES = (
    "prompt", "user_prompt", "question", "user_question", "query", "input", "user_input", "message",
    "messages", "text", "content",
)  # fmt: skip
_BY_POSITION = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)

Find = Callable[[tuple[Any, ...], Mapping[str, Any]], Any]


def prompt_finder(function: Callable[..., Any], prompt: str | Callable[..., Any] | None) -> Find:
    """What finds the prompt in the arguments of a call.

    Args:
        function: whose arguments they are.
        prompt: the argument's name; or a function of all arguments that returns the prompt; or None: the
            first of `NAMES` that there is, else the first argument (but for `self` and `cls`).

    Raises:
        ConfigurationError: there is no argument of that name.
    """
    if callable(prompt):
        return lambda arguments, named: prompt(*arguments, **named)
    parameters = _parameters(function)
    if prompt is not None and not _takes(parameters, prompt):
        name = getattr(function, "__qualname__", type(function).__qualname__)
        raise ConfigurationError(
            f"prompt must name an argument of {name}(), was {prompt!r}; "
            f"its arguments are {', '.join(parameters) or 'none'}"
        )
    chosen = prompt or _likely(parameters)
    return _by_likely_name if chosen is None else _by_name(chosen, parameters)


def _by_name(chosen: str, parameters: Mapping[str, Parameter]) -> Find:
    positions = [name for name, each in parameters.items() if each.kind in _BY_POSITION]
    index = positions.index(chosen) if chosen in positions else None
    default = None
    if chosen in parameters:
        default = parameters[chosen].default
        index = len(positions) if parameters[chosen].kind is Parameter.VAR_POSITIONAL else index

    def find(arguments: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
        if chosen in named:
            return named[chosen]
        if index is not None and index < len(arguments):
            return arguments[index]
        return None if default is Parameter.empty else default

    return find


def _by_likely_name(_: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
    """For functions of `**kwargs` only."""
    return next((named[name] for name in NAMES if name in named), None)


def _parameters(function: Callable[..., Any]) -> Mapping[str, Parameter]:
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):  # some builtins tell nothing
        return {}


def _takes(parameters: Mapping[str, Parameter], name: str) -> bool:
    return name in parameters or any(each.kind is Parameter.VAR_KEYWORD for each in parameters.values())


def _likely(parameters: Mapping[str, Parameter]) -> str | None:
    named = next((name for name in NAMES if name in parameters), None)
    own = [
        name
        for position, (name, each) in enumerate(parameters.items())
        if each.kind is not Parameter.VAR_KEYWORD and not (position == 0 and name in ("self", "cls"))
    ]
    return named or next(iter(own), None)
