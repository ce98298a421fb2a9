"""What is too large for a record costs the least that it can."""

from __future__ import annotations

import base64
import hashlib
import json
import random
from pathlib import Path
from typing import Any

import pytest

from banyan_hp.engine.records.encode import encode
from banyan_hp.engine.records.freeze import as_text, freeze
from banyan_hp.engine.records.ledger import Term
from banyan_hp.engine.records.shortening import fitted
from tests.support.clock import FakeClock
from tests.support.stepped import FakeBackend, SteppedEngine

MIB = 1024 * 1024
PICTURE = random.Random(7).randbytes(800_000)
URL = "data:image/png;base64," + base64.b64encode(PICTURE).decode()
DIGEST = hashlib.sha256(PICTURE).hexdigest()


def encode_within(value: Any, limit: int) -> tuple[bytes, bool]:
    """The bytes, and whether they had to be shortened."""
    return fitted(value, limit)[1:]


def sha256(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


def asked(*content: Any) -> dict[str, Any]:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": list(content)}]
    return {"input": as_text(messages), "output": "A cat.", "metadata": {"user_id": "u1"}}


def shortened(value: Any, limit: int = MIB) -> Any:
    body, cut = encode_within(freeze(value).value, limit)
    assert cut
    assert len(body) <= limit
    return json.loads(body)


@pytest.mark.parametrize(
    ("picture", "marker"),
    [
        (URL, f"data:image/png;base64,… [cut: image/png, 800000 bytes, SHA-256 {DIGEST}]"),
        (URL.partition(",")[2], f"… [cut: base64, 800000 bytes, SHA-256 {DIGEST}]"),
        (PICTURE, f"base64:… [cut: bytes, 800000 bytes, SHA-256 {DIGEST}]"),
        (bytearray(PICTURE), f"base64:… [cut: bytes, 800000 bytes, SHA-256 {DIGEST}]"),
    ],
    ids=["data URL", "base64", "bytes", "bytearray"],
)
def test_a_picture_never_cuts_the_question_behind_it(picture: Any, marker: str) -> None:
    """It goes whole, with its type, size and SHA-256; the messages stay JSON, and the question is in them."""
    image = {"type": "image_url", "image_url": {"url": picture}}
    record = shortened(asked(image, {"type": "text", "text": "What is this?"}))
    content = json.loads(record["input"])[1]["content"]
    assert content[0]["image_url"]["url"] == marker
    assert content[1]["text"] == "What is this?"
    assert (record["output"], record["metadata"]) == ("A cat.", {"user_id": "u1"})


def test_of_several_pictures_only_as_many_go_as_must() -> None:
    """The longest first, until the record fits."""
    small = URL[:400_022]
    record = shortened(asked({"url": small}, {"url": URL}, {"text": "?"}))
    content = json.loads(record["input"])[1]["content"]
    assert content[0]["url"] == small
    assert "[cut: image/png" in content[1]["url"]


def test_a_text_longer_than_a_picture_gives_way_before_it() -> None:
    """The longest leaf loses what is too much; a picture that fits beside the rest stays."""
    record = shortened(asked({"url": URL[:300_022]}, {"text": "word " * 400_000}))
    content = json.loads(record["input"])[1]["content"]
    assert content[0]["url"] == URL[:300_022]
    assert content[1]["text"].startswith("word word")
    whole = hashlib.sha256(b"word " * 400_000).hexdigest()
    assert content[1]["text"].endswith(f"… [cut: 2000000 characters of text, SHA-256 {whole}]")


def test_embeddings_are_shortened_together() -> None:
    """Twenty of 3,072 floats keep their beginnings; the record is not lost."""
    numbers = random.Random(1)
    vectors = [[numbers.random() for _ in range(3072)] for _ in range(20)]
    record = shortened({"input": "q", "output": "a", "metadata": {"embeddings": vectors}})
    kept = record["metadata"]["embeddings"]
    assert len(kept) == 20
    for vector, whole in zip(kept, vectors, strict=True):
        assert len(vector) > 2000
        assert vector[:-1] == whole[: len(vector) - 1]
        digest = hashlib.sha256(encode(whole)).hexdigest()
        assert vector[-1] == f"… [cut: {3073 - len(vector)} of 3072 numbers, SHA-256 {digest}]"


def test_where_leaves_are_short_values_go_from_the_middle() -> None:
    """Of 10,000 messages the first and the last ones stay, and a marker says how many are gone."""
    messages = [{"role": "user", "content": f"message {number} {'.' * 190}"} for number in range(5_000)]
    record = shortened({"input": as_text(messages), "output": "a"})
    kept = json.loads(record["input"])
    assert kept[0] == messages[0]
    assert kept[-1] == messages[-1]
    (marker,) = [each for each in kept if isinstance(each, str)]
    assert marker.startswith(f"… [cut: {5_001 - len(kept)} of 5000 values, ")


def test_many_short_fields_fit_too() -> None:
    """An object of many fields loses the heaviest of them."""
    record = shortened({"input": "q", "metadata": {f"k{n}": "x" * 20 for n in range(500)}}, 4096)
    assert record["input"] == "q"


def test_before_send_sees_text_that_was_shortened_in_its_structure(tmp_path: Path) -> None:
    """`input` is the JSON text that travels, the question in it; bytes are text."""
    seen: list[Any] = []

    def before_send(record: Any) -> Any:
        seen.append(record["input"])
        return record

    backend = FakeBackend()
    engine = SteppedEngine(backend, FakeClock(), tmp_path, before_send=before_send, media="keep")
    engine.submit({**asked({"url": URL}, {"url": URL}, {"text": "?"}), "raw": b"\xff" * 2000})
    assert engine.flush(5)
    (text,) = seen
    assert json.loads(text)[1]["content"][2] == {"text": "?"}
    assert engine.ledger.own[Term.DELIVERED] == 1
    assert engine.ledger.counters.records_shortened == 1


def test_a_quarantined_record_shows(tmp_path: Path) -> None:
    """`health()` is degraded and `last_error` says why."""

    def before_send(_record: Any) -> Any:
        raise ValueError("no")

    engine = SteppedEngine(FakeBackend(), FakeClock(), tmp_path, before_send=before_send)
    assert engine.health()["status"] == "ok"
    engine.log("bad")
    engine.flush(5)
    assert "quarantined (before_send_failed): before_send raised ValueError" in str(
        engine.stats()["last_error"]
    )
    health = engine.health()
    assert health["status"] == "degraded"
    assert any("1 records quarantined" in reason for reason in health["reasons"])


def test_texts_beyond_a_quarter_of_the_queue_are_cut_at_the_call() -> None:
    """Memory stays bounded: what is within stays whole until the record is encoded, what is beyond is cut."""
    texts = ["x" * 400_000] * 3
    frozen = freeze(texts, max_text=1000, room=1_000_000)
    assert [len(text) > 399_999 for text in frozen.value] == [True, True, False]
    assert frozen.cut == 1


# -- the limit on a record's size ----------------------------------------------------------------------------


def test_what_fits_is_not_touched() -> None:
    """A body of exactly the limit stays as it is."""
    value = {"a": "x" * 100}
    body = encode(value)
    assert encode_within(value, len(body)) == (body, False)


def test_the_longest_text_gives_way_first() -> None:
    """The longest text loses what is too much, about, and the others nothing."""
    value = {"question": "q" * 500, "answer": "a" * 5000, "n": 1}
    body, was_shortened = encode_within(value, 4000)
    kept = json.loads(body)
    assert was_shortened
    assert 3800 < len(body) <= 4000
    assert kept["question"] == "q" * 500
    assert kept["answer"].endswith(f"… [cut: 5000 characters of text, SHA-256 {sha256(b'a' * 5000)}]")
    assert value["answer"] == "a" * 5000


@pytest.mark.parametrize("filler", ["x", "é", "日", "😀", '"', "\x00", "\\", "\ud800"], ids=ascii)
@pytest.mark.parametrize("limit", [1024, 5000, 59_999])
def test_shortened_bodies_keep_to_the_limit(filler: str, limit: int) -> None:
    """Bytes are what counts, however many of them a character takes, and at least a third of them is used."""
    body, was_shortened = encode_within({"text": filler * 60_000}, limit)
    assert was_shortened
    assert limit / 3 < len(body) <= limit
    assert "… [cut: 60000 characters of text, SHA-256 " in json.loads(body)["text"]


def test_several_long_texts_are_shortened_together() -> None:
    """Where the longest text alone can't make room, all long ones give way."""
    value = {"texts": [letter * 10_000 for letter in "abcdef"], "short": "kept"}
    body, was_shortened = encode_within(value, 8000)
    kept = json.loads(body)
    assert was_shortened
    assert len(body) <= 8000
    assert kept["short"] == "kept"
    assert all("… [cut: 10000 characters of text, SHA-256 " in text for text in kept["texts"])


def test_a_text_cut_twice_tells_its_first_length() -> None:
    """A text that `max_text` has cut keeps telling how long it was at first."""
    value = freeze({"text": "x" * 50_000}, max_text=10_000).value
    body, _ = encode_within(value, 2000)
    text = json.loads(body)["text"]
    assert text.endswith("… [cut: 50000 characters]")
    assert text.count("[cut") == 1


def test_a_text_that_resembles_a_cut_one_is_shortened_too() -> None:
    """A caller's text may hold the marker's words; it is shortened all the same."""
    _, was_shortened = encode_within({"text": "… [cut: " + "x" * 5000 + " characters]"}, 2000)
    assert was_shortened
