"""`banyan-hp mcp`: the SDK's own client, over stdio, against a real backend."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytest

pytest.importorskip("mcp")

from anyio.from_thread import BlockingPortal, start_blocking_portal
from mcp import Client, StdioServerParameters, Tool, stdio_client
from mcp.types import TextContent

from banyan_hp.cli.mcp.answers import MOST_CHARACTERS
from tests.support.backend import Backend
from tests.support.local_backend import call

MANAGED = "/api/logs/cli/prompts"
COMMAND = ("-m", "banyan_hp", "mcp")


class Answer(NamedTuple):
    text: str
    failed: bool

    @property
    def content(self) -> Any:
        assert not self.failed, self.text
        return json.loads(self.text)


@pytest.fixture(scope="module")
def backend() -> Iterator[Backend]:
    keys = ("psk_local", "default:read:psk_reader", "default:ingest:psk_ingester")
    with Backend(api_keys=keys) as running:
        for number in range(5):
            log(running, f"question {number}")
        log(running, "long " + "x" * 200_000, session="long")
        log(running, "\x1b[31mred\x07 \u202eback", session="hostile")
        post(running, MANAGED, name="greeting", content="Hello")
        post(running, f"{MANAGED}/version", name="greeting", version="2", content="Hi", release=False)
        shares = [
            {"experiment_version_id": f"e-{version}", "version": version, "traffic_percentage": 50}
            for version in ("1.0", "2")
        ]
        post(
            running, "/api/experiments",
            experiment_id="e", prompt_name="greeting", sticky_type="user_id", versions=shares,
        )  # fmt: skip
        log(running, "routed", session="routed", experiment_id="e", experiment_version_id="e-2")
        yield running


def post(backend: Backend, path: str, **body: Any) -> None:
    assert call(backend, "POST", path, json=body).status_code == 201


def log(backend: Backend, text: str, session: str = "usual", **fields: Any) -> None:
    body = {"input": text, "output": f"answer to {text}", "metadata": {"session_id": session, "n": 1}}
    post(backend, "/api/logs/prompt-usage", **body, **fields)


class Agent:
    """What an agent does with the server, from a test without a loop of its own."""

    def __init__(self, portal: BlockingPortal, client: Client) -> None:
        self._portal = portal
        self._client = client

    def tools(self) -> list[Tool]:
        return self._portal.call(self._client.list_tools).tools

    def ask(self, name: str, /, **arguments: Any) -> Answer:
        result = self._portal.call(self._client.call_tool, name, arguments)
        (content,) = result.content
        assert isinstance(content, TextContent)
        assert content.text.isprintable()
        assert len(content.text) <= MOST_CHARACTERS
        return Answer(content.text, bool(result.is_error))


@contextmanager
def agent(**environment: str) -> Iterator[Agent]:
    """The server as an agent starts it: with nothing but these variables."""
    with start_blocking_portal() as portal:
        client = portal.call(_client, environment)
        with portal.wrap_async_context_manager(client):
            yield Agent(portal, client)


async def _client(environment: dict[str, str]) -> Client:
    command = StdioServerParameters(command=sys.executable, args=list(COMMAND), env=environment)
    return Client(stdio_client(command))


@pytest.fixture(scope="module")
def reader(backend: Backend) -> Iterator[Agent]:
    """An agent with a key that can only read."""
    with agent(BANYAN_BASE_URL=backend.url, BANYAN_API_KEY="psk_reader") as asking:
        yield asking


def test_the_tools_say_what_they_take_and_that_they_only_read(reader: Agent) -> None:
    tools = {each.name: each for each in reader.tools()}
    assert set(tools) == {
        "search_calls", "show_call", "show_session",
        "list_prompts", "show_prompt", "list_experiments", "show_experiment", "experiment_results",
    }  # fmt: skip
    for each in tools.values():
        assert each.annotations is not None
        assert each.annotations.read_only_hint
        assert each.description
        assert each.input_schema["additionalProperties"] is False
    assert "30m" in json.dumps(tools["search_calls"].input_schema)


def test_calls_are_found_page_by_page_and_shown(reader: Agent) -> None:
    """`next` leads on to what is older; a call's id shows it in full."""
    first = reader.ask("search_calls", session="usual", since="1h", failed=False, limit=2).content
    rest = reader.ask("search_calls", session="usual", after=first["next"]).content
    found = [each["input"] for each in [*first["calls"], *rest["calls"]]]
    assert found == [f"question {number}" for number in (4, 3, 2, 1, 0)]
    assert "next" not in rest
    (shown,) = reader.ask("show_call", id=first["calls"][0]["id"]).content["calls"]
    assert (shown["output"], shown["metadata"]["n"]) == ("answer to question 4", 1)


def test_a_session_is_told_in_order(reader: Agent) -> None:
    """From its first call to its last; a page holds the newest."""
    newest = reader.ask("show_session", session="usual", limit=3).content
    assert [each["input"] for each in newest["calls"]] == [f"question {number}" for number in (2, 3, 4)]
    earlier = reader.ask("show_session", session="usual", after=newest["next"]).content
    assert [each["input"] for each in earlier["calls"]] == ["question 0", "question 1"]


def test_prompts_are_shown_with_their_versions(reader: Agent) -> None:
    """The newest first, drafts too."""
    (listed,) = reader.ask("list_prompts", containing="GREET").content["prompts"]
    assert (listed["released"], listed["newest"]) == ("1.0", "2")
    shown = reader.ask("show_prompt", name="greeting").content
    assert [(each["version"], each["content"]) for each in shown["versions"]] == [
        ("2", "Hi"),
        ("1.0", "Hello"),
    ]
    (one,) = reader.ask("show_prompt", name="greeting", version="1.0").content["versions"]
    assert one["current"]


def test_an_experiment_is_shown_with_its_usage(reader: Agent) -> None:
    """Each version with its share and its calls."""
    (listed,) = reader.ask("list_experiments", prompt_name="greeting", status="running").content[
        "experiments"
    ]
    assert [each["traffic_percentage"] for each in listed["versions"]] == [50, 50]
    shown = reader.ask("show_experiment", experiment_id="e").content
    assert (shown["status"], shown["sticky_type"]) == ("running", "user_id")
    assert [(each["content"], each["calls"]) for each in shown["versions"]] == [("Hello", 0), ("Hi", 1)]
    results = reader.ask("experiment_results", experiment_id="e", metric="latency").content
    assert (results["decision"]["state"], results["trusted"]) == ("not enough data yet", True)
    assert [each["name"] for each in results["metrics"]] == ["latency"]


def test_long_texts_are_cut_and_it_says_so(reader: Agent) -> None:
    """An excerpt in a list, a great part of it alone."""
    (found,) = reader.ask("search_calls", session="long").content["calls"]
    assert found["input"].endswith("x… (cut: 400 of 200,005 characters)")
    (shown,) = reader.ask("show_call", id=found["id"]).content["calls"]
    assert shown["input"].endswith("x… (cut: 8,000 of 200,005 characters)")


def test_control_characters_are_escaped(reader: Agent) -> None:
    """Whoever logged a call moves no terminal's cursor with it; the JSON means the same."""
    (found,) = reader.ask("search_calls", session="hostile").content["calls"]
    assert found["input"] == "\x1b[31mred\x07 \u202eback"


@pytest.mark.parametrize(
    ("name", "arguments", "why"),
    [
        ("show_call", {"id": "nobody's"}, "call \"nobody's\" not found in project 'default'"),
        ("show_prompt", {"name": "none"}, "prompt 'none' not found on branch 'main'"),
        ("show_prompt", {"name": "greeting", "branch": "dev"}, "it is on main"),
        ("show_prompt", {"name": "greeting", "version": "9"}, "prompt 'greeting' has no version '9'"),
        ("show_experiment", {"experiment_id": "none"}, "experiment 'none' not found"),
        ("experiment_results", {"experiment_id": "e", "segment": 9}, "segment must be one of experiment 'e'"),
        ("search_calls", {"usr": "u1"}, "usr: Extra inputs are not permitted, was 'u1'"),
        ("search_calls", {"limit": 101}, "limit: Input should be less than or equal to 100, was 101"),
        ("search_calls", {"since": "yesterday"}, "a time must be as long ago as in 7d, or a time as"),
        ("search_calls", {"after": "x"}, "after must be"),
        ("show_call", {}, "id: Field required"),
        ("delete_calls", {}, "there is no tool 'delete_calls'"),
    ],
)
def test_what_can_not_be_told_is_said(reader: Agent, name: str, arguments: dict[str, Any], why: str) -> None:
    """As a result that the agent reads, in words that it can act on."""
    answer = reader.ask(name, **arguments)
    assert answer.failed
    assert why in answer.text


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("psk_wrong", "the API key is not one of this backend's"),
        ("psk_ingester", "this needs a key with the role read, this one's is ingest"),
    ],
)
def test_a_key_that_will_not_do_is_named(backend: Backend, key: str, why: str) -> None:
    with agent(BANYAN_BASE_URL=backend.url, BANYAN_API_KEY=key) as asking:
        assert asking.ask("list_prompts") == Answer(why, failed=True)


def test_without_a_key_or_a_backend_it_answers_all_the_same() -> None:
    """An agent that has started it sees what to put right."""
    with agent(BANYAN_BASE_URL="http://127.0.0.1:9") as asking:
        assert asking.ask("list_prompts").text.startswith("no API key: ")
    with agent(BANYAN_BASE_URL="http://127.0.0.1:9", BANYAN_API_KEY="psk_x") as asking:
        assert asking.ask("list_prompts").text.startswith("http://127.0.0.1:9 can't be used: ConnectionError")


@pytest.fixture
def process(backend: Backend) -> Iterator[subprocess.Popen[str]]:
    """The server without the SDK's client, with everything logged."""
    started = subprocess.Popen(
        [sys.executable, *COMMAND, "--base-url", backend.url],
        env=os.environ | {"BANYAN_API_KEY": "psk_reader", "BANYAN_HP_DEBUG": "1"},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    with started:
        yield started
        started.kill()


def said(process: subprocess.Popen[str], *messages: dict[str, Any]) -> None:
    assert process.stdin is not None
    for each in messages:
        process.stdin.write(json.dumps({"jsonrpc": "2.0", **each}) + "\n")
    process.stdin.flush()


INITIALIZE = {
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"},
    },
}  # fmt: skip


def test_nothing_but_the_protocol_is_on_stdout(process: subprocess.Popen[str]) -> None:
    """It ends when stdin ends."""
    asked = {"name": "list_prompts", "arguments": {}}
    said(process, INITIALIZE, {"method": "notifications/initialized"})
    said(process, {"id": 2, "method": "tools/call", "params": asked})
    assert process.stdin is not None
    assert process.stdout is not None
    lines = [process.stdout.readline(), process.stdout.readline()]
    process.stdin.close()
    lines += process.stdout.readlines()
    assert [json.loads(line)["id"] for line in lines] == [1, 2]
    assert process.wait(10) == 0


def test_ctrl_c_ends_it(process: subprocess.Popen[str]) -> None:
    """At once, though it waits for stdin."""
    said(process, INITIALIZE)
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == -signal.SIGINT
