"""Reading bodies: times, JSON, gzip, whatever they come from."""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
import tracemalloc

import pytest
from starlette.exceptions import HTTPException

from banyan_hp.server.api.intake import time_refusal
from banyan_hp.server.api.requests import LARGE_BODY, gunzip, off_the_loop, parse_json
from tests.support.app import LocalApp


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-02T03:04:05Z",
        "2026-01-02T03:04:05.123456+00:00",
        "2026-01-02T03:04:05.123456789Z",
        "2026-01-02 03:04:05.1-0330",
        "2026-01-02T03:04:05",
    ],
)
def test_a_timestamp_is_iso_8601(text: str) -> None:
    """The shapes that are met in practice are taken."""
    assert time_refusal("ts", text) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2026-01-02",
        "2026-13-01T00:00:00Z",
        "2026-01-02T25:00:00Z",
        "1767322800",
        "2026-01-02T03:04:05Zx",
    ],
)
def test_a_malformed_timestamp_is_refused(text: str) -> None:
    """Another shape, or a time that no calendar has, is refused by name."""
    assert time_refusal("ts", text) == f"ts must be an ISO-8601 date and time, was {text!r}"


@pytest.mark.parametrize(
    "text", ["", "{", "{'a': 1}", '{"a": NaN}', '{"a": -Infinity}', '{"a": 1e999}', "[" * 100_000]
)
def test_what_is_no_json_is_refused(text: str) -> None:
    """Python's parser is held to the standard, and to what can be written again."""
    with pytest.raises(ValueError, match=r"."):
        parse_json(text.encode())


def test_bytes_that_are_not_utf_8_are_refused() -> None:
    """JSON travels as UTF-8 and nothing else."""
    with pytest.raises(ValueError, match="utf-8"):
        parse_json(json.dumps({"a": "ä"}, ensure_ascii=False).encode("latin-1"))


def test_unpacking_takes_no_more_memory_than_the_limit() -> None:
    """A gzip bomb is refused after its first bytes, not after all of them."""
    bomb = gzip.compress(b" " * 20_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(HTTPException, match="413"):
            gunzip(bomb, limit=1_000)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_unpacking_up_to_the_limit_is_whole() -> None:
    """A body of just the limit's size is a good one."""
    assert gunzip(gzip.compress(b"x" * 1_000), limit=1_000) == b"x" * 1_000


def test_what_is_large_is_read_in_a_thread() -> None:
    """All other requests would wait for as long as it takes; a small body is not worth the thread."""

    async def threads() -> list[int]:
        return [await off_the_loop(size, threading.get_ident) for size in (LARGE_BODY - 1, LARGE_BODY)]

    small, large = asyncio.run(threads())
    assert (small == threading.get_ident(), large == threading.get_ident()) == (True, False)


@pytest.mark.parametrize(
    "headers",
    [{}, {"Content-Type": "application/x-www-form-urlencoded"}, {"Content-Type": "text/plain"}],
    ids=["none", "as curl -d", "text"],
)
def test_a_body_is_json_whatever_its_content_type_says(
    application: LocalApp, headers: dict[str, str]
) -> None:
    """FastAPI takes a body for JSON only if it is called so, and `curl -d` calls it a form."""
    made = application.in_new_project().send("/api/keys", b'{"role": "read"}', headers)
    assert (made.status_code, made.json().get("role")) == (201, "read"), made.text


@pytest.mark.parametrize(("body", "was"), [(b"", "missing"), (b"null", "None")])
def test_a_missing_body_is_refused_in_words(application: LocalApp, body: bytes, was: str) -> None:
    """As every other refusal: what is allowed, and what was there."""
    refused = application.send("/api/keys", body, {})
    assert (refused.status_code, refused.json()["error"]) == (422, f"body must be a JSON object, was {was}")
