"""`content="off"`: whatever way a text is logged, it leaves the process in no way. Tried with a secret."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import itertools
import json
import logging
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import openai
import pytest

import banyan_hp as banyan
from banyan_hp import HuggingPlace, PromptData, PromptStackLogger
from banyan_hp.testing import capture
from tests.support.backend import Backend
from tests.support.scripted import Reply, ScriptedServer, batching
from tests.support.scripted_answers import Answer, Request

SECRET = "xylophone-4711"
KEY = "a secret of sixteen bytes or more"
OFF = "[content off]"
MESSAGES = [{"role": "user", "content": [{"type": "text", "text": SECRET}]}]
TOOL = {"id": "t", "type": "function", "function": {"name": "f", "arguments": json.dumps({"a": SECRET})}}
COMPLETION = {
    "id": "c",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4.1",
    "choices": [
        {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": SECRET, "tool_calls": [TOOL]},
        }
    ],
    "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
}
CHUNK = {
    **{name: COMPLETION[name] for name in ("id", "created", "model")},
    "object": "chat.completion.chunk",
    "choices": [{"index": 0, "delta": {"role": "assistant", "content": SECRET}, "finish_reason": None}],
}


def provider(request: Request) -> Answer:
    """A model whose answers, streams and errors have the secret in them."""
    asked = request.json()
    if asked["model"] == "bad":
        return Reply(400, {"error": {"message": SECRET, "type": "invalid_request_error"}})
    if asked.get("stream"):
        events = f"data: {json.dumps(CHUNK)}\n\ndata: [DONE]\n\n"
        return Reply(200, events.encode(), {"Content-Type": "text/event-stream"})
    return Reply(200, COMPLETION)


@pytest.fixture(scope="module")
def model() -> Iterator[str]:
    with ScriptedServer(provider) as running:
        yield f"{running.url}/v1"


@dataclass
class Told:
    """What the callbacks were called with."""

    said: list[str] = field(default_factory=list)

    def __call__(self, *arguments: object) -> None:
        self.said.append(
            repr(arguments) + "".join(repr(vars(each)) for each in arguments if hasattr(each, "__dict__"))
        )


class Failing(Exception):
    pass


def ask(client: Any, model: str = "gpt-4.1", **options: Any) -> Any:
    return client.chat.completions.create(model=model, messages=MESSAGES, **options)


def use_wrapped(client: Any, logger: Any) -> None:
    """By themselves and inside of an interaction: whole, streamed, failing."""
    for around in (contextlib.nullcontext, lambda: logger.interaction(SECRET)):
        with around():
            ask(client)
            list(ask(client, stream=True))
            with contextlib.suppress(openai.BadRequestError):
                ask(client, "bad")


def use_tracking(logger: Any, say: dict[str, Any]) -> None:
    """Interactions with steps, an error, a score; traced functions of each kind; a step by itself."""
    with logger.interaction(MESSAGES, **say) as it:
        with it.step("search", SECRET, metadata={"mine": 1}) as step:
            step.response = SECRET
        with contextlib.suppress(Failing), logger.step("tool", {"q": SECRET}):
            raise Failing(SECRET)
        it.response = {"choices": [{"message": {"content": SECRET}}]}
    it.score("thumbs", True, comment=SECRET)
    with contextlib.suppress(Failing), logger.interaction(SECRET, **say):
        raise Failing(SECRET)
    if not say:
        with logger.step("alone", SECRET) as step:
            step.response = SECRET

    def stream(question: str) -> Iterator[str]:
        yield question

    async def coroutine(question: str) -> str:
        return question

    plain = lambda question: question  # noqa: E731
    part = logger.trace(step="part", **say)(plain)
    logger.trace(**say)(plain)(SECRET)
    list(logger.trace(**say)(stream)(SECRET))
    asyncio.run(logger.trace(**say)(coroutine)(SECRET))
    part(SECRET)
    with logger.interaction("public"):
        part(SECRET)


def use_banyan(logger: PromptStackLogger, model: str, say: dict[str, Any]) -> None:
    """Every public way of logging of the Banyan client; `say` is what each call says, if anything."""
    logger.log_prompt(SECRET, SECRET, metadata={"error": SECRET, "mine": 1}, duration_ms=SECRET, **say)  # type: ignore[arg-type]
    asked: dict[str, Any] = {
        "parameters": {"stop": [SECRET], "temperature": 0.5},
        "files": [{"name": SECRET, "bytes": 9}],
    }
    asked |= {"exception": {"type": "KeyError", "message": SECRET, "traceback": SECRET}, "stack": SECRET}
    logger.log_prompt(MESSAGES, {"answer": SECRET}, model="gpt-4.1", metadata=asked, **say)
    logger.log_prompt(SECRET.encode(), [SECRET] * 200, **say)
    use_tracking(logger, say)
    client = logger.wrap_openai(openai.OpenAI(api_key="sk", base_url=model, max_retries=0), **say)
    use_wrapped(client, logger)
    create = lambda **_: SimpleNamespace(choices=[SimpleNamespace(message=SimpleNamespace(content=SECRET))])  # noqa: E731
    fake = SimpleNamespace(chat=SimpleNamespace(completions=SimpleNamespace(create=create)))
    ask(logger.wrap_openai(fake, **say))
    client.close()
    if not say:
        logger.score("thumbs", True, record_id="r", comment=SECRET)
        logger.score("thumbs", True, record_id="r", comment=SECRET, at=1.0)


def use_huggingplace(client: HuggingPlace, model: str, say: dict[str, Any]) -> None:
    """Every public way of logging of the HuggingPlace client and of its sessions."""
    step = {"type": "search", "user_question": SECRET, "prompt_response": SECRET, "token": 1, "other": SECRET}
    record = {
        "user_prompt": SECRET,
        "response": {"text": SECRET},
        "file_name": SECRET,
        "mapping_table": SECRET,
        "token_count": SECRET,
        "step_data": [{**step, "response_time": 1, "metadata": {"error": SECRET}}],
        "unknown": [SECRET],
        **say,
    }
    for logger in (client, client.start_session("s")):
        log: Any = logger
        log.log(record)
        log.log_step({**step, "response_time": 1, **say})
        use_tracking(log, say)
        log.log_with_timing(SECRET, lambda: SECRET, {"llm_model": "gpt-4.1", **say})
        if not say:
            log.score("thumbs", True, record_id="r", comment=SECRET)
            log.score("thumbs", True, record_id="r", comment=SECRET, at=1.0)
    wrapped = client.wrap_openai(openai.OpenAI(api_key="sk", base_url=model, max_retries=0), **say)
    use_wrapped(wrapped, client)
    wrapped.close()


def body_of(request: Request) -> bytes:
    compressed = request.headers.get("Content-Encoding") == "gzip"
    return zlib.decompress(request.body, 31) if compressed else request.body


def assert_nowhere(places: dict[str, bytes]) -> None:
    """No place has the secret, as it is or within JSON or base64."""
    for name, content in places.items():
        at = content.find(SECRET.encode())
        assert at < 0, f"{name}: …{content[max(0, at - 300) : at + 60].decode('utf-8', 'replace')}…"


def files_in(directory: Path) -> dict[str, bytes]:
    return {str(path.name): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


GOOD: Callable[[], Any] = batching
BAD = lambda: lambda _: Reply(400, {"error": "no"})  # noqa: E731
DOWN = None
PLACES: list[tuple[Callable[[], Any] | None, dict[str, Any]]] = [
    (GOOD, {}),
    (GOOD, {"batching": "never"}),
    (GOOD, {"durability": "disk"}),
    (GOOD, {"before_send": dict, "debug": True}),
    (GOOD, {"max_record_bytes": 1024}),
    (BAD, {}),
    (DOWN, {}),
    (DOWN, {"before_send": dict}),
    (GOOD, {"export_to": "otlp"}),
    (GOOD, {"export_to": "otlp", "otlp_content": False, "durability": "disk"}),
]
BY_SETTINGS: dict[str, Any] = {"content": "off"}
HASH: dict[str, Any] = {"content": "hash"}
FEW = [(GOOD, {}), (DOWN, {}), (GOOD, {"export_to": "otlp"})]
CASES = [
    *((*place, BY_SETTINGS, {}) for place in PLACES),
    *((*place, {**HASH, "content_hash_key": KEY}, {}) for place in FEW),
    *((*place, {}, BY_SETTINGS) for place in FEW),
    *((*place, {"content_hash_key": KEY}, HASH) for place in FEW),
    (GOOD, {}, {}, HASH),  # without a key: off
]


@pytest.mark.parametrize(("handler", "options", "settings", "say"), CASES)
def test_no_text_leaves_the_process(
    handler: Callable[[], Any] | None,
    options: dict[str, Any],
    settings: dict[str, Any],
    say: dict[str, Any],
    model: str,
    server: ScriptedServer,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Neither on the wire nor on disk, in log lines, on stderr, to callbacks, in stats or health."""
    caplog.set_level(logging.DEBUG, "banyan_hp")
    if handler is None:
        server.close()
    else:
        server.handler = handler()
    told = Told()
    common = {
        "spool_dir": tmp_path, "retry_delay": 0.01, "max_retries": 1, "flush_interval": 0.01,
        "on_error": told, "on_drop": told, "send_scores": True, **options, **settings,
    }  # fmt: skip
    if options.get("export_to") == "otlp":
        common["otlp_endpoint"] = server.url
    logger = PromptStackLogger("psk_x", server.url, **common)
    client = HuggingPlace("key", "org", base_url=server.url, **common)
    use_banyan(logger, model, say)
    use_huggingplace(client, model, say)
    for each in (logger, client):
        each.flush(2)
        each.shutdown(0.5)
    stats = [each.get_stats() for each in (logger, client)]
    assert [each["logs_rejected"] for each in stats] == [0, 0]
    assert min(each["logs_queued"] for each in stats) > 15
    captured = capfd.readouterr()
    assert_nowhere(
        {
            **{f"request {number}": body_of(each) for number, each in enumerate(server.requests)},
            **files_in(tmp_path),
            "log": caplog.text.encode(),
            "stdout, stderr": (captured.out + captured.err).encode(),
            "callbacks": "".join(told.said).encode(),
            "stats": repr([stats, logger.health(), client.health(), logger, client]).encode(),
        }
    )


def test_captures_have_no_texts_either(model: str) -> None:
    """A test of the application sees what would be sent; numbers, names and metadata are there."""
    with capture() as records:
        logger = PromptStackLogger("psk_x", "http://127.0.0.1:9", content="off")
        use_banyan(logger, model, {})
        client = HuggingPlace("key", "org", base_url="http://127.0.0.1:9", content="off")
        use_huggingplace(client, model, {})
    assert_nowhere({"captured": repr([list(records), records.scores]).encode()})
    first = records[0]
    assert (first["input"], first["output"]) == (OFF, OFF)
    assert first["metadata"] == {"error": OFF, "mine": 1, "duration_ms": OFF}
    asked: dict[str, Any] = {
        "parameters": {"stop": [OFF], "temperature": 0.5},
        "files": [{"name": OFF, "bytes": 9}],
    }
    asked |= {"exception": {"type": "KeyError", "message": OFF, "traceback": OFF}, "stack": OFF}
    assert records[1]["metadata"] == asked
    kept = next(each for each in records if each.get("metadata", {}).get("api"))
    assert kept["model"] == "gpt-4.1"
    assert (kept["metadata"]["token_count"], kept["metadata"]["finish_reason"]) == (7, "stop")
    failed = next(each for each in records if each.get("metadata", {}).get("error_type") == "Failing")
    assert failed["metadata"]["error"] == OFF
    assert records.scores[0]["value"] is True
    logger.shutdown(0)
    client.shutdown(0)


def bodies(log: Callable[[PromptStackLogger], object], **settings: Any) -> list[dict[str, Any]]:
    """What is captured of a logger with these settings."""
    with capture() as records:
        logger = PromptStackLogger("psk_x", "http://127.0.0.1:9", **settings)
        log(logger)
    logger.shutdown(0)
    return list(records)


def test_a_hash_is_of_the_text_with_its_length() -> None:
    """Equal texts have equal ones, under one key; empty texts stay empty."""

    def log(logger: PromptStackLogger) -> None:
        logger.log_prompt("Wörld", "Wörld")
        logger.log_prompt([{"a": 1}], "")

    one, two = bodies(log, content="hash", content_hash_key=KEY)
    assert one["input"] == one["output"]
    assert one["input"].startswith("[content off, 5 characters, HMAC-SHA-256 ")
    assert (two["input"][:27], two["output"]) == ("[content off, 9 characters,", "")
    (other,) = bodies(
        lambda logger: logger.log_prompt("Wörld", ""), content="hash", content_hash_key=KEY[::-1]
    )
    assert other["input"] != one["input"]


def test_whatever_metadata_holds_the_record_goes() -> None:
    """Cycles and objects of the application's become what they are with content."""
    around: dict[str, Any] = {"mine": 1}
    around["parameters"] = around["step_data"] = around
    (body,) = bodies(lambda logger: logger.log_prompt(SECRET, SECRET, metadata=around), content="off")
    assert (body["input"], body["metadata"]["mine"]) == (OFF, 1)


def test_where_hashing_fails_the_record_goes_without(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its texts are not with it until they are hashed."""

    def failing(*_: object) -> bytes:
        raise MemoryError

    monkeypatch.setattr(hmac, "digest", failing)
    settings: dict[str, Any] = {"content": "hash", "content_hash_key": KEY}
    (body,) = bodies(lambda logger: logger.log_prompt(SECRET, SECRET, metadata={"error": SECRET}), **settings)
    assert body == {"input": OFF, "output": OFF, "metadata": {"error": OFF}}


def test_the_call_comes_before_the_prompt_and_that_before_the_settings() -> None:
    """By name or id; scores of a prompt lose their comments with it."""
    prompt = PromptData("p1", "intake", "Hello")

    def log(logger: PromptStackLogger) -> None:
        logger.log_prompt("1", "a")
        logger.log_prompt("2", "a", prompt)
        logger.log_prompt("3", "a", prompt_id="p9")
        logger.log_prompt("4", "a", prompt, content="on")
        logger.log_prompt("5", "a", content="off")
        with logger.interaction("6", prompt) as it:
            it.response = "a"

    found = [each["input"] for each in bodies(log, content_off_prompts=["intake", "p9"])]
    assert found == ["1", OFF, OFF, "4", OFF, OFF]
    assert [each["input"] for each in bodies(log, content="off")] == [OFF, OFF, OFF, "4", OFF, OFF]


def test_a_wrapped_client_without_content_takes_its_interaction_with_it(model: str) -> None:
    """The interaction's answer may be that of the completion."""

    def log(logger: PromptStackLogger) -> None:
        with openai.OpenAI(api_key="sk", base_url=model) as made:
            client = logger.wrap_openai(made, content="off")
            with logger.interaction("asked"):
                ask(client)
            with logger.interaction("asked"):
                pass

    hidden, shown = bodies(log)
    assert (hidden["input"], hidden["output"], shown["input"]) == (OFF, OFF, "asked")


@pytest.mark.parametrize("content", ["OFF", "", 0, False, ["off"]])
def test_what_is_not_allowed_is_refused(content: Any, server: ScriptedServer) -> None:
    """A misspelt word must not send the text: the call is rejected; wrapping raises at once."""
    with PromptStackLogger("psk_x", server.url, spool=False) as logger:
        assert logger.log_prompt(SECRET, SECRET, content=content) is False
        assert "was str" not in str(logger.health())
        with pytest.raises(banyan.ConfigurationError, match="content must be one of 'on', 'off', 'hash'"):
            logger.wrap_openai(SimpleNamespace(), content=content)
        with pytest.raises(banyan.ConfigurationError, match="content must be one of"):
            logger.trace(content=content)(len)
    with HuggingPlace("key", "org", base_url=server.url, spool=False) as client:
        receipt = client.log({"user_prompt": SECRET, "response": SECRET, "content": content})
        with pytest.raises(banyan.ValidationError, match="content must be one of"):
            receipt.result(1)
    assert_nowhere({str(number): each.body for number, each in enumerate(server.requests)})


@pytest.mark.parametrize("name", ["log_prompt", "log"])
def test_our_backend_takes_such_records(name: str) -> None:
    """They are stored and shown like others; the pages say that content is off."""
    with Backend() as backend:
        pages = []
        for content in itertools.islice(("off", "hash"), 2):
            settings: Any = {"content": content, "content_hash_key": KEY, "spool": False}
            if name == "log_prompt":
                with PromptStackLogger(backend.api_keys[0], backend.url, **settings) as logger:
                    logger.log_prompt(SECRET, SECRET, model="gpt-4.1", duration_ms=5)
            else:
                with HuggingPlace(backend.api_keys[0], "org", base_url=backend.url, **settings) as client:
                    client.log({"user_prompt": SECRET, "response": SECRET, "llm_model": "gpt-4.1"})
        pages += backend.logs() if name == "log_prompt" else backend.interactions()
    assert len(pages) == 2
    assert_nowhere({"stored": json.dumps(pages).encode()})
