"""The types of tracking, as an application's type checker sees them. Checked, never run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import TYPE_CHECKING, Any

import anthropic
import openai

import banyan_hp as banyan
from banyan_hp import HuggingPlace, Interaction, PromptStackLogger, Receipt, Session, Step

if TYPE_CHECKING:
    from typing import assert_type

    @banyan.trace
    def plain(question: str, *, deep: bool = False) -> int:
        return len(question)

    @banyan.trace(prompt="question", model="m")
    async def coroutine(topic: str, question: str) -> list[str]:
        return [topic, question]

    @banyan.trace
    def generator(question: str) -> Iterator[str]:
        yield question

    @banyan.trace(step="retrieval")
    async def async_generator(question: str) -> AsyncIterator[bytes]:
        yield question.encode()

    class Service:
        @banyan.trace
        def method(self, question: str) -> float:
            return 1.0

        @staticmethod
        @banyan.trace
        def static(question: str) -> str:
            return question

    def decorated_functions_keep_their_types() -> None:
        """With arguments and without, of all kinds, methods included."""
        assert_type(plain("q", deep=True), int)
        plain(1)  # type: ignore[arg-type]
        plain("q", shallow=True)  # type: ignore[call-arg]
        waiting: Coroutine[Any, Any, list[str]] = coroutine("t", "q")
        waiting.close()
        assert_type(generator("q"), Iterator[str])
        assert_type(async_generator("q"), AsyncIterator[bytes])
        assert_type(Service().method("q"), float)
        Service().method(1)  # type: ignore[arg-type]
        assert_type(Service.static("q"), str)

    def clients_differ_in_their_receipts(
        hp: HuggingPlace, session: Session, logger: PromptStackLogger
    ) -> None:
        """`Receipt` or bool."""
        with hp.interaction("q", llm_model="m", user_id="u") as it, it.step("s") as step:
            assert_type(it, Interaction[Receipt])
            assert_type(it.receipt, Receipt | None)
            assert_type(step, Step)
        assert_type(session.interaction("q"), Interaction[Receipt])
        assert_type(logger.interaction("q", model="m"), Interaction[bool])
        assert_type(banyan.interaction("q").receipt, bool | None)
        banyan.interaction("q", nope=1)  # type: ignore[call-arg]

    async def timed_calls_return_what_they_call(hp: HuggingPlace, ask: Callable[[], int]) -> None:
        """Sync and async."""

        async def later() -> str:
            return ""

        assert_type(hp.log_with_timing("q", ask), int)
        assert_type(await hp.log_with_timing("q", later, {"llm_model": "m"}), str)

    def wrapped_clients_keep_their_types(
        hp: HuggingPlace, gpt: openai.AsyncOpenAI, claude: anthropic.Anthropic
    ) -> None:
        """So do their methods."""
        assert_type(hp.wrap_openai(gpt), openai.AsyncOpenAI)
        assert_type(banyan.wrap_anthropic(claude), anthropic.Anthropic)

    async def contexts_are_for_a_with() -> None:
        """And decorate; interactions are for an `async with`, too."""
        with banyan.context(user_id="u", session_id=3):
            pass

        @banyan.context(user_id="u")
        def work(number: int) -> str:
            return str(number)

        assert_type(work(1), str)
        async with banyan.interaction("q") as it:
            assert_type(it, Interaction[bool])
