"""Calls as published code makes them, on a real backend: each means something, and keeps working."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

import banyan_hp as banyan
from banyan_hp import ConfigurationError, PromptStackLogger, ValidationError, logs
from banyan_hp.destinations.banyan import BanyanDestination
from banyan_hp.settings import PromptSettings, Settings
from tests.conftest import MakeLogger
from tests.integration.conftest import Make, bodies
from tests.support.parts import part_of
from tests.support.prompts import CONFIGURED, always, prompt_json
from tests.support.scripted import ScriptedServer
from tests.support.scripted_answers import Reply, Request, batching, one_by_one
from tests.support.untyped import untyped

NOWHERE = "http://127.0.0.1:9"
LOG: Any = {"user_prompt": "q", "response": "a"}


# -- construction --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "meant"),
    [
        ("flush_intervall", "flush_interval"),
        ("apikey", "api_key"),
        ("base_uri", "base_url"),
        ("prompt_ttl", "prompt_cache_ttl"),
        ("projectid", "project_id"),
    ],
)
def test_a_misspelt_setting_gets_the_one_that_was_meant(option: str, meant: str) -> None:
    """And all that there are."""
    with pytest.raises(
        ConfigurationError, match=f"unknown setting '{option}'; did you mean '{meant}'"
    ) as error:
        banyan.configure(**untyped({option: 1}))
    for name in ("api_key", "base_url", "project_id", "cache_ttl", "prompt_cache_size", "queue_size"):
        assert name in str(error.value).partition("Allowed are: ")[2].split(", ")


def test_huggingplace_lists_its_own_settings(make: Make) -> None:
    """Which are not those of prompts."""
    with pytest.raises(ConfigurationError, match=r"unknown setting 'orgid'; did you mean 'org_id'") as error:
        make(NOWHERE, orgid="o")
    assert "silent" in str(error.value)
    assert "prompt_cache_ttl" not in str(error.value)
    with pytest.raises(ConfigurationError, match=r"unknown setting 'xyzzy'\. Allowed are: api_key, back"):
        make(NOWHERE, xyzzy=1)
    with pytest.raises(ValidationError, match=r"unknown setting of update_config.*did you mean 'timeout'"):
        make(NOWHERE).update_config(**untyped({"timeot": 5}))


def test_white_space_around_keys_and_urls_is_no_part_of_them(make: Make) -> None:
    """As it comes from a file or a shell."""
    logger = PromptStackLogger(" psk_x\n", f"\t{NOWHERE}/ \n")
    destination = part_of(logger, BanyanDestination)
    assert (destination.key, destination.base_url) == ("psk_x", NOWHERE)
    assert make(f" {NOWHERE}\n", api_key="k ").get_config()["base_url"] == NOWHERE


@pytest.mark.parametrize(
    ("path", "base"),
    [
        ("/api/logs/prompt-usage", ""),
        ("/api/logs/prompt-usage/", ""),
        ("/banyan/api/logs", "/banyan"),
        ("/api/auth/validate", ""),
        ("/api/experiments/route", ""),
    ],
)
def test_a_base_url_that_ends_in_a_path_of_the_api_is_refused(path: str, base: str) -> None:
    """With the right one."""
    with pytest.raises(ConfigurationError, match=f"it must be 'http://host{base}', was 'http://host{path}'"):
        PromptStackLogger("psk_x", f"http://host{path}")
    logger = PromptStackLogger("psk_x", "http://host/api")
    assert part_of(logger, BanyanDestination).base_url == "http://host/api"


def test_a_base_url_of_huggingplace_likewise(make: Make) -> None:
    """Its one path."""
    with pytest.raises(ConfigurationError, match="it must be 'https://host', was"):
        make("https://host/v2/chatgpt/store_generated_response")


@pytest.mark.parametrize(
    ("url", "meant"),
    [
        ("localhost:8787", "http://localhost:8787"),
        ("127.0.0.1", "http://127.0.0.1"),
        ("app.usebanyan.com", "https://app.usebanyan.com"),
        ("host:8080/banyan", "https://host:8080/banyan"),
    ],
)
def test_a_url_without_a_scheme_gets_the_one_that_was_meant(url: str, meant: str) -> None:
    """In the message."""
    with pytest.raises(ConfigurationError, match=f"was '{url}'; did you mean '{meant}'"):
        PromptStackLogger("psk_x", url)


def test_none_is_not_given_as_a_setting(make: Make) -> None:
    """Of both clients: what `os.getenv` returned, say."""
    settings: Any = {"max_retries": None, "queue_size": None, "timeout": None, "prompt_timeout": None}
    logger = PromptStackLogger("psk_x", NOWHERE, **settings, previous_keys=untyped(None))
    assert part_of(logger, Settings).max_retries == 3
    assert make(NOWHERE, batch_size=None, mode=None, timeout=None).get_config()["timeout"] == 10_000


def test_none_is_no_branch_of_a_prompt(make_logger: MakeLogger, server: ScriptedServer) -> None:
    """The default one is asked for."""
    server.handler = always(Reply(200, prompt_json()))
    assert make_logger(server.url).get_prompt("p", branch=None) is not None
    assert "branch=main" in server.requests[-1].path


def test_cache_ttl_is_the_time_that_prompts_are_fresh(
    make_logger: MakeLogger, server: ScriptedServer
) -> None:
    """A name of `prompt_cache_ttl`; both at once contradict each other."""
    server.handler = always(Reply(200, prompt_json()))
    logger = make_logger(server.url, cache_ttl=7)
    assert part_of(logger, PromptSettings).prompt_cache_ttl == 7
    with pytest.raises(ConfigurationError, match="cache_ttl and prompt_cache_ttl"):
        make_logger(server.url, cache_ttl=7, prompt_cache_ttl=8)
    with pytest.raises(ConfigurationError, match="prompt_cache_ttl must be a number of seconds above 0"):
        make_logger(server.url, cache_ttl=0)


@pytest.fixture
def heard() -> Iterator[None]:
    """`silent` is for the whole process."""
    yield
    logs.keep_off_stderr(quiet=False)


@pytest.mark.usefixtures("heard")
def test_silent_can_be_switched(make: Make) -> None:
    """At construction and later; the configuration shows it."""
    client = make(NOWHERE, silent=True)
    assert client.get_config()["silent"] is True
    assert logs.is_off_stderr
    client.update_config({"silent": False})
    assert not logs.is_off_stderr


def test_silent_keeps_lines_off_stderr() -> None:
    """Where the application has not set up logging."""
    program = (
        "from banyan_hp import HuggingPlace\n"
        f"client = HuggingPlace('k', 'o', base_url={NOWHERE!r}, silent=True, spool=False)\n"
        "client.log({})\n"
        "client.shutdown(0)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


# -- records -------------------------------------------------------------------------------------------------


def test_one_dict_changes_the_configuration(make: Make, server: ScriptedServer) -> None:
    """What is None in it stays as it is."""
    server.handler = one_by_one()
    client = make(server.url)
    client.update_config({"mode": "dev", "org_id": None, "timeout": None})
    client.log(LOG).result(10)
    assert bodies(server) == [{**LOG, "org_id": "org", "mode": "dev"}]


def test_a_session_with_its_options_as_one_dict(make: Make, server: ScriptedServer) -> None:
    """As published; a number is its text, and None in a call leaves the session's own."""
    server.handler = one_by_one()
    session = make(server.url).start_session(5, {"metadata": {"a": 1}, "user_metadata": {"b": 2}})
    session.log(untyped({**LOG, "session_id": None, "metadata": None, "user_id": None})).result(10)
    expected = {**LOG, "session_id": "5", "metadata": {"a": 1}, "user_metadata": {"b": 2}}
    assert bodies(server) == [{**expected, "org_id": "org", "mode": "prod"}]
    assert session.get_session_info() == {
        "session_id": "5",
        "metadata": {"a": 1},
        "user_metadata": {"b": 2},
    }


def test_none_is_not_given_in_a_record(make_logger: MakeLogger, server: ScriptedServer) -> None:
    """All that `log_prompt` takes."""
    server.handler = batching()
    logger = make_logger(server.url)
    names = [
        "prompt_data",
        "prompt_id",
        "prompt_name",
        "version",
        "branch_name",
        "model",
        "metadata",
        "duration_ms",
    ]
    nothing: Any = dict.fromkeys([*names, "duration_ms", "experiment_context", "record_id"])
    assert logger.log_prompt("q", "a", **nothing)
    assert logger.flush(5)
    assert bodies(server) == [{"input": "q", "output": "a", "metadata": {}}]


@pytest.mark.parametrize(
    ("ident", "text"), [(5, "5"), (1.5, "1.5"), (uuid.UUID(int=1), str(uuid.UUID(int=1)))]
)
def test_a_session_s_number_is_its_text(make: Make, server: ScriptedServer, ident: Any, text: str) -> None:
    """Like a UUID."""
    server.handler = one_by_one()
    make(server.url).log({"user_prompt": "q", "response": "a", "session_id": ident}).result(10)
    assert bodies(server)[0]["session_id"] == text


def test_a_session_s_number_from_around_is_text(make: Make, server: ScriptedServer) -> None:
    """`context(session_id=5)`."""
    server.handler = one_by_one()
    with banyan.context(session_id=5):
        make(server.url).log(LOG).result(10)
    assert bodies(server)[0]["session_id"] == "5"


# -- experiments ---------------------------------------------------------------------------------------------


def test_an_anonymous_user_gets_the_default_version_and_is_counted(
    make_logger: MakeLogger, server: ScriptedServer
) -> None:
    """None is no value, not an exception in a request; a fixed version needs none."""
    server.handler = always(CONFIGURED)
    logger = make_logger(server.url)
    for context in ({"user_id": None}, {"user_id": ""}, {"user_id": None, "session_id": None}):
        prompt = logger.get_prompt("p", sticky_context=context)
        assert prompt is not None
        assert prompt.get_experiment_context() is None
    assert logger.get_stats()["experiment_key_missing"] == 3
    logger.get_prompt("p", sticky_context={})
    logger.get_prompt("p", version="1", sticky_context={"user_id": None})
    assert logger.get_stats()["experiment_key_missing"] == 3
    assert logger.get_prompt("p", sticky_context={"session_id": None, "user_id": 7}) is not None
    assert logger.get_stats()["experiments"] != {}


def test_an_anonymous_user_is_counted_on_an_event_loop_too(
    make_logger: MakeLogger, server: ScriptedServer
) -> None:
    """`aget_prompt`."""
    import asyncio

    server.handler = always(CONFIGURED)
    logger = make_logger(server.url)
    asyncio.run(logger.aget_prompt("p", sticky_context={"user_id": None}))
    assert logger.get_stats()["experiment_key_missing"] == 1


class Routing:
    """The backend's side of `experiment()`; remembers who was routed."""

    def __init__(self) -> None:
        self.routed: list[tuple[str, str]] = []

    def __call__(self, request: Request) -> Reply:
        if request.path == "/api/experiments/route":
            asked = json.loads(request.body)
            self.routed.append((asked["stickyKey"], asked["stickyValue"]))
            return Reply(200, {"prompt": prompt_json(), "selected_version_id": "v1"})
        if request.path.startswith("/api/experiments/"):
            return Reply(
                200, {"status": "running", "sticky_type": "user_id", "prompt_name": "p", "branch": "main"}
            )
        return Reply(200, prompt_json())


@pytest.mark.parametrize(
    ("arguments", "keywords"),
    [
        (("user_id", "u1"), {}),
        (("user_id", "u1", False), {}),
        ((), {"sticky_key": "user_id", "sticky_value": "u1"}),
        (("user_id",), {"sticky_value": "u1"}),
        (({"user_id": "u1"},), {}),
    ],
)
def test_an_experiment_by_a_key_and_its_value(
    make_logger: MakeLogger, server: ScriptedServer, arguments: Any, keywords: Any
) -> None:
    """As published, and as a dict."""
    server.handler = routing = Routing()
    prompt = make_logger(server.url).experiment("e1", *arguments, **keywords)
    assert prompt is not None
    assert routing.routed == [("user_id", "u1")]


def test_an_experiment_past_the_cache(make_logger: MakeLogger, server: ScriptedServer) -> None:
    """`use_cache=False` asks the backend each time."""
    server.handler = routing = Routing()
    logger = make_logger(server.url)
    for use_cache in (True, True, False):
        logger.experiment("e1", "user_id", "u1", use_cache=use_cache)
    assert len(routing.routed) == 2


def test_an_experiment_for_an_anonymous_user(make_logger: MakeLogger, server: ScriptedServer) -> None:
    """The default version, counted."""
    server.handler = routing = Routing()
    logger = make_logger(server.url)
    assert logger.experiment("e1", "user_id", untyped(None)) is not None
    assert (routing.routed, logger.get_stats()["experiment_key_missing"]) == ([], 1)
