"""What the clients offer of tracking, as classes that they inherit: one for each client.

The rest of the room is imported when it is first used: most processes only log.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from ..foreign import as_dict
from .sink import Contained
from .wrapping import Content, Wrapping, check_content

if TYPE_CHECKING:
    from ..prompts.data import PromptData
    from ..types import LogOptions
    from .client_sinks import BanyanSink, HuggingPlaceSink
    from .interaction import Interaction, Step


F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")
Receipt = TypeVar("Receipt")

FindPrompt = str | Callable[..., Any] | None


@cache
def sinks() -> ModuleType:
    """The module of the clients' sinks. Cached, as even a second import takes longer than making a sink."""
    from . import client_sinks

    return client_sinks


class Tracking(Wrapping):
    """What is the same for both clients."""

    def step(
        self,
        type: str,  # noqa: A002 - the wire's name
        user_question: Any = None,
        *,
        llm_model: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> Step:
        """A step of the innermost interaction of this client that is open here; for a `with`.

        As `Interaction.step`, for code that does not have the interaction at hand. Where none is open, the
        step is logged by itself.
        """
        return self._open_step(type, user_question, llm_model, metadata, fields)

    def _open_step(
        self,
        type: str,  # noqa: A002 - the wire's name
        question: Any,
        llm_model: str | None,
        metadata: Mapping[str, Any] | None,
        fields: Mapping[str, Any],
    ) -> Step:
        from .interaction import Step, open_interaction

        sink = self._sink()
        around = open_interaction(sink.client)
        if around is not None:
            return around._open_step(type, question, llm_model, metadata, fields)
        return Step(sink, type, question, llm_model=llm_model, metadata=metadata, fields=fields)

    def _decorated(
        self, function: Callable[..., Any] | None, opened: Callable[[Any], Any], prompt: FindPrompt
    ) -> Any:
        """What `trace` returns, with or without arguments: `@trace` or `@trace(…)`."""
        from .trace import traced

        def decorate(each: Callable[..., Any]) -> Any:
            return traced(each, opened, self._sink, prompt)

        return decorate if function is None else decorate(function)


class HuggingPlaceTracking(Tracking, Generic[Receipt]):
    """`HuggingPlace` and `Session`: records with `response_time` in seconds, and `step_data`.

    Generic in what the client's `log` returns.
    """

    def _sink(self) -> HuggingPlaceSink[Receipt]:
        raise NotImplementedError

    def interaction(
        self,
        user_prompt: Any,
        llm_model: str | None = None,
        *,
        metadata: Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> Interaction[Receipt]:
        """Measure and log an interaction: `with client.interaction("…") as it: it.response = ask_model("…")`.

        Works in `with` and `async with`. Logged once, at the end, also when the body raises. Times, tokens
        and steps (`it.step(…)`, `client.step(…)`, wrapped clients) come by themselves: in tasks made
        inside, too; in threads where `it.step` is called on the interaction itself, or that were handed the
        context (see `banyan_hp.context`). In a generator that is iterated over elsewhere use `trace`.

        Args:
            user_prompt: text, or messages, of which the last one of a user is taken.
            llm_model: default: the response's.
            metadata: to begin with; `it.metadata` can be added to.
            fields: further fields of the record, e.g. `user_id`, `session_id`, `content`; they win over what
                is measured.
        """
        return self._sink().interaction(user_prompt, llm_model, metadata, fields)

    @overload
    def trace(self, function: F, /) -> F: ...

    @overload
    def trace(
        self,
        /,
        *,
        prompt: FindPrompt = None,
        step: str | None = None,
        llm_model: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> Callable[[F], F]: ...

    def trace(
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        prompt: FindPrompt = None,
        step: str | None = None,
        llm_model: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> Any:
        """Log each call of a function or method: `@client.trace`, or `@client.trace(prompt="question")`.

        For plain, async, generator and async generator functions, which stay what they are: signature, type
        and name. What they return is the response (text, or a provider's response object); of generators,
        what they yield, put together. Exceptions are recorded and raised as they come. A call inside of a
        traced one is an interaction of its own that names the outer one (`parent_interaction_id`), or, with
        `step`, a step of it.

        Args:
            function: given where the decorator has no arguments.
            prompt: the name of the argument that is the prompt; or a function of all arguments that returns
                it. Default: the first of `prompt, user_prompt, question, user_question, query, input,
                user_input, message, messages, text, content` that there is, else the first argument.
            step: the type of step that a call is, instead of an interaction.
            llm_model: default: the response's.
            metadata: of each record.
            fields: further fields of each record.

        Raises:
            ConfigurationError: not a function, or it has no argument `prompt`; or `content` is not allowed.
        """
        check_content(fields.get("content"))

        def opened(question: Any) -> Any:
            if step is not None:
                return self._open_step(step, question, llm_model, metadata, fields)
            return self._sink().interaction(question, llm_model, metadata, fields)

        return self._decorated(function, opened, prompt)

    @overload
    def log_with_timing(
        self,
        user_prompt: Any,
        fn: Callable[[], Awaitable[T]],
        options: LogOptions | None = None,
    ) -> Coroutine[Any, Any, T]: ...

    @overload
    def log_with_timing(
        self, user_prompt: Any, fn: Callable[[], T], options: LogOptions | None = None
    ) -> T: ...

    def log_with_timing(
        self, user_prompt: Any, fn: Callable[[], Any], options: LogOptions | None = None
    ) -> Any:
        """Call `fn`, log what it returned and how long it took, and return it.

        Args:
            user_prompt: what it is asked.
            fn: takes no arguments; of an async one the result is to be awaited, as in published code.
            options: further fields of the record, e.g. `llm_model`, `metadata`; they win.
        """
        from .trace import traced

        own: dict[str, Any] = {}
        with Contained(self._sink(), "the options of log_with_timing() could not be read"):
            own = as_dict(options) if options is not None else {}
        model, metadata = own.pop("llm_model", None), own.pop("metadata", None)

        def opened(question: Any) -> Any:
            return self._sink().interaction(question, model, metadata, own)

        return traced(lambda: fn(), opened, self._sink, lambda: user_prompt)()


class BanyanTracking(Tracking):
    """`PromptStackLogger` and the module functions: records with `duration_ms`."""

    def _sink(self) -> BanyanSink:
        raise NotImplementedError

    def interaction(
        self,
        input: Any,  # noqa: A002 - the published name
        prompt_data: PromptData | None = None,
        model: str | None = None,
        *,
        metadata: Mapping[str, Any] | None = None,
        prompt_id: str | None = None,
        prompt_name: str | None = None,
        version: str | None = None,
        branch_name: str | None = None,
        content: Content | None = None,
    ) -> Interaction[bool]:
        """Measure and log one use of a prompt: `with banyan.interaction("…") as it: it.response = …`.

        Works in `with` and `async with`. Logged once, at the end, also when the body raises, by
        `log_prompt`, whose arguments these are. Times, tokens and steps (`it.step(…)`, `client.step(…)`,
        wrapped clients) come by themselves: in tasks made inside, too; in threads where `it.step` is called
        on the interaction itself, or that were handed the context (see `banyan_hp.context`). In a generator
        that is iterated over elsewhere use `trace`.

        Args:
            input: text, or messages as a list or dict.
            prompt_data: from `get_prompt`.
            model: default: the response's.
            metadata: to begin with; `it.metadata` can be added to.
            prompt_id: as of `log_prompt`.
            prompt_name: likewise.
            version: likewise.
            branch_name: likewise.
            content: likewise.
        """
        prompt = {
            "prompt_data": prompt_data,
            "prompt_id": prompt_id,
            "prompt_name": prompt_name,
            "version": version,
            "branch_name": branch_name,
            "content": content,
        }
        given = {name: value for name, value in prompt.items() if value is not None}
        return self._sink().interaction(input, model, metadata, given)

    @overload
    def trace(self, function: F, /) -> F: ...

    @overload
    def trace(
        self,
        /,
        *,
        prompt: FindPrompt = None,
        step: str | None = None,
        model: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        prompt_data: PromptData | None = None,
        prompt_name: str | None = None,
        content: Content | None = None,
    ) -> Callable[[F], F]: ...

    def trace(
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        prompt: FindPrompt = None,
        step: str | None = None,
        model: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        prompt_data: PromptData | None = None,
        prompt_name: str | None = None,
        content: Content | None = None,
    ) -> Any:
        """Log each call of a function or method: `@banyan.trace`, or `@banyan.trace(prompt="question")`.

        For plain, async, generator and async generator functions, which stay what they are: signature, type
        and name. What they return is the output (text, or a provider's response object); of generators,
        what they yield, put together. Exceptions are recorded and raised as they come. A call inside of a
        traced one is an interaction of its own that names the outer one (`parent_interaction_id`), or, with
        `step`, a step of it.

        Args:
            function: given where the decorator has no arguments.
            prompt: the name of the argument that is the prompt; or a function of all arguments that returns
                it. Default: the first of `prompt, user_prompt, question, user_question, query, input,
                user_input, message, messages, text, content` that there is, else the first argument.
            step: the type of step that a call is, instead of an interaction.
            model: default: the response's.
            metadata: of each record.
            prompt_data: as of `log_prompt`.
            prompt_name: likewise.
            content: likewise; of a step it holds for the record of its interaction.

        Raises:
            ConfigurationError: not a function, or it has no argument `prompt`; or `content` is not allowed.
        """
        check_content(content)
        own = {} if content is None else {"content": content}

        def opened(question: Any) -> Any:
            if step is not None:
                return self._open_step(step, question, model, metadata, own)
            return self.interaction(
                question, prompt_data, model, metadata=metadata, prompt_name=prompt_name, content=content
            )

        return self._decorated(function, opened, prompt)
