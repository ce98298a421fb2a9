"""The command line's words and exit codes, up to where a server would run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from banyan_hp._version import __version__
from banyan_hp.cli.main import main
from banyan_hp.server.starting import KEYS_VARIABLE

WITHOUT_THE_EXTRA = """
import sys
from pathlib import Path
sys.modules[{module!r}] = None
from banyan_hp.cli.main import main
sys.exit(main(["serve"]))
"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=30, check=False
    )


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    """`--version` prints the one version there is."""
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"banyan-hp {__version__}\n"


@pytest.mark.parametrize("module", ["banyan_hp", "banyan_hp.cli"])
def test_the_command_line_is_the_packages_main_module(module: str) -> None:
    """`python -m banyan_hp` is for environments whose `bin` is not on the path."""
    ended = run("-m", module, "--version")
    assert (ended.returncode, ended.stdout) == (0, f"banyan-hp {__version__}\n")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "COMMAND"),
        (["nonsense"], "nonsense"),
        (["serve", "--port", "65536"], "must be a number from 0 to 65535, was '65536'"),
        (["serve", "--port", "http"], "must be a number from 0 to 65535, was 'http'"),
        (["serve", "--routing", "both"], "must be one of server, client, none, was 'both'"),
        (["serve", "--trusted-proxy", "proxy"], "must be an IP address or a network, was 'proxy'"),
        (["serve", "--feedback-origin", "*"], "must be as https://example.com, without a path, was '*'"),
        (["serve", "--feedback-origin", "https://a.b/c"], "must be as https://example.com, without a path"),
        (["serve", "--api-key", ""], "must be a key without spaces around it"),
    ],
)
def test_a_wrong_argument_ends_with_2_and_is_named(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """argparse's own exit code and place for complaints."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert complaint in capsys.readouterr().err


def test_a_variable_without_keys_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A mistake in it does not open the backend to the default key."""
    monkeypatch.setenv(KEYS_VARIABLE, " , ")
    assert main(["serve"]) == 2
    assert capsys.readouterr().err == (
        f"banyan-hp: {KEYS_VARIABLE} must hold keys separated by commas, held none\n"
    )


def test_help_shows_the_defaults(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """What is taken when nothing is said stands in the help."""
    monkeypatch.setenv("COLUMNS", "300")  # a line would be broken at a default's hyphen
    with pytest.raises(SystemExit):
        main(["serve", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    for default in ("127.0.0.1", "8787", "banyan-hp.sqlite3 in the user's data directory"):
        assert f"(default: {default})" in shown


@pytest.mark.parametrize("module", ["alembic", "fastapi", "markdown_it", "pydantic", "sqlalchemy", "uvicorn"])
def test_without_the_extra_the_command_says_what_to_install(module: str) -> None:
    """A plain installation gets one line of advice, not a traceback."""
    ended = run("-c", WITHOUT_THE_EXTRA.format(module=module))
    assert ended.returncode == 2
    assert ended.stderr == f"banyan-hp: the local backend needs {module}: pip install 'banyan-hp[server]'\n"


def test_the_command_line_alone_needs_no_extra() -> None:
    """Importing the command imports nothing of the server."""
    ended = run(
        "-c",
        "import banyan_hp.cli.main, sys; print(sorted({'fastapi', 'sqlalchemy'} & set(sys.modules)))",
    )
    assert (ended.returncode, ended.stdout) == (0, "[]\n")


def test_the_spool_commands_need_no_extra(tmp_path: Path) -> None:
    """They work on a plain installation, without the server's packages or orjson."""
    program = """
import sys
from pathlib import Path
for module in ("fastapi", "sqlalchemy", "uvicorn", "orjson"):
    sys.modules[module] = None
from banyan_hp.cli.main import main
sys.exit(main(["spool", "ls", "--dir", sys.argv[1]]))
"""
    ended = run("-c", program, str(tmp_path))
    assert (ended.returncode, ended.stdout) == (0, f"nothing in {tmp_path / 'spool'}\n")


def test_what_the_spool_commands_do_is_imported_when_they_run() -> None:
    """`banyan-hp serve` does not pay for it."""
    ended = run("-c", "import banyan_hp.cli.main, sys; print('banyan_hp.cli.spool.replay' in sys.modules)")
    assert (ended.returncode, ended.stdout) == (0, "False\n")
