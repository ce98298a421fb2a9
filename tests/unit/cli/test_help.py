"""`banyan-hp help`: the guide on a terminal."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from banyan_hp.cli.main import main
from banyan_hp.guide import TOPICS, page, pages


def test_without_a_topic_it_lists_all(capsys: pytest.CaptureFixture[str]) -> None:
    """Each with its title, in the guide's order."""
    assert main(["help"]) == 0
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == "The guide, a page for each topic: banyan-hp help TOPIC"
    assert [tuple(re.split(" {2,}", line.strip())) for line in lines] == [(p.topic, p.title) for p in pages()]


@pytest.mark.parametrize("topic", TOPICS)
def test_a_page_is_printed_as_it_is(topic: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Markdown is made to be read."""
    assert main(["help", topic]) == 0
    assert capsys.readouterr().out == page(topic).text


@pytest.mark.parametrize(("topic", "meant"), [("Setting", " (did you mean settings?)"), ("xyz", "")])
def test_an_unknown_topic_is_2_and_the_topics_are_named(
    topic: str, meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the one that was probably meant."""
    assert main(["help", topic]) == 2
    said = f"banyan-hp: there is no topic {topic!r}{meant}; the topics are {', '.join(TOPICS)}\n"
    assert capsys.readouterr().err == said


def printed(stdout: int, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "banyan_hp", "help", "prompts"],
        stdout=stdout, stderr=subprocess.PIPE, env=os.environ | environment, timeout=30, check=False,
    )  # fmt: skip


def test_a_reader_who_has_seen_enough_is_no_error() -> None:
    """As in `banyan-hp help settings | head`."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        finished = printed(writing)
    finally:
        os.close(writing)
    assert (finished.returncode, finished.stderr) == (0, b"")


def test_a_terminal_without_all_characters_gets_the_rest() -> None:
    """A question mark stands for what it can't show."""
    finished = printed(subprocess.PIPE, PYTHONIOENCODING="ascii")
    assert (finished.returncode, finished.stderr) == (0, b"")
    assert finished.stdout == page("prompts").text.encode("ascii", "replace")
