"""`banyan-hp experiments` against a real backend, on each database."""

from __future__ import annotations

import json
import uuid
from functools import partial

import pytest

from banyan_hp.cli.main import main
from tests.integration.server.conftest import Command
from tests.support.backend import Backend
from tests.support.local_backend import call, prompt, sticky

MANAGED = "/api/logs/cli/prompts"


@pytest.fixture
def run(command: Command) -> Command:
    """`banyan-hp experiments`."""
    return partial(command, "experiments")


@pytest.fixture
def name(backend: Backend) -> str:
    """A prompt of two versions, the second a draft."""
    made = f"prompt-{uuid.uuid4().hex[:8]}"
    call(backend, "POST", MANAGED, json={"name": made, "content": "One"})
    body = {"name": made, "version": "2", "content": "Two", "release": False}
    assert call(backend, "POST", f"{MANAGED}/version", json=body).status_code == 201
    return made


def test_an_experiment_is_made_started_paused_and_finished(backend: Backend, run: Command, name: str) -> None:
    """It routes nobody before it is started; the draft is given to those whom it routes."""
    create = ("create", f"e-{name}", "--prompt", name, "--by", "user_id", "--version", "2=100")
    code, said, _ = run(*create, "--control", "2", "--metric", "thumbs")
    note = "note: No score is called 'thumbs' yet: what goes by it waits for one.\n"
    assert (code, said) == (0, f"e-{name} is draft: 2=100 (control)\n{note}")
    user = sticky("user_id", "u")
    assert prompt(backend, name, *user).json()["content"] == "One"
    assert run("start", f"e-{name}")[1] == f"e-{name} is running, was draft: 2=100 (control)\n"
    assert prompt(backend, name, *user).json()["content"] == "Two"
    assert run("pause", f"e-{name}")[1] == f"e-{name} is paused, was running: 2=100 (control)\n"
    assert prompt(backend, name, *user).json()["content"] == "One"
    ended = json.loads(run("finish", f"e-{name}", "--json")[1])
    assert (ended["status"], ended["before"], ended["primary_metric"]) == ("finished", "paused", "thumbs")
    changes = backend.get("/api/audit", subject=f"experiment:e-{name}")["changes"]
    assert [each["detail"]["status"] for each in changes] == ["finished", "paused", "running", "draft"]


def test_ls_shows_shares_control_and_metric(run: Command, name: str) -> None:
    """Of all, or of one prompt, or of a status."""
    create = ("create", f"e-{name}", "--prompt", name, "--by", "user_id", "--start")
    run(*create, "--version", "1.0=12.5", "--version", "2=50", "--control", "1.0")
    code, said, _ = run("ls", "--prompt", name)
    assert code == 0
    row = said.splitlines()[1]
    assert row.split() == [
        f"e-{name}", "running", name, "main", "user_id", "1.0=12.5", "(control),", "2=50"
    ]  # fmt: skip
    (line,) = run("ls", "--prompt", name, "--json")[1].splitlines()
    assert json.loads(line)["control"] == f"e-{name}-1.0"
    assert run("ls", "--prompt", name, "--status", "paused")[1].startswith("no experiments at ")


def test_what_the_backend_refuses_is_said(run: Command, name: str) -> None:
    """In its words, with exit code 2; what exists already, with 1."""
    create = ("create", f"e-{name}", "--prompt", name, "--by", "user_id")
    code, _, complaint = run(*create, "--version", "9=50")
    assert code == 2
    assert complaint.startswith(f"banyan-hp: versions[0].version must be a stored version of prompt '{name}'")
    code, _, complaint = run(*create, "--version", "2=50", "--control", "3")
    assert (code, complaint) == (2, "banyan-hp: --control must be one of the versions given: 2; was '3'\n")
    code, _, complaint = run(*create, "--version", "2=50", "--version", "2=40")
    assert (code, "--version must be given once for each version" in complaint) == (2, True)
    code, _, complaint = run("start", "nobody's")
    assert (code, complaint) == (2, 'banyan-hp: experiment "nobody\'s" not found\n')
    assert run(*create, "--version", "2=50")[0] == 0
    assert run(*create, "--version", "2=50")[0] == 1


@pytest.mark.parametrize("share", ["2", "=50", "2=x", "2=-1", "2=101", "2=nan"])
def test_a_share_is_a_version_and_a_percentage(share: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Anything else is named before the backend is asked."""
    with pytest.raises(SystemExit) as ended:
        main(["experiments", "create", "e", "--prompt", "p", "--by", "k", "--version", share])
    assert ended.value.code == 2
    assert "must be a version and its percentage, as in 2=50" in capsys.readouterr().err
