"""The settings: keys above all."""

from __future__ import annotations

from pathlib import Path

import pytest

from banyan_hp.server.store.keys import Keys, Role, digest_of
from banyan_hp.server.ui.settings import PAGE_KEYS
from tests.support.app import LocalApp
from tests.support.browsing import Browser


def test_a_key_is_made_shown_once_and_revoked(app: LocalApp, browser: Browser) -> None:
    made = browser.send(browser.get("/settings"), "/settings/keys", role="ingest")
    (key,) = [each for each in Keys(app.database).listed(app.project) if each.role is Role.INGEST]
    secret = next(word for word in made.text.split() if word.startswith("psk_"))
    found = Keys(app.database).find(digest_of(secret))
    assert found is not None
    assert found.id == key.id
    assert secret not in browser.get("/settings").text
    browser.send(browser.get("/settings"), f"/settings/keys/{key.id}/revoke")
    assert Keys(app.database).find(digest_of(secret)) is None


def test_a_server_that_is_well_says_so(browser: Browser) -> None:
    well, flaw = "This server sees nothing wrong with itself.", "Keys and texts travel unencrypted"
    here, elsewhere = browser.get("/settings", host="localhost").text, browser.get("/settings").text
    assert (well in here, flaw in here) == (True, False)
    assert (well in elsewhere, flaw in elsewhere) == (False, True)


def test_a_role_that_is_none_is_refused(browser: Browser) -> None:
    refused = browser.send(browser.get("/settings"), "/settings/keys", role="root")
    assert (refused.status, "role must be ingest, read or admin, was 'root'" in refused.text) == (400, True)


@pytest.mark.parametrize("action", ["/settings/keys", "/settings/keys/none/revoke"])
def test_readers_change_no_keys(application: LocalApp, action: str) -> None:
    app = application.in_new_project(Role.READ)
    browser = Browser(app)
    browser.log_in()
    page = browser.get("/settings")
    assert "Make a key" not in page.text
    assert browser.post(action, {**page.form("/logout").fields, "role": "admin"}).status == 403
    assert len(Keys(app.database).listed(app.project)) == 1


def test_nobody_revokes_another_project_s_key(application: LocalApp, browser: Browser) -> None:
    other = application.in_new_project()
    (key,) = Keys(other.database).listed(other.project)
    fields = browser.get("/settings").form("/logout").fields
    assert browser.post(f"/settings/keys/{key.id}/revoke", fields).status == 404
    assert Keys(other.database).find(digest_of(other.key)) is not None


def test_many_keys_come_in_pages(app: LocalApp, browser: Browser) -> None:
    """Newest first; a list that grows is never all on one page."""
    made = [Keys(app.database).create(app.project, Role.READ)[0].id for _ in range(120)]
    seen: list[str] = []
    address = "/settings"
    while address:
        page = browser.get(address)
        shown = [form.action.split("/")[3] for form in page.forms if form.action.endswith("/revoke")]
        assert len(shown) <= PAGE_KEYS
        seen += shown
        address = next((each for each in page.links if "after=" in each), "")
    assert set(made) <= set(seen)
    assert len(seen) == len(set(seen)) == 121
    assert browser.get("/settings?after=x").status == 400


def test_what_the_database_takes_is_shown_where_there_is_one_project(tmp_path: Path) -> None:
    """Its size, its name and its lag would say of other projects how much they log, and where."""
    with LocalApp(tmp_path) as alone:
        browser = Browser(alone)
        browser.log_in()
        page = browser.get("/settings").text
        assert "On disk" in page
        assert str(tmp_path) in page
        alone.in_project("another")
        page = browser.get("/settings").text
        for each in ("On disk", str(tmp_path), "Not searchable yet"):
            assert each not in page
        assert "banyan-hp db status" in page
