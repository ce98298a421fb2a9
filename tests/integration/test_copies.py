"""Copies and pickles of what stands for threads, files and records that exist once."""

from __future__ import annotations

import copy
import gc
import pickle
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, make_dataclass
from typing import Any

import pytest

from banyan_hp import (
    ConfigurationError,
    HuggingPlace,
    HuggingPlaceSDKError,
    MissingKeyError,
    PromptStackLogger,
    ValidationError,
)
from tests.support.parts import part_of
from tests.support.scripted import ScriptedServer
from tests.support.scripted_answers import Reply

KEY = "psk_secret_0123456789"
Things = dict[str, Any]


@pytest.fixture
def things(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Things]:
    """One of each kind."""
    server.handler = lambda request: Reply(201, {}) if request.method == "POST" else Reply(404)
    monkeypatch.setenv("BANYAN_API_KEY", KEY)
    monkeypatch.setenv("HUGGINGPLACE_API_KEY", KEY)
    logger = PromptStackLogger(base_url=server.url, project_id="p", batch_size=7, prompt_timeout=1.5)
    client = HuggingPlace(org_id="org", base_url=server.url, timeout=1500, batch_size=7)
    with client.interaction("what?") as interaction:
        with interaction.step("sql") as step:
            step.response = "select"
        interaction.response = "that"
    yield {
        "PromptStackLogger": logger,
        "HuggingPlace": client,
        "Session": client.start_session("s-1", {"a": 1}, {"b": 2}),
        "Receipt": client.log({"user_prompt": "q", "response": "a"}),
        "Interaction": interaction,
        "Step": step,
    }
    logger.shutdown(5)
    client.shutdown(5)


def by_asdict(thing: Any) -> Any:
    holder = make_dataclass("Holder", ["thing"])
    return asdict(holder(thing))["thing"]


def in_a_container(thing: Any) -> Any:
    return copy.deepcopy({"nested": [thing]})["nested"][0]


COPIES: dict[str, Callable[[Any], Any]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "asdict": by_asdict,
    "nested": in_a_container,
    "pickle": lambda thing: pickle.loads(pickle.dumps(thing)),
}
KINDS = ("PromptStackLogger", "HuggingPlace", "Session", "Receipt", "Interaction", "Step")


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_each_kind_can_be_copied_in_each_way(kind: str, how: str, things: Things) -> None:
    """A copy is the same object, a pickle another one of the same kind; no destructor complains."""
    thing = things[kind]
    made = COPIES[how](thing)
    assert isinstance(made, type(thing))
    assert (made is thing) == (how != "pickle")
    del made
    gc.collect()


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickled_logger_carries_its_settings_and_no_key(protocol: int, things: Things) -> None:
    """Of both clients; it logs where it is read."""
    for kind in ("PromptStackLogger", "HuggingPlace", "Session", "Interaction"):
        assert KEY.encode() not in pickle.dumps(things[kind], protocol)
    logger = pickle.loads(pickle.dumps(things["PromptStackLogger"], protocol))
    assert logger.__reduce__() == things["PromptStackLogger"].__reduce__()  # all that a logger is made of
    client = pickle.loads(pickle.dumps(things["HuggingPlace"], protocol))
    assert client.get_config() == things["HuggingPlace"].get_config()
    session = pickle.loads(pickle.dumps(things["Session"], protocol))
    assert session.get_session_info() == things["Session"].get_session_info()
    assert logger.log_prompt("q", "a", blocking=True)
    session.log({"user_prompt": "q", "response": "a"}).result(5)
    behind = part_of(session, HuggingPlace)  # nothing else can end the client of an unpickled session
    for each in (logger, client, behind):
        assert each.shutdown(5)


@pytest.mark.parametrize("kind", ["PromptStackLogger", "HuggingPlace"])
def test_a_pickled_logger_without_a_key_in_the_environment_is_one_clear_error(
    kind: str, things: Things, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which names the variable; where logging is switched off none is needed."""
    pickled = pickle.dumps(things[kind])
    variable = {"PromptStackLogger": "BANYAN_API_KEY", "HuggingPlace": "HUGGINGPLACE_API_KEY"}[kind]
    monkeypatch.delenv(variable)
    with pytest.raises(MissingKeyError, match=variable):
        pickle.loads(pickled)
    monkeypatch.setenv("BANYAN_HP_DISABLED", "1")
    pickle.loads(pickled)


def test_a_key_given_by_hand_is_not_replaced_by_another_one(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment's key may be another tenant's; the same key is taken."""
    pickled = pickle.dumps(PromptStackLogger(KEY, server.url))
    monkeypatch.setenv("BANYAN_API_KEY", "psk_of_somebody_else")
    with pytest.raises(ConfigurationError, match="an API key other than"):
        pickle.loads(pickled)
    monkeypatch.setenv("BANYAN_API_KEY", KEY)
    assert isinstance(pickle.loads(pickled), PromptStackLogger)


def test_a_pickled_receipt_has_its_id_and_what_is_known(things: Things, server: ScriptedServer) -> None:
    """Delivered, refused, or unknown; nothing is waited for."""
    receipt = things["Receipt"]
    receipt.result(5)
    delivered = pickle.loads(pickle.dumps(receipt))
    assert (delivered.id, delivered.done(), delivered.result()) == (receipt.id, True, None)
    refused = pickle.loads(pickle.dumps(things["HuggingPlace"].log({})))
    assert refused.id is None
    with pytest.raises(ValidationError):
        refused.result()
    server.handler = lambda _: Reply(503)
    waiting = things["HuggingPlace"].log({"user_prompt": "q", "response": "a"})
    unknown = pickle.loads(pickle.dumps(waiting))
    assert unknown.id == waiting.id
    for _ in range(2):  # also a pickle of a pickle
        with pytest.raises(HuggingPlaceSDKError, match="is known where it was logged"):
            unknown.result()
        unknown = pickle.loads(pickle.dumps(unknown))


def test_a_pickled_interaction_is_not_logged_again(things: Things, server: ScriptedServer) -> None:
    """It is an account of the original, with its steps, and has ended."""
    client = things["HuggingPlace"]
    assert client.flush(5)
    before = len(server.records())
    with client.interaction("open?") as interaction:
        interaction.response = "yes"
        with interaction.step("a"):
            pass
        error = RuntimeError("no")
        interaction.error = error
        account = pickle.loads(pickle.dumps(interaction))
    assert (account.question, account.response, account.finished) == ("open?", "yes", True)
    assert [step.type for step in account.steps] == ["a"]
    assert account.steps[0].interaction is account
    account.__exit__(None, None, None)
    assert client.flush(5)
    assert len(server.records()) == before + 1


@dataclass
class State:
    """What a web framework keeps of a request."""

    logger: PromptStackLogger
    number: int


def test_a_dataclass_that_holds_a_logger_becomes_a_dict(things: Things) -> None:
    """Which holds the logger itself."""
    logger = things["PromptStackLogger"]
    assert asdict(State(logger, 1)) == {"logger": logger, "number": 1}
    assert isinstance(logger, PromptStackLogger)
