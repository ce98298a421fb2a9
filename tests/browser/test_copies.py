"""What is copied from a call's page: run as it is, it sends the record's own texts and does nothing else."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pytest
import requests
from playwright.sync_api import Page

from tests.browser.addresses import SECONDS
from tests.browser.conftest import DEMO_KEY, Site, Visiting

MARK = "struck"
NASTY = (
    f'it\'s "quoted" $(touch {MARK}) `touch {MARK}` ${{HOME}} !! \\ \\n %s\r\n</script></pre><b>\n'
    f"END_OF_REQUEST\n; touch {MARK} & \t\x00 \u202e caf\u00e9 \U0001f333 \ud83d ''' \"\"\"\n"
)
CHAT = [{"role": "system", "content": NASTY}, {"role": "user", "content": f"{NASTY} again"}]


class Listening(HTTPServer):
    """A service with OpenAI's API that does nothing but remember."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Remembering)
        self.seen: list[tuple[str, str | None, bytes]] = []

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_port}"


class Remembering(BaseHTTPRequestHandler):
    """Answers everything with an empty object."""

    server: Listening

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        self.server.seen.append((self.path, self.headers["Authorization"], body))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def service() -> Iterator[Listening]:
    server = Listening()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def log(site: Site, call_id: str, **fields: Any) -> None:
    body = {"output": NASTY, "metadata": {}, **fields}
    records = [{"id": call_id, "ts": "2026-11-28T10:00:00Z", "body": body}]
    address = f"{site.url}/api/logs/prompt-usage/batch"
    sent = json.dumps({"records": records})
    response = requests.post(address, data=sent, headers={"X-API-Key": DEMO_KEY}, timeout=SECONDS)
    assert response.json()["accepted"] == 1, response.text


def copied(page: Page, title: str) -> str:
    """What the clipboard has after the button of a section was pressed."""
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    section = page.locator("details").filter(has=page.locator("summary", has_text=title)).last
    section.locator("summary").click()
    section.get_by_role("button", name="Copy as").click()
    section.get_by_role("button", name="Copied").wait_for()
    return str(page.evaluate("() => navigator.clipboard.readText()"))


def run(text: str, way: str, directory: Path, **variables: str) -> str:
    """As somebody does who pastes it; nothing else happens there."""
    command = ["bash", "-c", text] if way == "curl" else [sys.executable, "-c", text]
    environment = {**os.environ, "NO_PROXY": "*", **variables}
    ran = subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, timeout=30, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert list(directory.iterdir()) == []
    return ran.stdout


@pytest.mark.parametrize("way", ["curl", "Python"])
@pytest.mark.parametrize("asked", [NASTY, CHAT, {"messages": CHAT}], ids=["text", "chat", "request"])
def test_what_is_copied_asks_the_same_and_nothing_else(
    visit: Visiting, site: Site, service: Listening, tmp_path: Path, way: str, asked: Any
) -> None:
    """Quotes, newlines, substitutions, the end of a script, of a text and of what is sent: all is data."""
    name = f"copied-{way}-{type(asked).__name__}"
    log(site, name, input=asked if isinstance(asked, str) else json.dumps(asked), model=NASTY)
    text = copied(visit().go(f"/calls/{name}"), f"Ask the model again with {way}")
    if way == "Python":
        ast.parse(text)
    run(text, way, tmp_path, OPENAI_BASE_URL=service.url, OPENAI_API_KEY="sk-1")
    ((path, key, body),) = service.seen
    assert (path, key) == ("/chat/completions", "Bearer sk-1")
    sent = json.loads(body)
    assert sent["messages"] == ([{"role": "user", "content": NASTY}] if isinstance(asked, str) else CHAT)
    assert sent["model"].startswith('it\'s "quoted" $(touch')


@pytest.mark.parametrize("way", ["curl", "Python"])
def test_a_call_with_a_nasty_id_is_read_back(visit: Visiting, site: Site, tmp_path: Path, way: str) -> None:
    """By the command that is copied, with the key in the environment."""
    call_id = f'{way} it\'s $(touch {MARK}) `touch {MARK}`; & "x" %20?a=b#c \u00e9'
    log(site, call_id, input=NASTY)
    page = visit().go(f"/calls?id={quote(call_id, safe='')}")
    page.locator("tr[data-row] a").first.click()
    page.get_by_role("heading", name="To copy").wait_for()
    assert unquote(page.url.rpartition("/calls/")[2]) == call_id
    text = copied(page, f"Read it with {way}")
    text += "\nimport json\nprint(json.dumps(call))\n" if way == "Python" else ""
    read = json.loads(run(text, way, tmp_path, BANYAN_API_KEY=DEMO_KEY))
    assert (read["id"], read["input"]) == (call_id, NASTY)
