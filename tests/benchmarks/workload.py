"""The records that the benchmarks log: about 1.5 KB of JSON each, all distinct, the same for one seed.

Each says its number in its input and in its output, which is how the sink knows it again on any wire.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

Record = dict[str, Any]
"""`input`, `output`, `metadata` (six keys) and `model`, as a caller of the library has them."""

INPUT_CHARACTERS = 500
OUTPUT_CHARACTERS = 800
# Far longer than gzip's window of 32 KB, so that a batch compresses as prose does, not as repetitions do.
_TEXT_WORDS = 150_000
_WORDS = """
    the of and a to in is that for it as was with be by on not he his but at are this have from or had
    an they which one you were all her she there would their we him been has when who will no more if
    out so up said what answer question model prompt token context "quoted" naïve café summary customer
    invoice refund account delivery order error because however therefore please thanks regards
"""
VOCABULARY = [*_WORDS.split(), "line\nbreak"]


def make_records(count: int, seed: int = 0, characters: int | None = None) -> list[Record]:
    """Make `count` records; `characters` replaces the length of their output."""
    return list(stream_records(count, seed, characters=characters))


def stream_records(
    count: int, seed: int = 0, *, first: int = 0, characters: int | None = None
) -> Iterator[Record]:
    """The same one by one, numbered from `first`, for more records than memory should hold."""
    rng = random.Random(seed)
    length = OUTPUT_CHARACTERS if characters is None else characters
    text = " ".join(rng.choices(VOCABULARY, k=max(_TEXT_WORDS, length)))
    return (_record(number, text, rng, length) for number in range(first, first + count))


def _record(number: int, text: str, rng: random.Random, characters: int) -> Record:
    return {
        "input": f"Question {number}: {_excerpt(text, rng, min(INPUT_CHARACTERS, characters))}",
        "output": f"Answer {number}: {_excerpt(text, rng, characters)}",
        "metadata": {
            "user_id": f"user-{rng.randrange(10_000)}",
            "session_id": f"session-{rng.getrandbits(64):016x}",
            "request_number": number,
            "temperature": round(rng.random(), 3),
            "tokens": rng.randrange(100, 1_000),
            "streamed": rng.random() < 0.5,
        },
        "model": "gpt-4o-mini",
    }


def _excerpt(text: str, rng: random.Random, length: int) -> str:
    start = rng.randrange(len(text) - length)
    return text[start : start + length]
