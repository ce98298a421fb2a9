"""The command line of the doctor: what it refuses, and how it ends early."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from banyan_hp.cli.doctor import examination
from banyan_hp.cli.doctor.findings import Finding, good
from banyan_hp.cli.main import main


@pytest.mark.parametrize("timeout", ["0", "nan", "soon"])
def test_a_wrong_timeout_is_refused(timeout: str, capsys: pytest.CaptureFixture[str]) -> None:
    """By argparse, with 2."""
    with pytest.raises(SystemExit) as ended:
        main(["doctor", "--timeout", timeout])
    assert ended.value.code == 2
    assert f"must be a number of seconds above 0, was '{timeout}'" in capsys.readouterr().err


def test_ctrl_c_ends_it_without_a_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was found until then is shown."""

    def examine(_arguments: object) -> Iterator[Finding]:
        yield good("first", "well")
        raise KeyboardInterrupt

    monkeypatch.setattr(examination, "examine", examine)
    assert main(["doctor"]) == 1
    said = capsys.readouterr()
    assert "first: well" in said.out
    assert said.err == "banyan-hp: interrupted\n"
