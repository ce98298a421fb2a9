"""Ready `before_send` pieces that remove what must not be stored: addresses, numbers, keys, fields, patterns.

    from banyan_hp import redact

    banyan.configure(before_send=redact.combine(redact.emails(), redact.fields("password")))

Each piece is a `before_send` by itself; `combine` makes one of several. With a `salt`, a value becomes a
keyed hash instead of a word: equal values stay recognizable as equal.
"""

from __future__ import annotations

from .pieces import (
    Redactor,
    api_keys,
    combine,
    credit_cards,
    emails,
    fields,
    ibans,
    pattern,
    phones,
)

__all__ = [
    "Redactor",
    "api_keys",
    "combine",
    "credit_cards",
    "emails",
    "fields",
    "ibans",
    "pattern",
    "phones",
]


def __dir__() -> list[str]:
    return __all__
