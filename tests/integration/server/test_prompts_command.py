"""`banyan-hp prompts` against a real backend, on each database."""

from __future__ import annotations

import json
import uuid
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from banyan_hp.cli.prompts import looking
from tests.integration.server.conftest import Command
from tests.support.backend import Backend
from tests.support.local_backend import call, prompt

MANAGED = "/api/logs/cli/prompts"
CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "{{question}}"}]


@pytest.fixture
def branch() -> str:
    """A branch that no other test has."""
    return f"b-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def run(command: Command) -> Command:
    """`banyan-hp prompts`."""
    return partial(command, "prompts")


def create(backend: Backend, branch: str, name: str = "greeting", content: Any = "Hello", **more: Any) -> str:
    body = {"name": name, "branch": branch, "content": content, **more}
    response = call(backend, "POST", MANAGED, json=body)
    assert response.status_code == 201, response.text
    return str(response.json()["id"])


def add(backend: Backend, branch: str, version: str, content: Any, **more: Any) -> None:
    body = {"name": "greeting", "branch": branch, "version": version, "content": content, **more}
    assert call(backend, "POST", f"{MANAGED}/version", json=body).status_code == 201


def versions(backend: Backend, ident: str) -> list[tuple[str, Any, bool]]:
    found = backend.get(f"{MANAGED}/{ident}/versions")["versions"]
    return [(each["version"], each["content"], each["released_at"] is None) for each in found]


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new), "utf-8")


# -- pulled --------------------------------------------------------------------------------------------------


def test_pull_writes_the_newest_version_of_each_prompt(
    backend: Backend, run: Command, branch: str, tmp_path: Path
) -> None:
    """Texts, chats and configurations; a second pull changes nothing."""
    create(backend, branch, config={"model": "m-1"})
    add(backend, branch, "2", "Hi", config={"model": "m-2"}, release=False)
    create(backend, branch, "chat", CHAT)
    code, said, _ = run("pull", tmp_path, "--branch", branch)
    assert (code, said) == (0, f"{branch}/chat.md      pulled 1.0\n{branch}/greeting.md  pulled 2\n")
    text = (tmp_path / branch / "greeting.md").read_text("utf-8")
    assert text.startswith(f"---\nname: greeting\nbranch: {branch}\nversion: 2\nrevision: ")
    assert text.endswith('config:\n  {\n    "model": "m-2"\n  }\n---\nHi\n')
    chat = (tmp_path / branch / "chat.md").read_text("utf-8")
    assert chat.endswith("---\n<!-- message: system -->\nBe brief.\n\n<!-- message: user -->\n{{question}}\n")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.md")}
    _, said, _ = run("pull", tmp_path, "--branch", branch)
    assert said == f"{branch}/chat.md      unchanged\n{branch}/greeting.md  unchanged\n"
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.md")} == before


def test_pull_takes_over_what_changed_on_the_backend_only(
    backend: Backend, run: Command, branch: str, tmp_path: Path
) -> None:
    """A file that was edited stays, with a conflict where the backend has changed as well."""
    create(backend, branch)
    path = tmp_path / branch / "greeting.md"
    run("pull", tmp_path, "--branch", branch)
    add(backend, branch, "2", "Two")
    assert run("pull", tmp_path, "--branch", branch)[1] == f"{branch}/greeting.md  pulled 2\n"
    edit(path, "Two", "Mine")
    code, said, _ = run("pull", tmp_path, "--branch", branch)
    assert (code, said) == (0, f"{branch}/greeting.md  changed, not pushed yet\n")
    add(backend, branch, "3", "Three")
    code, said, complaint = run("pull", tmp_path, "--branch", branch)
    assert (code, said) == (1, f"{branch}/greeting.md  conflict: changed here and on the backend\n")
    assert complaint == (
        "banyan-hp: 1 file left alone: move it away and pull again, to have both side by side\n"
    )
    assert path.read_text("utf-8").endswith("---\nMine\n")


# -- pushed --------------------------------------------------------------------------------------------------


def test_push_makes_drafts_and_shows_them_first(
    backend: Backend, run: Command, branch: str, tmp_path: Path
) -> None:
    """Nobody gets them before they are released; the file says what it has become."""
    ident = create(backend, branch, config={"model": "m-1"})
    run("pull", tmp_path, "--branch", branch)
    path = tmp_path / branch / "greeting.md"
    edit(path, "Hello", "Hello {{name}}")
    code, said, _ = run("push", tmp_path, "--yes", "--message", "a name")
    assert code == 0
    assert "  -Hello\n  +Hello {{name}}\n" in said
    assert said.endswith(f"{branch}/greeting.md: draft 1.1\n")
    assert versions(backend, ident) == [("1.0", "Hello", False), ("1.1", "Hello {{name}}", True)]
    assert backend.get(f"{MANAGED}/{ident}/versions")["versions"][1]["config"] == {"model": "m-1"}
    assert prompt(backend, "greeting", ("branch", branch)).json()["content"] == "Hello"
    assert "version: 1.1\n" in path.read_text("utf-8")
    assert run("push", tmp_path)[1] == "nothing to push\n"
    edit(path, "Hello", "Good morning")
    run("push", tmp_path, "--yes", "--release")
    assert prompt(backend, "greeting", ("branch", branch)).json()["content"] == "Good morning {{name}}"


def test_push_makes_new_prompts(backend: Backend, run: Command, branch: str, tmp_path: Path) -> None:
    """From files with a header of a name and a branch; a chat, too."""
    (tmp_path / branch).mkdir()
    (tmp_path / branch / "new%2Fone.md").write_text(
        f"---\nname: new/one\nbranch: {branch}\nversion: 7\nkind: chat\n---\n<!-- message: system -->\nHi\n"
    )
    assert run("push", tmp_path, "--yes", "--release", "--message", "why")[0] == 0
    assert "why" in run("history", "new/one", "--branch", branch)[1]
    found = prompt(backend, "new/one", ("branch", branch)).json()
    assert (found["version"], found["messages"]) == ("7", [{"role": "system", "content": "Hi"}])


def test_push_releases_its_earlier_drafts(
    backend: Backend, run: Command, branch: str, tmp_path: Path
) -> None:
    """A pull request makes the draft, its merge releases it; what was undone since stays undone."""
    ident = create(backend, branch)
    run("pull", tmp_path, "--branch", branch)
    edit(tmp_path / branch / "greeting.md", "Hello", "Hi")
    run("push", tmp_path, "--yes")
    assert prompt(backend, "greeting", ("branch", branch)).json()["content"] == "Hello"
    code, said, _ = run("push", tmp_path, "--yes", "--release")
    assert (code, said) == (
        0,
        f"{branch}/greeting.md: draft 1.1\n{branch}/greeting.md: released 1.1\n",
    )
    assert prompt(backend, "greeting", ("branch", branch)).json()["content"] == "Hi"
    call(backend, "PUT", f"{MANAGED}/{ident}/release", json={"version": "1.0"})
    assert run("push", tmp_path, "--yes", "--release")[1] == "nothing to push\n"
    assert prompt(backend, "greeting", ("branch", branch)).json()["content"] == "Hello"


def test_push_asks_and_does_nothing_without_a_yes(
    backend: Backend, run: Command, branch: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is nobody to ask, it says what to pass."""
    ident = create(backend, branch)
    run("pull", tmp_path, "--branch", branch)
    edit(tmp_path / branch / "greeting.md", "Hello", "Bye")
    code, said, complaint = run("push", tmp_path)
    assert code == 2
    assert "+Bye" in said
    assert complaint == (
        f"banyan-hp: Push 1 draft to {backend.url}? There is no terminal to ask on: pass --yes\n"
    )
    monkeypatch.setattr("banyan_hp.cli.prompts.syncing.confirm", lambda _question: False)
    assert run("push", tmp_path)[0] == 1
    assert len(versions(backend, ident)) == 1


def test_a_conflict_is_refused_and_nothing_is_pushed(
    backend: Backend, run: Command, branch: str, tmp_path: Path
) -> None:
    """Not even the files that have none: a person looks first."""
    ident = create(backend, branch)
    create(backend, branch, "other")
    run("pull", tmp_path, "--branch", branch)
    for name in ("greeting", "other"):
        edit(tmp_path / branch / f"{name}.md", "Hello", "Mine")
    add(backend, branch, "2", "Theirs", release=False)
    code, said, complaint = run("push", tmp_path, "--yes")
    assert (code, said) == (1, "")
    assert complaint == (
        f"banyan-hp: {branch}/greeting.md: changed here and on the backend\n"
        "banyan-hp: 1 conflict; 'banyan-hp prompts diff' shows it; nothing was pushed\n"
    )
    assert [each[0] for each in versions(backend, ident)] == ["1.0", "2"]
    assert len(backend.get(MANAGED, branch=branch)["prompts"]) == 2
    assert prompt(backend, "other", ("branch", branch)).json()["content"] == "Hello"


def test_a_change_in_the_middle_of_a_push_is_refused_by_the_backend(
    backend: Backend, run: Command, branch: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the comparison and the yes somebody else may have pushed."""
    ident = create(backend, branch)
    run("pull", tmp_path, "--branch", branch)
    path = tmp_path / branch / "greeting.md"
    edit(path, "Hello", "Mine")
    before = path.read_text("utf-8")

    def confirm(_question: str) -> bool:
        add(backend, branch, "2", "Theirs")
        return True

    monkeypatch.setattr("banyan_hp.cli.prompts.syncing.confirm", confirm)
    code, _, complaint = run("push", tmp_path)
    assert code == 1
    assert "has changed: its newest version is '2'" in complaint
    assert [each[1] for each in versions(backend, ident)] == ["Hello", "Theirs"]
    assert path.read_text("utf-8") == before


def test_a_version_that_was_rewritten_in_place_is_a_conflict(
    backend: Backend, run: Command, branch: str, tmp_path: Path
) -> None:
    """As the published command line does it: its name is the same, what it says is not."""
    ident = create(backend, branch)
    run("pull", tmp_path, "--branch", branch)
    edit(tmp_path / branch / "greeting.md", "Hello", "Mine")
    call(backend, "PUT", f"{MANAGED}/{ident}", json={"content": "Rewritten"})
    code, _, complaint = run("push", tmp_path, "--yes")
    assert code == 1
    assert "changed here and on the backend" in complaint


def test_an_older_file_without_changes_is_no_conflict(
    backend: Backend, run: Command, branch: str, tmp_path: Path
) -> None:
    """There is nothing to push, and `push` says so."""
    create(backend, branch)
    run("pull", tmp_path, "--branch", branch)
    add(backend, branch, "2", "Two")
    code, said, complaint = run("push", tmp_path, "--yes")
    assert (code, said) == (0, "nothing to push\n")
    assert complaint == (
        f"banyan-hp: {branch}/greeting.md: changed on the backend, not here; "
        "'banyan-hp prompts pull' gets it\n"
    )


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("a.md", "Hello", "must begin with a header"),
        ("a.md", "---\nname: b\nbranch: {branch}\n---\nHello\n", "names the prompt 'b' on branch"),
        ("a.md", "---\nname: a\nbranch: other\n---\nHello\n", "whose file is {tmp}/other/a.md"),
    ],
)
def test_a_file_that_is_out_of_place_is_refused(
    name: str, text: str, complaint: str, run: Command, branch: str, tmp_path: Path
) -> None:
    """Two files for one prompt would overwrite each other."""
    (tmp_path / branch).mkdir()
    (tmp_path / branch / name).write_text(text.format(branch=branch))
    code, _, complained = run("push", tmp_path, "--yes")
    assert code == 1
    assert complaint.format(tmp=tmp_path) in complained


def test_diff_shows_both_directions(backend: Backend, run: Command, branch: str, tmp_path: Path) -> None:
    """And ends with 1 where there is a difference, as `diff` does."""
    create(backend, branch)
    run("pull", tmp_path, "--branch", branch)
    assert run("diff", tmp_path, "--branch", branch) == (0, "", "")
    edit(tmp_path / branch / "greeting.md", "Hello", "Hi")
    create(backend, branch, "other")
    code, said, _ = run("diff", tmp_path, "--branch", branch)
    assert code == 1
    assert f"{branch}/greeting.md: changed\n  --- backend: {branch}/greeting 1.0\n" in said
    assert "  -Hello\n  +Hi\n" in said
    assert said.endswith(f"{branch}/other.md: only on the backend\n")
    lines = run("diff", tmp_path, "--branch", branch, "--json")[1].splitlines()
    assert [json.loads(each)["state"] for each in lines] == ["changed_here", "new_there"]


# -- looked at -----------------------------------------------------------------------------------------------


def test_ls_names_what_is_released_and_what_is_newest(backend: Backend, run: Command, branch: str) -> None:
    """With the labels."""
    ident = create(backend, branch)
    add(backend, branch, "2", "Two", release=False)
    call(backend, "PUT", f"{MANAGED}/{ident}/labels/staging", json={"version": "2"})
    code, said, _ = run("ls", "--branch", branch)
    assert code == 0
    assert said.splitlines()[1].split() == ["greeting", branch, "1.0", "2", "staging=2"]
    (line,) = run("ls", "--branch", branch, "--json")[1].splitlines()
    assert json.loads(line)["labels"] == {"staging": "2"}
    assert run("ls", "--branch", "nobody's")[1] == f"no prompts at {backend.url}\n"


def test_show_prints_a_version_as_its_file(backend: Backend, run: Command, branch: str) -> None:
    """The released one, a draft by its name, or what a label points to."""
    ident = create(backend, branch)
    add(backend, branch, "2", "Two", release=False)
    call(backend, "PUT", f"{MANAGED}/{ident}/labels/staging", json={"version": "2"})
    show = ("show", "greeting", "--branch", branch)
    assert run(*show)[1].endswith("---\nHello\n")
    assert run(*show, "--version", "2")[1].endswith("---\nTwo\n")
    assert run(*show, "--label", "staging")[1].endswith("---\nTwo\n")
    assert json.loads(run(*show, "--json")[1])["content"] == "Hello"
    code, _, complaint = run(*show, "--label", "beta")
    assert (code, complaint) == (
        2,
        f"banyan-hp: prompt 'greeting' on branch '{branch}' has no label 'beta'\n",
    )
    code, _, complaint = run("show", "nobody", "--branch", branch)
    assert (code, complaint) == (
        2,
        f"banyan-hp: there is no prompt 'nobody' on branch '{branch}' at {backend.url}\n",
    )


def test_release_and_its_undoing(
    backend: Backend, run: Command, branch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says what was served before, and how to get that again; the history has both, on all its pages."""
    monkeypatch.setattr(looking, "CHANGES_AT_ONCE", 2)
    create(backend, branch)
    add(backend, branch, "2", "Two", release=False, change_message="why")
    release = ("release", "greeting")
    code, said, _ = run(*release, "2", "--branch", branch)
    assert (code, said) == (
        0,
        f"production of greeting on branch {branch} is 2, was 1.0\n"
        f"  to undo it: banyan-hp prompts release greeting 1.0 --branch {branch}\n",
    )
    assert prompt(backend, "greeting", ("branch", branch)).json()["content"] == "Two"
    assert run(*release, "1.0", "--branch", branch)[0] == 0
    assert prompt(backend, "greeting", ("branch", branch)).json()["content"] == "Hello"
    assert run(*release, "2", "--label", "staging", "--branch", branch)[0] == 0
    assert run(*release, "1.0", "--label", "..", "--branch", branch)[0] == 0
    assert run("show", "greeting", "--label", "..", "--branch", branch)[1].endswith("---\nHello\n")
    assert run(*release, "2", "--label", "staging", "--branch", branch)[0] == 0
    code, _, complaint = run(*release, "9", "--branch", branch)
    assert (code, complaint) == (
        2,
        "banyan-hp: greeting has no version 9; its versions are 1.0, 2\n",
    )
    code, said, _ = run("history", "greeting", "--branch", branch)
    assert code == 0
    made, changed = said.split("\n\n")
    assert [line.split()[0] for line in made.splitlines()] == ["VERSION", "2", "1.0"]
    assert made.splitlines()[1].split()[-1] == "why"
    assert "production" in made.splitlines()[2]
    done = [line.split(maxsplit=2)[2] for line in changed.splitlines()[1:6]]
    assert done[0] == "label staging 2 (was 2)"
    assert done[2:] == ["label staging 2 (was nothing)", "release 1.0 (was 2)", "release 2 (was 1.0)"]
    lines = [
        json.loads(each) for each in run("history", "greeting", "--branch", branch, "--json")[1].splitlines()
    ]
    assert [each["version"] for each in lines if "version" in each] == ["1.0", "2"]
    assert lines[2]["action"] == "prompt.label"


# -- refused -------------------------------------------------------------------------------------------------


def test_a_key_that_is_refused_is_named_and_not_shown(
    run: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With exit code 2; a backend that is not there has 3."""
    monkeypatch.setenv("BANYAN_API_KEY", "psk_wrong_key_of_somebody")
    code, _, complaint = run("ls")
    assert (code, complaint) == (2, "banyan-hp: the API key is not one of this backend's\n")
    code, _, complaint = run("ls", "--base-url", "http://127.0.0.1:9")
    assert code == 3
    assert complaint.startswith("banyan-hp: http://127.0.0.1:9 can't be used: ConnectionError")
    assert "psk_wrong" not in complaint
    monkeypatch.delenv("BANYAN_API_KEY")
    code, _, complaint = run("push", tmp_path)
    assert code == 2
    assert "no API key" in complaint
