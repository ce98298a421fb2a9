"""What of a call can be found, and what a search asks for: the same words for every database.

A word is a run of letters and digits, case-folded. Words become ASCII here, and only here are texts taken
apart, since the databases' own tokenizers disagree about everything else.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

MAX_CHARACTERS = 200_000
MAX_WORDS = 10_000  # PostgreSQL knows no position beyond 16,383
MAX_WORD = 60  # characters; PostgreSQL refuses words of 2 KB
MAX_QUERY_WORDS = 50
_WORD = re.compile(r"[^\W_]+")
# The same of a text in ASCII, in less time: all else becomes a blank. Bytes of other characters stay.
_APART = bytes(each if each > 127 or chr(each).isalnum() else 32 for each in range(256)).lower()
_BLANKS = re.compile(b"  +")
_TOO_LONG = re.compile(rb"( [a-z0-9]{%d})[a-z0-9]+(?= )" % MAX_WORD)
# What the bytes of words look like, to find in no time what is rare: bytes of other characters, long words.
_FOREIGN, _PLAIN, _BLANK = b"\x80", b"x", b" "
_LOOKS = bytes(128 if each > 127 else 32 if each == 32 else ord(_PLAIN) for each in range(256))
_LONG = _PLAIN * (MAX_WORD + 1)
_TERM = re.compile(r'"([^"]*)"?|([^\s"]+)')

Phrase = tuple[str, ...]


def words_of(text: str) -> list[str]:
    """The words of a text, in order."""
    return _spelt(text).split()


def words_in(body: object) -> list[str]:
    """The words of all texts in a JSON value, its keys aside: those of the first 200,000 characters."""
    return found_by(body).split()


def found_by(body: object) -> str:
    """The same as one text, with one blank before and behind each word."""
    found: list[str] = []
    left = MAX_CHARACTERS
    for text in _texts(body):
        found.append(text[:left])
        left -= len(text)
        if left <= 0:
            break
    words = _spelt(" ".join(found))
    if len(words) <= MAX_WORDS:
        return words
    return f" {' '.join(words.split()[:MAX_WORDS])} "


def _spelt(text: str) -> str:
    """The words of a text in ASCII, with one blank before and behind each.

    Without an object for each word, which would take as long as all else.
    """
    words = _BLANKS.sub(_BLANK, b" %b " % text.encode("utf-8", "surrogatepass").translate(_APART))
    if _LONG in words.translate(_LOOKS):
        words = _TOO_LONG.sub(rb"\1", words)
    return _without_foreign(words).decode("ascii")


def _without_foreign(words: bytes) -> bytes:
    looks = words.translate(_LOOKS)
    done: list[bytes] = []
    position = 0
    while (found := looks.find(_FOREIGN, position)) != -1:
        begin, end = words.rindex(_BLANK, 0, found), words.index(_BLANK, found)
        done += (words[position:begin], _foreign(words[begin + 1 : end]))
        position = end
    done.append(words[position:])
    return b"".join(done)


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


def _foreign(word: bytes) -> bytes:
    """The words of what is between two blanks, each with a blank before it."""
    return _known(word) if len(word) <= MAX_WORD else _in_ascii(word)


def _in_ascii(word: bytes) -> bytes:
    text = unicodedata.normalize("NFC", word.decode("utf-8", "surrogatepass")).casefold()
    return "".join([f" {_as_ascii(each[:MAX_WORD])}" for each in _WORD.findall(text)]).encode("ascii")


_known = lru_cache(4096)(_in_ascii)


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
