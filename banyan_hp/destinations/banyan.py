"""The Banyan backend's wire format (Prompt Stack Manager): paths, headers, field names.

Bodies are exactly what the published client sends; what we add (id, time) travels in headers.
Source: banyan-sdk 1.0.0 and 1.0.1.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from .._version import __version__
from ..engine.records import Record
from ..engine.retry import Verdict, event_time
from ..engine.transport import Request, Response
from . import envelope

DEFAULT_BASE_URL = "https://banyan-smpms.ondigitalocean.app"
HOSTED = frozenset({"app.usebanyan.com", "banyan-smpms.ondigitalocean.app"})
USAGE_PATH = "/api/logs/prompt-usage"
BATCH_PATH = "/api/logs/prompt-usage/batch"
VALIDATE_PATH = "/api/auth/validate"
USER_AGENT = f"banyan-hp/{__version__} python/{platform.python_version()}"


def headers_for(api_key: str, project_id: str | None) -> dict[str, str]:
    """The headers of every call."""
    headers = {"X-API-Key": api_key, "Content-Type": "application/json", "User-Agent": USER_AGENT}
    if project_id is not None:
        headers["X-Project-Id"] = project_id
    return headers


def usage_body(
    *,
    input: Any,  # noqa: A002 - the wire's name
    output: Any,
    metadata: Mapping[str, Any] | None,
    **optional: Any,
) -> dict[str, Any]:
    """The body of one usage record; `optional` fields that are None are left out."""
    body = {"input": input, "output": output, "metadata": metadata if metadata is not None else {}}
    body.update((name, value) for name, value in optional.items() if value is not None)
    return body


class BanyanDestination:
    """One Banyan backend, project and key."""

    shortens = True

    def __init__(self, base_url: str, api_key: str, project_id: str | None) -> None:
        self.base_url = base_url
        self.key = api_key
        self.identity: tuple[str, ...] = ("banyan", base_url, project_id or "")
        self.may_batch = urlsplit(base_url).hostname not in HOSTED
        self._headers = MappingProxyType(headers_for(api_key, project_id))

    def single(self, record: Record) -> Request:
        headers = {
            **self._headers,
            "Idempotency-Key": record.id,
            "X-Event-Time": event_time(record.time),
        }
        return Request("POST", self.base_url + USAGE_PATH, headers, record.body or b"")

    def batch(self, records: Sequence[Record], *, compress: bool) -> Request:
        body = envelope.batch_body(records)
        return Request("POST", self.base_url + BATCH_PATH, self._headers, body, compress)

    def verdict(self, response: Response, now: float) -> Verdict:
        return envelope.verdict(response, now)

    def verdicts(self, records: Sequence[Record], response: Response, now: float) -> list[Verdict]:
        return envelope.verdicts(records, response, now)

    def takes_batches(self, response: Response) -> tuple[bool, bool]:
        return envelope.takes_batches(response)

    def key_check(self) -> Request | None:
        return Request("GET", self.base_url + VALIDATE_PATH, self._headers)

    def __repr__(self) -> str:
        return f"<BanyanDestination {self.base_url}>"
