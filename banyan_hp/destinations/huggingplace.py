"""The HuggingPlace backend's wire format: path, headers, and what a record must look like.

Bodies are the caller's dict as it is, plus `org_id` and `mode`. Source: the published Python SDK.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from ..engine.http.transport import Request
from ..foreign import kind_of, number, put_aside
from .banyan import USER_AGENT
from .envelope import EnvelopeDestination

DEFAULT_BASE_URL = "https://anvsj57nul.execute-api.ap-south-1.amazonaws.com"
HOSTED: frozenset[str | None] = frozenset({urlsplit(DEFAULT_BASE_URL).hostname})
LOG_PATH = "/v2/chatgpt/store_generated_response"
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
        "token": number(step["token"]),
        "response_time": number(step["response_time"], per_second=1.0),
    }
    own = {name: value for name, value in step.items() if name not in numbers}
    own.update((name, value) for name, value in numbers.items() if value is not None)
    return {**body, "step_data": [own]}


def problem_with_log(options: object) -> str | None:
    """What is wrong with a record, in a sentence that names the field; None if nothing is."""
    if not isinstance(options, Mapping):
        return f"log() takes a dict, got {kind_of(options)}"
    return _missing(options, ("user_prompt", "response"))


def problem_with_step(step: object) -> str | None:
    """What is wrong with a step, in a sentence that names the field; None if nothing is."""
    if not isinstance(step, Mapping):
        return f"log_step() takes a dict, got {kind_of(step)}"
    return _missing(step, ("type", "user_question", "prompt_response", "token", "response_time"))


def _missing(options: Mapping[Any, Any], names: Sequence[str]) -> str | None:
    for name in names:
        if name not in options:
            return f"{name} is missing; it is required and must not be empty"
        value = options[name]
        if value is None or (isinstance(value, (str, list, tuple, dict)) and not value):
            return f"{name} must not be empty, was {kind_of(value)}"
    return None


def keep_numbers(body: MutableMapping[str, Any]) -> list[str]:
    """Make the numeric fields numbers; a value that is not a number of 0 or more moves to `metadata`.

    Returns:
        What was wrong with the values that moved, one sentence each.
    """
    wrong = []
    for name, per_second in _NUMBERS.items():
        value = body.get(name)
        if value is None or (type(value) is int and value >= 0):
            continue
        body[name] = number(value, per_second=per_second)
        if body[name] is None:
            del body[name]
            body["metadata"] = put_aside(body.get("metadata"), name, value, per_second)
            wrong.append(f"{name} must be a number, 0 or more, was {kind_of(value)}")
    return wrong


_NUMBERS = {"token_count": None, "response_time": 1.0}  # for times: the field's units in a second
