"""`FakeBackend`: what it keeps, and its faults, as this package's clients meet them."""

from __future__ import annotations

import asyncio
import http.client
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
import requests

from banyan_hp import HuggingPlace, PromptStackLogger
from banyan_hp.errors import AuthenticationError
from banyan_hp.testing.fake_backend import FakeBackend
from banyan_hp.testing.fake_server import JOIN_SECONDS
from tests.support.timing import assert_in_time

MakeClient = Callable[..., PromptStackLogger]
FAST: dict[str, Any] = {"retry_delay": 0.01, "flush_interval": 0.01}


@pytest.fixture
def backend() -> Iterator[FakeBackend]:
    with FakeBackend() as running:
        yield running


@pytest.fixture
def logger(backend: FakeBackend, make_logger: MakeClient) -> PromptStackLogger:
    return make_logger(backend.url, api_key=backend.api_key, **FAST)


def validate(backend: FakeBackend, timeout: float = 5.0) -> int:
    headers = {"X-API-Key": backend.api_key}
    return requests.get(f"{backend.url}/api/auth/validate", headers=headers, timeout=timeout).status_code


def wait_for_requests(backend: FakeBackend, count: int) -> None:
    deadline = time.monotonic() + 5
    while backend.requests < count:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_both_clients_records_are_plain_dicts_in_the_order_of_arrival(
    backend: FakeBackend, logger: PromptStackLogger
) -> None:
    """With the names that the caller used; `wait_for` returns them."""
    logger.log_prompt("q", "a", model="m", blocking=True)
    with HuggingPlace(backend.api_key, "org", base_url=backend.url, **FAST) as client:
        asyncio.run(wait(client.log({"user_prompt": "q2", "response": "a2"})))
    assert backend.wait_for(2) == backend.records == [
        {"input": "q", "output": "a", "metadata": {}, "model": "m"},
        {"user_prompt": "q2", "response": "a2", "org_id": "org", "mode": "prod"},
    ]  # fmt: skip


async def wait(receipt: Any) -> None:
    await receipt


def test_a_record_that_comes_twice_is_there_once(backend: FakeBackend) -> None:
    """A response that took too long is repeated by the client, not by the list."""
    headers = {"X-API-Key": backend.api_key, "Idempotency-Key": "1"}
    body = {"input": "q", "output": "a", "metadata": {}}
    for status in (201, 200):
        url = f"{backend.url}/api/logs/prompt-usage"
        assert requests.post(url, json=body, headers=headers, timeout=5).status_code == status
    assert (backend.records, backend.deliveries) == ([body], 2)


def test_wait_for_says_what_came_instead(backend: FakeBackend, logger: PromptStackLogger) -> None:
    """At its deadline."""
    logger.log_prompt("only this", "a", blocking=True)
    with pytest.raises(AssertionError, match=r"waited 0.01 s for 2 records; 1 came\n.*only this"):
        backend.wait_for(2, timeout=0.01)


def test_prompts_and_experiments_are_set_like_a_dict_s_items(
    backend: FakeBackend, logger: PromptStackLogger
) -> None:
    """And read, changed and deleted."""
    backend.prompts["greeting"] = "Hello {{name}}"
    prompt = logger.get_prompt("greeting")
    assert prompt is not None and prompt.render(name="you") == "Hello you"
    versions = [{"version": "b", "content": "Hi", "traffic_percentage": 100}]
    backend.experiments["tone"] = {"prompt_name": "greeting", "sticky_type": "user_id", "versions": versions}
    routed = logger.get_prompt("greeting", sticky_context={"user_id": "u1"}, use_cache=False)
    assert routed is not None
    assert (routed.content, routed.experiment_version_id) == ("Hi", "tone-b")
    by_experiment = logger.experiment("tone", {"user_id": "u1"})
    assert by_experiment is not None and by_experiment.content == "Hi"
    backend.experiments["tone"]["status"] = "paused"
    paused = logger.get_prompt("greeting", sticky_context={"user_id": "u2"}, use_cache=False)
    assert paused is not None and paused.experiment_id is None
    del backend.experiments["tone"]
    backend.prompts["greeting"] = {"content": "Bye", "version": "2"}
    changed = logger.get_prompt("greeting", use_cache=False)
    assert changed is not None and changed.prompt_id == prompt.prompt_id
    assert (dict(backend.prompts)["greeting", "main"]["content"], len(backend.experiments)) == ("Bye", 0)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"content": "x", "verson": "1"}, "'verson' is no field"),
        ({"version": "1"}, "content must be a string, or a list of messages with role and content"),
    ],
)
def test_a_wrong_prompt_is_refused_where_it_is_set(backend: FakeBackend, value: Any, words: str) -> None:
    """The error lists the fields."""
    with pytest.raises(ValueError, match=f"prompt 'p': .*{words}; the fields are content, version"):
        backend.prompts["p"] = value


def test_a_prompt_may_have_labels_a_chat_and_a_configuration(
    backend: FakeBackend, logger: PromptStackLogger
) -> None:
    """As clients get them; a version's own configuration is given with it."""
    chat = [{"role": "system", "content": "Be brief."}]
    backend.prompts["p"] = {
        "content": chat,
        "config": {"model": "m-1"},
        "versions": {"2": {"content": "draft", "config": {"model": "m-2"}}, "3": "plain"},
        "labels": {"staging": "2", "beta": "3"},
    }
    released = logger.get_prompt("p")
    staged, beta = (logger.get_prompt("p", label=label) for label in ("staging", "beta"))
    assert released is not None and staged is not None and beta is not None
    assert (released.render_messages(), released.config) == (chat, {"model": "m-1"})
    assert (staged.version, staged.label, staged.content, staged.config) == (
        "2",
        "staging",
        "draft",
        {"model": "m-2"},
    )
    assert (beta.content, beta.config, beta.messages) == ("plain", None, None)
    assert logger.get_prompt("p", label="gone") is None


def test_a_wrong_experiment_is_refused_where_it_is_set(backend: FakeBackend) -> None:
    """Not when a client asks."""
    with pytest.raises(ValueError, match="needs prompt_name"):
        backend.experiments["e"] = {"sticky_type": "user_id"}
    with pytest.raises(ValueError, match="sticky_type must be a text"):
        backend.experiments["e"] = {"prompt_name": "p"}


# -- faults --------------------------------------------------------------------------------------------------


def test_down_cuts_connections_and_up_keeps_the_port(backend: FakeBackend) -> None:
    """An idle connection is closed; new ones are refused; up again, the same address responds."""
    with socket.create_connection(("127.0.0.1", backend.port), timeout=5) as idle:
        idle.sendall(b"GET /api/auth/validate HTTP/1.1\r\n\r\n")
        while not idle.recv(4096).endswith(b"}"):
            pass
        backend.down()
        assert idle.recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", backend.port), timeout=5)
    backend.down()
    url = backend.url
    backend.up()
    backend.up()
    assert (backend.url, validate(backend)) == (url, 200)


def test_a_client_gets_over_an_outage(backend: FakeBackend, logger: PromptStackLogger) -> None:
    """What was logged while it was down is there afterwards, once."""
    logger.log_prompt("before", "a", blocking=True)
    backend.down()
    logger.log_prompt("meanwhile", "a")
    assert not logger.flush(timeout=1)
    backend.up()
    assert logger.flush(timeout=10)
    assert [record["input"] for record in backend.records] == ["before", "meanwhile"]


def test_scripted_statuses_come_in_order_then_all_is_well(backend: FakeBackend) -> None:
    """With their headers."""
    backend.respond(503, 2)
    backend.respond(429, headers={"Retry-After": "1"})
    assert [validate(backend) for _ in range(4)] == [503, 503, 429, 200]
    backend.respond(500, times=None)
    assert {validate(backend) for _ in range(5)} == {500}
    backend.up()
    assert validate(backend) == 200


@pytest.mark.parametrize(("status", "times"), [(200, 1), (600, 1), (503, 0)])
def test_a_fault_that_is_none_is_refused(backend: FakeBackend, status: int, times: int) -> None:
    """A 200 would say that a record is stored."""
    with pytest.raises(ValueError, match="must be"):
        backend.respond(status, times)


def test_a_refused_key_is_refused_until_up(backend: FakeBackend) -> None:
    """As HuggingPlace's clients see it."""
    backend.refuse_key()
    with HuggingPlace(backend.api_key, "org", base_url=backend.url, **FAST) as client:
        receipt = client.log({"user_prompt": "q", "response": "a"})
        with pytest.raises(AuthenticationError):
            receipt.result(timeout=5)
        backend.up()
        assert client.flush(timeout=10)
    assert len(backend.records) == 1


def test_a_delay_holds_the_response_not_the_record(backend: FakeBackend) -> None:
    """A client with less patience has delivered its record nevertheless."""
    backend.delay(30)
    headers = {"X-API-Key": backend.api_key}
    body = {"input": "q", "output": "a", "metadata": {}}
    with pytest.raises(requests.ReadTimeout):
        requests.post(f"{backend.url}/api/logs/prompt-usage", json=body, headers=headers, timeout=0.2)
    assert backend.wait_for(1) == [body]
    backend.delay(0)
    assert validate(backend) == 200


@pytest.mark.parametrize("end", ["up", "down", "close"])
def test_hanging_requests_are_cut(backend: FakeBackend, end: str) -> None:
    """At once, without a response, and nothing is stored; no thread stays behind."""
    before = set(threading.enumerate())
    backend.hang()
    connection = http.client.HTTPConnection("127.0.0.1", backend.port, timeout=5)
    connection.request("GET", "/api/auth/validate", headers={"X-API-Key": backend.api_key})
    wait_for_requests(backend, 1)
    began = time.monotonic()
    getattr(backend, end)()
    with closing(connection), pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
        connection.getresponse()
    took = time.monotonic() - began
    if end == "up":
        assert validate(backend) == 200
    backend.close()
    assert_in_time(took, JOIN_SECONDS / 2)
    assert {
        each for each in set(threading.enumerate()) - before if each.name.startswith("banyan_hp-fake")
    } == set()


def test_closing_twice_does_no_harm(backend: FakeBackend) -> None:
    """Nor does `up` after it: it stays closed."""
    backend.close()
    backend.close()
    backend.up()
    with pytest.raises(requests.ConnectionError):
        validate(backend)
    assert repr(backend) == f"<FakeBackend {backend.url} 0 records>"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_can_log_and_ends_nothing(backend: FakeBackend) -> None:
    """It may leave the `with` as its parent does: that one's backend goes on."""
    child = os.fork()
    if not child:
        status = 1
        try:
            with PromptStackLogger(backend.api_key, backend.url, **FAST) as logger:
                logger.log_prompt("child", "a")
            backend.close()
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert (backend.records[0]["input"], validate(backend)) == ("child", 200)


def test_a_request_without_a_length_is_refused(backend: FakeBackend) -> None:
    """A chunked body, say; the reason is JSON."""
    url, headers = f"{backend.url}/api/logs/prompt-usage", {"X-API-Key": backend.api_key}
    response = requests.post(url, data=iter([b"{}"]), headers=headers, timeout=5)
    assert (response.status_code, "Content-Length" in response.json()["error"]) == (411, True)


def test_it_needs_the_standard_library_only() -> None:
    """No extra: neither starlette nor requests is imported, nor any client."""
    program = (
        "import sys\n"
        "from banyan_hp.testing import FakeBackend\n"
        "FakeBackend().close()\n"
        "others = {'requests', 'urllib3', 'starlette', 'uvicorn', 'banyan_hp.clients', 'banyan_hp.engine'}\n"
        "assert not others & set(sys.modules), others & set(sys.modules)\n"
    )
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
