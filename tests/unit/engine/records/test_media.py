"""Pictures and sound become their type, size and SHA-256, in every form in which models take them."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import time
from pathlib import Path
from typing import Any

import pytest

from banyan_hp import HuggingPlace
from banyan_hp.engine.records.encode import encode
from banyan_hp.engine.records.freeze import as_text, freeze
from banyan_hp.engine.records.media import LEAST, may_hold_media, without_media
from banyan_hp.testing import capture
from tests.conftest import MakeLogger
from tests.support.scripted import ScriptedServer, batching, records_in

PICTURE = random.Random(1).randbytes(5000)
ENCODED = base64.b64encode(PICTURE).decode()
URL_SAFE = base64.urlsafe_b64encode(PICTURE).decode().rstrip("=")
DIGEST = hashlib.sha256(PICTURE).hexdigest()
DATA_URL = f"data:image/png;base64,{ENCODED}"


def marker(kind: str) -> str:
    return f"… [cut: {kind}, 5000 bytes, SHA-256 {DIGEST}]"


def without(value: Any) -> Any:
    """As it travels."""
    frozen = freeze(value).value
    changed, found = without_media(frozen)
    assert may_hold_media(frozen) or not found
    assert found or changed is frozen
    return json.loads(encode(changed))


@pytest.mark.parametrize(
    ("part", "replaced"),
    [
        ({"type": "image_url", "image_url": {"url": DATA_URL}}, ("image_url", "url")),
        ({"type": "input_image", "image_url": DATA_URL}, ("image_url",)),
        ({"type": "input_audio", "input_audio": {"data": ENCODED, "format": "wav"}}, ("input_audio", "data")),
        ({"audio": {"id": "a", "data": ENCODED, "transcript": "Hello"}}, ("audio", "data")),
        (
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": ENCODED}},
            ("source", "data"),
        ),
        ({"inline_data": {"mime_type": "image/png", "data": ENCODED}}, ("inline_data", "data")),
        ({"inline_data": {"mime_type": "image/png", "data": PICTURE}}, ("inline_data", "data")),
        ({"inlineData": {"mimeType": "image/png", "data": URL_SAFE + "="}}, ("inlineData", "data")),
        ({"b64_json": ENCODED, "url": None}, ("b64_json",)),
    ],
)
def test_a_part_of_a_message_loses_its_data_and_nothing_else(part: Any, replaced: tuple[str, ...]) -> None:
    """As values, in messages that become text, and in JSON that the application has made itself."""
    kinds = {"input_audio": "audio/wav", "audio": "audio", "b64_json": "image"}
    kind = kinds.get(replaced[0], "image/png")
    beginning = "data:image/png;base64," * (replaced[0] == "image_url")
    wanted = json.loads(encode(freeze(part).value))
    holder = wanted
    for name in replaced[:-1]:
        holder = holder[name]
    holder[replaced[-1]] = beginning + marker(kind)
    assert without({"messages": [{"role": "user", "content": [part]}]})["messages"][0]["content"] == [wanted]
    assert json.loads(without({"input": as_text([part])})["input"]) == [wanted]
    if not isinstance(part.get("inline_data", {}).get("data"), bytes):
        assert json.loads(without({"input": json.dumps([part])})["input"]) == [wanted]


def test_data_urls_are_found_in_the_middle_of_texts() -> None:
    """Several in one; what is around them stays."""
    text = f"![a]({DATA_URL}) and ![b](data:;charset=x;base64,{URL_SAFE})."
    first = f"data:image/png;base64,{marker('image/png')}"
    clean = f"![a]({first}) and ![b](data:;charset=x;base64,{marker('data')})."
    assert without({"input": text}) == {"input": clean}


@pytest.mark.parametrize(
    "value",
    [
        f"data:image/png;base64,{ENCODED[: LEAST - 4]}",
        f"data:text/plain;base64,{ENCODED}",
        f"data:application/json;base64,{ENCODED}",
        f"data:image/png;base64,{'no base64 ' * 600}",
        f"data:image/png,{ENCODED}",
        f"x;base64,{ENCODED}",
        ENCODED,
        {"data": ENCODED},
        {"type": "text", "data": ENCODED},
        {"type": "base64", "media_type": "text/plain", "data": ENCODED},
        {"type": "base64", "media_type": "image/png", "data": "no base64 " * 600},
        {"input_audio": {"data": "short", "format": "wav"}},
        [0.5] * 5000,
        PICTURE,
        '["base64", "input_audio" ' + "x" * 6000,
        json.dumps(["base64", "x " * 4000]),
    ],
    ids=range(16),
)
def test_all_else_is_stored_as_it_was_logged(value: Any) -> None:
    """Short data, data that is a text, base64 that is no part of a message, and what is not base64."""
    frozen = freeze({"value": value}).value
    assert without_media(frozen) == (frozen, 0)


def test_a_text_that_only_begins_like_media_takes_linear_time() -> None:
    """Of half a megabyte."""
    for beginning in (";base64,", "data:image/png;base64,", f"data:;base64,{'a' * (LEAST - 9)}", "data:"):
        text = beginning * (500_000 // len(beginning))
        began = time.thread_time()
        assert without_media({"input": text}) == ({"input": text}, 0)
        assert time.thread_time() - began < 3


@pytest.mark.parametrize(
    "options", [{}, {"batching": "never"}, {"durability": "disk"}, {"before_send": dict}]
)
def test_it_holds_for_every_way_of_a_record(
    make_logger: MakeLogger, server: ScriptedServer, options: dict[str, Any]
) -> None:
    """In batches or alone, on disk first, and `before_send` sees the record as it is sent; it is counted."""
    server.handler = batching()
    logger = make_logger(server.url, **options)
    logger.log_prompt([{"role": "user", "content": [{"image_url": {"url": DATA_URL}}]}], "a cat")
    logger.log_prompt("question", "answer")
    assert logger.flush(5)
    first, second = (body for request in server.requests for _, body in records_in(request))
    assert (ENCODED in first["input"], marker("image/png") in first["input"]) == (False, True)
    assert (second["input"], logger.get_stats()["media_replaced"]) == ("question", 1)


def test_it_can_be_kept(make_logger: MakeLogger, server: ScriptedServer) -> None:
    """`media="keep"`, in both clients."""
    with capture() as records:
        make_logger(server.url, media="keep").log_prompt(DATA_URL, "a cat")
        with HuggingPlace("key", "org", base_url=server.url, media="keep") as client:
            client.log({"user_prompt": DATA_URL, "response": "a cat"})
    assert [records[0]["input"], records[1]["user_prompt"]] == [DATA_URL] * 2


def test_what_goes_to_disk_unseen_has_none(
    make_logger: MakeLogger, server: ScriptedServer, tmp_path: Path
) -> None:
    """The final write, where `before_send` has not seen the record."""
    server.close()
    logger = make_logger(server.url, before_send=dict, spool_dir=tmp_path / "spool", flush_interval=60)
    logger.log_prompt(DATA_URL, "a cat")
    logger.shutdown(0)
    (segment,) = (tmp_path / "spool").rglob("*.v1.jsonl")
    written = segment.read_bytes()
    assert (ENCODED.encode() in written, DIGEST.encode() in written) == (False, True)
