"""The filter of texts from outside: no secrets, one printable line, bounded."""

from __future__ import annotations

import html
import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as some

from banyan_hp.destinations.banyan import BanyanDestination
from banyan_hp.engine.http.connections import proxy_secrets, secrets_of
from banyan_hp.engine.http.exchange import Message
from banyan_hp.engine.http.response import Response
from banyan_hp.engine.http.transport import HTTPTransport, Request
from banyan_hp.prompts.queries import Endpoint
from banyan_hp.text import LENGTH, TextFilter, clean, printable, printable_json

KEY = "bn_live_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJK"
FILTER = TextFilter([KEY])


def test_a_secret_at_any_edge_of_the_cut_is_struck_out_whole() -> None:
    """Wherever it stands in a text that is cut afterwards, no part of it is left."""
    for before in range(LENGTH + 2):
        cleaned = FILTER("x" * before + KEY + "y" * LENGTH)
        assert len(cleaned) == LENGTH
        assert cleaned.strip("xy") in "[secret]", before


@pytest.mark.parametrize("length", [len(KEY), len(KEY) - 1, len(KEY) // 2 + 1])
def test_a_secret_that_was_cut_short_where_it_came_from_is_struck_out(length: int) -> None:
    """Half of it will do; a hint of a few characters is left to help people."""
    assert FILTER(f"key {KEY[:length]} is unknown") == "key [secret] is unknown"
    assert FILTER(f"key {KEY[:5]}… is unknown") == f"key {KEY[:5]}… is unknown"


@pytest.mark.parametrize("shown", [5, len(KEY) // 2, len(KEY) - 1])
def test_where_a_long_text_is_no_longer_looked_at_no_part_of_a_secret_is_left(shown: int) -> None:
    """Blanks before it bring the end of what is looked at to the beginning of the result."""
    assert FILTER("a" + " " * (65535 - shown) + KEY) in ("a", "a [secret]")
    assert clean("a" * 1_000_000) == "a" * LENGTH


AWKWARD = "a'b\\c \"d&e/f<g>é"


@pytest.mark.parametrize(
    "form",
    [
        AWKWARD,
        repr(AWKWARD)[1:-1],
        repr(OSError(repr(AWKWARD)[1:-1])),
        json.dumps(AWKWARD)[1:-1],
        quote(AWKWARD, safe=""),
        html.escape(AWKWARD),
    ],
)
def test_a_secret_is_found_as_messages_quote_it(form: str) -> None:
    """As Python, JSON, URLs and pages write it."""
    cleaned = TextFilter([AWKWARD])(f"<{form}>")
    assert "[secret]" in cleaned
    assert "b" not in cleaned.replace("[secret]", "")


def test_a_short_secret_is_struck_out_as_a_word() -> None:
    """A development key of one letter does not cut up all words; an empty one is none."""
    assert TextFilter(["k", ""])("the key k is broken") == "the key [secret] is broken"
    assert TextFilter(["secret"])("a secret, secretly") == "a [secret], secretly"


@pytest.mark.parametrize(
    "char",
    [
        *map(chr, range(32)),
        *map(chr, range(0x7F, 0xA0)),
        *"\u061c\u2028\u2029\u200e\u202a\u202e\u2066\u2069\ufeff",
        "\ud800",
    ],
)
def test_control_characters_do_not_get_through(char: str) -> None:
    """C0, C1, DEL, separators of lines, marks of the writing direction, lone surrogates."""
    for cleaned in (clean(f"a{char}b"), printable(f"a{char}b"), printable_json(f'{{"a":"{char}"}}')):
        assert cleaned.isprintable()
        cleaned.encode("utf-8")


def test_json_stays_the_same_json() -> None:
    """What is escaped in it means the same."""
    value = {"a": "\x7f\x9b\u2028\u202e\U000e0001é日本"}
    raw = "\t" + json.dumps(value, ensure_ascii=False) + "\r"
    assert json.loads(printable_json(raw)) == value


@given(some.text() | some.text(KEY), some.integers(0, 50))
def test_whatever_the_text_the_result_is_one_bounded_printable_line(text: str, length: int) -> None:
    """And has no secret in it."""
    cleaned = FILTER(text + KEY + text, length)
    assert len(cleaned) <= length
    assert cleaned.isprintable()
    assert KEY[:16] not in cleaned


@pytest.mark.usefixtures("no_collection")
def test_what_has_no_text_is_named_by_its_type() -> None:
    """A list that is nested too deep, say."""
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    assert clean(deep) == "<list>"


def test_a_proxy_s_credentials_are_secrets_in_all_forms(monkeypatch: pytest.MonkeyPatch) -> None:
    """Quoted as in the URL, unquoted, and as the header carries them."""
    monkeypatch.setenv("HTTP_PROXY", "http://user:p%40ss@proxy.test:3128")
    secrets = proxy_secrets("http://backend.test")
    assert set(secrets) == {"user:p%40ss", "p%40ss", "p@ss", "dXNlcjpwQHNz"}
    assert "p@ss" not in TextFilter(secrets)("407: user:p@ss may not")
    assert secrets_of("http://token@proxy.test") == ("token", "dG9rZW46", "token", "token")
    assert proxy_secrets("http://[") == secrets_of("http://proxy.test") == secrets_of(None) == ()


@pytest.mark.parametrize(
    "thing",
    [
        Endpoint("http://backend.test", KEY, {"X-API-Key": KEY}),
        Request("GET", "http://backend.test", {"X-API-Key": KEY}, KEY.encode()),
        Response(401, {"x-echo": KEY}, KEY.encode()),
        Message("GET", KEY.encode(), KEY.encode()),
        BanyanDestination("http://backend.test", KEY, None),
        HTTPTransport("http://backend.test", 1.0, 1),
        FILTER,
    ],
    ids=lambda thing: type(thing).__name__,
)
def test_no_repr_shows_a_key(thing: object) -> None:
    """What ends up in tracebacks and debuggers' logs."""
    assert KEY not in repr(thing)
