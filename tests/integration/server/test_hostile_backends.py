"""The commands over the API and a backend that means harm: no file elsewhere, no control characters."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from banyan_hp.cli.main import main
from tests.support.scripted import ScriptedServer
from tests.support.scripted_answers import Answer, Reply, Request

KEY = "psk_of_somebody_secret"
EVIL = "\x1b[2J\x07\u202e\u2028\r"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """A command line's exit code, what it says and what it complains of."""
    monkeypatch.setenv("BANYAN_BASE_URL", server.url)
    monkeypatch.setenv("BANYAN_API_KEY", KEY)

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        code = main(list(map(str, arguments)))
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def backend_of(*names: str, branch: str = "main", text: str = "Hello") -> Callable[[Request], Answer]:
    """A backend that has prompts of these names."""
    prompts = [
        {
            "id": f"../{name}",
            "name": name,
            "branch": branch,
            "released": text,
            "newest": text,
            "labels": {text: text},
        }
        for name in names
    ]
    version = {
        "version": text,
        "revision": text,
        "content": text,
        "config": {text: text},
        "author": text,
        "change_message": text,
        "created_at": text,
    }
    change = {"action": text, "at": text, "key_id": text, "detail": {"version": text, "before": text}}

    def answer(request: Request) -> Answer:
        if "/versions" in request.path:
            return Reply(200, {"versions": [version]})
        if "/audit" in request.path:
            return Reply(200, {"changes": [change]})
        if "/experiments" in request.path:
            experiment = {"experiment_id": text, "status": text, "versions": [{"version": text}]}
            return Reply(200, {"experiments": [experiment]})
        return Reply(200, {"prompts": prompts})

    return answer


@pytest.mark.parametrize(
    "name",
    ["../../outside", "..", ".", "/etc/passwd", "a/../../b", ".git", "x\x00y", "~root", "a\nb", "a" * 5000],
)
@pytest.mark.parametrize("as_branch", [False, True])
def test_pull_never_leaves_its_directory(
    name: str, as_branch: bool, server: ScriptedServer, run: Run, tmp_path: Path
) -> None:
    """Whatever prompts and branches are called."""
    server.handler = backend_of("p", branch=name) if as_branch else backend_of(name)
    directory = tmp_path / "a" / "prompts"
    before = set(tmp_path.rglob("*"))
    assert run("prompts", "pull", directory)[0] == 0
    written = [path for path in set(tmp_path.rglob("*")) - before if path.is_file()]
    assert len(written) == 1
    assert written[0].parent.parent == directory
    assert not written[0].name.startswith(".")
    assert run("prompts", "diff", directory) == (0, "", "")


def test_pull_does_not_write_through_links(server: ScriptedServer, run: Run, tmp_path: Path) -> None:
    """Neither a file's nor a branch's; the command names the link and ends."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "one" / "main").mkdir(parents=True)
    (tmp_path / "one" / "main" / "p.md").symlink_to(outside / "p.md")
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "main").symlink_to(outside)
    server.handler = backend_of("p")
    for directory in ("one", "two"):
        code, _, complaint = run("prompts", "pull", tmp_path / directory)
        assert code == 3
        assert "links are not followed" in complaint
    assert not list(outside.iterdir())


@pytest.mark.parametrize(
    "command",
    [
        ("prompts", "ls"),
        ("prompts", "show", EVIL, "--version", EVIL),
        ("prompts", "history", EVIL),
        ("prompts", "release", EVIL, EVIL),
        ("prompts", "diff", "DIR"),
        ("prompts", "pull", "DIR"),
        ("experiments", "ls"),
    ],
)
@pytest.mark.parametrize("as_json", [False, True])
def test_no_control_character_reaches_the_terminal(
    command: tuple[str, ...], as_json: bool, server: ScriptedServer, run: Run, tmp_path: Path
) -> None:
    """Nor marks of the writing direction, from names, versions, contents, authors, messages."""
    server.handler = backend_of(EVIL, text=EVIL)
    arguments = [str(tmp_path) if each == "DIR" else each for each in command]
    arguments += ["--branch", "main"] if command[0] == "prompts" else []
    _, said, complaint = run(*arguments, *["--json"] * as_json)
    assert said
    for text in (said, complaint):
        assert all(char == "\n" or char.isprintable() for char in text)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Reply(403, {"error": f"{EVIL}{KEY} is refused"}), 2),
        (Reply(500, {"error": f"{EVIL}{KEY}"}), 3),
        (Reply(302, b"", {"Location": "http://127.0.0.1:9/"}), 3),
        (Reply(200, b"<html>" + KEY.encode()), 3),
        (Reply(200, b"[" * 100_000), 3),
        (Reply(200, []), 3),
    ],
)
def test_an_answer_that_is_none_is_one_clean_line(
    answer: Reply, code: int, server: ScriptedServer, run: Run
) -> None:
    """Without the key, which it may repeat; a redirect is not followed."""
    server.handler = lambda _request: answer
    ended, said, complaint = run("prompts", "ls")
    assert (ended, said) == (code, "")
    assert KEY not in complaint
    assert complaint.startswith("banyan-hp: ")
    assert complaint[:-1].isprintable()
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"prompts": {}},
        {"prompts": [1]},
        {"prompts": [{"id": "i", "name": "p"}]},
        {"prompts": [{"id": 1, "name": "p", "branch": "main"}]},
        {"prompts": [{"id": "i", "name": "", "branch": "main"}]},
    ],
)
def test_prompts_that_make_no_sense_are_refused(body: Any, server: ScriptedServer, run: Run) -> None:
    """No traceback, and no file."""
    server.handler = lambda _request: Reply(200, body)
    code, said, complaint = run("prompts", "ls")
    assert (code, said) == (3, "")
    assert complaint.startswith("banyan-hp: the backend's response can't be used: ")


@pytest.mark.parametrize(
    "versions",
    [
        [],
        [{}],
        [{"version": "1", "revision": "r"}],
        [{"version": "1", "revision": "r", "content": 1}],
        [{"version": "1", "revision": "r", "content": "x", "messages": []}],
        [{"version": "1", "revision": "r", "content": "x", "messages": [{"role": "user", "content": 1}]}],
        [
            {
                "version": "1",
                "revision": "r",
                "content": "x",
                "messages": [{"role": "u", "content": "", "x": "y"}],
            }
        ],
    ],
)
def test_versions_that_make_no_sense_are_refused(
    versions: Any, server: ScriptedServer, run: Run, tmp_path: Path
) -> None:
    """Before anything is written."""
    listing = backend_of("p")
    server.handler = lambda request: (
        Reply(200, {"versions": versions}) if "/versions" in request.path else listing(request)
    )
    code, _, complaint = run("prompts", "pull", tmp_path / "new")
    assert code == 3
    assert "the backend's response can't be used" in complaint
    assert not list((tmp_path / "new").rglob("*"))


def test_ids_are_parts_of_paths(server: ScriptedServer, run: Run) -> None:
    """A prompt's id from the backend asks for nothing else."""
    server.handler = backend_of("p")
    run("prompts", "show", "p")
    assert server.requests[-1].path == "/api/logs/cli/prompts/..%2Fp/versions"


def test_credentials_of_a_netrc_are_not_sent(
    server: ScriptedServer, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key is the only one."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    server.handler = backend_of("p")
    assert run("prompts", "ls")[0] == 0
    headers = json.dumps(dict(server.requests[-1].headers)).lower()
    assert KEY in headers
    assert "authorization" not in headers
