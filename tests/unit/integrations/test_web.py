"""What both web middlewares do alike: the context, ids, the cookie, the health page, mistakes."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import pytest

import banyan_hp as banyan
from banyan_hp import ConfigurationError, HuggingPlace, PromptStackLogger
from banyan_hp.testing import CapturedRecords, capture
from tests.unit.integrations.web_apps import Sent, logs, ways

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Way:
    """One of the two middlewares."""

    def __init__(self, way: tuple[str, Any, Any, Any, Any]) -> None:
        self.name, self.middleware, self.app, self.request, self._serve = way

    def ask(
        self,
        path: str = "/ask",
        handler: Callable[[], object] = logs,
        *,
        options: Any = None,
        response: Any = None,
        **request: str,
    ) -> Sent:
        """One request; `response`: its headers."""
        app = self.middleware(self.app(handler, headers=response), **(options or {}))
        sent: Sent = self._serve(app, self.request(path, **request))
        return sent


@pytest.fixture(params=ways(), ids=lambda way: str(way[0]))
def way(request: pytest.FixtureRequest) -> Way:
    return Way(request.param)


@pytest.fixture
def records() -> Iterator[CapturedRecords]:
    with capture() as captured:
        yield captured


def test_a_record_says_which_request_it_is_of(way: Way, records: CapturedRecords) -> None:
    """And keeps what the call itself gave; outside there is no context."""
    sent = way.ask(
        "/a/b",
        x_request_id="r-1",
        traceparent=f"00-{TRACE}-{SPAN}-01",
        options={"user": lambda _: UUID(int=7)},
    )
    logs()
    assert sent.body == b"ok"
    assert [record["metadata"] for record in records] == [
        {
            "request_id": "r-1",
            "method": "GET",
            "path": "/a/b",
            "trace_id": TRACE,
            "span_id": SPAN,
            "user_id": str(UUID(int=7)),
            "own": 1,
        },
        {"own": 1},
    ]


@pytest.mark.parametrize("given", ["", "x" * 129, "a b", "a\nb", 'a"b', "ä"])
def test_a_request_id_that_is_none_is_made(way: Way, records: CapturedRecords, given: str) -> None:
    """Too long, or with characters that no id needs."""
    way.ask(x_request_id=given)
    assert re.fullmatch("[0-9a-f]{32}", records[0]["metadata"]["request_id"])


def test_the_header_of_the_request_id_is_chosen(way: Way, records: CapturedRecords) -> None:
    """By its name; None takes no client's word."""
    way.ask(options={"request_id_header": "X-Trace"}, x_trace="mine", x_request_id="other")
    way.ask(options={"request_id_header": None}, x_request_id="other")
    assert records[0]["metadata"]["request_id"] == "mine"
    assert records[1]["metadata"]["request_id"] != "other"


def test_a_user_is_asked_for_when_a_record_is_made(way: Way, records: CapturedRecords) -> None:
    """By then a middleware of the framework knows; asked again until there is one, then no more."""
    logged_in: list[str | None] = [None, None, "u1", "u2"]
    asked = []

    def user(_request: object) -> str | None:
        asked.append(1)
        return logged_in[len(asked) - 1]

    way.ask(options={"user": user}, handler=lambda: None)
    assert not asked
    way.ask(options={"user": user}, handler=logs_often)
    assert [record["metadata"].get("user_id") for record in records] == [None, None, "u1", "u1", "u1"]
    assert len(asked) == 3


@pytest.mark.parametrize("user", [lambda _: 1 / 0, lambda _: ["u"], lambda _: True, lambda _: "u" * 257])
def test_a_user_function_that_fails_costs_the_user_only(
    way: Way, user: Any, records: CapturedRecords
) -> None:
    """It raises, or returns no id: the record goes without, counted."""
    logger = PromptStackLogger("psk_x", "http://127.0.0.1:9", spool=False)
    sent = way.ask(
        options={"user": user, "session": lambda _: 5, "logger": logger},
        handler=lambda: logger.log_prompt("q", "a"),
    )
    assert sent.status == 200
    metadata = records[0]["metadata"]
    assert (metadata["session_id"], "user_id" in metadata) == ("5", False)
    assert logger.get_stats()["tracking_errors"] == 1


def test_a_user_function_that_logs_does_not_loop(way: Way, records: CapturedRecords) -> None:
    """Its own record goes without the user."""

    def user(_request: object) -> str:
        logs("inner")
        return "u1"

    way.ask(options={"user": user})
    assert [(each["input"], each["metadata"].get("user_id")) for each in records] == [
        ("inner", None),
        ("q", "u1"),
    ]


def test_huggingplace_gets_user_and_session_as_fields(way: Way, records: CapturedRecords) -> None:
    """As of any context."""
    client = HuggingPlace("k", "o", base_url="http://127.0.0.1:9", spool=False)
    options = {"user": lambda _: 7, "session": lambda _: "s", "logger": client}
    way.ask(options=options, handler=lambda: client.log({"user_prompt": "q", "response": "a"}))
    assert (records[0]["user_id"], records[0]["session_id"]) == ("7", "s")


def test_an_inner_context_wins(way: Way, records: CapturedRecords) -> None:
    """And so does what a call gives."""

    def handler() -> None:
        with banyan.context(user_id="inner", more=1):
            logs()

    way.ask(options={"user": lambda _: "outer"}, handler=handler)
    metadata = records[0]["metadata"]
    assert (metadata["user_id"], metadata["more"], metadata["path"]) == ("inner", 1, "/ask")


def logs_often() -> None:
    for _ in range(5):
        logs()


# -- the cookie ----------------------------------------------------------------------------------------------

COOKIE = {"anonymous_cookie": "visitor"}


def test_an_anonymous_visitor_keeps_an_id(way: Way, records: CapturedRecords) -> None:
    """Random, in a cookie that scripts and other sites don't get; set once."""
    first = way.ask(options=COOKIE)
    cookie = first.header("Set-Cookie")
    ident = records[0]["metadata"]["user_id"]
    assert re.fullmatch("anon-[0-9a-f]{32}", ident)
    assert cookie == f"visitor={ident}; Max-Age=15552000; Path=/; HttpOnly; SameSite=Lax"
    second = way.ask(options=COOKIE, cookie=f"theme=dark; visitor={ident}")
    assert second.header("Set-Cookie") is None
    assert records[1]["metadata"]["user_id"] == ident


def test_the_cookie_is_set_before_a_record_is_made(way: Way, records: CapturedRecords) -> None:
    """A stream logs after its headers; the next request must be the same visitor's."""
    sent = way.ask(options=COOKIE, handler=lambda: None)
    assert "visitor=anon-" in (sent.header("Set-Cookie") or "")


def test_the_cookie_is_secure_under_tls(way: Way, records: CapturedRecords) -> None:
    """And where its name asks for it."""
    assert (way.ask(options=COOKIE, scheme="https").header("Set-Cookie") or "").endswith("; Secure")
    host = {"anonymous_cookie": "__Host-visitor", "anonymous_cookie_max_age": 60}
    assert "Max-Age=60; Path=/; HttpOnly; SameSite=Lax; Secure" in (
        way.ask(options=host).header("Set-Cookie") or ""
    )


@pytest.mark.parametrize("value", ["anon-1", "anon-" + "g" * 32, "x" * 37, "anon-" + "0" * 33])
def test_a_cookie_that_is_not_ours_is_replaced(way: Way, records: CapturedRecords, value: str) -> None:
    """Nobody puts texts into records by it."""
    sent = way.ask(options=COOKIE, cookie=f"visitor={value}")
    assert records[0]["metadata"]["user_id"] != value
    assert sent.header("Set-Cookie") is not None


def test_a_user_gets_no_cookie(way: Way, records: CapturedRecords) -> None:
    """Nor does a response that shared caches keep: they would give one visitor's id to all."""
    assert way.ask(options={**COOKIE, "user": lambda _: "u1"}).header("Set-Cookie") is None
    assert records[0]["metadata"]["user_id"] == "u1"
    cached = [("Cache-Control", "public, max-age=60")]
    assert way.ask(options=COOKIE, response=cached).header("Set-Cookie") is None


def test_no_cookie_without_being_asked(way: Way, records: CapturedRecords) -> None:
    """Visitors have no id then."""
    assert way.ask().header("Set-Cookie") is None
    assert "user_id" not in records[0]["metadata"]


# -- errors --------------------------------------------------------------------------------------------------


def test_an_exception_passes_and_is_on_the_request_s_interaction(way: Way, records: CapturedRecords) -> None:
    """With `interaction=True` each request is a record; the calls inside are its steps."""

    def handler() -> None:
        with banyan.step("lookup") as step:
            step.response = "found"
        raise LookupError("gone")

    with pytest.raises(LookupError, match="gone"):
        way.ask(options={"interaction": True, "user": lambda _: "u1"}, handler=handler)
    (record,) = records
    metadata = record["metadata"]
    assert (record["input"], metadata["user_id"], metadata["path"]) == ("GET /ask", "u1", "/ask")
    assert (metadata["error_type"], metadata["error"]) == ("LookupError", "LookupError: gone")
    assert [step["type"] for step in metadata["step_data"]] == ["lookup"]


def test_a_function_says_which_requests_are_interactions(way: Way, records: CapturedRecords) -> None:
    """None: this one is not. One that fails costs the interaction only."""
    for path in ("/ask", "/static", "/broken"):

        def question(request: dict[str, Any]) -> str | None:
            path = request.get("path") or request["PATH_INFO"]
            return {"/ask": "why?", "/static": None}[path]

        way.ask(path, options={"interaction": question}, handler=lambda: None)
    assert [record["input"] for record in records] == ["why?"]


# -- health --------------------------------------------------------------------------------------------------


class Failing(PromptStackLogger):
    """Its health is bad."""

    def health(self) -> Any:
        return {"status": "failing", "reasons": ["x"], "state": "down"}


class Broken(PromptStackLogger):
    """Its health can't be had."""

    def health(self) -> Any:
        raise OSError


def test_the_health_page_says_what_health_says(way: Way) -> None:
    """200 while it is not failing, 503 then; GET and HEAD only; the application is not asked."""
    options: dict[str, Any] = {"health_path": "/healthz/banyan"}
    quiet: Any = {"spool": False}

    def ask(method: str = "GET", logger: Any = None) -> Sent:
        return way.ask("/healthz/banyan", lambda: 1 / 0, options={**options, "logger": logger}, method=method)

    well = ask(logger=PromptStackLogger("psk_secret", "http://127.0.0.1:9", **quiet))
    assert (well.status, json.loads(well.body)["status"]) == (200, "ok")
    assert (well.header("Content-Type"), well.header("Cache-Control")) == ("application/json", "no-store")
    assert b"secret" not in well.body
    head = ask("HEAD")
    assert (head.status, head.body) == (200, b"")
    assert int(head.header("Content-Length") or 0) > 0
    refused = ask("POST")
    assert (refused.status, refused.header("Allow")) == (405, "GET, HEAD")
    assert ask(logger=Failing("psk_x", "http://127.0.0.1:9", **quiet)).status == 503
    broken = ask(logger=Broken("psk_x", "http://127.0.0.1:9", **quiet))
    assert (broken.status, json.loads(broken.body)["status"]) == (503, "failing")
    with pytest.raises(ZeroDivisionError):
        way.ask("/healthz/banyan/more", lambda: 1 / 0, options=options)


# -- several at once, mistakes -------------------------------------------------------------------------------


def test_threads_mix_no_requests(way: Way, records: CapturedRecords) -> None:
    """Fifty at a time, all in the handler at once."""
    barrier = threading.Barrier(50)

    def handle(number: int) -> None:
        def handler() -> None:
            barrier.wait(10)
            logs(str(number))
            barrier.wait(10)
            logs(str(number))

        way.ask(f"/{number}", handler, options={"user": lambda _: number}, x_request_id=f"r{number}")

    threads = [threading.Thread(target=handle, args=(number,)) for number in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    said = [(each["input"], f"/{each['input']}", each["input"], f"r{each['input']}") for each in records]
    found = [
        (each["input"], metadata["path"], metadata["user_id"], metadata["request_id"])
        for each in records
        if (metadata := each["metadata"])
    ]
    assert len(found) == 100
    assert found == said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"users": str}, "unknown option 'users'; did you mean 'user'?"),
        ({"user": "u1"}, "user must be a callable or None, was 'u1'"),
        ({"session": 1}, "session must be"),
        ({"request_id_header": "X Request"}, "request_id_header must be"),
        ({"anonymous_cookie": "a=b"}, "anonymous_cookie must be a name of letters, digits, '-', '_' and"),
        ({"anonymous_cookie": True}, "anonymous_cookie must be"),
        ({"anonymous_cookie_max_age": 0}, "anonymous_cookie_max_age must be a number of seconds above 0"),
        ({"health_path": "healthz"}, "health_path must be a path that begins with '/'"),
        ({"interaction": "yes"}, "interaction must be True, False or a function"),
        ({"logger": "banyan"}, "logger must be a PromptStackLogger, a HuggingPlace or None"),
    ],
)
def test_a_wrong_option_is_refused_at_once(way: Way, options: Any, said: str) -> None:
    """The message names it, what it was, and what is allowed."""
    with pytest.raises(ConfigurationError, match=re.escape(said)):
        way.ask(options=options)
