"""The real `openai` and `anthropic` packages, wrapped: parameters, tools, embeddings, images, audio.

No record holds a vector, or a byte of an image or of audio.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import openai
import pydantic
import pytest

from banyan_hp import PromptStackLogger
from tests.sdks.answers import APIS
from tests.sdks.scripted import providers
from tests.sdks.ways import CHAT_TOOLS, CLAUDE_TOOLS
from tests.support.models import Events
from tests.support.scripted import Answer, ScriptedServer
from tests.support.scripted_answers import Reply, Request

Record = dict[str, Any]
ASKED: Any = [{"role": "user", "content": "Hi"}]
PICTURE = base64.b64encode(b"secret picture " * 40_000).decode()
SOUND = b"secret sound " * 40_000
USAGE = {"input_tokens": 9, "output_tokens": 5, "total_tokens": 14}
VECTORS: Any = {
    "object": "list",
    "model": "text-embedding-4",
    "data": [{"object": "embedding", "index": number, "embedding": [0.123456] * 256} for number in range(2)],
    "usage": {"prompt_tokens": 7, "total_tokens": 7},
}
IMAGES: Any = {
    "created": 1,
    "data": [{"b64_json": PICTURE, "revised_prompt": "A cat?"}, {"url": "https://x/1.png?sig=secret"}],
    "size": "1024x1024",
    "output_format": "png",
    "usage": USAGE,
}
PARTIAL: Any = {"type": "image_generation.partial_image", "b64_json": PICTURE, "partial_image_index": 0}
DRAWN: Any = {"type": "image_generation.completed", "b64_json": PICTURE, "size": "1024x1024", "usage": USAGE}
HEARD: Any = {"text": "Good morning.", "usage": {"type": "tokens", **USAGE}}
HEARD_EVENTS: Any = [
    {"type": "transcript.text.delta", "delta": "Good "},
    {"type": "transcript.text.delta", "delta": "morning."},
    {"type": "transcript.text.done", "text": "Good morning.", "usage": {"type": "tokens", **USAGE}},
]


def media() -> Callable[[Request], Answer]:
    """The endpoints of OpenAI whose responses hold more than text, and those of the others."""
    others = providers()

    def handle(request: Request) -> Answer:
        streamed = b"stream" in request.body.replace(b"stream_format", b"")
        if request.route == "/v1/embeddings":
            return Reply(200, VECTORS)
        if request.route.startswith("/v1/images/"):
            return Events((PARTIAL, DRAWN)) if streamed else Reply(200, IMAGES)
        if request.route == "/v1/audio/speech":
            return Reply(200, SOUND, headers={"Content-Type": "audio/mpeg"})
        if request.route == "/v1/audio/transcriptions":
            if b"srt" in request.body:
                return Reply(
                    200, b"1\n00:00 --> 00:01\nGood morning.\n", headers={"Content-Type": "text/plain"}
                )
            return Events(tuple(HEARD_EVENTS)) if streamed else Reply(200, HEARD)
        if request.route.startswith("/openai/deployments/"):
            return Reply(200, APIS["openai chat"].whole(False))
        return others(request)

    return handle


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer(media()) as scripted:
        yield scripted


@pytest.fixture
def logger(server: ScriptedServer) -> Iterator[PromptStackLogger]:
    made = PromptStackLogger("psk_x", server.url, spool=False, flush_interval=0.01)
    yield made
    made.shutdown(5)
    assert made.get_stats()["tracking_errors"] == 0


@pytest.fixture
def gpt(server: ScriptedServer, logger: PromptStackLogger) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key="sk", base_url=f"{server.url}/v1", max_retries=0) as client:
        yield logger.wrap_openai(client)


def logged(logger: PromptStackLogger, server: ScriptedServer) -> list[Record]:
    assert logger.flush(10)
    records = [body for _, body in server.records()]
    assert "secret" not in json.dumps(records)
    assert PICTURE[:40] not in json.dumps(records)
    return records


def only(logger: PromptStackLogger, server: ScriptedServer) -> Record:
    (record,) = logged(logger, server)
    return record


# -- parameters ----------------------------------------------------------------------------------------------


class Weather(pydantic.BaseModel):
    text: str


def test_parameters_and_tools_of_a_completion(
    logger: PromptStackLogger, server: ScriptedServer, gpt: openai.OpenAI
) -> None:
    """Under the provider's names, as they were at the call; tools by their names."""
    tools = json.loads(json.dumps(CHAT_TOOLS))
    gpt.chat.completions.create(
        model="gpt",
        messages=ASKED,
        temperature=0.2,
        top_p=0.9,
        max_completion_tokens=50,
        stop=["END"],
        tools=tools,
    )
    tools.clear()
    metadata = only(logger, server)["metadata"]
    assert metadata["parameters"] == {
        "temperature": 0.2,
        "top_p": 0.9,
        "max_completion_tokens": 50,
        "stop": ["END"],
    }
    assert (metadata["tools"], metadata["tool_count"]) == (["get_weather", "get_time"], 2)


def test_a_response_format_is_there_with_its_schema(
    logger: PromptStackLogger, server: ScriptedServer, gpt: openai.OpenAI
) -> None:
    """Of chat completions and of responses."""
    with pytest.raises(pydantic.ValidationError):
        gpt.chat.completions.parse(model="gpt", messages=ASKED, response_format=Weather)
    gpt.responses.create(
        model="gpt", input="Hi", text={"format": {"type": "json_object"}}, max_output_tokens=9
    )
    chat, response = (record["metadata"]["parameters"] for record in logged(logger, server))
    assert chat["response_format"]["json_schema"]["name"] == "Weather"
    assert chat["response_format"]["json_schema"]["schema"]["properties"]["text"]["type"] == "string"
    assert response == {"text": {"format": {"type": "json_object"}}, "max_output_tokens": 9}


def test_parameters_of_anthropic(logger: PromptStackLogger, server: ScriptedServer) -> None:
    """Those that were given, and no others."""
    with anthropic.Anthropic(api_key="sk", base_url=server.url, max_retries=0) as claude:
        logger.wrap_anthropic(claude).messages.create(
            model="claude", max_tokens=99, messages=ASKED, tools=CLAUDE_TOOLS, stop_sequences=["END"]
        )
    metadata = only(logger, server)["metadata"]
    assert metadata["parameters"] == {"max_tokens": 99, "stop_sequences": ["END"]}
    assert metadata["tools"] == ["get_weather", "get_time"]


def test_a_streamed_step_has_them_among_its_details(
    logger: PromptStackLogger, server: ScriptedServer, gpt: openai.OpenAI
) -> None:
    """A step's metadata is in `step_details`."""
    with logger.interaction("Hi"):
        list(gpt.chat.completions.create(model="gpt", messages=ASKED, stream=True, temperature=1))
    (details,) = only(logger, server)["metadata"]["step_details"]
    assert details["parameters"] == {"temperature": 1}


# -- who serves the model ------------------------------------------------------------------------------------


def test_the_provider_is_known_by_class_and_host(logger: PromptStackLogger, server: ScriptedServer) -> None:
    """Azure's by its class, whatever its address; of an address that nobody knows nothing is said."""
    azure = openai.AzureOpenAI(api_key="sk", azure_endpoint=server.url, api_version="v1", max_retries=0)
    with azure:
        logger.wrap_openai(azure).chat.completions.create(model="gpt", messages=ASKED)
    plain = openai.OpenAI(api_key="sk", base_url=f"{server.url}/v1", max_retries=0)
    with plain:
        logger.wrap_openai(plain).chat.completions.create(model="gpt", messages=ASKED)
    assert [each["metadata"].get("provider") for each in logged(logger, server)] == ["azure.ai.openai", None]


# -- embeddings ----------------------------------------------------------------------------------------------

EMBED: dict[str, Any] = {
    "model": "e",
    "input": ["Hi", "there"],
    "dimensions": 256,
    "encoding_format": "float",
}


def embedded(gpt: openai.OpenAI) -> None:
    assert len(gpt.embeddings.create(**EMBED).data[0].embedding) == 256


def embedded_raw(gpt: openai.OpenAI) -> None:
    gpt.embeddings.with_raw_response.create(**EMBED).parse()


def embedded_streaming(gpt: openai.OpenAI) -> None:
    with gpt.embeddings.with_streaming_response.create(**EMBED) as response:
        response.parse()


@pytest.mark.parametrize("call", [embedded, embedded_raw, embedded_streaming])
def test_embeddings_are_counted_not_kept(
    logger: PromptStackLogger,
    server: ScriptedServer,
    gpt: openai.OpenAI,
    call: Callable[[openai.OpenAI], None],
) -> None:
    """Texts, model, tokens and dimensions."""
    call(gpt)
    record = only(logger, server)
    metadata = record["metadata"]
    assert json.loads(record["input"]) == ["Hi", "there"]
    assert (record["output"], record["model"]) == ("[2 embeddings of 256 dimensions]", "text-embedding-4")
    assert (metadata["input_tokens"], metadata["output_tokens"], metadata["operation"]) == (
        7,
        0,
        "embeddings",
    )
    assert metadata["parameters"] == {"dimensions": 256, "encoding_format": "float"}


def test_tokens_as_numbers_are_not_recorded_one_by_one(
    logger: PromptStackLogger, server: ScriptedServer, gpt: openai.OpenAI
) -> None:
    """How many there are says as much."""
    gpt.embeddings.create(model="e", input=[1, 2, 3], encoding_format="float")
    gpt.embeddings.create(model="e", input=[[1, 2], [3]], encoding_format="float")
    assert [each["input"] for each in logged(logger, server)] == ["[3 tokens]", '["[2 tokens]","[1 tokens]"]']


# -- images and audio ----------------------------------------------------------------------------------------


def test_images_are_described(logger: PromptStackLogger, server: ScriptedServer, gpt: openai.OpenAI) -> None:
    """Size and format, the revised prompt or the address; of a file that was sent its name and size."""
    gpt.images.generate(model="gpt-image-2", prompt="A cat", size="1024x1024", quality="high", n=2)
    gpt.images.with_raw_response.generate(model="gpt-image-2", prompt="A cat")
    gpt.images.edit(model="gpt-image-2", image=("cat.png", b"x" * 30, "image/png"), prompt="A dog")
    drawn, raw, edited = logged(logger, server)
    said = "[image 1024x1024 png] A cat?\n[image 1024x1024 png] https://x/1.png"
    assert (drawn["input"], drawn["output"]) == ("A cat", said)
    assert drawn["metadata"]["parameters"] == {"n": 2, "quality": "high", "size": "1024x1024"}
    assert [each["metadata"]["input_tokens"] for each in (drawn, raw, edited)] == [9, 9, 9]
    assert edited["metadata"]["files"] == [{"name": "cat.png", "type": "image/png", "bytes": 30}]


def test_streamed_images_have_their_tokens(
    logger: PromptStackLogger, server: ScriptedServer, gpt: openai.OpenAI
) -> None:
    """Which come behind the last of them."""
    events = gpt.images.generate(model="gpt-image-2", prompt="A cat", stream=True, partial_images=1)
    assert len(list(events)) == 2
    record = only(logger, server)
    assert (record["output"], record["metadata"]["output_tokens"]) == ("[image]", 5)
    assert "ended" not in record["metadata"]


def test_speech_is_described(logger: PromptStackLogger, server: ScriptedServer, gpt: openai.OpenAI) -> None:
    """The text, the voice, and what came; whole, or as the application reads it."""
    assert gpt.audio.speech.create(model="tts", voice="alloy", input="Good morning.").read() == SOUND
    with gpt.audio.speech.with_streaming_response.create(
        model="tts", voice="alloy", input="Good morning."
    ) as it:
        assert b"".join(it.iter_bytes()) == SOUND
    for record in logged(logger, server):
        assert (record["input"], record["output"]) == ("Good morning.", "[audio/mpeg]")
        assert record["metadata"]["parameters"] == {"voice": "alloy"}
        assert record["metadata"]["response_bytes"] == len(SOUND)


def test_transcripts_are_recorded(
    logger: PromptStackLogger, server: ScriptedServer, gpt: openai.OpenAI
) -> None:
    """Their text and tokens, in each form; and which file was sent."""
    file = ("call.mp3", io.BytesIO(SOUND), "audio/mpeg")
    ask: Any = {"model": "gpt-transcribe", "file": file, "language": "en"}
    gpt.audio.transcriptions.create(**ask)
    list(gpt.audio.transcriptions.create(**ask, stream=True))
    gpt.audio.transcriptions.with_raw_response.create(**ask).parse()
    gpt.audio.transcriptions.create(**ask, response_format="srt")
    whole, streamed, raw, subtitles = logged(logger, server)
    assert {each["output"] for each in (whole, streamed, raw)} == {"Good morning."}
    assert {each["metadata"]["input_tokens"] for each in (whole, streamed, raw)} == {9}
    assert whole["metadata"]["parameters"] == {"language": "en"}
    assert whole["metadata"]["files"] == [{"name": "call.mp3", "type": "audio/mpeg", "bytes": len(SOUND)}]
    assert subtitles["output"].endswith("Good morning.\n")


def test_async_clients_are_recorded_likewise(logger: PromptStackLogger, server: ScriptedServer) -> None:
    """Embeddings and images."""

    async def call() -> None:
        async with openai.AsyncOpenAI(api_key="sk", base_url=f"{server.url}/v1", max_retries=0) as gpt:
            logger.wrap_openai(gpt)
            await gpt.embeddings.create(**EMBED)
            await gpt.images.generate(model="gpt-image-2", prompt="A cat")

    asyncio.run(asyncio.wait_for(call(), 20))
    apis = [record["metadata"]["api"] for record in logged(logger, server)]
    assert apis == ["openai.embeddings", "openai.images.generate"]
