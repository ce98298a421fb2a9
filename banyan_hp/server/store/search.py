"""What of a call can be found, and what a search asks for: the same words for every database.

A word is a run of letters and digits, case-folded. Words become ASCII here, and only here are texts taken
apart, since the databases' own tokenizers disagree about everything else.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Any

MAX_CHARACTERS = 200_000
MAX_WORDS = 10_000  # PostgreSQL knows no position beyond 16,383
MAX_WORD = 60  # characters; PostgreSQL refuses words of 2 KB
MAX_QUERY_WORDS = 50
_WORD = re.compile(r"[^\W_]+")
# The same of a text in ASCII, in less time: all else becomes a blank. Bytes of other characters stay.
_APART = bytes(each if each > 127 or chr(each).isalnum() else 32 for each in range(256)).lower()
_TERM = re.compile(r'"([^"]*)"?|([^\s"]+)')

Phrase = tuple[str, ...]


def words_of(text: str) -> list[str]:
    """The words of a text, in order."""
    if text.isascii():
        return _cut(_apart(text))
    found: list[str] = []
    for word in _apart(unicodedata.normalize("NFC", text).casefold()):
        if word.isascii():
            found.append(word[:MAX_WORD])
        else:
            found += [_as_ascii(each[:MAX_WORD]) for each in _WORD.findall(word)]
    return found


def _apart(text: str) -> list[str]:
    return text.encode("utf-8", "surrogatepass").translate(_APART).decode("utf-8", "surrogatepass").split()


def _cut(words: list[str]) -> list[str]:
    if max(map(len, words), default=0) <= MAX_WORD:
        return words
    return [word[:MAX_WORD] for word in words]


def words_in(body: object) -> list[str]:
    """The words of all texts in a JSON value, its keys aside: those of the first 200,000 characters."""
    found: list[str] = []
    left = MAX_CHARACTERS
    for text in _texts(body):
        found += words_of(text[:left])
        left -= len(text)
        if left <= 0 or len(found) >= MAX_WORDS:
            break
    return found[:MAX_WORDS]


def phrases_of(query: str) -> list[Phrase]:
    """What all must occur: each word, and each text in double quotes as neighbouring words.

    What a reader takes for one word and consists of several ("foo-bar") is a phrase.

    Raises:
        ValueError: there is no word in it, or there are more than 50.
    """
    terms = (words_of(quoted or plain) for quoted, plain in _TERM.findall(query))
    phrases = [tuple(words) for words in terms if words]
    if not phrases:
        raise ValueError("a search needs at least one word of letters or digits")
    if sum(map(len, phrases)) > MAX_QUERY_WORDS:
        raise ValueError(f"a search may have at most {MAX_QUERY_WORDS} words")
    return phrases


def _as_ascii(word: str) -> str:
    return word if word.isascii() else "zzu" + word.encode("utf-8", "surrogatepass").hex()


def _texts(value: Any) -> Iterator[str]:
    """Breadth first, without recursion: bodies may be deep."""
    level: Iterable[Any] = [value]
    while level:
        below: list[Any] = []
        for each in level:
            if isinstance(each, str):
                yield each
            elif isinstance(each, dict):
                below += each.values()
            elif isinstance(each, list):
                below += each
        level = below
