"""A user's program of every public call, for type checkers at their strictest. Checked, never run.

`tests/unit/test_types.py` has mypy and pyright check it, and sees that no public call is left out.
"""

# pyright: strict
from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

import banyan_hp as banyan
from banyan_hp import (
    AuthenticationError,
    BanyanHPError,
    ConfigurationError,
    DeliveryError,
    ExperimentResults,
    FlushResult,
    HuggingPlace,
    HuggingPlaceSDKError,
    Interaction,
    MissingKeyError,
    NetworkError,
    PromptData,
    PromptStackLogger,
    RateLimitError,
    Receipt,
    RenderError,
    ServerError,
    Session,
    Step,
    ValidationError,
    redact,
)
from banyan_hp.types import ConfigureSettings, HuggingPlaceConfig, Log, LoggerStats, LogStep, Stats

if TYPE_CHECKING:
    import anthropic
    import openai


def scrub(payload: dict[str, Any]) -> dict[str, Any] | None:
    payload.pop("secret", None)
    return payload


def rate(record: Mapping[str, Any]) -> bool:
    return bool(record["metadata"].get("paying"))


def rate_or_none(record: Mapping[str, Any]) -> float | None:
    return 0.01 if "prompt_name" in record else None


def report(error: DeliveryError) -> None:
    print(error.reason, error.status, error.url, error.retry_after, error.record_ids)


def count_drops(reason: str, count: int) -> None:
    print(reason, count)


def configured() -> PromptStackLogger:
    """By keyword, and with settings that are read at run time."""
    settings: ConfigureSettings = {"batch_size": 100, "overflow": "drop_oldest", "enabled": True}
    read = cast(ConfigureSettings, {"queue_size": 500})
    banyan.configure("psk_x", **settings)
    banyan.configure("psk_x", **read)
    return banyan.configure(
        api_key="psk_x",
        base_url="https://app.usebanyan.com",
        project_id="p",
        max_retries=5,
        retry_delay=2.0,
        queue_size=2000,
        flush_interval=10.0,
        background_thread=True,
        batch_size=100,
        durability="disk",
        fsync="interval",
        spool_dir="/var/spool/app",
        before_send=scrub,
        on_error=report,
        on_drop=count_drops,
        prompt_cache_ttl=30,
        previous_keys=["psk_old"],
        sample_rate=0.1,
        sampler=rate,
        media="keep",
        content="hash",
        content_hash_key="0123456789abcdef",
        content_off_prompts=["intake"],
    )


def redacting() -> None:
    banyan.configure(before_send=redact.combine(redact.emails(), redact.fields("ssn"), scrub, salt=b"0" * 16))
    found: dict[str, int] = banyan.get_stats()["redactions"]
    print(found, redact.pattern("x", "x")({"input": "x"}))


def module_functions(identity: UUID) -> None:
    prompt = banyan.get_prompt("greeting", sticky_context={"user_id": None}, fallback="Hello")
    print(prompt.content, prompt.name, prompt.version, prompt.branch, prompt.project, prompt.prompt_id)
    print(prompt.age_s, prompt.fetched_at, prompt.source, prompt.metadata, prompt.routed_by)
    print(prompt.enable_logging, prompt.experiment_id, prompt.experiment_version_id)
    print(prompt.sticky_key, prompt.sticky_value, prompt.render(name="Ada"))
    messages: list[dict[str, Any]] = prompt.render_messages({"name": "Ada"}, strict=False)
    print(messages, prompt.config, prompt.messages, prompt.label)
    context = prompt.get_experiment_context()
    banyan.log_prompt("q", "a", prompt, experiment_context=context, record_id=identity)
    banyan.log(
        input=[{"role": "user", "content": "q"}], output="a", metadata={"k": 1}, duration_ms=12, content="off"
    )
    banyan.score("thumbs", True, record_id=identity, comment="good", at=datetime.now(UTC))
    banyan.score("stars", 4.5, session_id="s", sticky_context={"user_id": 1}, prompt_data=prompt)
    print(banyan.feedback_token(identity, ["thumbs"], ttl=3600))
    banyan.experiment("e1", {"user_id": "u1"})
    results: ExperimentResults = banyan.experiment_results("e1", metric="thumbs", interval="fixed")
    print(results.winner, results.to_dicts(), [each.versions[0].mean for each in results.metrics])
    banyan.experiment("e1", "user_id", "u1")
    banyan.experiment("e1", sticky_key="user_id", sticky_value=1)
    print(banyan.prefetch(["greeting"]), banyan.input_hash("text"))
    banyan.invalidate("greeting")
    banyan.clear_cache()
    result: FlushResult = banyan.flush(timeout=5)
    print(bool(result), result.delivered, result.pending, result.spooled, result.lost, result.ledger)
    print(result.backlog, result.backlog_bytes)
    stats: LoggerStats = banyan.get_stats()
    print(
        stats["logs_sent"],
        stats["logs_sampled_out"],
        stats["queue_size"],
        stats["adopted"]["pending"],
        stats["experiments"],
    )
    print(banyan.health()["status"], banyan.health()["reasons"])
    banyan.install_signal_handlers()
    banyan.drain(timeout=2)
    banyan.shutdown(timeout=5)
    print(banyan.__version__)


async def coroutines() -> None:
    print(await banyan.aget_prompt("greeting", label="staging"))
    await banyan.aflush(timeout=5)
    await banyan.ashutdown(timeout=5)


def logger_of_its_own() -> None:
    with PromptStackLogger(
        api_key="k", max_retries=5, timeout=3.0, cache_ttl=60, sampler=rate_or_none
    ) as logger:
        logger.log_prompt(input="q", output="a", blocking=True)
        print(logger.closed, logger.exit_timeout, logger.get_stats()["prompts_fetched"])


@banyan.trace
def traced(question: str) -> str:
    return question


@banyan.trace(prompt="question", step="retrieval", metadata={"k": 1})
def traced_step(question: str) -> Iterator[str]:
    yield question


def tracked(gpt: openai.OpenAI, claude: anthropic.Anthropic) -> None:
    with banyan.context(user_id="u1"), banyan.interaction("q", model="m") as interaction:
        with banyan.step("retrieval", "q") as step:
            step.response = "found"
            step.set_tokens(input_tokens=1)
        with interaction.step("answer") as second:
            second.response = "a"
        interaction.set_tokens(total_tokens=10)
        interaction.response = "a"
        interaction.metadata["k"] = 1
    opened: Interaction[bool] = interaction
    steps: list[Step] = opened.steps
    print(steps, opened.finished, opened.model, opened.output, opened.usage.total)
    print(banyan.wrap_openai(gpt), banyan.wrap_anthropic(claude), traced("q"), list(traced_step("q")))


def tracked_others(gemini: object, mistral: object) -> None:
    print(banyan.wrap_google_genai(gemini), banyan.wrap_mistral(mistral))


def given_at_run_time(fields: dict[str, Any]) -> Log:
    """A dict that is put together at run time is said to be one, once."""
    return cast(Log, {"user_prompt": "q", "response": "a", **fields})


async def huggingplace(prompt: str) -> None:
    config: HuggingPlaceConfig = {
        "api_key": "k",
        "org_id": "o",
        "mode": "dev",
        "timeout": 500,
        "silent": True,
    }
    async with HuggingPlace(config) as client:
        receipt: Receipt = client.log(
            {
                "user_prompt": prompt,
                "response": "a",
                "user_id": "u1",
                "session_id": 5,
                "file_name": None,
                "llm_model": "m",
                "token_count": 150,
                "response_time": 2.5,
                "metadata": {"likes": 1, "own": [1, 2]},
                "user_metadata": {"email": "user@example.com"},
                "step_data": [{"id": 1, "type": "sql", "user_question": "q", "prompt_response": "a"}],
                "user_roles": "admin",
                "record_id": "order-1",
            }
        )
        await receipt
        print(receipt.id, receipt.done(), receipt.dropped)
        receipt.result(timeout=5)
        receipt.close()
        client.log(given_at_run_time({"llm_model": "m"}))
        step: LogStep = {"type": "sql", "user_question": "q", "prompt_response": "a"}
        await client.log_step(step)
        client.update_config({"api_key": "new", "previous_keys": ["k"]})
        client.update_config(mode="prod", base_url="https://example.com", org_id="o", timeout=100)
        stats: Stats = client.get_stats()
        print(stats["logs_sent"], client.health()["state"], client.get_config()["org_id"])
        print(await client.test_connection(), client.log_with_timing("q", lambda: 1, {"llm_model": "m"}))
    hp = HuggingPlace(api_key="k", org_id="o", mode="prod", base_url=None, batch_size=10, retry_delay=0.5)
    session: Session = hp.start_session("s", {"metadata": {"k": 1}})
    session.update_defaults(metadata={"k": 2}, user_metadata={"username": "u"})
    await session.log({"user_prompt": "q", "response": {"text": "a"}})
    await session.log_step({"type": "sql", "user_question": "q", "prompt_response": "a", "token": 1})
    print(session.session_id, session.get_session_info()["metadata"])
    with hp.start_session(5, {"k": 1}) as again, again.interaction("q", user_id="u") as interaction:
        interaction.response = "a"
        await again.score("solved", "partly")
    await interaction.score("thumbs", False, comment="no")
    hp.score("thumbs", 1, record_id=interaction.record_id, at=1.5).result()
    await hp.ashutdown()


def errors_are_told_apart(hp: HuggingPlace) -> None:
    try:
        hp.log({"user_prompt": "q", "response": "a"}).result()
    except (MissingKeyError, AuthenticationError, ValidationError, NetworkError, RateLimitError) as error:
        print(error.status, error.spooled, error.retry_after, error.record_id)
    except ServerError:
        raise
    except HuggingPlaceSDKError:
        raise
    try:
        print(PromptData("id", "name", "Hello {{name}}").render({}))
    except RenderError as error:
        print(error.missing)
    except ConfigurationError:
        raise
    except BanyanHPError:
        raise
