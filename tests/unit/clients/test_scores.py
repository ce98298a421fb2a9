"""What callers hand to `score`, checked; and what goes on the wire, in both clients."""

from __future__ import annotations

import gc
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

import banyan_hp as banyan
from banyan_hp import HuggingPlace, PromptData, PromptStackLogger
from banyan_hp.clients.arguments import InvalidRecordError
from banyan_hp.clients.scores import Given, score_of
from banyan_hp.errors import ConfigurationError, ValidationError
from banyan_hp.server.store.scores import place_of
from banyan_hp.testing import FakeBackend, capture
from tests.conftest import MakeLogger
from tests.support.scripted import ScriptedServer
from tests.support.scripted_answers import one_by_one

PROMPT = PromptData(
    "id-1", "greeting", "Hello", version="3", branch="main",
    experiment_id="e1", experiment_version_id="e1-b", sticky_key="user_id", sticky_value="u1",
)  # fmt: skip
OF_E1 = {
    "experiment_id": "e1", "experiment_version_id": "e1-b", "sticky_key": "user_id", "sticky_value": "u1",
}  # fmt: skip
ABOUT = {"record_id": "r"}
HOSTED = "https://app.usebanyan.com"
HOSTED_HP = "https://anvsj57nul.execute-api.ap-south-1.amazonaws.com"


def seen(raw: list[dict[str, Any]]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """A `before_send` that keeps what it sees: captures show scores without what is around them."""

    def see(record: dict[str, Any]) -> dict[str, Any]:
        raw.append(record)
        return record

    return see


def content(name: Any = "thumbs", value: Any = True, **given: Any) -> dict[str, Any]:
    """What the score says, but for what all say."""
    found = score_of(Given(name, value, **(given or ABOUT))).content
    assert (found.pop("kind"), found.pop("v")) == ("score", 1)
    return found


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, True),
        (False, False),
        (0, 0),
        (-4.5, -4.5),
        (Decimal("1.5"), 1.5),
        (10**15, 10**15),
        ("great", "great"),
        ("ä" * 200, "ä" * 200),
    ],
)
def test_a_value_is_a_bool_a_number_or_a_category(value: Any, expected: Any) -> None:
    """Each stays what it is: 1 is a number, True is none."""
    found = content(value=value)["value"]
    assert (found, type(found)) == (expected, type(expected))


def test_numpy_s_values_are_python_s() -> None:
    """As models return them."""
    numpy = pytest.importorskip("numpy")
    for given, expected in ((numpy.float32(0.5), 0.5), (numpy.int64(-3), -3), (numpy.bool_(True), True)):
        found = content(value=given)["value"]
        assert (found, type(found)) == (expected, type(expected))


@pytest.mark.parametrize(
    "value",
    [
        None,
        float("nan"),
        float("inf"),
        1e16,
        10**400,
        "",
        "x" * 201,
        "\x00",
        "\ud800",
        [1],
        {"a": 1},
        b"x",
        object(),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_any_other_value_is_refused(value: Any) -> None:
    """By a sentence that says what is allowed, and shows nothing of the value."""
    with pytest.raises(
        InvalidRecordError, match=r"value must be True, False, a number from -1e15 to 1e15, or"
    ):
        content(value=value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"name": ""}, "name must be a text of 1 to 100 printable characters, was an empty str"),
        ({"name": "secret" * 20}, "name must be .*, was a text of 120 characters"),
        ({"name": "secret\n"}, "name must be .*, was a text of 7 characters, some of them not printable"),
        ({"name": 5}, "name must be .*, was int"),
        (
            {"record_id": ""},
            "record_id must be a text of 1 to 255 characters, a number or a UUID, was an empty",
        ),
        ({"record_id": True}, "record_id must be .*, was bool"),
        ({"session_id": ["secret"]}, "session_id must be .*, was list"),
        ({"sticky_context": "secret"}, "sticky_context must be a dict, was str"),
        ({"sticky_context": {1: "secret"}}, "a key of sticky_context must be a text, was int"),
        ({"sticky_context": {"user_id": b"secret"}}, "a value of sticky_context must be .*, was bytes"),
        ({"prompt_data": {"name": "secret"}}, "prompt_data must be a PromptData"),
        ({"experiment_context": {"secret": 1}}, "experiment_context has a key that is not allowed"),
        ({"comment": 5}, "comment must be a text or None, was int"),
        ({"at": "secret"}, "at must be a datetime with a time zone, or a number of seconds since 1970, was"),
        ({"at": datetime(2026, 1, 1)}, "at must be .*, was a datetime without a time zone"),
        ({"at": -1}, "at must be .*, was a negative int"),
        ({"at": 1_767_225_600_000}, "at must be .*, was int"),
    ],
)
def test_a_wrong_argument_is_named_and_its_value_is_not_shown(given: dict[str, Any], message: str) -> None:
    """The message goes to the log."""
    with pytest.raises(InvalidRecordError, match=message) as caught:
        content(**{**ABOUT, **given})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("given", [{"prompt_data": None}, {"sticky_context": {"user_id": None, "org": ""}}])
def test_a_score_is_about_something(given: dict[str, Any]) -> None:
    """Else nobody would find it."""
    with pytest.raises(InvalidRecordError, match="give it a record_id, a session_id or a sticky_context"):
        content(**given)


def test_what_a_score_is_about() -> None:
    """Ids are texts; of a prompt its experiment."""
    assert content(record_id=7, session_id=uuid.UUID(int=5)) == {
        "name": "thumbs", "value": True, "record_id": "7", "session_id": str(uuid.UUID(int=5)),
    }  # fmt: skip
    assert content(prompt_data=PROMPT) == {"name": "thumbs", "value": True, **OF_E1}
    assert content(experiment_context=OF_E1, sticky_context={"user_id": "u2"})["sticky_value"] == "u2"


def test_of_several_keys_that_of_the_experiment_counts() -> None:
    """Where a prompt or a context says which it is; else the first one with a value."""
    about = {"org_id": "o", "user_id": "u2"}
    for given in ({"prompt_data": PROMPT}, {"experiment_context": OF_E1}):
        assert content(sticky_context=about, **given) == {
            "name": "thumbs", "value": True, **OF_E1, "sticky_value": "u2",
        }  # fmt: skip
    by_org = {"sticky_key": "org_id", "sticky_value": "o"}
    assert content(sticky_context={"org_id": "o"}, prompt_data=PROMPT).items() >= by_org.items()
    assert content(sticky_context=about).items() >= by_org.items()
    context = {"org_id": None, "team_id": "", "user_id": 5, "session_id": "s"}
    assert content(sticky_context=context) == {
        "name": "thumbs", "value": True, "sticky_key": "user_id", "sticky_value": "5",
    }  # fmt: skip
    without = {"org_id": "o", "user_id": None}
    assert content(sticky_context=without, prompt_data=PROMPT).items() >= by_org.items()


def test_a_comment_costs_no_score() -> None:
    """People type it: it is cut where it is long, and cleaned of what no column holds."""
    assert content(record_id="r", comment="")["name"] == "thumbs"
    assert "comment" not in content(record_id="r", comment="")
    assert content(record_id="r", comment="a\x00b\ud800")["comment"] == "ab?"
    assert content(record_id="r", comment="x" * 2_000)["comment"] == "x" * 2_000
    cut = content(record_id="r", comment="x" * 5_000)["comment"]
    assert (len(cut) <= 2_000, cut[-24:]) == (True, "… [cut: 5000 characters]")


# -- on the wire ---------------------------------------------------------------------------------------------


def test_banyan_s_form() -> None:
    """A usage record without texts; the experiment is in the score, and not a call's."""
    with capture() as records:
        raw: list[dict[str, Any]] = []
        logger = PromptStackLogger(before_send=seen(raw))
        with banyan.context(user_id="u9"):
            assert logger.score("stars", 4, record_id="r", prompt_data=PROMPT, comment="ok")
    score = {"name": "stars", "value": 4, "record_id": "r", **OF_E1, "comment": "ok"}
    metadata = {"user_id": "u9", "banyan_hp": {"kind": "score", "v": 1, **score}}
    named = {"prompt_id": "id-1", "prompt_name": "greeting", "version": "3", "branch_name": "main"}
    assert raw == [{"input": "", "output": "", "metadata": metadata, **named}]
    assert (records, records.scores) == ([], [score])


def test_huggingplace_s_form() -> None:
    """An interaction whose texts say that it is a score. A session's is about the session by default."""
    with capture() as records:
        raw: list[dict[str, Any]] = []
        client = HuggingPlace(before_send=seen(raw))
        receipt = client.score("thumbs", False, record_id="r")
        receipt.result(timeout=1)
        session = client.start_session("s", metadata={"k": 1})
        session.score("solved", True).result(timeout=1)
        session.score("thumbs", True, record_id="r2")
    own = {"user_prompt": "[score]", "response": "[score]", "org_id": "", "mode": "prod"}
    about = {"kind": "score", "v": 1, "name": "thumbs", "value": False, "record_id": "r"}
    assert raw[0] == {**own, "metadata": {"banyan_hp": about}}
    assert (raw[1]["session_id"], raw[1]["metadata"]["k"]) == ("s", 1)
    assert records.scores[1:] == [
        {"name": "solved", "value": True, "session_id": "s"},
        {"name": "thumbs", "value": True, "record_id": "r2"},
    ]


def test_a_call_with_such_metadata_is_a_call() -> None:
    """What has texts is a call, whatever its metadata says."""
    content = {"kind": "score", "v": 1, "name": "thumbs", "value": True, "record_id": "r"}
    with capture() as records:
        banyan.log_prompt("q", "a", metadata={"banyan_hp": content})
        banyan.log_prompt("q", "", metadata={"score": 5})
    assert (len(records), records.scores) == (2, [])


def test_its_time_is_that_of_the_verdict(make_logger: MakeLogger, server: ScriptedServer) -> None:
    """In the record's own field, with an id that is unique whatever the time."""
    server.handler = one_by_one()
    logger = make_logger(server.url)
    at = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
    client = HuggingPlace("k", "o", base_url=server.url, retry_delay=0.01, flush_interval=0.01)
    logger.score("thumbs", True, record_id="r", at=at)
    logger.score("thumbs", True, record_id="r", at=at.timestamp())
    client.score("thumbs", True, record_id="r", at=at.astimezone() + timedelta(0)).result(timeout=5)
    assert logger.flush(5)
    client.shutdown(5)
    sent = [request.headers for request in server.requests if "X-Event-Time" in request.headers]
    assert [each["X-Event-Time"] for each in sent] == ["2026-01-02T03:04:05.678Z"] * 3
    assert len({each["Idempotency-Key"] for each in sent}) == 3


def test_its_id_tells_in_which_order_scores_of_one_millisecond_were_given(
    make_logger: MakeLogger, server: ScriptedServer
) -> None:
    """As the backend reads it; the ids are sent over several connections, and in any order."""
    server.handler = one_by_one()
    logger = make_logger(server.url)
    at = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
    for number in range(40):
        assert logger.score("stars", number, record_id="r", at=at)
    assert logger.flush(5)
    sent = {ident: body["metadata"]["banyan_hp"]["value"] for ident, body in server.records()}
    moment = round(at.timestamp() * 1e6)
    last_ones = sorted(sorted(sent), key=lambda ident: place_of(moment, ident, 0))
    assert [sent[ident] for ident in last_ones] == list(range(40))


# -- what becomes of it --------------------------------------------------------------------------------------


def test_bad_input_is_false_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    """As for a log call; of HuggingPlace the receipt has the error."""
    logger = PromptStackLogger("psk_x", "http://127.0.0.1:9")
    assert not logger.score("thumbs", None, record_id="r")  # type: ignore[arg-type]
    assert logger.get_stats()["logs_rejected"] == 1
    assert "a record was not accepted: value must be True, False" in caplog.text
    client = HuggingPlace("k", "o", base_url="http://127.0.0.1:9")
    with pytest.raises(ValidationError, match="a score must say what it is about"):
        client.score("thumbs", True).result()
    assert client.get_stats()["logs_rejected"] == 1
    logger.shutdown(0)
    client.shutdown(0)
    assert not logger.score("thumbs", True, record_id="r")


def test_a_hosted_backend_gets_no_score_unless_asked(caplog: pytest.LogCaptureFixture) -> None:
    """It is counted, and said once; no record is made, so nothing is sent."""
    logger = PromptStackLogger("psk_x", HOSTED)
    assert not logger.score("thumbs", True, record_id="r")
    assert not logger.score("thumbs", True, record_id="r")
    client = HuggingPlace("k", "o", base_url=HOSTED_HP)
    with pytest.raises(ValidationError, match="a score was not sent: the hosted backend"):
        client.score("thumbs", True, record_id="r").result()
    said = caplog.text
    assert (
        said.count("a score was not sent: the hosted backend would show it as a call; send_scores=True") == 1
    )
    stats = logger.get_stats(), client.get_stats()
    assert [(each["scores_not_sent"], each["logs_queued"], each["logs_rejected"]) for each in stats] == [
        (2, 0, 0),
        (1, 0, 0),
    ]
    with capture() as records:  # an application's tests see them all the same
        assert logger.score("thumbs", True, record_id="r")
    assert len(records.scores) == 1


def test_send_scores_decides(caplog: pytest.LogCaptureFixture) -> None:
    """True sends them anywhere, False nowhere and without a word."""
    with FakeBackend() as backend:
        never = PromptStackLogger(backend.api_key, backend.url, send_scores=False)
        assert not never.score("thumbs", True, record_id="r")
        client = HuggingPlace("k", "o", base_url=backend.url, send_scores=False)
        assert client.score("thumbs", True, record_id="r").id is None
        gc.collect()
        assert (never.get_stats()["scores_not_sent"], caplog.text) == (1, "")
        with pytest.raises(ValidationError, match="a score was not sent: send_scores=False"):
            client.score("thumbs", True, record_id="r").result()
    always = PromptStackLogger("psk_x", HOSTED, send_scores=True, exit_timeout=0)
    always.score("thumbs", True, record_id="r")
    assert (always.get_stats()["logs_queued"], always.get_stats()["scores_not_sent"]) == (1, 0)
    with pytest.raises(ConfigurationError, match="send_scores must be True, False or None, was 'yes'"):
        PromptStackLogger("psk_x", HOSTED, send_scores="yes")  # type: ignore[arg-type]


def test_switched_off_means_nothing_happens() -> None:
    """Of the logger, or of the prompt's calls."""
    off = PromptStackLogger("psk_x", HOSTED, enabled=False)
    assert off.score("thumbs", None)  # type: ignore[arg-type]
    assert HuggingPlace(enabled=False).score("thumbs", True, record_id="r").result() is None  # type: ignore[func-returns-value]
    unlogged = PromptData("id-1", "greeting", "Hello", enable_logging=False)
    logger = PromptStackLogger("psk_x", "http://127.0.0.1:9")
    assert logger.score("thumbs", True, record_id="r", prompt_data=unlogged)
    assert {each.get_stats()["logs_queued"] for each in (off, logger)} == {0}


def test_the_module_function_makes_its_logger(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `log_prompt` does."""
    with pytest.raises(ConfigurationError, match=r"call configure\(\) first"):
        banyan.score("thumbs", True, record_id="r")
    with FakeBackend() as backend:
        for name, value in backend.environment().items():
            monkeypatch.setenv(name, value)
        assert banyan.score("thumbs", True, record_id="r", at=datetime.now(UTC))
        assert banyan.flush(5)
        assert backend.scores == [{"name": "thumbs", "value": True, "record_id": "r"}]
        assert (backend.records, backend.deliveries) == ([], 1)


# -- of an interaction ---------------------------------------------------------------------------------------


def test_an_interaction_is_scored_inside_and_after_its_with() -> None:
    """By the id that its record has, with its prompt; by both clients."""
    with FakeBackend() as backend:
        options: Any = {"retry_delay": 0.01, "flush_interval": 0.01}
        logger = PromptStackLogger(backend.api_key, backend.url, batching="never", **options)
        client = HuggingPlace(backend.api_key, "o", base_url=backend.url, **options)
        with logger.interaction("q", PROMPT) as one:
            one.response = "a"
            assert one.score("cited", False)
        assert one.score("thumbs", True, comment="good")
        with client.interaction("q") as other:
            other.response = "a"
            other.score("cited", False).result(5)
        other.score("thumbs", True).result(5)
        with client.interaction("q", record_id="mine") as named:
            named.response = "a"
        assert logger.flush(5) and client.flush(5)
        assert {each["record_id"] for each in backend.scores} == {one.record_id, other.record_id}
        assert [each["experiment_id"] for each in backend.scores if each["record_id"] == one.record_id] == [
            "e1"
        ] * 2
        assert other.receipt is not None and other.receipt.id == other.record_id
        assert named.receipt is not None and named.receipt.id == named.record_id == "mine"
        logger.shutdown(5)
        client.shutdown(5)


def test_the_record_of_an_interaction_has_its_id(make_logger: MakeLogger, server: ScriptedServer) -> None:
    """On the wire, too."""
    server.handler = one_by_one()
    logger = make_logger(server.url)
    with logger.interaction("q") as it:
        it.response = "a"
    assert logger.flush(5)
    assert [ident for ident, _ in server.records()] == [it.record_id]


def test_scoring_an_interaction_never_raises() -> None:
    """Not even where there is no logger."""
    with banyan.interaction("q") as it:
        it.response = "a"
    assert not it.score("thumbs", True)
    with capture() as records:
        client = HuggingPlace()
        session = client.start_session("s")
        with session.interaction("q") as named:
            named.response = "a"
        named.score("thumbs", True)
    assert records.scores == [{"name": "thumbs", "value": True, "record_id": named.record_id}]


def test_a_collector_gets_scores_as_it_gets_all_else() -> None:
    """It is no hosted backend, whose endpoint for batches is asked for in vain."""
    with ScriptedServer(one_by_one()) as server:
        logger = PromptStackLogger(export_to="otlp", otlp_endpoint=server.url, exit_timeout=0, spool=False)
        assert logger.score("thumbs", True, record_id="r")
        assert logger.get_stats()["scores_not_sent"] == 0
        logger.shutdown(timeout=0)
