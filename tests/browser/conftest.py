"""One server with the demo's data, one browser, and for each test a context of its own."""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests

from tests.browser.addresses import SECONDS, Known, known, log_long_call, log_trace
from tests.browser.hostile_project import ATTACK, HOSTILE_KEY, fill, key_entry
from tests.support.patience import PATIENCE
from tests.support.serving import serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Dialog, Page, Playwright, Request

# Playwright is in an environment of its own: elsewhere there is nothing to collect.
collect_ignore_glob = [] if find_spec("playwright") else ["test_*.py"]

DEMO_KEY = "psk_local"
READ_KEY = "psk_reads"
NAMES_KEY = "psk_names"  # of a project with names that nobody can read
LOADED = "print(prompt.version"
WIDE, NARROW = 1200, 360
PATIENCE_MS = 1000 * PATIENCE
OPTIONS = ["--no-sandbox", "--disable-dev-shm-usage"]  # as root; in small containers


@dataclass(frozen=True)
class Site:
    """The server: its address, and what the projects have."""

    url: str
    known: Known
    hostile: Known


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """`banyan-hp serve --demo`, and a second project whose every field is an attack."""
    directory = tmp_path_factory.mktemp("browser") / "cwd"
    directory.mkdir()
    keys = ",".join(
        (f"default:admin:{DEMO_KEY}", f"default:read:{READ_KEY}", f"names:admin:{NAMES_KEY}", key_entry())
    )
    with serving("--demo", "--port", "0", cwd=directory, BANYAN_HP_SERVE_KEYS=keys) as running:
        running.wait_for(LOADED)
        fill(running.url)
        for key in (DEMO_KEY, HOSTILE_KEY):
            log_long_call(running.url, key)
            log_trace(running.url, key, ATTACK if key == HOSTILE_KEY else "weather")
        yield Site(running.url, known(running.url, DEMO_KEY), known(running.url, HOSTILE_KEY))
        assert running.stderr == ""


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """The browser of the system: Playwright downloads none."""
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()


def launch(playwright: Playwright) -> Browser:
    """Start the system's Chromium."""
    program = shutil.which("chromium")
    assert program is not None, "this needs Debian's chromium"
    return playwright.chromium.launch(executable_path=program, args=OPTIONS)


@dataclass
class Visit:
    """A page in a context of its own, and what went wrong on it."""

    page: Page
    url: str
    troubles: list[str]

    def go(self, path: str) -> Page:
        """Load a page of the site."""
        self.page.goto(self.url + path)
        return self.page


Visiting = Callable[..., Visit]


@pytest.fixture
def visit(site: Site, chromium: Browser) -> Iterator[Visiting]:
    """Make a `Visit`: dark or light, this wide, with or without scripts, logged in with a key or not.

    At the end nothing was written to the console, and no request has left the site.
    """
    visits = []
    with ExitStack() as stack:

        def make(
            *, theme: Any = "light", width: int = WIDE, scripts: bool = True, key: str | None = DEMO_KEY
        ) -> Visit:
            context = chromium.new_context(
                color_scheme=theme,
                reduced_motion="reduce",  # colours that are under way to others have no contrast to measure
                viewport={"width": width, "height": 900},
                java_script_enabled=scripts,
            )
            stack.callback(context.close)
            context.set_default_timeout(PATIENCE_MS)
            if key is not None:
                log_in(context, site.url, key)
            visits.append(Visit(context.new_page(), site.url, []))
            _watch(visits[-1])
            return visits[-1]

        yield make
    assert [trouble for each in visits for trouble in each.troubles] == []


def log_in(context: BrowserContext, url: str, key: str) -> None:
    """Put a new session's cookie into a context; the login page has tests of its own."""
    answer = requests.post(f"{url}/login", data={"key": key}, allow_redirects=False, timeout=SECONDS)
    assert answer.status_code == 303, answer.text
    context.add_cookies(
        [{"name": each.name, "value": each.value or "", "url": url} for each in answer.cookies]
    )


def _watch(visit: Visit) -> None:
    def refuse(what: str) -> None:
        visit.troubles.append(f"{visit.page.url}: {what}")

    def look(request: Request) -> None:
        if not request.url.startswith((f"{visit.url}/", "data:", "blob:")):
            refuse(f"asks for {request.url}")

    def listen(said: ConsoleMessage) -> None:
        if said.type in ("error", "warning"):
            refuse(said.text)

    def decline(dialog: Dialog) -> None:
        refuse(f"dialog {dialog.message!r}")
        dialog.dismiss()

    page = visit.page
    page.on("console", listen)
    page.on("pageerror", lambda error: refuse(str(error)))
    page.on("dialog", decline)
    page.context.on("request", look)


@pytest.fixture(scope="session")
def axe() -> str:
    """The accessibility checker's script, from its npm package as `make test-browser` has fetched it."""
    (archive,) = Path(__file__).parents[2].glob(".venv-browser/axe-core-*.tgz")
    with tarfile.open(archive) as package:
        script = package.extractfile("package/axe.min.js")
        assert script is not None
        return script.read().decode()
