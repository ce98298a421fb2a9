"""What is said of a call that has just arrived is what the database says of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from banyan_hp.server.store.calls import CallFilter
from banyan_hp.server.store.matching import Matcher
from banyan_hp.server.store.sql_calls import SqlCalls

from .samples import NOON, call, ids

ALL = CallFilter(project="p")
CALLS = [
    call(
        1,
        session="a",
        user="u",
        body={"input": "The Straße is CLOSED", "output": ["red-green", {"k": "12.5"}]},
    ),
    call(2, session="b", error="e", body={"input": "closed the street", "metadata": {"tag": "हिन्दी ключ"}}),
    call(3, user="u", model="m", version="1"),
    call(4, user="x" * 600, source="huggingplace"),
    call(5, project="q", user="u"),
]
FILTERS: list[dict[str, Any]] = [
    {},
    {"equal": {"user": "u"}},
    {"equal": {"user": "x" * 600}},
    {"equal": {"user": "u", "session": "a"}},
    {"equal": {"source": "huggingplace"}},
    {"equal": {"model": "none"}},
    {"failed": True},
    {"failed": False},
    {"since": NOON + timedelta(seconds=2)},
    {"until": NOON + timedelta(seconds=2)},
    {"text": "closed"},
    {"text": '"the street"'},
    {"text": '"street the"'},
    {"text": "red-green STRASSE"},
    {"text": "12.5"},
    {"text": "हिन्दी Ключ"},
    {"text": "close"},
    {"text": "closed", "failed": True},
]


@pytest.mark.parametrize("changes", FILTERS, ids=str)
def test_it_says_the_same_as_the_database(store: SqlCalls, changes: dict[str, Any]) -> None:
    chosen = replace(ALL, **changes)
    store.append(CALLS)
    store.index(100)
    stored = [*store.page(ALL, 10).calls, *store.page(CallFilter(project="q"), 10).calls]
    matches = Matcher(chosen)
    assert ids(filter(matches, stored)) == ids(store.page(chosen, 10).calls)
