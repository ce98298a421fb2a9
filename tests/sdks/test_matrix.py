"""Provider × way of calling × field: each cell is a test, with the real packages and a server that speaks the
documented JSON and events.

`pytest tests/sdks --table PATH` writes what was seen as a table.
"""

from __future__ import annotations

import contextlib
import gc
import json
import warnings
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest

from banyan_hp import PromptStackLogger
from tests.sdks import google_and_mistral
from tests.sdks.answers import APIS, CACHED, INPUT, OUTPUT, REASONING, TEXT, TOOL_LINES
from tests.sdks.cells import FIELDS, seen
from tests.sdks.scripted import providers
from tests.sdks.ways import WAYS, Setting, Way
from tests.support.scripted import ScriptedServer

Record = dict[str, Any]
ROWS = (WAYS, google_and_mistral)  # which adds its own
INSTALLED = [way for way in WAYS if way.installed]


@pytest.fixture(scope="module", autouse=True)
def others_warnings() -> Iterator[None]:
    """What the packages warn of among themselves is not ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
        gc.collect()  # so that the sockets of clients that nobody closed are collected in here


@cache
def records(way: Way, question: str) -> list[Record]:
    """What is logged of one call."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _records(way, question)


def _records(way: Way, question: str) -> list[Record]:
    with ScriptedServer(providers()) as server:
        logger = PromptStackLogger("psk_x", server.url, spool=False, flush_interval=0.01)
        setting = Setting(server.url, logger, question)
        with setting.clients, contextlib.suppress(Exception):
            way.call(setting)
        assert logger.flush(10)
        assert logger.get_stats()["tracking_errors"] == 0
        logger.shutdown(5)
        if way.needs not in ("openai", "anthropic"):
            gc.collect()  # connections that a package leaves open are closed here, where no warning counts
        return [body for _, body in server.records()]


def only(way: Way, question: str = "Hi") -> Record:
    found = records(way, question)
    assert len(found) == 1, f"{len(found)} records"
    return found[0]


def value(way: Way, field: str) -> object:
    """What a record has in a field of the table."""
    if field == "error":
        metadata = only(way, "refuse")["metadata"]
        return bool(metadata.get("error_type")) and "no such model" in metadata["error"]
    record = only(way)
    metadata = record["metadata"]
    if field == "question":
        return "Hi" in record["input"]
    if field == "text":
        return record["output"].partition("\n")[0]
    if field == "tool calls":
        return record["output"].partition("\n")[2]
    if field == "first chunk":
        return "time_to_first_chunk_ms" in metadata
    if field == "model":
        return record.get("model")
    return metadata.get(FIELDS[field])


def expected(way: Way, field: str) -> object:
    api = APIS[way.api]
    return {
        "question": True,
        "model": api.model,
        "input": INPUT,
        "output": OUTPUT,
        "cached": CACHED,
        "reasoning": REASONING,
        "finish reason": api.finish[way.tools],
        "text": TEXT,
        "tool calls": TOOL_LINES if way.tools else "",
        "error": True,
        "first chunk": way.streamed,
    }[field]


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("way", INSTALLED, ids=lambda way: f"{way.api} {way.name}")
def test_cell(way: Way, field: str) -> None:
    """The record has what the answer says."""
    found = value(way, field)
    assert found == expected(way, field)
    seen(way, field)


@pytest.mark.parametrize("way", INSTALLED, ids=lambda way: f"{way.api} {way.name}")
def test_a_stream_gives_what_the_whole_answer_gives(way: Way) -> None:
    """All records of an API agree, but for times: streamed or whole, sync or async, raw or plain."""
    first = next(each for each in INSTALLED if (each.api, each.tools) == (way.api, way.tools))
    assert _without_times(only(way)) == _without_times(only(first))


_OF_THE_WAY = ("time_to_first_chunk_ms", "read_ms", "api", "provider", "parameters", "tools", "tool_count")


def _without_times(record: Record) -> str:
    metadata = {name: item for name, item in record["metadata"].items() if name not in _OF_THE_WAY}
    return json.dumps(
        {**record, "duration_ms": 0, "input": "", "metadata": metadata}, sort_keys=True, indent=1
    )
