"""Every exception that leaves this package.

BanyanHPError
├── ConfigurationError      a setting is wrong, or there is no configuration at all (also a ValueError)
├── RenderError             a prompt's placeholders have no variables (also a ValueError)
├── DeliveryError           handed to `on_error`, never raised: why an attempt to deliver failed
└── HuggingPlaceSDKError    the published SDK's root: what became of a record that was waited for
    ├── AuthenticationError no API key, or one the backend refuses
    │   └── MissingKeyError     (also a ValidationError, which published code catches)
    ├── ValidationError     the record, or an argument, is not as it should be
    ├── NetworkError        no connection, a timeout, a response that could not be read
    ├── RateLimitError      the backend asked for patience
    └── ServerError         the backend failed
"""

from __future__ import annotations

__all__ = [
    "AuthenticationError",
    "BanyanHPError",
    "ConfigurationError",
    "DeliveryError",
    "HuggingPlaceSDKError",
    "MissingKeyError",
    "NetworkError",
    "RateLimitError",
    "RenderError",
    "ServerError",
    "ValidationError",
]


class BanyanHPError(Exception):
    """The root: `except BanyanHPError` catches whatever this package raises on purpose."""


class ConfigurationError(BanyanHPError, ValueError):
    """A setting is wrong. The message names the setting, its value and what is allowed."""


class RenderError(BanyanHPError, ValueError):
    """A prompt was rendered, and not all of its `{{…}}` could be filled.

    Attributes:
        prompt_name: the prompt.
        missing: in the order of the text, each once: the names without a variable, and whatever else stands
            in double braces, as it is written (`{{#section}}`).
    """

    def __init__(self, prompt_name: str, missing: tuple[str, ...]) -> None:
        super().__init__(prompt_name, missing)
        self.prompt_name = prompt_name
        self.missing = missing

    def __str__(self) -> str:
        names = [repr(each) for each in self.missing if not each.startswith("{{")]
        others = [each for each in self.missing if each.startswith("{{")]
        wanting = [f"needs a value for {', '.join(names)}"] if names else []
        if others:
            wanting.append(f"has {', '.join(others)}, where only names like {{{{name}}}} can be filled")
        return f"the prompt {self.prompt_name!r} {' and '.join(wanting)}"


class DeliveryError(BanyanHPError):
    """Why an attempt to deliver failed, as `on_error` gets it.

    Attributes:
        reason: a short stable word: no_connection, timeout, bad_answer, status, refused, too_large, forbidden
        status: the HTTP status, or None without a response.
        url: where it was sent.
        retry_after: seconds the backend asked to wait, or None.
        record_ids: the records concerned, at most 100 of them.
    """

    def __init__(
        self,
        message: str,
        *,
        reason: str,
        status: int | None = None,
        url: str = "",
        retry_after: float | None = None,
        record_ids: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.status = status
        self.url = url
        self.retry_after = retry_after
        self.record_ids = record_ids


class HuggingPlaceSDKError(BanyanHPError):
    """A record was not delivered (yet). Raised where its receipt is awaited or asked for its result.

    Attributes:
        spooled: True: the record is safe on disk and will be sent; don't log it again.
        status: the HTTP status, or None without a response.
        retry_after: seconds the backend asked to wait, or None.
        record_id: the record's id, or None where it was not accepted.
    """

    def __init__(
        self,
        message: str,
        *,
        spooled: bool = False,
        status: int | None = None,
        retry_after: float | None = None,
        record_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.spooled = spooled
        self.status = status
        self.retry_after = retry_after
        self.record_id = record_id


class AuthenticationError(HuggingPlaceSDKError):
    """No API key was given, or the backend refuses it."""


class ValidationError(HuggingPlaceSDKError):
    """A record or an argument is wrong. The message names it, what it was and what it should be."""


class MissingKeyError(AuthenticationError, ValidationError):
    """No API key was given. The message names the argument and the environment variable to set."""


class NetworkError(HuggingPlaceSDKError):
    """The backend could not be reached, or did not respond in time, or not understandably."""


class RateLimitError(HuggingPlaceSDKError):
    """The backend responded with status 429."""


class ServerError(HuggingPlaceSDKError):
    """The backend responded with a status of 5xx, or as a wrong address does."""
