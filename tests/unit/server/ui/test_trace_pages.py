"""Spans on pages: a trace by itself, on the page of a call, in the turns of a session."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import pytest

from banyan_hp.server.deriving import rule_of
from banyan_hp.server.prices import bundled
from banyan_hp.server.store.calls import Call, CallFilter
from banyan_hp.server.store.spans import StoredEvent, StoredSpan
from banyan_hp.server.ui import traces
from tests.support.app import LocalApp
from tests.support.browsing import Browser, Page
from tests.support.senders import stored_of
from tests.unit.server.store.test_spans import TRACE, span

# Of each what is around its calls, as its own SDK names it.
AGENTS = {
    "oi-agents-2.6.0": {"agent", "tool", "call"},
    "logfire-agents-5.4.0": {"agent", "tool", "call"},
    "langfuse-5.0.4": {"call", "agent", "span"},
    "traceloop-0.62.4": {"workflow", "tool", "call"},
    "pydantic-ai-2.68.0": {"agent", "tool", "call"},
    "strands-1.62.0": {"agent", "tool", "call"},
    "smolagents-1.26.0": {"agent", "tool", "call"},
    "oi-langchain-0.1.80": {"workflow", "call"},
}
ATTACK = "<script>alert(1)</script>"


def told(app: LocalApp, *given: StoredSpan | StoredEvent) -> list[Call]:
    """Store spans; the calls that are made of them, oldest first."""
    stores = app.app.state.stores
    stores.spans.append([replace(each, project=app.project) for each in given])
    while stores.spans.underived():
        stores.spans.derive(500, rule_of(bundled()))
    found: list[Call] = stores.calls.page(CallFilter(project=app.project), 500).calls
    return found[::-1]


def rows(page: Page) -> list[str]:
    """The lines of the waterfalls of a page, as text."""
    tables = re.findall(r'<table class="waterfall">.*?</table>', page.response.text, re.DOTALL)
    lines = [each for table in tables for each in re.findall(r"<tr.*?</tr>", table, re.DOTALL)]
    return [" ".join(re.sub(r"<[^>]+>", " ", each).split()) for each in lines]


@pytest.mark.parametrize("sender", AGENTS)
def test_a_call_s_page_shows_what_is_around_it(app: LocalApp, browser: Browser, sender: str) -> None:
    """From a call to its trace, and from each span there that became a call back to it."""
    calls = told(app, *stored_of(sender))
    found: set[str] = set()
    for call in calls:
        page = browser.get(f"/calls/{quote(call.id)}")
        assert page.status == 200
        (trace,) = {each for each in page.links if re.fullmatch("/traces/[0-9a-f]{32}", each)}
        whole = browser.get(trace)
        assert f"/calls/{quote(call.id)}" in whole.links
        found |= {kind for row in rows(whole) for kind in AGENTS[sender] if f" {kind} " in row}
        for link in [each for each in page.links if "/spans/" in each][:3]:
            assert browser.get(link).status == 200
    assert found == AGENTS[sender]


def test_spans_are_nested_and_placed(app: LocalApp, browser: Browser) -> None:
    """With their kinds, durations and errors; an outer one before what is inside it."""
    agent = span(1, role="agent", counted=False, name="trip", end=span(3).end + 500_000)
    call = span(2, parent_id=agent.span_id, name="chat x")
    tool = span(
        3, parent_id=agent.span_id, role="tool", counted=False, name="weather", status=2,
        body={"attributes": {"gen_ai.tool.call.arguments": '{"city": "Oslo"}'}, "message": "no such city"},
    )  # fmt: skip
    (made,) = told(app, tool, call, agent)
    page = browser.get(f"/traces/{TRACE}")
    head, *lines = rows(page)
    assert head == "Span Start Duration Time"
    assert lines == [
        "trip agent 0 ms 3.0 s",
        "chat x call 1.0 s 500 ms",
        "weather tool error 2.0 s 500 ms",
    ]
    assert re.findall('class="(depth-.)"', page.response.text) == ["depth-0", "depth-1", "depth-1"]
    assert 'x="333.3" y="2" width="166.7"' in page.response.text
    assert "1 failed" in page.text
    failed = browser.get(f"/traces/{TRACE}/spans/{tool.span_id}")
    assert "no such city" in failed.text
    assert "Oslo" in failed.text
    assert {f"/traces/{TRACE}", f"/traces/{TRACE}/spans/{agent.span_id}"} <= set(failed.links)
    own = browser.get(f"/traces/{TRACE}/spans/{call.span_id}")
    assert f"/calls/{made.id}" in own.links
    assert f"/traces/{TRACE}/spans/{call.span_id}" in browser.get(f"/calls/{made.id}").links


def many(number: int, **changes: Any) -> StoredSpan:
    return span(number, parent_id=f"{1:016x}", role="tool", counted=False, name=f"tool {number}", **changes)


def test_thousands_of_spans_come_in_parts(app: LocalApp, browser: Browser) -> None:
    """On the trace's page one after the other, all of them; on a call's page those that begin with it."""
    agent = span(1, role="agent", counted=False, name="the agent", end=span(3000).end)
    call = span(1500, parent_id=f"{1:016x}", name="the call")
    (made,) = told(app, agent, call, *(many(number) for number in range(2, 3001) if number != 1500))
    page = browser.get(f"/calls/{made.id}")
    lines = rows(page)
    assert len(lines) < traces.OF_A_CALL + 10
    assert [line.partition(" ")[0] for line in lines[:4]] == ["Span", "the", "the", "tool"]
    assert lines[2].startswith("the call call")
    assert f"/traces/{TRACE}" in page.links
    seen: list[str] = []
    address = f"/traces/{TRACE}"
    while address:
        part = browser.get(address)
        assert len(part.response.content) < 500_000
        lines = rows(part)[1:]
        assert lines[0].startswith("the agent")  # what all others are inside of is above each part
        seen += lines[1:]
        address = next((each for each in part.links if "after=" in each), "")
    assert len(seen) == len(set(seen)) == 2999


def test_a_session_shows_a_trace_once(app: LocalApp, browser: Browser) -> None:
    """At the first turn in it; the others lead there."""
    agent = span(1, role="agent", counted=False, name="trip", session="s-1", end=span(9).end)
    calls = [span(number, parent_id=agent.span_id) for number in (2, 4)]
    tool = span(3, parent_id=agent.span_id, role="tool", counted=False, name="weather")
    alone = span(8, trace_id="b" * 32, attributes={"session.id": "s-1"})
    assert len(told(app, agent, tool, alone, *calls)) == 3
    page = browser.get("/sessions/s-1")
    assert "4 spans" in page.text
    assert sum(" weather " in f" {line} " for line in rows(page)) == 1
    assert page.text.count("Its trace") == 2
    assert "/sessions/s-1" in browser.get(f"/traces/{TRACE}").links


def test_a_record_of_our_own_is_in_the_trace_that_it_was_made_in(app: LocalApp, browser: Browser) -> None:
    """Whether it was made of the span or names the trace in its metadata."""
    record = f"otel-{TRACE}-{span(2).span_id}"
    body = {"input": "in", "output": "out", "metadata": {}}
    assert app.call("POST", "/api/logs/prompt-usage", body, headers={"Idempotency-Key": record}).is_success
    body["metadata"] = {"trace_id": TRACE}
    assert app.call("POST", "/api/logs/prompt-usage", body, headers={"Idempotency-Key": "named"}).is_success
    told(app, span(1, role="agent", counted=False, name="trip"), span(2, parent_id=span(1).span_id))
    for name in (record, "named"):
        assert f"/traces/{TRACE}" in browser.get(f"/calls/{name}").links
    assert f"/calls/{record}" in browser.get(f"/traces/{TRACE}").links


def test_a_span_without_texts_is_said_to_have_none(app: LocalApp, browser: Browser) -> None:
    (made,) = told(app, span(1, attributes={"session.id": "s-1"}))
    for path in (f"/calls/{made.id}", "/sessions/s-1", "/review"):
        page = browser.get(path)
        assert "The span carried no content" in page.text
        assert "[]" not in page.text.partition("Metadata")[0]
    assert "no content" in browser.get("/calls").text


def test_nobody_sees_another_project_s_trace(application: LocalApp, browser: Browser) -> None:
    told(application.in_new_project(), span(1))
    for path in (f"/traces/{TRACE}", f"/traces/{TRACE}/spans/{span(1).span_id}"):
        assert browser.get(path).status == 404
        assert browser.get(f"{path}/text").status == 404


def test_what_a_span_says_stays_text(app: LocalApp, browser: Browser) -> None:
    body = {"attributes": {ATTACK: ATTACK}, "message": ATTACK, "events": [{"name": ATTACK, "time": 1}]}
    hostile = span(1, name=ATTACK, role="", counted=False, status=2, session=ATTACK, user=ATTACK, body=body)
    told(app, replace(hostile, scope=ATTACK), span(2, parent_id=hostile.span_id))
    for path in (f"/traces/{TRACE}", f"/traces/{TRACE}/spans/{hostile.span_id}"):
        page = browser.get(path)
        assert page.status == 200
        assert ATTACK in page.text
        assert ATTACK not in page.response.text
    text = browser.get(f"/traces/{TRACE}/spans/{hostile.span_id}/text").response
    said = {name: body[name] for name in ("attributes", "events")}
    assert (text.json(), text.headers["content-type"]) == (said, "text/plain; charset=utf-8")


def test_a_span_s_log_events_are_part_of_what_it_says(app: LocalApp, browser: Browser) -> None:
    """As openai-v2 sends what was said."""
    calls = told(app, *stored_of("oai2-latest-event-2.4b0"))
    pages = [browser.get(f"/calls/{quote(call.id)}") for call in calls]
    own = [link for page in pages for link in page.links if "/spans/" in link]
    assert any("Paris is the capital of France." in browser.get(f"{link}/text").text for link in own)


def test_a_cursor_that_is_none_is_refused(app: LocalApp, browser: Browser) -> None:
    told(app, span(1))
    assert browser.get(f"/traces/{TRACE}?after=x").status == 400
