"""Feedback tokens, without a backend: their form, and that nothing in them can be changed."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from banyan_hp.feedback_tokens import (
    MOST_CHARACTERS,
    digest_of,
    is_generated,
    is_signed,
    key_id_of,
    make,
    read,
)

KEY = "psk_" + "abcdefgh" * 5 + "-_9"
OTHER = "psk_" + "B" * 43
TOKEN = make(KEY, "answer-17", ["thumbs", "größe"], 1_800_000_000)


def unpadded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def test_a_token_is_what_its_page_says() -> None:
    """Computed here by hand, from the words at the top of the module."""
    digest = hashlib.sha256(KEY.encode()).digest()
    key_id = hashlib.sha256(b"banyan_hp key id" + digest).hexdigest()[:12]
    payload = f'{{"k":"{key_id}","r":"answer-17","n":["thumbs","größe"],"e":1800000000}}'
    signed = "f1." + unpadded(payload.encode())
    secret = hmac.new(digest, b"banyan_hp feedback token 1", "sha256").digest()
    assert f"{signed}.{unpadded(hmac.new(secret, signed.encode(), 'sha256').digest())}" == TOKEN
    assert (key_id, TOKEN[-10:]) == ("e72a19721fcd", "m4j6wJx3oE")


def test_it_says_what_it_permits() -> None:
    """To whoever has it; whether that is true only its key's digest says."""
    permission = read(TOKEN)
    assert permission is not None
    assert permission[:4] == (key_id_of(digest_of(KEY)), "answer-17", ("thumbs", "größe"), 1_800_000_000)
    assert TOKEN.startswith(permission.signed + ".")
    assert is_signed(TOKEN, digest_of(KEY))
    assert not is_signed(TOKEN, digest_of(OTHER))
    assert not is_signed(TOKEN, None)


def test_the_longest_token_is_read() -> None:
    """With the longest id, of characters that JSON escapes, and the most names."""
    token = make(KEY, '"' * 128, ["é" * 10] * 10, 2**40)
    assert read(token) is not None
    assert 500 < len(token) < MOST_CHARACTERS


@given(st.data())
def test_no_change_goes_unseen(data: st.DataObject) -> None:
    """Any character in another one's place, none, or one more: also where base64 has bits to spare."""
    at = data.draw(st.integers(0, len(TOKEN) - 1))
    put = data.draw(st.sampled_from(["", "A", "_", "-", ".", "=", "\x00", "é", "\ud800", TOKEN[at] * 2]))
    changed = TOKEN[:at] + put + TOKEN[at + 1 :]
    assert changed == TOKEN or not is_signed(changed, digest_of(KEY))


@given(st.text(max_size=40) | st.binary(max_size=60).map(lambda data: f"f1.{unpadded(data)}.{'A' * 43}"))
def test_what_is_no_token_is_none(text: str) -> None:
    """Whatever it is, it raises nothing."""
    assert read(text) is None
    assert not is_signed(text, digest_of(KEY))


@pytest.mark.parametrize(
    "payload",
    [
        [],
        {"k": "ab", "r": "r", "n": ["n"], "e": 1},
        {"k": "\x00" * 12, "r": "r", "n": ["n"], "e": 1},
        {"k": "0" * 12, "r": None, "n": ["n"], "e": 1},
        {"k": "0" * 12, "r": "r", "n": "n", "e": 1},
        {"k": "0" * 12, "r": "r", "n": [1], "e": 1},
        {"k": "0" * 12, "r": "r", "n": ["n"], "e": "1"},
        {"k": "0" * 12, "r": "r", "n": ["n"], "e": True},
    ],
    ids=str,
)
def test_another_payload_is_no_permission(payload: object) -> None:
    """Each field has its type; a key's id is one before the database is asked for it."""
    assert read(f"f1.{unpadded(json.dumps(payload).encode())}.{'A' * 43}") is None


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (KEY, True),
        ("psk_local", False),
        (KEY + "x", False),
        (KEY[:-1], False),
        (KEY[:-1] + "=", False),
        (KEY[:-1] + "é", False),
        (KEY + "\n", False),
        ("", False),
    ],
)
def test_a_generated_key_has_its_form(key: str, expected: bool) -> None:
    """256 random bits in base64url; what somebody typed has not."""
    assert is_generated(key) is expected
