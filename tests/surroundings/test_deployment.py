"""What `server/README.md` tells operators to write into files, given to the programs that read them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from banyan_hp.server.api.requests import MAX_BODY
from tests.conftest import MakeLogger
from tests.support.backend import Backend
from tests.support.nursery import run
from tests.support.proxies import Proxy, configured_nginx
from tests.support.raw import AUTHORITY, TLS_FILES

PAGE = Path(__file__).parents[2] / "banyan_hp" / "server" / "README.md"
TEXT = PAGE.read_text(encoding="utf-8")
NAME = "banyan.example.com"


def block(language: str, number: int = 0) -> str:
    """One of the page's blocks of a language."""
    return str(re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)[number])


@pytest.fixture(scope="module")
def team() -> Iterator[Backend]:
    """Behind a proxy, asked for by the name that the page uses."""
    with Backend(options=("--allowed-host", NAME, "--trusted-proxy", "127.0.0.1")) as running:
        yield running


@pytest.fixture
def proxy(team: Backend, tmp_path: Path) -> Iterator[Proxy]:
    """nginx, with no other change than addresses and files."""
    given = {
        "127.0.0.1:8787": f"127.0.0.1:{team.port}",
        "/etc/ssl/banyan.pem": str(TLS_FILES / "localhost.pem"),
        "/etc/ssl/banyan.key": str(TLS_FILES / "localhost.pem"),
    }
    config = block("nginx").replace("    location / {", f"{block('nginx', 1)}    location / {{", 1)
    for before, after in given.items():
        assert before in config
        config = config.replace(before, after)
    with configured_nginx(tmp_path, config, "listen 443 ssl;") as running:
        yield running


def _request(
    proxy: Proxy,
    method: str,
    path: str,
    origin: str | None = None,
    cookie: str | None = None,
    **options: object,
) -> requests.Response:
    headers = {"Host": NAME, "X-API-Key": "psk_local", "Origin": origin, "Cookie": cookie}
    url = f"https://127.0.0.1:{proxy.port}{path}"
    return requests.request(method, url, headers=headers, verify=AUTHORITY, timeout=20, **options)  # type: ignore[arg-type]


def test_nginx_lets_long_bodies_through(proxy: Proxy) -> None:
    """A body of nearly the backend's limit is stored; a larger one is refused."""
    body = {"input": "a" * (MAX_BODY - 1000), "output": "", "metadata": {}}
    assert _request(proxy, "POST", "/api/logs/prompt-usage", json=body).status_code == 201
    body["output"] = "a" * 2000
    assert _request(proxy, "POST", "/api/logs/prompt-usage", json=body).status_code == 413


def test_nginx_lets_feedback_through(proxy: Proxy) -> None:
    """By the location of its own, with its smaller bodies."""
    assert _request(proxy, "POST", "/api/feedback", json={}).status_code == 422
    assert _request(proxy, "POST", "/api/feedback", data=b"x" * 10_000).status_code == 413


def test_nginx_passes_events_on_at_once(proxy: Proxy) -> None:
    """A follower sees a call while its response goes on; `/readyz` stays inside."""
    with _request(proxy, "GET", "/api/calls/follow", stream=True) as events:
        lines = events.iter_lines(decode_unicode=True)
        assert next(lines).startswith("id: ")
        body = {"input": "seen at once", "output": "", "metadata": {}}
        assert _request(proxy, "POST", "/api/logs/prompt-usage", json=body).status_code == 201
        assert "seen at once" in next(line for line in lines if line.startswith("data: "))
    assert [_request(proxy, "GET", path).status_code for path in ("/healthz", "/readyz")] == [200, 404]


def test_the_pages_behind_this_nginx(proxy: Proxy) -> None:
    """A login leads on, and its cookie goes back by TLS alone."""
    entered = _request(
        proxy, "POST", "/login", data={"key": "psk_local", "next": "/calls"},
        origin=f"https://{NAME}", allow_redirects=False,
    )  # fmt: skip
    assert (entered.status_code, entered.headers["Location"]) == (303, "/calls")
    assert "; Secure" in entered.headers["Set-Cookie"]
    cookie = entered.headers["Set-Cookie"].partition(";")[0]
    assert _request(proxy, "GET", "/calls", cookie=cookie, allow_redirects=False).status_code == 200


def test_a_client_behind_this_nginx(proxy: Proxy, make_logger: MakeLogger) -> None:
    """Keep-alive on both sides: no attempt fails."""
    logger = make_logger(f"https://localhost:{proxy.port}", ca_bundle=AUTHORITY)
    assert all(logger.log_prompt(str(number), "a") for number in range(200))
    assert logger.flush(timeout=10)
    assert logger.get_stats()["attempts_failed"] == 0


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    """`systemd-analyze verify` has nothing to say about it."""
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed")
    unit = block("ini").replace("/opt/banyan-hp/bin/banyan-hp", sys.executable)
    unit = unit.replace("=banyan\n", "=root\n")  # a user who exists
    (tmp_path / "banyan-hp.service").write_text(unit)
    command = [program, "verify", str(tmp_path / "banyan-hp.service")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    said = [line for line in done.stderr.splitlines() if "banyan-hp" in line]
    assert said == []


def test_the_page_names_options_that_are_there() -> None:
    """Each `--option` of a command of ours is in that command's help."""
    commands = re.findall(r"banyan-hp ((?:serve|keys create|db backup|db status|db path)\b[^\n`]*)", TEXT)
    commands.append(" ".join(re.findall(r'"([^"]+)"', block("dockerfile").partition("\nCMD")[2])))
    assert len(commands) > 6
    for command in commands:
        words = command.split()
        name = words[: 1 if words[0] == "serve" else 2]
        asked = run(*name, "--help", env=os.environ | {"COLUMNS": "500"})
        asked.check_returncode()
        missing = [each for each in re.findall(r"--[a-z-]+", command) if each not in asked.stdout]
        assert missing == [], command
