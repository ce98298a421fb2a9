"""Who gets in to the pages, and who can act there."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from banyan_hp.server.store.keys import Keys, Role, digest_of
from banyan_hp.server.store.logins import IDLE, LINK, LONGEST, Logins
from banyan_hp.server.ui.rendering import HEADERS
from tests.support.app import LocalApp
from tests.support.browsing import HOST, Browser, Page


def test_a_page_asks_for_a_login_and_goes_on_where_it_was_wanted(app: LocalApp) -> None:
    browser = Browser(app)
    asked = browser.get("/calls?model=gpt")
    assert asked.path == "/login?next=%2Fcalls%3Fmodel%3Dgpt"
    assert browser.send(asked, "/login", key=app.key).path == "/calls?model=gpt"


@pytest.mark.parametrize("path", ["//evil.example", "/\\evil.example", "https://evil.example", "/\tx", ""])
def test_a_login_leads_to_no_other_site(app: LocalApp, path: str) -> None:
    browser = Browser(app)
    asked = browser.get("/login")
    answer = browser.app.runner.run(
        _raw(browser, {**asked.form("/login").fields, "key": app.key, "next": path})
    )
    assert (answer.status_code, answer.headers["location"]) == (303, "/")


async def _raw(browser: Browser, fields: dict[str, str]) -> httpx.Response:
    transport = httpx.ASGITransport(browser.app.app)
    async with httpx.AsyncClient(transport=transport, base_url=HOST) as client:
        return await client.post("/login", data=fields)


def test_a_key_of_nobody_is_refused_in_words(app: LocalApp) -> None:
    browser = Browser(app)
    refused = browser.send(browser.get("/login"), "/login", key="psk_wrong")
    assert refused.status == 403
    assert "not a key of this backend" in refused.text


def test_a_key_that_may_only_log_opens_no_page(application: LocalApp) -> None:
    refused = Browser(application.in_new_project(Role.INGEST)).log_in()
    assert refused.status == 403
    assert "may only log" in refused.text


def test_the_session_s_cookie_can_not_be_read_by_scripts_nor_sent_by_other_sites(app: LocalApp) -> None:
    browser = Browser(app)
    answer = browser.app.runner.run(_raw(browser, {"key": app.key}))
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("banyan_hp_80=")
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie


@pytest.mark.parametrize(
    ("proxy", "secure"), [("127.0.0.1", True), ("192.0.2.0/24", False)], ids=["trusted", "somebody"]
)
def test_behind_tls_the_cookie_is_for_tls_alone(tmp_path: Path, proxy: str, secure: bool) -> None:
    """Whether a browser came by HTTPS says the proxy, if the request comes from a trusted one."""
    forwarded = {"x_forwarded_proto": "https", "host": "banyan.example.com"}
    with LocalApp(tmp_path, trusted_proxies=[proxy]) as app:
        browser = Browser(app)
        fields = {"key": app.key, "next": "/nowhere"}
        answer = browser.post("/login", fields, origin="https://banyan.example.com", **forwarded)
        (login,) = answer.response.history
        assert ("Secure" in login.headers["set-cookie"]) is secure
        settings = Browser(app)
        settings.cookies.set("banyan_hp_443" if secure else "banyan_hp_80", login.cookies.popitem()[1])
        assert ("travel unencrypted" in settings.get("/settings", **forwarded).text) is not secure


def test_a_session_ends_with_its_key(app: LocalApp, browser: Browser) -> None:
    (key,) = Keys(app.database).listed(app.project)
    assert browser.get("/calls").path == "/calls"
    Keys(app.database).revoke(key.id)
    assert browser.get("/calls").path.startswith("/login")


def test_logging_out_ends_the_session_itself(browser: Browser) -> None:
    kept = Browser(browser.app)
    kept.cookies = httpx.Cookies(browser.cookies)
    browser.send(browser.get("/calls"), "/logout")
    assert kept.get("/calls").path.startswith("/login")


def test_a_link_logs_in_once_and_only_by_a_post(app: LocalApp) -> None:
    token = Logins(app.database).link(digest_of(app.key), datetime.now(UTC))
    first, second = Browser(app), Browser(app)
    page, same = first.get(f"/login?token={token}"), second.get(f"/login?token={token}")
    assert first.get("/calls").path.startswith("/login")  # looking at it is not enough
    assert first.send(page, "/login").path == "/"
    refused = second.send(same, "/login")
    assert refused.status == 403
    assert "has been used" in refused.text


def test_links_and_sessions_expire(app: LocalApp) -> None:
    logins, now = Logins(app.database), datetime.now(UTC)
    digest = digest_of(app.key)
    assert logins.redeem(logins.link(digest, now), now + LINK) is None
    secret = logins.begin(digest, now)
    assert logins.find(secret, now + IDLE) is None
    used = now
    while used < now + LONGEST - IDLE:
        used += IDLE - timedelta(minutes=1)
        assert logins.find(secret, used) is not None
    assert logins.find(secret, now + LONGEST) is None


def test_secrets_are_stored_as_their_hash_only(app: LocalApp) -> None:
    logins = Logins(app.database)
    link, secret = logins.link(b"key", datetime.now(UTC)), logins.begin(b"key", datetime.now(UTC))
    with app.database.read() as connection:
        tables = ("browser_sessions", "login_links")
        rows = [row for each in tables for row in connection.exec_driver_sql(f"SELECT * FROM {each}")]
    assert link not in str(rows)
    assert secret not in str(rows)


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null", "sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
    ],
)
def test_a_form_of_another_site_is_refused(browser: Browser, headers: dict[str, str]) -> None:
    fields = browser.get("/calls").form("/logout").fields
    refused = browser.post("/logout", fields, **headers)
    assert refused.status == 403
    assert browser.get("/calls").path == "/calls"


def test_our_own_pages_have_no_origin_to_browsers(browser: Browser) -> None:
    fields = browser.get("/calls").form("/logout").fields
    assert browser.post("/logout", fields, origin="null", sec_fetch_site="same-origin").path == "/login"


def test_a_form_without_the_session_s_token_is_refused(browser: Browser) -> None:
    assert browser.post("/logout", {"csrf": "0" * 64}).status == 403
    assert browser.post("/logout", {}).status == 403
    assert browser.get("/calls").path == "/calls"


def test_htmx_is_led_to_the_login_page_not_given_it(app: LocalApp) -> None:
    answer = Browser(app).get("/calls?after=x", hx_request="true")
    assert (answer.status, answer.response.headers["hx-redirect"]) == (401, "/login?next=%2F")


def test_every_page_carries_the_policy(browser: Browser) -> None:
    for page in (browser.get("/calls"), browser.get("/login"), browser.get("/calls/none")):
        assert {name: page.response.headers[name] for name in HEADERS} == dict(HEADERS)


def test_a_failure_is_a_page_that_says_why(browser: Browser) -> None:
    page = browser.get("/calls/none")
    assert page.status == 404
    assert "There is no call 'none'" in page.text
    assert "/calls" in page.links  # whoever is logged in goes on from there
    assert "/calls" not in Browser(browser.app).get("/docs/none").links
    refused = browser.post("/scores", browser.get("/calls").form("/logout").fields)
    assert (refused.status, "Nothing was changed" in refused.text) == (400, True)


def test_an_address_of_nothing_is_a_page_to_browsers_and_json_to_programs(browser: Browser) -> None:
    page = browser.get("/call", accept="text/html,*/*;q=0.8")
    assert (page.status, "Not Found: GET /call" in page.text, page.links) == (404, True, ["#content", "/"])
    assert {name: page.response.headers[name] for name in HEADERS} == dict(HEADERS)
    assert browser.get("/call", accept="*/*").response.json() == {"error": "Not Found: GET /call"}


def test_no_page_has_an_inline_style_or_handler(browser: Browser) -> None:
    for path in ("/calls", "/login", "/calls/none"):
        page: Page = browser.get(path)
        assert not {name for name in page.attributes if name == "style" or name.startswith("on")}


def test_over_plain_http_a_login_s_form_is_known_by_its_cookie(app: LocalApp) -> None:
    """Browsers say there of neither their own forms nor those of other sites where they come from.

    A form of another site, with the attacker's own key in it, would have the visitor work in the attacker's
    project. Browsers don't send it the cookie, and it can't know the field's value.
    """
    browser = Browser(app)
    asked = browser.get("/login")
    fields = {**asked.form("/login").fields, "key": app.key}
    for wrong in ({**fields, "form": ""}, {**fields, "form": "guessed"}, {"key": app.key}):
        assert browser.post("/login", wrong, origin="null").status == 403
    elsewhere = Browser(app)
    assert elsewhere.post("/login", fields, origin="null").status == 403
    assert elsewhere.post("/login", {**fields, "form": ""}, origin="null").status == 403
    cookie = next(each for each in asked.response.headers.get_list("set-cookie") if "_login=" in each)
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert browser.post("/login", fields, origin="null").path == "/"


def test_a_second_attempt_is_of_the_same_form(app: LocalApp) -> None:
    browser = Browser(app)
    fields = browser.get("/login").form("/login").fields
    refused = browser.post("/login", {**fields, "key": "psk_wrong"}, origin="null")
    again = {**refused.form("/login").fields, "key": app.key}
    assert browser.post("/login", again, origin="null").path == "/"


def test_nobody_has_large_forms_read_without_a_session(app: LocalApp, browser: Browser) -> None:
    """A login has little to say; all other forms are read once it is known whose they are."""
    large = {"content": "x" * 9_000_000}
    refused = Browser(app).post("/login", {"key": "x" * 20_000})
    assert (refused.status, "at most 16384 bytes" in refused.text) == (413, True)
    assert Browser(app).post("/prompts", large).path.startswith("/login")
    refused = browser.post("/prompts", large)
    assert (refused.status, "at most 8388608 bytes" in refused.text) == (413, True)
    assert browser.post("/prompts", {f"f{number}": "" for number in range(1001)}).status == 400
