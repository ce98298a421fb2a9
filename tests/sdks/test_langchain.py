"""The guide's lines on LangChain, run with the real package."""

from __future__ import annotations

import re
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import pytest

import banyan_hp as banyan
from banyan_hp.tracking.reading.chunks import Chunks
from banyan_hp.tracking.reading.responses import read_response
from tests.sdks.ways import package
from tests.support import recorded
from tests.support.scripted import ScriptedServer
from tests.support.scripted_answers import batching, records_in

pytest.importorskip("langchain_core")
GUIDE = Path(banyan.__file__).parent / "guide" / "prompts.md"


def test_the_guide_s_template_has_its_variables_filled() -> None:
    """By the line that the guide shows."""
    (block,) = re.findall(r"^```python\n([^`]*langchain_core.*?)^```", GUIDE.read_text("utf-8"), re.M | re.S)
    with ScriptedServer(batching(gzip=False)) as server:
        exec(block.replace("http://127.0.0.1:8787", server.url), {})
        (body,) = [body for request in server.requests for _, body in records_in(request)]
    assert body["input"] == "Say hello to Ada."


def test_what_the_guide_says_of_the_package_holds() -> None:
    """Its default fills nothing; Mustache leaves a missing variable empty, and escapes."""
    template = package("langchain_core.prompts").PromptTemplate
    assert template.from_template("Hello {{name}}").format(name="Ada") == "Hello {name}"
    mustache = template.from_template("Hello {{name}}", template_format="mustache")
    assert (mustache.format(), mustache.format(name="<&>")) == ("Hello ", "Hello &lt;&amp;&gt;")


@pytest.mark.parametrize(
    "body",
    [recorded.LANGCHAIN, recorded.LANGCHAIN_BLOCKS, recorded.LANGCHAIN_TOOLS],
    ids=["str", "blocks", "tools"],
)
def test_a_message_is_read_like_its_recorded_shape(body: dict[str, Any]) -> None:
    """The recorded shapes are the package's: it makes messages of them, which dump as the same."""
    message = package("langchain_core.messages").AIMessage(**body)
    assert read_response(message) == read_response(message.model_dump()) == read_response(body)


def test_streamed_chunks_are_read_like_their_sum() -> None:
    """Which is what `invoke` gives."""
    chunks = [
        package("langchain_core.messages").AIMessageChunk(**body) for body in recorded.LANGCHAIN_TOOL_CHUNKS
    ]
    collected = Chunks()
    for chunk in chunks:
        collected.add(chunk)
    assert collected.reading() == read_response(reduce(add, chunks))
