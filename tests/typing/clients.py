"""The types of the module functions, as an application's type checker sees them. Checked, never run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import banyan_hp as banyan
from banyan_hp import ExperimentResults, FlushResult, PromptData, PromptStackLogger
from banyan_hp.types import LoggerStats

if TYPE_CHECKING:
    from typing import assert_type

    def functions_have_the_signatures_of_the_methods() -> None:
        assert_type(banyan.get_prompt("name", branch="main", fallback=lambda: "text"), PromptData | None)
        assert_type(banyan.experiment("id", {"user_id": "u"}), PromptData | None)
        assert_type(banyan.prefetch(["name"]), int)
        assert_type(banyan.log_prompt("question", "answer", model="m"), bool)
        assert_type(banyan.log("question", "answer", duration_ms=1.5), bool)
        assert_type(banyan.score("thumbs", True, record_id="r", at=1.5), bool)
        assert_type(banyan.feedback_token("r", ["thumbs"], ttl=60), str)
        assert_type(banyan.experiment_results("id", segment=1), ExperimentResults)
        assert_type(banyan.flush(timeout=3), FlushResult)
        assert_type(banyan.shutdown(), FlushResult)
        assert_type(banyan.get_stats(), LoggerStats)

    def a_fallback_that_is_there_is_a_prompt(logger: PromptStackLogger, prompt: PromptData) -> None:
        assert_type(banyan.get_prompt("name", fallback="text"), PromptData)
        assert_type(banyan.get_prompt("name", fallback=prompt), PromptData)
        assert_type(banyan.get_prompt("name", fallback=None), PromptData | None)
        assert_type(banyan.get_prompt("name"), PromptData | None)
        assert_type(logger.get_prompt("name", "1.0", fallback="text").content, str)
        assert_type(logger.get_prompt("name", label="staging"), PromptData | None)

    async def a_fallback_makes_no_coroutine_less(logger: PromptStackLogger) -> None:
        assert_type(await banyan.aget_prompt("name", fallback="text"), PromptData)
        assert_type(await logger.aget_prompt("name", fallback="text"), PromptData)

    async def coroutines_stay_coroutines() -> None:
        assert_type(await banyan.aget_prompt("name"), PromptData | None)
        assert_type(await banyan.aflush(3), FlushResult)
        assert_type(await banyan.ashutdown(), FlushResult)

    def wrong_calls_are_errors() -> None:
        banyan.get_prompt()  # type: ignore[call-overload]
        banyan.flush(timout=3)  # type: ignore[call-arg]
        banyan.invalidate(1)  # type: ignore[arg-type]
        banyan.score("thumbs", None)  # type: ignore[arg-type]
