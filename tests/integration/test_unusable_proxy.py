"""A proxy of the environment that can't be used: an error at construction, never one of a call."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable

import pytest

import banyan_hp
from banyan_hp import ConfigurationError, HuggingPlace, PromptStackLogger
from tests.support.process import run_python

UNUSABLE = "gopher://proxy.example:1"
URL = "http://backend.example"


def huggingplace() -> HuggingPlace:
    return HuggingPlace("hp_test", "org", base_url=URL)


@pytest.mark.parametrize("make", [lambda: PromptStackLogger("psk_test", URL), huggingplace])
def test_it_is_an_error_at_construction(make: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
    """Which names the URL that can't be reached."""
    monkeypatch.setenv("ALL_PROXY", UNUSABLE)
    with pytest.raises(ConfigurationError, match=f"{URL} can't be reached"):
        make()


def test_socks_without_its_package_is_an_error_at_construction(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which says what to install."""
    monkeypatch.setenv("ALL_PROXY", "socks5h://proxy.example:1080")
    monkeypatch.setitem(sys.modules, "urllib3.contrib.socks", None)
    with pytest.raises(ConfigurationError, match="pip install PySocks"):
        PromptStackLogger("psk_test", URL)


def test_it_is_no_error_of_a_call_that_makes_the_default_logger(monkeypatch: pytest.MonkeyPatch) -> None:
    """The record is kept, the prompt's fallback is given, and `health()` says why."""
    monkeypatch.setenv("ALL_PROXY", UNUSABLE)
    monkeypatch.setenv("BANYAN_API_KEY", "psk_test")
    monkeypatch.setenv("BANYAN_BASE_URL", URL)
    assert banyan_hp.log_prompt("q", "a")
    prompt = banyan_hp.get_prompt("p", fallback="mine")
    assert prompt is not None
    assert prompt.content == "mine"
    result = banyan_hp.flush(0.5)
    assert (result.delivered, result.lost) == (False, 0)
    assert "can't be reached" in str(banyan_hp.health())


def test_it_is_no_error_of_calls_after_the_construction(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment has changed since; prompts and connection tests look at it again."""
    logger, client = PromptStackLogger("psk_test", URL), huggingplace()
    monkeypatch.setenv("ALL_PROXY", UNUSABLE)
    prompt = logger.get_prompt("p", fallback="mine")
    assert prompt is not None
    assert prompt.content == "mine"
    assert asyncio.run(client.test_connection()) is False


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_it_is_no_error_of_a_forked_child_s_calls() -> None:
    """A child makes its connections anew, in an environment that may have changed."""
    program = f"""
        from banyan_hp import HuggingPlace
        logger = make()
        client = HuggingPlace("hp_test", "org", base_url=os.environ["URL"])
        os.environ["ALL_PROXY"] = {UNUSABLE!r}
        child = os.fork()
        if child == 0:
            assert logger.log_prompt("q", "a")
            assert client.log({{"user_prompt": "q", "response": "a"}}).id
            assert logger.get_prompt("p", fallback="mine").content == "mine"
            assert logger.shutdown(1).spooled == client.shutdown(1).spooled == 1
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
    """
    finished = run_python(program, url=URL)
    assert finished.status == 0, finished.stderr
    assert all(line.startswith("banyan_hp: ") for line in finished.stderr.splitlines())
