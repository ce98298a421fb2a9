"""The words of texts: the same as a list and as one text."""

from __future__ import annotations

from typing import Any

import pytest

from banyan_hp.server.store.search import MAX_WORD, MAX_WORDS, found_by, words_in, words_of

LONG = "x" * MAX_WORD


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Say “two-fold”, twice…", ["say", "two", "fold", "twice"]),
        ("naïve cafe\u0301", ["zzu6e61c3af7665", "zzu636166c3a9"]),
        ("— e —", ["e"]),
        (f"{LONG}y z", [LONG, "z"]),
        (f"{LONG}yé", [LONG]),
        ("é" * (MAX_WORD + 5), ["zzu" + "c3a9" * MAX_WORD]),
        (f"zzu{LONG} é", [f"zzu{LONG}"[:MAX_WORD], "zzuc3a9"]),
        ("Straße \u212aELVIN", ["strasse", "kelvin"]),
        ("E\u0301T\u00c9 \u00e9t\u00e9", ["zzuc3a974c3a9"] * 2),
        ("H\u0331e, 1<\u03382, \ud800A", ["h", "e", "1", "2", "a"]),
        ("_ \t", []),
    ],
)
def test_the_words_of_a_text(text: str, words: list[str]) -> None:
    """In ASCII, case-folded, composed, and cut where they are very long; before they are written in ASCII."""
    assert words_of(text) == words
    assert found_by({"a": text}) == " ".join(["", *words, ""]) or not words


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"a": "x y", "b": ["z", {"c": "é"}], "n": 1}, ["x", "y", "z", "zzuc3a9"]),
        ({}, []),
        ({"a": "x " * (MAX_WORDS + 5)}, ["x"] * MAX_WORDS),
        ({"a": "y" * 200_000, "b": "z"}, ["y" * MAX_WORD]),
    ],
)
def test_the_words_of_a_body(body: Any, words: list[str]) -> None:
    """Of its first texts, each apart from the next."""
    assert words_in(body) == words
    assert found_by(body).split() == words
