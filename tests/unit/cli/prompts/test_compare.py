"""Which of a file and its prompt has changed, and what the next version is called."""

from __future__ import annotations

from dataclasses import replace

import pytest

from banyan_hp.cli.prompts.backend import Prompt, Version
from banyan_hp.cli.prompts.compare import Pair, State, file_of, following, next_version
from banyan_hp.cli.prompts.files import PromptFile

ONE = Version(version="1.0", revision="r1", content="One")
TWO = Version(version="2", revision="r2", content="Two", config={"model": "m"})
PROMPT = Prompt(
    prompt_id="i", name="p", branch="main", released="1.0", newest="2", labels={}, versions=(ONE, TWO)
)
PULLED_ONE, PULLED_TWO = file_of(PROMPT, ONE), file_of(PROMPT, TWO)
NEW = PromptFile(name="p", branch="main", content="Mine")


@pytest.mark.parametrize(
    ("file", "prompt", "state"),
    [
        (None, PROMPT, State.NEW_THERE),
        (NEW, None, State.NEW_HERE),
        (PULLED_ONE, None, State.REMOVED_THERE),
        (PULLED_TWO, PROMPT, State.SAME),
        (replace(NEW, content="Two", config={"model": "m"}), PROMPT, State.SAME),
        (replace(PULLED_TWO, content="Mine"), PROMPT, State.CHANGED_HERE),
        (replace(PULLED_TWO, config=None), PROMPT, State.CHANGED_HERE),
        (PULLED_ONE, PROMPT, State.CHANGED_THERE),
        (replace(PULLED_ONE, content="Mine"), PROMPT, State.CONFLICT),
        (
            replace(PULLED_TWO, revision="rewritten in place"),
            replace(PROMPT, versions=(ONE,)),
            State.CONFLICT,
        ),
        (NEW, PROMPT, State.UNKNOWN),
    ],
)
def test_the_state_says_who_has_changed(file: PromptFile | None, prompt: Prompt | None, state: State) -> None:
    """By the revision that the file was pulled as."""
    pair = Pair("main/p.md", file, prompt)
    assert pair.state is state
    assert state.is_conflict is (state in (State.REMOVED_THERE, State.UNKNOWN, State.CONFLICT))


def test_a_draft_is_what_was_never_released() -> None:
    """And is the same here as there."""
    undone = replace(PROMPT, versions=(ONE, replace(TWO, released_at="2026-11-28T12:00:00+00:00")))
    assert Pair("main/p.md", PULLED_TWO, PROMPT).is_draft
    assert not Pair("main/p.md", PULLED_TWO, undone).is_draft
    assert not Pair("main/p.md", replace(PULLED_TWO, content="Mine"), PROMPT).is_draft


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("1", "2"),
        ("1.0", "1.1"),
        ("1.9", "1.10"),
        ("v3-beta", "v4-beta"),
        ("first", "first-2"),
        ("2026-11", "2026-12"),
    ],
)
def test_the_last_number_of_a_version_goes_up(before: str, after: str) -> None:
    """A name without one gets one."""
    assert following(before, {before}) == after


def test_a_version_that_is_there_is_passed_over() -> None:
    """So that a push never fails for its name."""
    assert following("1.0", {"1.0", "1.1", "1.2"}) == "1.3"


def test_a_file_may_name_its_next_version() -> None:
    """By another version in its header than the one that it was pulled as."""
    assert next_version(NEW, None) == "1.0"
    assert next_version(replace(NEW, version="7"), None) == "7"
    assert next_version(PULLED_TWO, PROMPT) == "3"
    assert next_version(replace(PULLED_TWO, version="spring"), PROMPT) == "spring"


def test_the_difference_is_what_a_review_is_about() -> None:
    """Not where the file was pulled from."""
    changed = Pair("main/p.md", replace(PULLED_TWO, content="Three"), PROMPT)
    assert list(changed.difference())[:2] == ["--- backend: main/p 2", "+++ file: main/p.md"]
    assert [line for line in changed.difference() if line[0] in "+-"][2:] == ["-Two", "+Three"]
    new = Pair("main/p.md", NEW, None)
    assert [line for line in new.difference() if line.startswith("-")] == ["--- backend: main/p"]
