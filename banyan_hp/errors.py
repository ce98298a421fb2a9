"""Every exception that leaves this package.

BanyanHPError
├── ConfigurationError      a setting is wrong, or there is no configuration at all (also a ValueError)
├── AuthenticationError     no API key, or one the backend refuses
└── DeliveryError           handed to `on_error`, never raised: what a backend or the network answered
"""

from __future__ import annotations


class BanyanHPError(Exception):
    """The root: `except BanyanHPError` catches whatever this package raises on purpose."""


class ConfigurationError(BanyanHPError, ValueError):
    """A setting is wrong. The message names the setting, its value and what is allowed."""


class AuthenticationError(BanyanHPError):
    """No API key was given. The message names the argument and the environment variable to set."""


class DeliveryError(BanyanHPError):
    """Why an attempt to deliver failed, as `on_error` gets it.

    Attributes:
        reason: a short stable word: no_connection, timeout, bad_answer, status, refused, too_large, forbidden
        status: the HTTP status, or None where there was no answer.
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
