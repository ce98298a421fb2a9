"""What commands say of a backend that is none of ours."""

from __future__ import annotations

import pytest

from banyan_hp.cli.main import main
from tests.support.scripted import ScriptedServer
from tests.support.scripted_answers import Reply


@pytest.mark.parametrize(
    ("command", "missing"),
    [(["export"], "calls"), (["delete", "--user", "u", "--yes"], "groups")],
    ids=["export", "removal"],
)
def test_json_of_another_program_is_told(
    command: list[str],
    missing: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One line, no traceback, nothing on stdout."""
    with ScriptedServer(lambda _request: Reply(200, {"role": "admin", "project": "p"})) as server:
        monkeypatch.setenv("BANYAN_API_KEY", "psk_local")
        monkeypatch.setenv("BANYAN_BASE_URL", server.url)
        assert main(command) == 3
    said = capsys.readouterr()
    assert said.out == ""
    assert f"the response has no '{missing}': is the URL that of a banyan-hp backend?" in said.err
    assert said.err.count("\n") == 1
