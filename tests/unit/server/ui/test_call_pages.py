"""The list of calls, and one call in full."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from banyan_hp.server.api import feeds
from banyan_hp.server.api.feeds import Feeds
from banyan_hp.server.store.sql_calls import SqlCalls
from tests.support.app import LocalApp
from tests.support.browsing import Browser


def logged(app: LocalApp, call_id: str, **fields: object) -> None:
    body = {"input": "in", "output": "out", "metadata": {}, **fields}
    answer = app.call("POST", "/api/logs/prompt-usage", body, headers={"Idempotency-Key": call_id})
    assert answer.is_success, answer.text


def test_an_empty_list_says_how_to_log_a_first_call(browser: Browser) -> None:
    page = browser.get("/calls")
    assert "Nothing has been logged yet" in page.text
    assert 'configure(base_url="http://local", api_key="psk_…")' in page.text


def test_each_call_leads_to_itself_and_to_its_likes(app: LocalApp, browser: Browser) -> None:
    logged(app, "a/b", model="gpt-4o-mini", prompt_name="e mail")
    page = browser.get("/calls")
    assert "/calls?prompt_name=e%20mail" in page.links
    assert "/calls?model=gpt-4o-mini" in page.links
    assert browser.get(next(each for each in page.links if each.startswith("/calls/"))).status == 200


def test_filters_are_in_the_address_and_misspelt_ones_refused(app: LocalApp, browser: Browser) -> None:
    logged(app, "one", model="m1")
    logged(app, "two", model="m2")
    assert "/calls/one" in browser.get("/calls?model=m1&failed=&text=").links
    assert "/calls/two" not in browser.get("/calls?model=m1").links
    assert browser.get("/calls?modle=m1").status == 400


def test_more_calls_come_as_rows_and_as_a_page(app: LocalApp, browser: Browser) -> None:
    for number in range(3):
        logged(app, f"call {number}")
    page = browser.get("/calls?limit=2")
    (more,) = {each for each in page.links if "after=" in each}
    assert "/calls/call%200" in browser.get(more).links
    rows = browser.get(more, hx_request="true")
    assert "/calls/call%200" in rows.links
    assert "<html" not in rows.response.text


def test_what_was_logged_stays_text(app: LocalApp, browser: Browser) -> None:
    attack = "<script>alert(1)</script>"
    logged(app, "x", input=attack, output=attack, metadata={"session_id": attack}, model=attack)
    for page in (browser.get("/calls"), browser.get("/calls/x")):
        assert attack in page.text
        assert attack not in page.response.text


def test_filters_without_a_field_can_be_removed(app: LocalApp, browser: Browser) -> None:
    given = (
        "model=m&session=s+1&experiment_id=x&source=banyan&branch=b&version=1&id=i&experiment_version_id=y"
    )
    page = browser.get(f"/calls?{given}")
    assert page.status == 200
    fields = page.form("/calls").fields
    assert {name: fields[name] for name in ("model", "session", "source")} == {
        "model": "m",
        "session": "s 1",
        "source": "banyan",
    }
    (without,) = [each for each in page.links if "session" not in each and each.count("=") == 7]
    assert browser.get(without).form("/calls").fields.get("session") is None


def test_times_are_those_of_the_form_and_of_the_api(app: LocalApp, browser: Browser) -> None:
    logged(app, "now")
    assert "/calls/now" in browser.get("/calls?since=2026-01-01T10:30&until=").links
    assert "/calls/now" not in browser.get("/calls?until=2026-01-01T10:30").links
    page = browser.get("/calls?since=2026-01-01T10:30:00%2B02:00")
    assert page.form("/calls").fields["since"] == "2026-01-01T08:30:00"
    assert browser.get("/calls?since=yesterday").status == 400


def test_a_chat_is_shown_as_one(app: LocalApp, browser: Browser) -> None:
    chat = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]
    logged(app, "c", input=json.dumps(chat))
    page = browser.get("/calls/c")
    assert "Be kind." in page.text
    assert "[{" not in page.text.partition("To copy")[0]
    assert ">Hi</td>" in browser.get("/calls").response.text


def test_a_call_without_content_says_so(app: LocalApp, browser: Browser) -> None:
    """In words, and with the length and the hash where there are any."""
    logged(app, "c", input="[content off]", output="[content off, 5 characters, HMAC-SHA-256 ab]")
    text = browser.get("/calls/c").text
    assert "the application logged this with its content off." in text
    assert "the application logged this with its content off, 5 characters, HMAC-SHA-256 ab." in text


def test_what_a_call_names_is_a_link(app: LocalApp, browser: Browser) -> None:
    logged(
        app,
        "c",
        prompt_id="p",
        prompt_name="greet",
        version="1.0",
        experiment_id="x",
        experiment_version_id="y",
        metadata={"session_id": "a/b"},
    )
    page = browser.get("/calls/c")
    assert {"/prompts/p", "/prompts/p?version=1.0", "/experiments/x", "/sessions/a%2Fb"} <= set(page.links)
    for label in ("Prompt", "Version", "Experiment", "Experiment version", "Session"):
        assert f"<dt>{label}</dt>" in page.response.text


@pytest.mark.parametrize("name", ["input", "output"])
def test_a_megabyte_is_cut_and_there_in_full(app: LocalApp, browser: Browser, name: str) -> None:
    text = "<b>" + "word " * 200_000
    logged(app, f"large {name}", **{name: text})
    began = time.process_time()
    page = browser.get(f"/calls/large%20{name}")
    assert time.process_time() - began < 1
    assert len(page.response.content) < 350_000
    rest = browser.get(next(each for each in page.links if each.endswith(f"part={name}"))).response
    assert rest.text == text
    assert rest.headers["content-type"] == "text/plain; charset=utf-8"
    assert rest.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'self'" in rest.headers["content-security-policy"]


def test_all_of_a_call_is_there_as_json(app: LocalApp, browser: Browser) -> None:
    logged(app, "c", metadata={"tag": "\ud800"}, output="\ud800")
    page = browser.get("/calls/c")
    assert page.status == 200
    assert json.loads(browser.get("/calls/c/text?part=json").response.text) == app.get("/api/calls/c")
    assert browser.get("/calls/c/text?part=body").status == 400


def test_a_call_is_read_elsewhere_without_the_key(app: LocalApp, browser: Browser) -> None:
    logged(app, "it's a/b")
    page = browser.get("/calls/it's%20a/b")
    address = "http://local/api/calls/it%27s%20a%2Fb"
    assert f'curl -H "X-API-Key: $BANYAN_API_KEY" {address}' in page.text
    assert f"'{address}'" in page.text
    assert app.key not in page.response.text


@pytest.mark.parametrize("call_id", ["tail", "a/text", "text"])
def test_ids_may_be_those_of_pages(app: LocalApp, browser: Browser, call_id: str) -> None:
    logged(app, call_id, input=f"this is {call_id}")
    assert f"this is {call_id}" in browser.get(f"/calls/{call_id}").text
    assert browser.get(f"/calls/{call_id}/text?part=input").response.text == f"this is {call_id}"


def test_the_tail_sends_rows_and_ends_with_the_session(
    app: LocalApp, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows as they are in the list, from where the list was read; whoever is not logged in gets none."""
    monkeypatch.setattr(feeds, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr("banyan_hp.server.api.follow.KEY_SECONDS", 0.05)
    monkeypatch.setattr(app.app.state, "feeds", Feeds(SqlCalls(app.database)), raising=False)
    source = browser.get("/calls?model=m").response.text.partition('data-tail="')[2].partition('"')[0]
    logged(app, "seen", model="m", input="<b>new</b>")
    logged(app, "other", model="n")

    async def read() -> list[str]:
        asyncio.get_running_loop().call_later(0.5, browser_out)
        address = source.replace("&amp;", "&")
        return (await browser.stream(address)).split("\n\n")

    def browser_out() -> None:
        app.app.state.feeds.close()

    events = app.runner.run(read())
    (row,) = [json.loads(each.partition("data: ")[2]) for each in events if "event: call" in each]
    assert "/calls/seen" in row
    assert "&lt;b&gt;new" in row
    assert "event: end" in events[-2]
    assert (
        Browser(app).get(source.replace("&amp;", "&"), accept="text/event-stream").path.startswith("/login")
    )


def test_a_call_s_model_can_be_asked_again(app: LocalApp, browser: Browser) -> None:
    """With its own messages, cut on the page where they are long; without a model or a question by nobody."""
    chat = [{"role": "user", "content": "it's </script>"}]
    logged(app, "chat", input=json.dumps(chat), model="m")
    for part in ("curl", "python"):
        text = browser.get(f"/calls/chat/text?part={part}").response.text
        assert text in browser.get("/calls/chat").text
    sent = browser.get("/calls/chat/text?part=curl").response.text.partition("<<'END_OF_REQUEST'\n")[2]
    assert json.loads(sent.partition("\n")[0]) == {"model": "m", "messages": chat}
    logged(app, "long", input="word " * 40_000, model="m")
    page = browser.get("/calls/long")
    assert "/calls/long/text?part=python" in page.links
    assert len(browser.get("/calls/long/text?part=python").response.text) > 200_000
    for name, fields in {"no model": {}, "no question": {"model": "m", "input": ""}}.items():
        logged(app, name, **fields)
        assert "Ask the model again" not in browser.get(f"/calls/{name}").text


def test_texts_by_themselves_have_an_icon(browser: Browser) -> None:
    """Browsers ask for it, and would put a 404 on the console."""
    assert browser.get("/favicon.ico").response.headers["content-type"] == "image/svg+xml"


def test_a_call_shows_its_rate_and_its_trace(app: LocalApp, browser: Browser) -> None:
    """In its metadata: what it stands for, and where else to look."""
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    logged(app, "x", metadata={"banyan_hp": {"sample_rate": 0.125}, "trace_id": trace})
    page = browser.get("/calls/x")
    assert "sample_rate" in page.text
    assert "0.125" in page.text
    assert trace in page.text
