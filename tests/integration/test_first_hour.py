"""What a newcomer does first: the README's commands after installing the wheel, in an empty directory."""

from __future__ import annotations

import re
import socket
import stat
import subprocess
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

from banyan_hp.cli.main import main
from tests.support.serving import serving
from tests.support.wheel import make_environment

ROOT = Path(__file__).parents[2]
URL = "http://127.0.0.1:8787"
_BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```", re.DOTALL | re.MULTILINE)


class First(NamedTuple):
    """The README's blocks up to its first program, and that program."""

    installs: list[str]
    serve: str
    program: str


def readme_start() -> First:
    text = (ROOT / "README.md").read_text("utf-8")
    commands: list[str] = []
    for kind, block in _BLOCK.findall(text):
        if kind == "python":
            installs = [command for command in commands if command.startswith("pip install ")]
            (serve,) = (command for command in commands if command.startswith("banyan-hp serve"))
            assert sorted([*installs, serve]) == sorted(commands), "a command that nothing here runs"
            return First(installs, serve.partition("#")[0].strip(), block)
        commands += [
            line for line in block.splitlines() if line and not line.startswith("make ")
        ]  # of a clone
    raise AssertionError("the README has no Python block")


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_the_readme_s_first_commands_work_from_the_wheel_in_an_empty_directory(
    wheel: Path, tmp_path: Path
) -> None:
    """As printed, but for the port: install, serve, and the first program prints what its comments say."""
    first = readme_start()
    environment = make_environment(tmp_path / "venv", wheel)
    empty = tmp_path / "empty"
    empty.mkdir()
    for command in first.installs:
        subprocess.run(["sh", "-ec", command], cwd=empty, env=environment, capture_output=True, check=True)
    program, _, *options = first.serve.split()
    arguments = [*options, "--port", str(free_port())]
    started = [str(tmp_path / "venv" / "bin" / program)]
    with serving(*arguments, cwd=empty, command=started, **environment) as backend:
        backend.wait_for("and in Python" if "--demo" in options else "X-API-Key")
        ran = subprocess.run(
            ["python", "-c", first.program.replace(URL, backend.url)],
            cwd=empty, env=environment, capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
    assert (ran.returncode, ran.stderr) == (0, "")
    promised = re.findall(r"^print\(.*#\s*(.*)$", first.program, re.MULTILINE)
    assert ran.stdout.splitlines() == promised
    assert promised


def test_what_runs_is_the_wheel_and_not_this_clone(wheel: Path, tmp_path: Path) -> None:
    """Otherwise the test above would show nothing."""
    environment = make_environment(tmp_path / "venv", wheel)
    subprocess.run(["pip", "install", "banyan-hp"], env=environment, capture_output=True, check=True)
    ran = subprocess.run(
        ["python", "-c", "import banyan_hp; print(banyan_hp.__file__)"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert Path(ran.stdout.strip()).is_relative_to(tmp_path / "venv")


class TestTheDefaultDatabase:
    def test_it_lies_in_the_user_s_data_directory_and_serve_says_where(self, tmp_path: Path) -> None:
        """The working directory stays as it is; the file is its owner's alone; a second start finds it."""
        work, data = tmp_path / "work", tmp_path / "data"
        work.mkdir()
        for _ in range(2):
            with serving("--port", "0", cwd=work, XDG_DATA_HOME=str(data)) as backend:
                printed = backend.wait_for("X-API-Key")
                assert backend.stop() == 0
                assert backend.stderr == ""
        (database,) = data.rglob("*.sqlite3")
        assert f"  database:  {database}\n" in printed
        assert stat.S_IMODE(database.stat().st_mode) == 0o600
        assert stat.S_IMODE(database.parent.stat().st_mode) == 0o700
        assert not list(work.iterdir())

    def test_a_database_where_it_used_to_be_is_mentioned(self, tmp_path: Path) -> None:
        """Earlier versions made it in the working directory: nobody is to think that it is lost."""
        work = tmp_path / "work"
        work.mkdir()
        (work / "banyan-hp.sqlite3").touch()
        with serving("--port", "0", cwd=work, XDG_DATA_HOME=str(tmp_path / "data")) as backend:
            backend.wait_for("X-API-Key")
            assert backend.stderr == (
                "banyan-hp: banyan-hp.sqlite3 in this directory is not used; to serve it, "
                "pass --db banyan-hp.sqlite3\n"
            )

    @pytest.mark.parametrize("expanded", [None, "~"])
    def test_without_a_home_a_file_must_be_named(
        self, expanded: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Some versions of platformdirs raise then, some return a path below `~`, which is never made."""

        def user_data_path(name: str) -> Path:
            if expanded is None:
                raise RuntimeError("could not determine the home directory")
            return Path(expanded, name)

        monkeypatch.setattr("platformdirs.user_data_path", user_data_path)
        assert main(["serve", "--port", "0"]) == 2
        said = capsys.readouterr().err
        assert "home directory" in said
        assert "name a file with --db" in said

    def test_a_directory_that_cant_be_made_is_named(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """With the reason, and what to do instead."""
        (tmp_path / "file").touch()
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "file"))
        assert main(["serve", "--port", "0"]) == 2
        said = capsys.readouterr().err
        assert f"'{tmp_path / 'file'}'" in said
        assert "name a file with --db" in said
