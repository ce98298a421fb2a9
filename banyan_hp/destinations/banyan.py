"""The Banyan backend's wire format (Prompt Stack Manager): paths, headers, field names.

Bodies are exactly what the published client sends; what we add (id, time) travels in headers.
Source: banyan-sdk 1.0.0 and 1.0.1.
"""

from __future__ import annotations

import sys

from .._version import __version__
from ..engine.http.transport import Request
from .envelope import EnvelopeDestination

DEFAULT_BASE_URL = "https://banyan-smpms.ondigitalocean.app"
HOSTED: frozenset[str | None] = frozenset({"app.usebanyan.com", "banyan-smpms.ondigitalocean.app"})
USAGE_PATH = "/api/logs/prompt-usage"
BATCH_PATH = USAGE_PATH + "/batch"
VALIDATE_PATH = "/api/auth/validate"
PATHS = (
    *(USAGE_PATH, BATCH_PATH, VALIDATE_PATH, "/api/logs", "/api/logs/count", "/api/logs/prompt"),
    *("/api/logs/cli/prompts", "/api/experiments", "/api/experiments/route", "/api/projects"),
)
"""All paths of the API, in which a base URL must not end."""
USER_AGENT = f"banyan-hp/{__version__} python/{'.'.join(map(str, sys.version_info[:3]))}"


def headers_for(api_key: str, project_id: str | None) -> dict[str, str]:
    """The headers of every call."""
    headers = {"X-API-Key": api_key, "Content-Type": "application/json", "User-Agent": USER_AGENT}
    if project_id is not None:
        headers["X-Project-Id"] = project_id
    return headers


class BanyanDestination(EnvelopeDestination):
    """One Banyan backend, project and key."""

    hosted = HOSTED
    single_path = USAGE_PATH

    def __init__(self, base_url: str, api_key: str, project_id: str | None) -> None:
        super().__init__(base_url, api_key, headers_for(api_key, project_id))
        self.identity = ("banyan", base_url, project_id or "")

    def key_check(self) -> Request | None:
        return Request("GET", self.base_url + VALIDATE_PATH, self._headers)
