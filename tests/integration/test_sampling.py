"""Sampling by both clients: what arrives at a backend, with its rate, and what is counted instead."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from typing import Any

import openai
import pytest

import banyan_hp as banyan
from banyan_hp import HuggingPlace, PromptData, PromptStackLogger
from banyan_hp.testing import capture
from tests.conftest import MakeLogger
from tests.sdks.answers import TEXT
from tests.sdks.scripted import providers
from tests.support.hostile import BadMapping
from tests.support.process import run_python
from tests.support.scripted import ScriptedServer
from tests.support.scripted_answers import batching

Body = dict[str, Any]
SESSIONS = [f"session-{number}" for number in range(300)]
HEADER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
ROUTED = PromptData(
    prompt_id="p1",
    name="greeting",
    content="Hi",
    version="1",
    branch="main",
    experiment_id="tone",
    experiment_version_id="a",
    sticky_key="user_id",
    sticky_value="u1",
)


def chosen(rate: float, keys: list[str]) -> list[str]:
    """As the guide says it."""
    numbers = {key: int(sha256(b"banyan_hp sampling\0" + key.encode()).hexdigest()[:16], 16) for key in keys}
    return [key for key in keys if numbers[key] < rate * 2**64]


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer(providers()) as scripted:
        yield scripted


@pytest.fixture
def make_client(server: ScriptedServer) -> Iterator[Callable[..., HuggingPlace]]:
    made: list[HuggingPlace] = []

    def make(**options: Any) -> HuggingPlace:
        made.append(HuggingPlace("key", "org", base_url=server.url, flush_interval=0.01, **options))
        return made[-1]

    yield make
    for client in made:
        client.shutdown(5)


def arrived(client: PromptStackLogger | HuggingPlace, server: ScriptedServer) -> list[Body]:
    assert client.flush(5)
    return [body for _, body in server.records()]


def rate_of(body: Body) -> float:
    rate: float = body["metadata"]["banyan_hp"]["sample_rate"]
    return rate


def left_out(client: PromptStackLogger | HuggingPlace) -> int:
    """How many calls were; nothing else was wrong."""
    stats = client.get_stats()
    assert stats["logs_rejected"] == stats["logs_dropped"] == stats["tracking_errors"] == 0
    return stats["logs_sampled_out"]


# -- what is logged ------------------------------------------------------------------------------------------


def test_whole_sessions_are_logged_and_the_rest_is_counted(
    make_logger: MakeLogger, make_client: Callable[..., HuggingPlace], server: ScriptedServer
) -> None:
    """By both clients alike, in whichever way they are told the session; each record has its rate."""
    logger, client = make_logger(server.url, sample_rate=0.1), make_client(sample_rate=0.1)
    for session in SESSIONS:
        assert logger.log_prompt(session, "a", metadata={"session_id": session})
        with banyan.context(session_id=session):
            assert logger.log_prompt(session, "a")
            client.log({"user_prompt": session, "response": "a"})
            client.log_step({"type": "search", "user_question": session, "prompt_response": "a"})
        client.start_session(session).log({"user_prompt": session, "response": "a"})
    bodies = arrived(logger, server), arrived(client, server)
    asked = [str(body.get("input", body.get("user_prompt"))) for body in bodies[1]]
    expected = chosen(0.1, SESSIONS)
    assert 20 < len(expected) < 40
    assert sorted(asked) == sorted(expected * 5)
    assert {rate_of(body) for body in bodies[1]} == {0.1}
    for each, of_each in ((logger, 2), (client, 3)):
        assert left_out(each) == of_each * (len(SESSIONS) - len(expected))
        assert each.get_stats()["logs_queued"] == of_each * len(expected)


def test_two_processes_log_the_same_sessions(server: ScriptedServer) -> None:
    """Though their hashes of strings differ, and one begins where the other ends."""
    program = """
        logger = make(sample_rate=0.3)
        for number in range(100):
            logger.log_prompt(f"session-{number}", "a", metadata={"session_id": f"session-{number}"})
        assert logger.flush(10)
    """
    for seed in ("1", "2"):
        assert run_python(program, url=server.url, PYTHONHASHSEED=seed).status == 0
    asked = [body["input"] for _, body in server.records()]
    assert sorted(asked) == sorted(chosen(0.3, SESSIONS[:100]) * 2)


def test_without_a_session_the_interaction_the_trace_or_the_record_decides(
    make_logger: MakeLogger, server: ScriptedServer
) -> None:
    """In this order. What is in none of them is a matter of chance."""
    logger = make_logger(server.url, sample_rate=0.1)
    for ident in SESSIONS:
        logger.log_prompt("by id", ident, record_id=ident)
        logger.log_prompt("by trace", ident, metadata={"trace_id": ident})
        logger.log_prompt("by session", ident, metadata={"trace_id": "t", "session_id": ident}, record_id="r")
        logger.log_prompt("by chance", ident)
    bodies = arrived(logger, server)
    for way in ("by id", "by trace", "by session"):
        assert [body["output"] for body in bodies if body["input"] == way] == chosen(0.1, SESSIONS)
    assert 10 < sum(body["input"] == "by chance" for body in bodies) < 60


def test_a_trace_is_logged_as_a_whole(make_logger: MakeLogger, server: ScriptedServer) -> None:
    """By the header that a request came with; interactions in it, too."""
    logger = make_logger(server.url, sample_rate=0.5)
    traces = [f"{number:032x}" for number in range(1, 101)]
    for trace in traces:
        with banyan.context(traceparent=f"00-{trace}-00f067aa0ba902b7-01"):
            logger.log_prompt(trace, "a")
            with logger.interaction(trace):
                logger.log_prompt(trace, "a")
    assert [body["input"] for body in arrived(logger, server)] == [
        trace for trace in chosen(0.5, traces) for _ in range(3)
    ]


def test_what_an_interaction_logs_is_logged_with_it(make_logger: MakeLogger, server: ScriptedServer) -> None:
    """Nested ones, records made inside, and steps that outlive it, in other threads, too."""
    logger = make_logger(server.url, sample_rate=0.5)
    for number in range(60):
        with logger.interaction(f"outer {number}") as outer:
            with logger.interaction(f"inner {number}"):
                logger.log_prompt(f"inside {number}", "a")
            late = outer.step("late").__enter__()
            thread = threading.Thread(target=late.__exit__, args=(None, None, None))
        thread.start()
        thread.join()
    found: dict[str, list[str]] = {}
    for body in arrived(logger, server):
        kind, _, number = body["input"].partition(" ")
        found.setdefault(number, []).append(kind)
    assert 15 < len(found) < 45
    assert all(sorted(kinds) == ["inner", "inside", "outer", "outer"] for kinds in found.values())
    assert left_out(logger) == 4 * (60 - len(found))


def test_an_interaction_of_a_session_decides_for_what_is_logged_inside(
    make_logger: MakeLogger, make_client: Callable[..., HuggingPlace], server: ScriptedServer
) -> None:
    """By the other client, too, which knows of no session."""
    logger, client = make_logger(server.url, sample_rate=0.5), make_client(sample_rate=0.5)
    for session in SESSIONS[:40]:
        with client.start_session(session).interaction(session), client.interaction(session):
            logger.log_prompt(session, "a")
        with client.interaction(session, session_id=session):
            logger.log_prompt(session, "a")
    arrived(client, server)
    asked = [str(body.get("input", body.get("user_prompt"))) for body in arrived(logger, server)]
    assert sorted(asked) == sorted(chosen(0.5, SESSIONS[:40]) * 5)


# -- what is always logged -----------------------------------------------------------------------------------


def test_errors_are_logged_whatever_the_session(
    make_logger: MakeLogger, make_client: Callable[..., HuggingPlace], server: ScriptedServer
) -> None:
    """By their metadata, or raised inside; with the rate 1, as all of them are."""
    logger, client = make_logger(server.url, sample_rate=0), make_client(sample_rate=0)
    failing: list[Any] = [logger.interaction, client.interaction]
    with banyan.context(session_id="s1"):
        logger.log_prompt("calm", "a", metadata={"error": None, "error_type": ""})
        logger.log_prompt("q", "", metadata={"error": "no"})
        client.log({"user_prompt": "q", "response": "a", "metadata": {"error_type": "Timeout"}})
        client.log_step(
            {"type": "x", "user_question": "q", "prompt_response": "a", "metadata": {"error": "no"}}
        )
        for interaction in failing:
            with pytest.raises(ValueError), interaction("q"):
                raise ValueError("late")
            with interaction("q") as it, pytest.raises(ValueError), it.step("x"):
                raise ValueError("of a step")
            with interaction("calm"):
                pass
    arrived(logger, server)
    bodies = arrived(client, server)
    assert [body.get("input", body.get("user_prompt")) for body in bodies] == ["q"] * 7
    assert {rate_of(body) for body in bodies} == {1}
    assert (left_out(logger), left_out(client)) == (2, 1)


def test_records_of_experiments_are_always_logged(make_logger: MakeLogger, server: ScriptedServer) -> None:
    """Their results count users, and all that these did."""
    logger = make_logger(server.url, sample_rate=0)
    logger.log_prompt("q", "a", ROUTED)
    logger.log_prompt("q", "a", experiment_context={"experiment_id": "tone", "sticky_value": "u1"})
    with logger.interaction("q", ROUTED):
        pass
    logger.log_prompt("q", "a", PromptData("p1", "greeting", "Hi", "1", "main"))
    bodies = arrived(logger, server)
    assert [(body["experiment_id"], rate_of(body)) for body in bodies] == [("tone", 1)] * 3
    assert left_out(logger) == 1


@pytest.mark.parametrize("way", ["streamed", "whole"])
def test_an_error_within_a_response_is_logged(
    way: str, make_logger: MakeLogger, server: ScriptedServer
) -> None:
    """Of a wrapped client, whose responses are read later; and one that is raised."""
    logger = make_logger(server.url, sample_rate=0)
    with openai.OpenAI(api_key="sk", base_url=f"{server.url}/v1", max_retries=0) as unwrapped:
        client = logger.wrap_openai(unwrapped)
        for question in ("fine", "refuse", "failed"):
            asked: Any = {"model": "gpt", "input": question, "instructions": "Be brief."}
            try:
                if way == "streamed":
                    list(client.responses.create(**asked, stream=True))
                else:
                    client.responses.create(**asked)
            except openai.APIError:
                assert question == "refuse"
    bodies = arrived(logger, server)
    expected = ["BadRequestError", "server_error"] if way == "streamed" else ["BadRequestError"]
    assert [body["metadata"]["error_type"] for body in bodies] == expected
    assert {rate_of(body) for body in bodies} == {1}
    assert left_out(logger) == 3 - len(expected)


def test_a_sampled_response_is_read_as_others_are(make_logger: MakeLogger, server: ScriptedServer) -> None:
    """With its rate beside what was read."""
    logger = make_logger(server.url, sample_rate=0.999999)
    with openai.OpenAI(api_key="sk", base_url=f"{server.url}/v1", max_retries=0) as client:
        logger.wrap_openai(client).responses.create(model="gpt", input="Hi")
    (body,) = arrived(logger, server)
    assert body["output"].startswith(TEXT)
    assert (rate_of(body), body["metadata"]["api"]) == (0.999999, "openai.responses")


def test_scores_are_never_sampled(
    make_logger: MakeLogger, make_client: Callable[..., HuggingPlace], server: ScriptedServer
) -> None:
    """Also of what was left out, whose receipt and interaction have an id for that."""
    server.handler = batching()
    logger = make_logger(server.url, sample_rate=0, send_scores=True)
    client = make_client(sample_rate=0, send_scores=True)
    with logger.interaction("q") as it:
        pass
    receipt = client.log({"user_prompt": "q", "response": "a"})
    assert it.score("thumbs", True)
    client.score("thumbs", True, record_id=receipt.id).result(5)
    client.start_session("s").score("thumbs", True).result(5)
    arrived(logger, server)
    marks = [body["metadata"]["banyan_hp"] for body in arrived(client, server)]
    about = [mark.get("record_id") or mark["session_id"] for mark in marks]
    assert set(about) == {it.record_id, receipt.id, "s"}
    assert not any("sample_rate" in mark for mark in marks)


# -- what a call gives ---------------------------------------------------------------------------------------


def test_a_receipt_says_that_its_record_was_left_out(
    make_client: Callable[..., HuggingPlace],
) -> None:
    """There is nothing to wait for, and no error."""
    client = make_client(sample_rate=0)
    receipt = client.log({"user_prompt": "q", "response": "a"})
    assert (receipt.dropped, receipt.done()) == ("sampled_out", True)
    assert receipt.id == receipt.id != ""
    receipt.result(0)
    asyncio.run(receipt)
    assert repr(receipt) == f"<Receipt {receipt.id} sampled out>"
    assert client.log({"user_prompt": "q", "response": "a", "record_id": "mine"}).id == "mine"
    with client.interaction("q") as it:
        pass
    assert it.receipt is not None
    assert (it.receipt.dropped, it.receipt.id) == ("sampled_out", it.record_id)


def test_log_prompt_is_true_for_what_is_left_out(make_logger: MakeLogger, server: ScriptedServer) -> None:
    """False means that a record was not accepted, and there is none; a wrong call is refused as ever."""
    for options in ({}, {"background_thread": False}):
        logger = make_logger(server.url, sample_rate=0, **options)
        assert logger.log_prompt("q", "a")
        assert logger.log_prompt("q", "a", blocking=True)
        with logger.interaction("q") as it:
            pass
        assert it.receipt is True
        assert left_out(logger) == 3
        assert not logger.log_prompt("q", "a", metadata="wrong")  # type: ignore[arg-type]
        assert logger.get_stats()["logs_rejected"] == 1
    assert server.records() == []


def test_nothing_is_left_out_while_a_test_captures(make_logger: MakeLogger, server: ScriptedServer) -> None:
    """Its assertions must not be a matter of chance; the rate is there to be seen."""
    logger = make_logger(server.url, sample_rate=0.25, sampler=lambda record: record["input"] != "never")
    with capture() as records:
        logger.log_prompt("never", "a")
        logger.log_prompt("q", "a")
    assert [rate_of(record) for record in records] == [0, 1]
    assert left_out(logger) == 0


# -- a sampler -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("result", "rate"), [(True, 1), (1, 1), (0.5, 0.5), (None, 0.75), (False, None), (0, None)]
)
def test_a_sampler_says_the_rate(
    result: Any, rate: float | None, make_logger: MakeLogger, server: ScriptedServer
) -> None:
    """True and False are 1 and 0; None leaves it to `sample_rate`."""
    logger = make_logger(server.url, sample_rate=0.75, sampler=lambda _record: result)
    for session in SESSIONS[:50]:
        logger.log_prompt(session, "a", metadata={"session_id": session})
    bodies = arrived(logger, server)
    assert [body["input"] for body in bodies] == chosen(rate or 0, SESSIONS[:50])
    assert {rate_of(body) for body in bodies} == ({rate} if rate else set())


def test_a_sampler_sees_what_was_logged(
    make_logger: MakeLogger, make_client: Callable[..., HuggingPlace], server: ScriptedServer
) -> None:
    """Arguments by their names, as they were given, with what surrounds the call; and nothing to change."""
    seen: list[dict[str, Any]] = []

    def sampler(record: Mapping[str, Any]) -> bool:
        seen.append(dict(record))
        with pytest.raises(TypeError):
            record["input"] = "changed"  # type: ignore[index]
        return False

    logger, client = make_logger(server.url, sampler=sampler), make_client(sampler=sampler)
    messages = [{"role": "user", "content": "hi"}]
    with banyan.context(tenant="acme"):
        logger.log_prompt(messages, "a", prompt_name="greeting", model="m", duration_ms=3, record_id="r1")
        client.log({"user_prompt": messages, "response": {"a": 1}, "user_id": "u1", "record_id": "r2"})
    logger.log_prompt("q", "a", PromptData("p1", "greeting", "Hi", "1", "main"))
    metadata = {"tenant": "acme"}
    own = {"prompt_name": "greeting", "model": "m", "duration_ms": 3, "record_id": "r1"}
    prompt = {"prompt_id": "p1", "prompt_name": "greeting", "version": "1", "branch_name": "main"}
    assert seen == [
        {"input": messages, "output": "a", **own, "metadata": metadata},
        {
            "user_prompt": messages,
            "response": {"a": 1},
            "user_id": "u1",
            "record_id": "r2",
            "metadata": metadata,
        },
        {"input": "q", "output": "a", **prompt, "metadata": {}},
    ]
    assert (left_out(logger), left_out(client)) == (2, 1)


def test_a_sampler_does_not_see_what_is_read_later(make_logger: MakeLogger, server: ScriptedServer) -> None:
    """The question and the answer of a wrapped client: reading them is the work of the logger's threads."""
    seen: list[dict[str, Any]] = []

    def sampler(record: Mapping[str, Any]) -> bool:
        seen.append(dict(record))
        return False

    logger = make_logger(server.url, sampler=sampler)
    with openai.OpenAI(api_key="sk", base_url=f"{server.url}/v1", max_retries=0) as client:
        logger.wrap_openai(client).responses.create(model="gpt", input="Hi")
    (record,) = seen
    assert not {"input", "output"} & record.keys()
    assert record["metadata"] == {"api": "openai.responses"}
    assert left_out(logger) == 1


def fails(_record: Mapping[str, Any]) -> bool:
    raise ValueError("secret")


@pytest.mark.parametrize(
    ("sampler", "said"),
    [
        (fails, "sampler raised ValueError"),
        (lambda _record: "yes", "sampler returned str, not a number from 0 to 1"),
        (lambda _record: 2, "sampler returned a number above 1, not a number from 0 to 1"),
        (lambda _record: float("nan"), "sampler returned not a number (nan), not"),
    ],
)
def test_a_sampler_that_fails_costs_no_record(
    sampler: Any, said: str, make_logger: MakeLogger, server: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    """It is counted and said once; errors and experiments don't ask it."""
    logger = make_logger(server.url, sample_rate=0, sampler=sampler)
    for _ in range(3):
        assert logger.log_prompt("q", "a")
    logger.log_prompt("q", "a", metadata={"error": "no"})
    assert [rate_of(body) for body in arrived(logger, server)] == [1] * 4
    assert logger.get_stats()["callback_errors"] == 3
    assert [message for message in caplog.messages if said in message] == caplog.messages[:1]
    assert "secret" not in caplog.text


def test_what_a_sampler_logs_is_no_record(make_logger: MakeLogger, server: ScriptedServer) -> None:
    """It would ask itself, without end."""

    def sampler(_record: Mapping[str, Any]) -> bool:
        return logger.log_prompt("from inside", "a")

    logger = make_logger(server.url, sampler=sampler)
    logger.log_prompt("q", "a")
    assert arrived(logger, server) == []
    stats = logger.get_stats()
    assert (stats["logs_sampled_out"], stats["logs_rejected"]) == (1, 1)


def test_what_can_not_be_read_is_logged(make_logger: MakeLogger, server: ScriptedServer) -> None:
    """An object of the application's that raises costs its value, not the record."""
    logger = make_logger(server.url, sample_rate=0)
    assert logger.log_prompt("q", "a", metadata=BadMapping(ValueError))
    assert len(arrived(logger, server)) == 1
    assert logger.get_stats()["tracking_errors"] == 1


def test_configuring_again_takes_the_newer_sampler(server: ScriptedServer) -> None:
    """As of other callbacks: a notebook's cell runs again."""

    def configured(result: bool) -> PromptStackLogger:
        return banyan.configure("key", server.url, sampler=lambda _record: result)

    try:
        first = configured(False)
        banyan.log_prompt("q", "a")
        assert configured(True) is first
        banyan.log_prompt("q", "a")
        stats = banyan.get_stats()
        assert (stats["logs_queued"], stats["logs_sampled_out"]) == (1, 1)
    finally:
        banyan.shutdown(5)


def test_without_sampling_records_have_no_mark(
    make_logger: MakeLogger, make_client: Callable[..., HuggingPlace], server: ScriptedServer
) -> None:
    """Nothing changes for who does not ask for it."""
    logger, client = make_logger(server.url), make_client()
    logger.log_prompt("q", "a")
    client.log({"user_prompt": "q", "response": "a"})
    arrived(logger, server)
    assert [body.get("metadata") or {} for body in arrived(client, server)] == [{}, {}]


def test_a_mark_joins_whatever_metadata_there_is(
    make_client: Callable[..., HuggingPlace], server: ScriptedServer
) -> None:
    """HuggingPlace's may be of any kind; a dict of the caller's own stays as it was."""
    client = make_client(sample_rate=0.999999)
    own: dict[str, Any] = {"k": "v", "banyan_hp": {"x": 1}}
    for metadata in (own, "text", None):
        client.log({"user_prompt": "q", "response": "a", "metadata": metadata})  # type: ignore[typeddict-item]
    assert [body["metadata"] for body in arrived(client, server)] == [
        {"k": "v", "banyan_hp": {"x": 1, "sample_rate": 0.999999}},
        {"metadata": "text", "banyan_hp": {"sample_rate": 0.999999}},
        {"banyan_hp": {"sample_rate": 0.999999}},
    ]
    assert own == {"k": "v", "banyan_hp": {"x": 1}}
