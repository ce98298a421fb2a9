"""All exceptions that this package raises.

BanyanHPError
├── ConfigurationError      a setting is wrong, or there is no configuration at all (also a ValueError)
├── RenderError             a prompt's placeholders have no variables (also a ValueError)
├── DeliveryError           passed to `on_error`, never raised: why an attempt to deliver failed
└── HuggingPlaceSDKError    the published SDK's root: why a record that was awaited is not delivered
    ├── AuthenticationError there is no API key, or the backend refuses it
    │   └── MissingKeyError     (also a ValidationError, which published code catches)
    ├── ValidationError     the record or an argument is wrong
    ├── NetworkError        no connection, a timeout, or a response that could not be read
    ├── RateLimitError      the backend limits the rate of requests
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
    """The root: `except BanyanHPError` catches everything that this package raises on purpose."""


class ConfigurationError(BanyanHPError, ValueError):
    """A setting is wrong. The message names the setting, its value and what is allowed."""


class RenderError(BanyanHPError, ValueError):
    """A prompt was rendered, but not all of its `{{…}}` could be filled.

    Attributes:
        prompt_name: the prompt's name.
        missing: the names without a variable, and anything else in double braces as it is written
            (`{{#section}}`); each once, in the order of the text.
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
    """Why an attempt to deliver failed. Passed to `on_error`.

    Attributes:
        reason: a short stable word: no_connection, timeout, bad_answer, status, refused, too_large, forbidden
        status: the HTTP status; None without a response.
        url: where the request went.
        retry_after: seconds that the backend asked to wait, or None.
        record_ids: the records of the attempt, at most 100 of them.
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
    """A record is not delivered (yet). Raised by `await receipt` and `receipt.result()`.

    Attributes:
        spooled: True if the record is safe on disk and will be sent; don't log it again.
        status: the HTTP status; None without a response.
        retry_after: seconds that the backend asked to wait, or None.
        record_id: the record's id; None if it was not accepted.
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
    """The backend could not be reached, did not respond in time, or its response could not be read."""


class RateLimitError(HuggingPlaceSDKError):
    """The backend responded with 429."""


class ServerError(HuggingPlaceSDKError):
    """The backend responded with 5xx, or with a status that a wrong URL gets."""
