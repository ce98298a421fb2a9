"""`banyan-hp spool`: what the guide shows, wrong usage, and disks that fail."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from banyan_hp.engine.spool.segment import Segment
from banyan_hp.guide import page
from tests.conftest import MakeLogger
from tests.support.scripted import ScriptedServer
from tests.support.scripted_answers import batching
from tests.support.spools import DESTINATION, Spools

# -- the guide -----------------------------------------------------------------------------------------------


def transcript() -> list[tuple[str, str]]:
    """The commands of the guide's transcript, each with what it prints."""
    (block,) = re.findall(
        r"^```console\n(\$ banyan-hp spool .*?)^```", page("spool").text, re.DOTALL | re.MULTILINE
    )
    return re.findall(r"^\$ banyan-hp spool (.*)\n((?:(?!\$).*\n)*)", block, re.MULTILINE)


def alike(text: str) -> str:
    """With everything that is another one each time made the same."""
    text = re.sub(r":\d{4,5}\b", ":PORT", text)
    text = re.sub(DESTINATION, "DESTINATION", text)
    text = re.sub(r"\d{13}-[0-9a-f]{24}-", "SEGMENT-", text)
    text = re.sub(r"[0-9a-f]{16}-[0-9a-f]+-[0-9a-f]+", "ID", text)
    text = re.sub(r"20\d\d-\d\d-\d\dT[\d:.]+Z", "TIME", text)
    return re.sub(r"\b\d+[smhd]\n", "AGE\n", text)


def test_the_guide_s_transcript_is_true(
    spools: Spools, make_logger: MakeLogger, port: int, up: Callable[[], ScriptedServer]
) -> None:
    """Three records of an outage, one of which the backend refuses until it has been mended."""
    logger = make_logger(f"http://127.0.0.1:{port}", max_retries=0)
    for number in range(3):
        logger.log_prompt(input=f"question {number}", output=f"answer {number}")
    logger.shutdown(timeout=5)
    back = up()
    back.handler = batching(
        verdicts=lambda record: (
            (422, "duration_ms is missing") if record["body"]["input"] == "question 1" else (201, None)
        )
    )
    commands = transcript()
    assert len(commands) == 5
    for words, printed in commands:
        assert alike(spools.run(*words.split())[1]) == alike(printed)
        if "requeue" in words:
            back.handler = batching()


# -- usage ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([], "COMMAND"),
        (["quarantine"], "COMMAND"),
        (["show", "--limit", "0"], "must be a whole number of 1 or more, was '0'"),
        (["replay", "--timeout", "-1"], "must be a number of seconds above 0, was '-1'"),
        (["purge", "--older-than", "week"], "must be a number with s, m, h or d, as in 7d, was 'week'"),
        (["quarantine", "requeue"], "--id --all"),
    ],
)
def test_wrong_usage_is_2_and_named(spools: Spools, words: list[str], complaint: str) -> None:
    """As for the rest of the command line."""
    code, _, err = spools.run(*words)
    assert (code, complaint in err) == (2, True)


def test_one_bad_directory_does_not_keep_the_others_from_it(
    spools: Spools,
    outage: Callable[..., None],
    up: Callable[[], ScriptedServer],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is named, it makes the exit code, and the rest is done."""
    outage(1, project_id="one")
    outage(1, project_id="two")
    up()
    bad = sorted((spools.base / "spool").iterdir())[0]
    real = Path.lstat

    def lstat(path: Path) -> os.stat_result:
        found = real(path)
        return os.stat_result((*found[:4], 12345, *found[5:])) if path == bad else found

    monkeypatch.setattr(Path, "lstat", lstat)
    for words in (["ls"], ["show"], ["quarantine", "ls"], ["replay"], ["purge", "--yes"]):
        code, out, err = spools.run(*words)
        assert (code, "belongs to another user" in err) == (3, True)
        assert bad.name in err
        assert bad.name not in out
    monkeypatch.undo()
    assert [path.parent for path in spools.segments()] == [bad]


@pytest.mark.parametrize("words", [["replay"], ["quarantine", "requeue"], ["purge"]])
def test_help_tells_the_exit_codes(spools: Spools, words: list[str]) -> None:
    """Where people look for them."""
    code, out, _ = spools.run(*words, "--help")
    assert (code, "exit codes:\n  0  done\n" in out) == (0, True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_directory_that_can_t_be_read_is_3(spools: Spools, outage: Callable[..., None]) -> None:
    """One line, no traceback."""
    outage(1)
    spools.directory().chmod(0)
    try:
        assert spools.run("ls")[0] == 3
    finally:
        spools.directory().chmod(0o700)


def test_a_failing_disk_is_3(
    spools: Spools, outage: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line, no traceback, whichever command it is."""
    outage(1)

    def broken(*_: object, **__: object) -> Segment:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("banyan_hp.engine.spool.survey.look", broken)
    for words in (["ls"], ["show"], ["replay"], ["purge", "--yes"]):
        code, _, err = spools.run(*words)
        assert (code, "the spool can't be used: [Errno 5]" in err) == (3, True)
