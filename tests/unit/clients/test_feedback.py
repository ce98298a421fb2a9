"""`feedback_token`: what it takes, and what it refuses."""

from __future__ import annotations

import time
import uuid
from typing import Any

import pytest

import banyan_hp as banyan
from banyan_hp import ConfigurationError, PromptStackLogger
from banyan_hp.feedback_tokens import digest_of, is_signed, read

KEY = "psk_" + "k" * 43
URL = "http://127.0.0.1:9"


def test_a_token_is_for_one_record_some_names_and_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Made without a request, by a logger and by the module function."""
    logger = PromptStackLogger(KEY, URL)
    monkeypatch.setenv("BANYAN_API_KEY", KEY)
    monkeypatch.setenv("BANYAN_BASE_URL", URL)
    before = time.time()
    for token in (
        logger.feedback_token("answer-17", ["thumbs"], ttl=60),
        banyan.feedback_token(record_id="answer-17", names=("thumbs",), ttl=60),
    ):
        assert is_signed(token, digest_of(KEY))
        permission = read(token)
        assert permission is not None
        assert (permission.record_id, permission.names) == ("answer-17", ("thumbs",))
        assert before + 60 <= permission.expires <= time.time() + 61
        assert token.replace(".", "").replace("-", "").replace("_", "").isalnum()
    assert KEY not in token


def test_ids_are_those_of_log_prompt() -> None:
    """Numbers and UUIDs, as their text."""
    ident = uuid.UUID(int=5)
    permission = read(PromptStackLogger(KEY, URL).feedback_token(ident, ["thumbs"]))
    assert permission is not None and permission.record_id == str(ident)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("", ["n"]), "record_id must be 1 to 128 printable ASCII characters .*, was ''"),
        ((None, ["n"]), "record_id must be .*, was None"),
        (("r", "thumbs"), "names must be a list of 1 to 10 names, was 'thumbs'"),
        (("r", []), r"names must be a list of 1 to 10 names, was \[\]"),
        (("r", ["n"] * 11), "names must be a list of 1 to 10 names"),
        (
            ("r", [""]),
            "in names, each name must be a text of 1 to 100 printable characters, was an empty str",
        ),
        (("r", ["é" * 100, "n"]), "names must have at most 200 bytes together, was 201"),
        (("r", ["n"], 0), "ttl must be above 0 and at most 34560000 seconds, was 0"),
        (("r", ["n"], float("inf")), "ttl must be above 0 and at most 34560000 seconds, was inf"),
        (("r", ["n"], "1h"), "ttl must be a number of seconds, 0 or more, was '1h'"),
    ],
)
def test_a_wrong_argument_raises(arguments: Any, message: str) -> None:
    """A page without a token would say nothing to anybody."""
    for logger in (PromptStackLogger(KEY, URL), PromptStackLogger(enabled=False)):
        with pytest.raises(ConfigurationError, match=message):
            logger.feedback_token(*arguments)


def test_a_key_that_somebody_chose_makes_no_token() -> None:
    """It could be guessed from one. The message does not show it."""
    with pytest.raises(ConfigurationError, match="an API key that a backend has made") as caught:
        PromptStackLogger("psk_secret", URL).feedback_token("r", ["n"])
    assert "psk_secret" not in str(caught.value)


def test_switched_off_gives_an_empty_text() -> None:
    """The page is made all the same."""
    assert PromptStackLogger(enabled=False).feedback_token("r", ["n"]) == ""
