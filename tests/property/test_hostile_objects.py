"""Hostile objects in every argument of every public call: nothing but what is deliberate leaves."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import CoroutineType, GeneratorType, SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import banyan_hp as banyan
from banyan_hp import (
    BanyanHPError,
    ConfigurationError,
    HuggingPlace,
    MissingKeyError,
    PromptData,
    PromptStackLogger,
    Receipt,
)
from banyan_hp import logs as log
from banyan_hp.engine.delivery.worker import Worker
from banyan_hp.engine.records.encode import encode, encode_with_json
from banyan_hp.engine.records.freeze import freeze, freeze_any
from banyan_hp.logs import logger
from banyan_hp.settings import PromptSettings, Settings
from tests.support.hostile import ANYTHING, Recipe, made, some_of
from tests.support.ledger import assert_balanced
from tests.support.parts import part_of
from tests.support.untyped import untyped

NOWHERE = "http://127.0.0.1:9"
IN_MEMORY: dict[str, Any] = {"spool": False, "overflow": "drop_oldest", "queue_size": 20, "retry_delay": 30.0}
QUICK = settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


# -- freezing and encoding agree -----------------------------------------------------------------------------


@pytest.fixture(params=[640, 4300, 0])
def digits(request: pytest.FixtureRequest) -> Iterator[None]:
    """Python prints integers of at most so many digits (0: of any number)."""
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(request.param)
    yield
    sys.set_int_max_str_digits(before)


@QUICK
@given(value=ANYTHING)
def test_what_is_frozen_can_be_encoded(digits: None, value: Recipe) -> None:
    """Whatever freezing lets pass is encoded, by either encoder, under any setting of the interpreter."""
    for frozen in (freeze(value.make()).value, freeze_any(value.make(), sys.maxsize).value):
        for encoder in (encode, encode_with_json):
            body = encoder(frozen)
            assert json.loads(body, parse_int=str) is not Ellipsis


# -- clients whose ledgers are looked at around each call ----------------------------------------------------


class Hunted:
    """A client of a backend that is not there.

    Without a worker until the end: its jitter takes random numbers, which hypothesis notices.
    """

    def __init__(self, client: PromptStackLogger | HuggingPlace) -> None:
        self.client = client
        part_of(client, Worker).start = lambda wanted=1: None  # type: ignore[method-assign]

    @property
    def banyan(self) -> PromptStackLogger:
        assert isinstance(self.client, PromptStackLogger)
        return self.client

    @property
    def huggingplace(self) -> HuggingPlace:
        assert isinstance(self.client, HuggingPlace)
        return self.client

    def log(self, call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """A call that logs one record at most: taken or refused, it is counted once, or raises on purpose."""
        before = self._counted()
        result = deliberately(call, *arguments, **named)
        assert_balanced(self.client.get_stats())
        assert self._counted() - before == (0 if isinstance(result, BanyanHPError) else 1)
        return result

    def _counted(self) -> int:
        stats = self.client.get_stats()
        return int(stats["logs_queued"] + stats["logs_rejected"] + stats["tracking_errors"])


def deliberately(call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """The result, or the exception that was raised on purpose; any other fails the test."""
    try:
        return call(*arguments, **named)
    except BanyanHPError as error:
        return error


@pytest.fixture(scope="module")
def banyan_client() -> Iterator[Hunted]:
    logger = PromptStackLogger("psk_local", NOWHERE, **IN_MEMORY, prompt_timeout=0.05)
    with logger, no_log_lines_with_secrets():
        yield Hunted(logger)


@pytest.fixture(scope="module")
def huggingplace() -> Iterator[Hunted]:
    with HuggingPlace("hp_key", "org", base_url=NOWHERE, **IN_MEMORY) as place, no_log_lines_with_secrets():
        yield Hunted(place)


class Keeping(logging.Handler):
    def __init__(self, lines: list[str]) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(self.format(record))


@contextmanager
def no_log_lines_with_secrets() -> Iterator[None]:
    """What the hostile objects say in their exceptions is their owner's business."""
    lines: list[str] = []
    handler = Keeping(lines)
    logger.addHandler(handler)
    every, log.EVERY_SECONDS = log.EVERY_SECONDS, 0.0
    yield
    logger.removeHandler(handler)
    log.EVERY_SECONDS = every
    assert not [line for line in lines if "a secret" in line]


# -- logging -------------------------------------------------------------------------------------------------

BANYAN_ARGUMENTS = some_of(
    "input", "output", "prompt_data", "prompt_id", "prompt_name", "version", "branch_name", "model",
    "metadata", "duration_ms", "experiment_context", "record_id", "content",
)  # fmt: skip


def around(value: Recipe | None) -> AbstractContextManager[None]:
    """Ambient metadata, hostile or none."""
    return banyan.context(user_id=value.make()) if value is not None else nullcontext()


@QUICK
@given(arguments=BANYAN_ARGUMENTS, ambient=st.none() | ANYTHING)
def test_log_prompt(banyan_client: Hunted, arguments: dict[str, Recipe], ambient: Recipe | None) -> None:
    """True or False, and one count, whatever the arguments and the metadata around are."""
    client = banyan_client.banyan
    with around(ambient):
        result = banyan_client.log(client.log_prompt, **{"input": "q", "output": "a", **made(arguments)})
    assert result in (True, False)


PLAIN_LOG = {"user_prompt": "p", "response": "r"}
PLAIN_STEP = {"type": "t", "user_question": "q", "prompt_response": "r", "token": 1, "response_time": 1.0}
LOGS = some_of(
    "user_prompt", "response", "token_count", "response_time", "metadata", "session_id", "extra", "content",
    "record_id",
)  # fmt: skip
STEPS = some_of("type", "user_question", "prompt_response", "token", "response_time", "llm_model")


@QUICK
@given(options=LOGS, step=STEPS, instead=ANYTHING, ambient=st.none() | ANYTHING)
def test_huggingplace_log(
    huggingplace: Hunted,
    options: dict[str, Recipe],
    step: dict[str, Recipe],
    instead: Recipe,
    ambient: Recipe | None,
) -> None:
    """A receipt, with the error where there is one."""
    place = huggingplace.huggingplace
    with around(ambient):
        for given_options in ({**PLAIN_LOG, **made(options)}, instead.make()):
            assert isinstance(huggingplace.log(place.log, given_options), Receipt)
        for given_step in ({**PLAIN_STEP, **made(step)}, instead.make()):
            assert isinstance(huggingplace.log(place.log_step, given_step), Receipt)


@QUICK
@given(
    arguments=some_of("session_id", "metadata", "user_metadata"),
    defaults=some_of("metadata", "user_metadata"),
    options=LOGS,
)
def test_sessions(
    huggingplace: Hunted,
    arguments: dict[str, Recipe],
    defaults: dict[str, Recipe],
    options: dict[str, Recipe],
) -> None:
    """A session that can't be read in part is a session; what it logs is accepted or refused."""
    session = huggingplace.huggingplace.start_session(**made(arguments))
    session.update_defaults(**made(defaults))
    assert type(session.get_session_info()["session_id"]) is str
    assert isinstance(huggingplace.log(session.log, {**PLAIN_LOG, **made(options)}), Receipt)
    assert isinstance(huggingplace.log(session.log_step, {**PLAIN_STEP, **made(options)}), Receipt)


SCORES = some_of(
    "name", "value", "record_id", "session_id", "sticky_context", "prompt_data", "experiment_context",
    "comment", "at",
)  # fmt: skip


@QUICK
@given(arguments=SCORES, ambient=st.none() | ANYTHING)
def test_scores(
    banyan_client: Hunted,
    huggingplace: Hunted,
    arguments: dict[str, Recipe],
    ambient: Recipe | None,
) -> None:
    """True or False, or a receipt, and one count."""
    plain = {"name": "thumbs", "value": True, "record_id": "r"}
    with around(ambient):
        assert banyan_client.log(banyan_client.banyan.score, **{**plain, **made(arguments)}) in (True, False)
        scored = huggingplace.log(huggingplace.huggingplace.score, **{**plain, **made(arguments)})
        assert isinstance(scored, Receipt)


@QUICK
@given(arguments=some_of("record_id", "names", "ttl"))
def test_feedback_tokens(banyan_client: Hunted, arguments: dict[str, Recipe]) -> None:
    """A token, or a ConfigurationError."""
    deliberately(
        banyan_client.banyan.feedback_token, **{"record_id": "r", "names": ["thumbs"], **made(arguments)}
    )


# -- tracking ------------------------------------------------------------------------------------------------


@QUICK
@given(result=ANYTHING, question=ANYTHING, fields=some_of("llm_model", "metadata", "extra"))
def test_traced_functions(
    huggingplace: Hunted, result: Recipe, question: Recipe, fields: dict[str, Recipe]
) -> None:
    """A traced function returns its own result and raises its own exception."""
    place = huggingplace.huggingplace
    value = result.make()
    assert place.trace(**made(fields))(lambda prompt: value)(question.make()) is value

    @place.trace(**made(fields))
    def failing(prompt: Any) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        failing(question.make())
    assert place.log_with_timing(question.make(), lambda: value, untyped(made(fields))) is value
    assert place.log_with_timing(question.make(), lambda: 1, value) == 1
    assert_balanced(place.get_stats())


@QUICK
@given(
    question=ANYTHING,
    fields=some_of("model", "metadata", "prompt_id", "version", "prompt_data"),
    step=some_of("user_question", "llm_model", "metadata", "extra"),
    answer=ANYTHING,
    tokens=ANYTHING,
    kind=ANYTHING,
)
def test_interactions_and_steps(
    banyan_client: Hunted,
    question: Recipe,
    fields: dict[str, Recipe],
    step: dict[str, Recipe],
    answer: Recipe,
    tokens: Recipe,
    kind: Recipe,
) -> None:
    """The body of a `with` runs to its end, whatever it is given to record."""
    client = banyan_client.banyan
    finished = False
    with client.interaction(question.make(), **made(fields)) as interaction:
        with interaction.step(kind.make(), **made(step)) as inner:
            inner.response = answer.make()
            inner.set_tokens(tokens.make(), tokens.make())
        with client.step(kind.make(), **made(step)):
            pass
        interaction.response = answer.make()
        interaction.set_tokens(1, tokens.make(), tokens.make())
        finished = True
    assert finished
    assert_balanced(client.get_stats())


@QUICK
@given(answer=ANYTHING, options=some_of("messages", "stream", "model", "extra_headers", "system"))
def test_wrapped_clients(banyan_client: Hunted, answer: Recipe, options: dict[str, Recipe]) -> None:
    """A wrapped method returns what the provider's returned, or a generator of it where it is a stream."""
    client = banyan_client.banyan
    value = answer.make()
    completions = SimpleNamespace(create=lambda **_: value)
    openai = client.wrap_openai(SimpleNamespace(chat=SimpleNamespace(completions=completions)))
    returned = openai.chat.completions.create(**made(options))
    assert returned is value or isinstance(returned, (GeneratorType, CoroutineType))
    assert_balanced(client.get_stats())


@QUICK
@given(thing=ANYTHING)
def test_what_can_not_be_wrapped_is_refused(banyan_client: Hunted, thing: Recipe) -> None:
    """By a ConfigurationError, whatever it is."""
    client = banyan_client.banyan
    wrapping = (client.wrap_openai, client.wrap_anthropic, client.wrap_google_genai, client.wrap_mistral)
    for call in (*wrapping, client.trace):
        deliberately(call, thing.make())


# -- prompts -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def unreachable_prompts() -> Iterator[PromptStackLogger]:
    options = {**IN_MEMORY, "background_thread": False}
    with PromptStackLogger("psk_local", NOWHERE, **options, prompt_timeout=0.05) as client:
        yield client


@QUICK
@given(
    arguments=some_of("name", "version", "branch", "use_cache", "sticky_context", "project_id", "fallback")
)
def test_prompts(unreachable_prompts: PromptStackLogger, arguments: dict[str, Recipe]) -> None:
    """The fallback, None, or a ConfigurationError that names the argument."""
    client = unreachable_prompts
    plain = {"name": "greeting", "fallback": "Hello"}
    for call in (client.get_prompt, lambda **named: asyncio.run(client.aget_prompt(**named))):
        found = deliberately(call, **{**plain, **made(arguments)})
        assert isinstance(found, (PromptData, ConfigurationError, type(None)))
        assert found is not None or "fallback" in arguments


@QUICK
@given(thing=ANYTHING, other=ANYTHING)
def test_other_calls_for_prompts(
    unreachable_prompts: PromptStackLogger, thing: Recipe, other: Recipe
) -> None:
    """What is known, nothing, or a ConfigurationError."""
    client = unreachable_prompts
    deliberately(client.experiment, thing.make(), other.make(), other.make())
    deliberately(client.experiment, "experiment", other.make(), thing.make())
    deliberately(client.prefetch, thing.make(), other.make())
    deliberately(client.prefetch, [thing.make()], "main", other.make())
    deliberately(client.invalidate, thing.make())


# -- operation -----------------------------------------------------------------------------------------------


@QUICK
@given(timeout=ANYTHING)
def test_times_to_wait(banyan_client: Hunted, huggingplace: Hunted, timeout: Recipe) -> None:
    """Seconds, or a ConfigurationError."""
    receipt = huggingplace.huggingplace.log(untyped(PLAIN_LOG))
    if type(timeout.make()) not in (int, float, bool, type(None)):
        for call in (banyan_client.client.flush, banyan_client.client.shutdown, receipt.result):
            assert isinstance(deliberately(call, timeout.make()), ConfigurationError)


@QUICK
@given(settings=some_of("api_key", "base_url", "project_id", *Settings.names(), *PromptSettings.names()))
def test_banyan_settings(settings: dict[str, Recipe]) -> None:
    """A logger, or an error that names the setting."""
    arguments = {"api_key": "psk_local", "base_url": NOWHERE, "spool": False, **made(settings)}
    made_of_it = deliberately(PromptStackLogger, **arguments)
    assert isinstance(made_of_it, (PromptStackLogger, ConfigurationError, MissingKeyError))


@QUICK
@given(
    settings=some_of("api_key", "org_id", "mode", "base_url", "timeout", *Settings.names()), config=ANYTHING
)
def test_huggingplace_settings(settings: dict[str, Recipe], config: Recipe) -> None:
    """A client, or an error of its own kinds; also when the settings change."""
    arguments: dict[str, Any] = {"api_key": "key", "org_id": "org", "base_url": NOWHERE, "spool": False}
    deliberately(HuggingPlace, config.make())
    deliberately(HuggingPlace, **{**arguments, **made(settings)})
    place = HuggingPlace(**arguments)
    deliberately(place.update_config, **made(settings))
    place.shutdown(0)
