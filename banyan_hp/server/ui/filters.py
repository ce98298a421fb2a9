"""Filters of calls in an address: all that the API has, and what their form shows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from ..api.calls import Paged
from ..api.intake import time_of
from ..api.models import Limit
from ..store.calls import FILTERS

PAGE_CALLS = 50
_RANGES = {"hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(days=7)}
_TO_THE_MINUTE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d", re.ASCII)  # as browsers send times without seconds
_IN_FORM = ("text", "prompt_name", "model", "user", "failed", "since", "until")


class Wanted(Paged):
    """The filters of the API, all in the address."""

    limit: Limit = PAGE_CALLS

    @classmethod
    def _given(cls, value: object) -> object:
        """A form sends the fields that were left empty, too."""
        given = super()._given(value)
        if not isinstance(given, Mapping):
            return given
        return {name: _with_seconds(each) for name, each in given.items() if each != ""}

    def given(self) -> dict[str, str]:
        """Those that are set, as the address has them."""
        values = self.model_dump(include={*FILTERS, *_IN_FORM}, exclude_none=True)
        return {
            name: str(value).lower() if value in (True, False) else value for name, value in values.items()
        }


def filters_of(query: Wanted, path: str) -> dict[str, Any]:
    """What the form of the filters shows: their values, and those that have no field, with a way out."""
    given = query.given()
    others = [name for name in FILTERS if name in given and name not in _IN_FORM]
    return {
        "path": path,
        "given": given,
        "since": _for_field(query.since),
        "until": _for_field(query.until),
        "chips": [(name, given[name], address_with(path, _without(given, name))) for name in others],
        "ranges": {name: address_with(path, _recent(given, span)) for name, span in _RANGES.items()},
    }


def _with_seconds(value: object) -> object:
    return f"{value}:00" if isinstance(value, str) and _TO_THE_MINUTE.fullmatch(value) else value


def _for_field(time: str | None) -> str:
    """A time as a field for one takes it, in UTC."""
    at = time_of(time) if time is not None else None
    return at.strftime("%Y-%m-%dT%H:%M:%S") if at is not None else ""


def _recent(given: Mapping[str, str], span: timedelta) -> dict[str, str]:
    since = (datetime.now(UTC) - span).strftime("%Y-%m-%dT%H:%M:00")
    return {**_without(given, "until"), "since": since}


def _without(given: Mapping[str, str], name: str) -> dict[str, str]:
    return {each: value for each, value in given.items() if each != name}


def address_with(path: str, query: Mapping[str, str]) -> str:
    return f"{path}?{urlencode(query)}" if query else path
