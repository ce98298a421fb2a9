"""The cost of what was logged, where its sender did not say: from its tokens and models, never a guess.

What has steps is priced by them where they account for it: each span has its own tokens, those of the steps
inside it aside, at the price of its own model. Where they don't, a call has the price of its model, if its
steps name no other one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from math import fsum
from typing import Any, NamedTuple

from ..prices import Prices, Tokens
from .values import Body, count_of

_NAMES = ("input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens")
_NOTHING = Tokens(0, 0)


class _Span(NamedTuple):
    parent: object
    """The id of the step around it; None: the interaction."""
    model: str | None
    tokens: Tokens | None
    """Those of the steps inside it, too; None: not known."""


def cost_of(
    fields: Body, model: str | None, steps: Sequence[Any], at: datetime, prices: Prices
) -> float | None:
    """What a call costs in USD, or None.

    Args:
        fields: its metadata, with its tokens, and its `provider` if it names one.
        model: its model.
        steps: its `step_data`.
        at: when it was made.
        prices: what models cost.
    """
    tokens = tokens_of(fields)
    provider = fields.get("provider")
    if tokens is None or not isinstance(provider, str | None):
        return None
    spans = _spans(fields, steps)
    parts = _parts(_Span(None, model, tokens), spans)
    if not parts:
        if any(span.model not in (None, model) for span in spans.values()):
            return None
        parts = [(model, tokens)]
    costs = [prices.cost(name, part, at, provider=provider) if name else None for name, part in parts]
    known = [cost for cost in costs if cost is not None]
    return fsum(known) if len(known) == len(costs) else None


def tokens_of(fields: Body) -> Tokens | None:
    """The tokens that are told apart in it; None without both input and output."""
    if count_of(fields.get("input_tokens")) is None or count_of(fields.get("output_tokens")) is None:
        return None
    given = [count_of(fields.get(name)) for name in _NAMES]
    return Tokens(*(count or 0 for count in given))


def _spans(fields: Body, steps: Sequence[Any]) -> dict[object, _Span]:
    """The steps by their ids; what they can't hold is in the details."""
    details = fields.get("step_details")
    listed = details if isinstance(details, list) else []
    more = {each["id"]: each for each in listed if isinstance(each, dict) and _is_id(each.get("id"))}
    spans = {}
    for number, step in enumerate(each for each in steps if isinstance(each, dict)):
        name = step["id"] if _is_id(step.get("id")) else f"step {number}"
        spans[name] = _span({**more.get(name, {}), **step})
    return spans


def _is_id(value: object) -> bool:
    return isinstance(value, (int, str))


def _span(step: Body) -> _Span:
    model, parent = step.get("llm_model"), step.get("parent")
    silent = not model and not step.get("token") and not {*_NAMES} & step.keys()
    return _Span(
        parent if _is_id(parent) else None,
        model if isinstance(model, str) else None,
        _NOTHING if silent else tokens_of(step),
    )


def _parts(whole: _Span, spans: Mapping[object, _Span]) -> list[tuple[str | None, Tokens]] | None:
    """Each span's own tokens and its model; None where the steps don't account for the whole."""
    inside: dict[object, list[Tokens | None]] = {}
    for span in spans.values():
        inside.setdefault(span.parent if span.parent in spans else None, []).append(span.tokens)
    parts = []
    for name, span in [(None, whole), *spans.items()]:
        own = _without(span.tokens, inside.get(name, []))
        if own is None:
            return None
        if own != _NOTHING:
            parts.append((span.model, own))
    return parts


def _without(tokens: Tokens | None, inside: Sequence[Tokens | None]) -> Tokens | None:
    known = [each for each in inside if each is not None]
    if tokens is None or len(known) < len(inside):
        return None
    own = Tokens(*(mine - sum(others) for mine, *others in zip(tokens, *known, strict=True)))
    return own if min(own) >= 0 else None
