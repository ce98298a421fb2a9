"""Answers to agents stay within their bounds, whatever the backend holds."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from banyan_hp.cli.mcp.answers import MOST_CHARACTERS, answer, listed

pytest.importorskip("mcp")

from banyan_hp.cli.mcp.tools import SearchCalls, ShowSession

WITHOUT_THE_SDK = """
import sys
sys.modules["mcp"] = None
from banyan_hp.cli.main import main
sys.exit(main(["mcp"]))
"""
LONG = "\x1b\U000e0001" * 10_000  # each as six or twelve characters
VALUES = (
    None,
    True,
    7,
    "",
    "x" * 500,
    LONG,
    [LONG],
    {LONG: [LONG]},
    list(range(20_000)),
    {"a": {"b": "\ud800"}},
)
ITEMS = st.lists(st.lists(st.sampled_from(VALUES), max_size=25), max_size=3)


@settings(max_examples=25, deadline=None)
@given(ITEMS, st.sampled_from([1, 30, 100]))
def test_an_answer_is_one_line_of_json_that_fits(values: list[list[Any]], times: int) -> None:
    """Of texts of any length, of anything nested, with any characters."""
    items = [{f"field{number}": value for number, value in enumerate(each)} for each in values]
    found = answer({"next": "cursor"}, "calls", items * times)
    assert len(found.text) <= MOST_CHARACTERS
    assert found.text.isprintable()
    content = json.loads(found.text)
    assert content["next"] == "cursor"
    assert len(content["calls"]) == found.shown


def test_what_fits_is_whole() -> None:
    """Nulls are left out, nothing else."""
    item = {"a": "x" * 10_000, "b": None, "c": {"d": [1, None]}}
    assert json.loads(answer({}, "items", [item]).text) == {
        "items": [{"a": "x" * 10_000, "c": {"d": [1, None]}}]
    }


def test_a_list_says_how_much_is_left_out() -> None:
    """By its limit, or by what fits."""
    items = [{"name": f"n{number}" * 20} for number in range(2_000)]
    assert json.loads(listed({}, "items", items, 3))["in_all"] == 2_000
    content = json.loads(listed({}, "items", items, 2_000))
    assert content["cut"] == f"only the first {len(content['items'])} of 2000 fit here"
    assert 100 < len(content["items"]) < 2_000


@pytest.mark.parametrize("tool", [SearchCalls(limit=100), ShowSession(session="s", limit=100)])
def test_no_call_is_left_out_between_two_pages(tool: SearchCalls | ShowSession) -> None:
    """Where a page's calls don't fit, a shorter page is asked for, whose `next` fits to what is shown."""
    calls = [{"id": f"{number:04}", **{f"f{each}": "y" * 500 for each in range(20)}} for number in range(100)]

    def get(path: str, **params: Any) -> Mapping[str, Any]:
        start = int(params.get("after", 0))
        end = start + params["limit"]
        return {"calls": calls[start:end], "next": str(end) if end < len(calls) else None}

    seen: list[str] = []
    page: dict[str, Any] = {"next": "0"}
    while "next" in page:
        page = json.loads(tool.model_copy(update={"after": page["next"]}).answer(get))
        assert page["calls"]
        seen += sorted(each["id"] for each in page["calls"])
    assert seen == [each["id"] for each in calls]


def test_without_the_extra_the_command_says_what_to_install() -> None:
    """One line, on stderr."""
    ended = subprocess.run(
        [sys.executable, "-c", WITHOUT_THE_SDK], capture_output=True, text=True, timeout=30, check=False
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("banyan-hp: mcp needs the SDK of the Model Context Protocol, 2.0 or later")
    assert ended.stderr.endswith(": pip install 'banyan-hp[mcp]'\n")
