"""What the clients offer of tracking, as classes that they inherit: one for each client.

The rest of the room is imported when it is first used: most processes only log.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from ..foreign import as_dict
from .sink import Contained, Sink

if TYPE_CHECKING:
    from ..prompts.data import PromptData
    from ..types import LogOptions
    from .client_sinks import BanyanSink, HuggingPlaceSink
    from .interaction import Interaction, Step


F = TypeVar("F", bound=Callable[..., Any])
C = TypeVar("C")
T = TypeVar("T")
Receipt = TypeVar("Receipt")

FindPrompt = str | Callable[..., Any] | None


@cache
def sinks() -> ModuleType:
    """The module of the clients' sinks. Cached, as even a second import takes longer than making a sink."""
    from . import client_sinks

    return client_sinks


class Tracking:
    """What is the same for both clients."""

    def _sink(self) -> Sink[Any]:
        raise NotImplementedError

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

    def wrap_openai(self, client: C) -> C:
        """Log every call of a model by an OpenAI client, sync or async, and by the clients made from it.

        Recorded are chat completions, completions and responses, in whatever way they are asked for: by
        `create`, `parse` and `stream`, `with_raw_response` and `with_streaming_response`, `beta`, the
        client's own `post`, frameworks that use the client. A response in the background is one record, made
        when its end is fetched by `retrieve`. Embeddings, images, speech and transcriptions are recorded
        without vectors, pictures and sound. Not recorded: batches, files, moderations, videos, assistants,
        realtime and WebSocket connections.

        Inside of an open interaction of this client a completion is a step of it, elsewhere a record of its
        own: with the messages as input (HuggingPlace: the last one of a user), the answer's text with the
        tool calls as lines, model, tokens, time, and the error where there was one, which is raised as it
        came; with parameters, tools and their number in the metadata, and the provider where the client's
        class or its base URL tells. The response is read on the logger's threads.

        Streams pass as they come; their record is written when they are exhausted, closed, raise, or are
        garbage-collected, with the time to the first chunk, and with tokens where the provider sends them
        (OpenAI: with your `stream_options={"include_usage": True}`; it is not added for you).

        Args:
            client: `OpenAI`, `AsyncOpenAI`, `AzureOpenAI`, or one that holds such a client as `client`.
                Its `request`, `copy` and `with_options` are replaced; it stays the object that it was, of
                its class. Of an object that only looks like one (a fake in a test) `create` and `parse` of
                `chat.completions`, `responses` and `completions` are replaced. Wrapping it again changes
                nothing; by another logger the records go to that one.

        Returns:
            The same client.

        Raises:
            ConfigurationError: it is not such a client.
        """
        from .wrappers import wrap

        return wrap(client, "openai", self._sink)

    def wrap_anthropic(self, client: C) -> C:
        """As `wrap_openai`, for Anthropic's messages, `beta` included; not for `count_tokens` and batches."""
        from .wrappers import wrap

        return wrap(client, "anthropic", self._sink)

    def wrap_google_genai(self, client: C) -> C:
        """As `wrap_openai`, for a `Client` of `google-genai`, and for what its `aio` does.

        Recorded is each request of `models.generate_content`, `generate_content_stream`, chats, and
        `interactions.create`; not embeddings, images, videos, files, live sessions, nor
        `with_raw_response` of interactions. Where the package calls functions by itself, each of its
        requests is a record. Wrapping loads the package's module for interactions, if it has one.

        Raises:
            ConfigurationError: it is not such a client.
        """
        from .resources import wrap

        return wrap(client, "google_genai", self._sink)

    def wrap_mistral(self, client: C) -> C:
        """As `wrap_openai`, for a `Mistral` client: `complete`, `stream`, both `…_async`, and `chat.parse`.

        Of `chat`, `fim` and `agents`; not of conversations, embeddings, OCR, audio and batches.

        Raises:
            ConfigurationError: it is not such a client.
        """
        from .resources import wrap

        return wrap(client, "mistral", self._sink)


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
            fields: further fields of the record, e.g. `user_id`, `session_id`; they win over what is
                measured.
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
            ConfigurationError: not a function, or it has no argument `prompt`.
        """

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
        """
        prompt = {
            "prompt_data": prompt_data,
            "prompt_id": prompt_id,
            "prompt_name": prompt_name,
            "version": version,
            "branch_name": branch_name,
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

        Raises:
            ConfigurationError: not a function, or it has no argument `prompt`.
        """

        def opened(question: Any) -> Any:
            if step is not None:
                return self._open_step(step, question, model, metadata, {})
            return self.interaction(question, prompt_data, model, metadata=metadata, prompt_name=prompt_name)

        return self._decorated(function, opened, prompt)
