"""What a record says of its request: parameters, tools, files; bounded, and of plain data only."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pydantic

from banyan_hp.tracking.calls import provider_at
from banyan_hp.tracking.reading.parameters import (
    MOST_TOOLS,
    MOST_VALUES,
    files_in,
    parameters_in,
    tools_in,
)


class Omit:
    """As `openai` and `anthropic` mark what is not given."""


class Config(pydantic.BaseModel):
    temperature: float | None = None
    top_k: float | None = None
    tools: list[Any] | None = None
    system_instruction: str | None = None


def test_only_parameters_that_were_given_are_there() -> None:
    """Not the question, not what identifies people or requests."""
    asked = {
        "model": "m",
        "messages": [{}],
        "user": "u1",
        "temperature": 0.0,
        "top_p": None,
        "seed": Omit(),
        "extra_headers": {"Authorization": "Bearer secret"},
    }
    assert parameters_in(asked) == {"parameters": {"temperature": 0.0}}
    assert parameters_in({"model": "m", "text": "a question", "audio": "UklGRg=="}) == {}


def test_a_configuration_object_is_looked_into() -> None:
    """Google's, as a model or as a dict: only what is set."""
    config = Config(temperature=0.5, tools=[{"function_declarations": [{"name": "a"}, {"name": "b"}]}])
    expected = {"parameters": {"temperature": 0.5}, "tools": ["a", "b"], "tool_count": 2}
    assert parameters_in({"config": config}) == expected
    assert parameters_in({"generation_config": {"top_k": 3}}) == {"parameters": {"top_k": 3}}


def test_tools_of_every_provider_have_their_names() -> None:
    """Those of a provider's own have their type, functions their name."""

    def look_up() -> None: ...

    tools: list[Any] = [
        {"type": "function", "function": {"name": "chat"}},
        {"type": "function", "name": "responses"},
        {"type": "custom", "custom": {"name": "custom"}},
        {"type": "web_search"},
        look_up,
        object(),
    ]
    names = ["chat", "responses", "custom", "web_search", "look_up"]
    assert tools_in(tools) == {"tools": names, "tool_count": 5}
    many = tools_in([{"name": str(number)} for number in range(MOST_TOOLS + 20)])
    assert (len(many["tools"]), many["tool_count"]) == (MOST_TOOLS, MOST_TOOLS + 20)


def test_a_schema_is_bounded() -> None:
    """In values, in depth, and in the length of texts."""
    deep: dict[str, Any] = {}
    for _ in range(100):
        deep = {"properties": deep}
    wide = {str(number): {"type": "string", "description": "x" * 10_000} for number in range(10_000)}
    for schema in (deep, wide):
        found = parameters_in({"response_format": {"type": "json_schema", "json_schema": schema}})
        assert len(json.dumps(found)) < MOST_VALUES * 600
        assert "\\u2026" in json.dumps(found)


def test_a_class_as_format_is_its_name() -> None:
    """Google's `response_schema` takes one."""
    assert parameters_in({"response_schema": Config}) == {"parameters": {"response_schema": "Config"}}


def test_files_are_described_without_being_read(tmp_path: Path) -> None:
    """By the name without its folders, the type and the size, where these are known."""
    path = tmp_path / "a.png"
    path.write_bytes(b"xyz")
    with path.open("rb") as opened:
        files = [("image", opened), ("image", ("b.png", b"1234", "image/png")), ("mask", io.BytesIO(b"12"))]
        assert files_in(files) == [
            {"name": "a.png"},
            {"name": "b.png", "type": "image/png", "bytes": 4},
            {"bytes": 2},
        ]
        assert opened.tell() == 0
    assert files_in({"file": b"12345"}) == [{"bytes": 5}]
    assert files_in(None) == []


def test_a_host_names_the_provider() -> None:
    """By OpenTelemetry's names; a host of nobody's is not guessed."""
    assert provider_at("API.openai.com") == "openai"
    assert provider_at("eu.api.openai.com") == "openai"
    assert provider_at("mine.openai.azure.com") == "azure.ai.openai"
    assert provider_at("europe-west1-aiplatform.googleapis.com") == "gcp.vertex_ai"
    assert provider_at("bedrock-runtime.eu-central-1.amazonaws.com") == "aws.bedrock"
    assert provider_at("api.openai.com.evil.example") is None
    assert provider_at("127.0.0.1") is None
