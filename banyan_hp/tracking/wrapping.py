"""Wrapping providers' clients: what the clients offer of it, as a class that they inherit.

What does it is imported when it is first used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeVar

from ..errors import ConfigurationError
from ..foreign import shown
from ..settings import CONTENT
from .sink import Sink

C = TypeVar("C")
Content = Literal["on", "off", "hash"]


def check_content(content: object) -> None:
    """Raises `ConfigurationError` where it is neither None nor one of the allowed words."""
    if content is not None and content not in CONTENT:
        raise ConfigurationError(
            f"content must be one of {', '.join(map(repr, CONTENT))}, was {shown(content)}"
        )


class Wrapping:
    """The methods that wrap."""

    def _sink(self) -> Sink[Any]:
        raise NotImplementedError

    def _sinks_of(self, content: Content | None) -> Callable[[], Sink[Any]]:
        """What makes the sinks of a wrapped client, whose records have this `content`."""
        if content is None:
            return self._sink
        check_content(content)

        def make() -> Sink[Any]:
            sink = self._sink()
            sink.content = content
            return sink

        return make

    def wrap_openai(self, client: C, *, content: Content | None = None) -> C:
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
            content: "off" or "hash": records of this client go without texts, as with `log_prompt`, and so
                does the record of an interaction that such a call is a step of.

        Returns:
            The same client.

        Raises:
            ConfigurationError: it is not such a client, or `content` is not allowed.
        """
        from .wrappers import wrap

        return wrap(client, "openai", self._sinks_of(content))

    def wrap_anthropic(self, client: C, *, content: Content | None = None) -> C:
        """As `wrap_openai`, for Anthropic's messages, `beta` included; not for `count_tokens` and batches."""
        from .wrappers import wrap

        return wrap(client, "anthropic", self._sinks_of(content))

    def wrap_google_genai(self, client: C, *, content: Content | None = None) -> C:
        """As `wrap_openai`, for a `Client` of `google-genai`, and for what its `aio` does.

        Recorded is each request of `models.generate_content`, `generate_content_stream`, chats, and
        `interactions.create`; not embeddings, images, videos, files, live sessions, nor
        `with_raw_response` of interactions. Where the package calls functions by itself, each of its
        requests is a record. Wrapping loads the package's module for interactions, if it has one.

        Raises:
            ConfigurationError: it is not such a client.
        """
        from .resources import wrap

        return wrap(client, "google_genai", self._sinks_of(content))

    def wrap_mistral(self, client: C, *, content: Content | None = None) -> C:
        """As `wrap_openai`, for a `Mistral` client: `complete`, `stream`, both `…_async`, and `chat.parse`.

        Of `chat`, `fim` and `agents`; not of conversations, embeddings, OCR, audio and batches.

        Raises:
            ConfigurationError: it is not such a client.
        """
        from .resources import wrap

        return wrap(client, "mistral", self._sinks_of(content))
