"""The real `google-genai` and `mistralai` packages, wrapped. Each way of calling is a row of `tests/sdks`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from google import genai
from google.genai import types
from mistralai.client import Mistral

from banyan_hp import ConfigurationError, HuggingPlace, PromptStackLogger
from tests.sdks import google_and_mistral as rows
from tests.sdks.answers import APIS, TEXT
from tests.sdks.cells import FIELDS
from tests.sdks.scripted import providers
from tests.sdks.test_matrix import expected, value
from tests.sdks.ways import WAYS, Setting, Way
from tests.support.scripted import Answer, ScriptedServer
from tests.support.scripted_answers import Reply, Request

Record = dict[str, Any]
WRAPPED = [way for way in WAYS if way.name.startswith("wrapped") and way.installed]


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer(providers()) as scripted:
        yield scripted


@pytest.fixture
def logger(server: ScriptedServer) -> Iterator[PromptStackLogger]:
    made = PromptStackLogger("psk_x", server.url, spool=False, flush_interval=0.01)
    yield made
    made.shutdown(5)
    assert made.get_stats()["tracking_errors"] == 0


@pytest.fixture
def asking(server: ScriptedServer, logger: PromptStackLogger) -> Setting:
    return Setting(server.url, logger, "Hi")


def logged(logger: PromptStackLogger, server: ScriptedServer) -> list[Record]:
    assert logger.flush(10)
    return [body for _, body in server.records()]


@pytest.mark.parametrize("way", WRAPPED, ids=lambda way: f"{way.api} {way.name}")
def test_every_way_of_calling_is_one_record_with_all_that_the_answer_says(way: Way) -> None:
    """Question, text, calls, model, tokens, reason, time to the first chunk; and the error of a refusal."""
    assert {field: value(way, field) for field in FIELDS} == {field: expected(way, field) for field in FIELDS}


def test_there_are_rows_for_all_that_is_wrapped() -> None:
    """Both packages, sync and async."""
    assert len(WRAPPED) == 15
    assert rows.__name__.endswith("google_and_mistral")


def test_contents_are_messages_without_their_pictures(asking: Setting, server: ScriptedServer) -> None:
    """Instructions first; what is no text is named; parameters and provider are there."""
    client = rows.wrapped_gemini(asking)
    picture = types.Part.from_bytes(data=b"secret" * 100, mime_type="image/png")
    history = [
        types.Content(role="user", parts=[types.Part(text="What"), types.Part(text=" is it?"), picture]),
        {"role": "model", "parts": [{"function_call": {"name": "look", "args": {"at": "it"}}}]},
        types.Content(
            role="user", parts=[types.Part.from_function_response(name="look", response={"seen": "a cat"})]
        ),
    ]
    config = types.GenerateContentConfig(
        temperature=0.5, max_output_tokens=9, system_instruction="Be brief.", response_mime_type="text/plain"
    )
    client.models.generate_content(model="gemini", contents=history, config=config)
    (record,) = logged(asking.logger, server)
    assert json.loads(record["input"]) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is it?\n[image/png, 600 bytes]"},
        {"role": "model", "content": '[tool call] look({"at": "it"})'},
        {"role": "user", "content": '[tool result] look({"seen": "a cat"})'},
    ]
    assert record["metadata"]["provider"] == "gcp.gemini"
    assert record["metadata"]["parameters"] == {
        "max_output_tokens": 9,
        "response_mime_type": "text/plain",
        "temperature": 0.5,
    }


def test_each_request_of_automatic_function_calling_is_a_record(
    asking: Setting, server: ScriptedServer
) -> None:
    """With its own tokens: the package returns only the last response."""
    others = server.handler
    answers = iter([True, False])

    def handle(request: Request) -> Answer:
        if "generateContent" not in request.route:
            return others(request)
        return Reply(200, APIS["google generateContent"].whole(next(answers)))

    def get_weather(city: str) -> str:
        """The weather."""
        return f"sunny in {city}"

    def get_time(zone: str) -> str:
        """The time."""
        return f"noon, {zone}"

    server.handler = handle
    client = rows.wrapped_gemini(asking)
    config = types.GenerateContentConfig(tools=[get_weather, get_time])
    with asking.logger.interaction("Hi") as it:
        it.response = client.models.generate_content(model="gemini", contents="Hi", config=config)
    (record,) = logged(asking.logger, server)
    steps = record["metadata"]["step_details"]
    assert [step["input_tokens"] for step in record["metadata"]["step_data"]] == [100, 100]
    assert (record["metadata"]["input_tokens"], record["output"]) == (200, TEXT)
    assert steps[0]["tools"] == ["get_weather", "get_time"]


def test_streams_stay_what_they_are(asking: Setting) -> None:
    """Of the same classes as without wrapping, and closed as before."""
    plain, wrapped = rows.mistral(asking), rows.wrapped_mistral(asking)
    kinds = []
    for client in (plain, wrapped):
        with client.chat.stream(**rows.mistral_request(asking)) as events:
            next(events)
            kinds.append((type(client), type(client.chat), type(events)))
    assert kinds[0] == kinds[1]
    google_plain, google_wrapped = rows.gemini(asking), rows.wrapped_gemini(asking)
    streams = [
        client.models.generate_content_stream(**rows.gemini_request(asking))
        for client in (google_plain, google_wrapped)
    ]
    assert type(streams[0]) is type(streams[1])
    for stream in streams:
        list(stream)


def test_a_stream_that_is_closed_early_says_so(asking: Setting, server: ScriptedServer) -> None:
    """With what had come."""
    with rows.wrapped_mistral(asking).chat.stream(**rows.mistral_request(asking)) as events:
        next(events)
    (record,) = logged(asking.logger, server)
    assert record["metadata"]["ended"] == "closed early"


def test_wrapping_again_changes_nothing_and_another_logger_takes_over(server: ScriptedServer) -> None:
    """As with the other clients; HuggingPlace has the last question."""
    first = PromptStackLogger("psk_x", server.url, spool=False)
    place = HuggingPlace(api_key="hp_x", org_id="o", base_url=server.url, spool=False, flush_interval=0.01)
    client = place.wrap_mistral(
        first.wrap_mistral(first.wrap_mistral(rows.mistral(Setting(server.url, first, ""))))
    )
    client.chat.complete(model="mistral", messages=[{"role": "user", "content": "Hi"}], temperature=0.1)
    assert place.flush(10)
    ((_, record),) = server.records()
    assert (record["user_prompt"], record["response"], record["token_count"]) == ("Hi", TEXT, 140)
    assert record["metadata"]["parameters"] == {"temperature": 0.1}
    assert first.get_stats()["logs_queued"] == 0
    first.shutdown(1)
    place.shutdown(5)


def test_other_clients_are_refused(logger: PromptStackLogger) -> None:
    """By name, and before the first call."""
    with pytest.raises(ConfigurationError, match=r"a client of google-genai, was Mistral"):
        logger.wrap_google_genai(Mistral(api_key="sk"))
    with pytest.raises(ConfigurationError, match=r"a client of mistralai, was .*Client"):
        logger.wrap_mistral(genai.Client(api_key="sk"))
    with pytest.raises(ConfigurationError, match="was SimpleNamespace"):
        logger.wrap_mistral(SimpleNamespace())
