"""The header of the W3C's Trace Context."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from banyan_hp.traceparent import parse

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.mark.parametrize("flags", ["00", "01", "ff"])
def test_the_ids_of_trace_and_span(flags: str) -> None:
    """Whatever the flags: a trace that isn't sampled has ids, too."""
    assert parse(f"00-{TRACE}-{SPAN}-{flags}") == (TRACE, SPAN)


@pytest.mark.parametrize("more", ["", "-", "-what-the-future-will-be-like"])
def test_a_later_version_may_have_more_fields(more: str) -> None:
    """The standard says to read the first four of them."""
    assert parse(f"cc-{TRACE}-{SPAN}-01{more}") == (TRACE, SPAN)


@pytest.mark.parametrize(
    "header",
    [
        "",
        TRACE,
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-01-",
        f"cc-{TRACE}-{SPAN}-01.more",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE[1:]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}0-01",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-1",
        f"0-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\n",
        f" 00-{TRACE}-{SPAN}-01",
        f"0\u0660-{TRACE}-{SPAN}-01",
    ],
)
def test_what_is_no_such_header(header: str) -> None:
    """All zeros, the version ff, and whatever has another form."""
    assert parse(header) is None


@given(st.text())
def test_any_text_is_answered(header: str) -> None:
    """It comes from strangers."""
    assert parse(header) is None
