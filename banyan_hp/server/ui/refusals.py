"""What is wrong with a form, and beside which of its fields the page says so."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from pydantic import ValidationError

from ..api.experiment_bodies import MOST_PERCENT
from ..api.responses import UnfitError
from ..store.prompts import TakenError

_REFUSAL = re.compile(r"(?P<name>\w+)(?:\[(?P<index>\d+)\])?(?:\.\w+)? (?P<words>must .*)", re.DOTALL)

SHARE, EXACT = "share.", "exact."  # how the fields of a version's traffic begin: the slider, the number
SHARES = "shares"  # in the place of a field: all of them together


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a form was refused.

    Attributes:
        field: its name; empty: it is about the form as a whole.
    """

    field: str
    reason: str


class RefusedError(Exception):
    """A form was refused; `status` is that of the page that says so."""

    def __init__(self, field: str, reason: str, status: int = 400) -> None:
        super().__init__(reason)
        self.refusal = Refusal(field, reason)
        self.status = status


FieldOf = Callable[[str, int | None], str | None]
"""The field for a part of what the API takes, by the part's name and index; None: there is none."""


@contextmanager
def refusing(field_of: FieldOf) -> Iterator[None]:
    """What the API refuses becomes a `RefusedError` about a field."""
    try:
        yield
    except ValidationError as error:
        raise _refused(error.errors()[0]["msg"], field_of) from error
    except UnfitError as error:
        raise _refused(str(error), field_of) from error
    except TakenError as error:
        raise RefusedError(field_of("experiment_id", None) or "", f"{error}.", 409) from error


def _refused(said: str, field_of: FieldOf) -> RefusedError:
    found = _REFUSAL.fullmatch(said)
    if found is not None:
        index = int(found["index"]) if found["index"] is not None else None
        field = field_of(found["name"], index)
        if field is not None:
            return RefusedError(field, f"This {found['words']}.")
    return RefusedError("", f"{said}.")


def number(fields: Mapping[str, str], name: str) -> float | None:
    """The number in a field; None: it is empty.

    Raises:
        RefusedError: it is no number.
    """
    text = fields.get(name, "").strip()
    if not text:
        return None
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise RefusedError(name, f"This must be a number, was {text[:40]!r}.")
    return found


def shares(fields: Mapping[str, str]) -> dict[str, float]:
    """The traffic by version; the number counts where there is one, else the slider.

    Raises:
        RefusedError: one is no number, or together they are too many.
    """
    names = [field.removeprefix(SHARE) for field in fields if field.startswith(SHARE)]
    found = {name: _share(fields, name) for name in names}
    total = math.fsum(found.values())
    if total > MOST_PERCENT:
        raise RefusedError(SHARES, f"This adds up to {total:g} %: at most 100 % can be dealt out.")
    return found


def _share(fields: Mapping[str, str], name: str) -> float:
    exact = number(fields, EXACT + name)
    share = exact if exact is not None else number(fields, SHARE + name) or 0.0
    if not 0 <= share <= 100:
        raise RefusedError(EXACT + name, f"This must be a number from 0 to 100, was {share:g}.")
    return share
