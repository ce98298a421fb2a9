"""The HuggingPlace backend's wire format: path, headers, and the body of a step.

Bodies are the caller's dict as it is, plus `org_id` and `mode`. Source: the published Python SDK.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from ..engine.http.transport import Request
from ..foreign import number
from .banyan import USER_AGENT
from .envelope import EnvelopeDestination

DEFAULT_BASE_URL = "https://anvsj57nul.execute-api.ap-south-1.amazonaws.com"
HOSTED: frozenset[str | None] = frozenset({urlsplit(DEFAULT_BASE_URL).hostname})
LOG_PATH = "/v2/chatgpt/store_generated_response"
PATHS = (LOG_PATH, f"{LOG_PATH}/batch", "/v2/chatgpt", "/api/interactions", "/api/interactions/count")
"""All paths of the API, in which a base URL must not end."""
MODES = ("prod", "dev")


class HuggingPlaceDestination(EnvelopeDestination):
    """One HuggingPlace backend, organisation and key."""

    hosted = HOSTED
    single_path = LOG_PATH

    def __init__(self, base_url: str, api_key: str, org_id: str) -> None:
        headers = {
            "Authorization": f"Bearer {api_key}",
            "Content-Type": "application/json",
            "User-Agent": USER_AGENT,
        }
        super().__init__(base_url, api_key, headers)
        self.identity = ("huggingplace", base_url, org_id)

    def post(self, body: bytes) -> Request:
        """A request that logs `body`, without a record's id and time."""
        return Request("POST", self.base_url + LOG_PATH, self._headers, body)

    def key_check(self) -> Request | None:
        """None: there is no call that checks a key without writing a record."""
        return None


def step_body(step: Mapping[str, Any]) -> dict[str, Any]:
    """The body that carries one step by itself; fields that the step does not have are left out."""
    names = {
        "user_prompt": "user_question",
        "response": "prompt_response",
        "llm_model": "llm_model",
        "token_count": "token",
        "response_time": "response_time",
    }
    body = {name: step[source] for name, source in names.items() if source in step}
    numbers = {
        "token": number(step.get("token")),
        "response_time": number(step.get("response_time"), per_second=1.0),
    }
    own = {name: value for name, value in step.items() if name not in numbers}
    own.update((name, value) for name, value in numbers.items() if value is not None)
    return {**body, "step_data": [own]}
