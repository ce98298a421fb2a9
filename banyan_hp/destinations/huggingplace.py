"""The HuggingPlace backend's wire format: path, headers, and what a record must look like.

Bodies are the caller's dict as it is, plus `org_id` and `mode`. Source: the published Python SDK.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from ..engine.records import Record, describe
from ..engine.retry import Verdict, event_time
from ..engine.transport import Request, Response
from . import envelope
from .banyan import USER_AGENT

DEFAULT_BASE_URL = "https://anvsj57nul.execute-api.ap-south-1.amazonaws.com"
HOSTED = frozenset({urlsplit(DEFAULT_BASE_URL).hostname})
LOG_PATH = "/v2/chatgpt/store_generated_response"
BATCH_PATH = LOG_PATH + "/batch"
MODES = ("prod", "dev")


class HuggingPlaceDestination:
    """One HuggingPlace backend, organisation and key."""

    shortens = False

    def __init__(self, base_url: str, api_key: str, org_id: str) -> None:
        self.base_url = base_url
        self.key = api_key
        self.identity: tuple[str, ...] = ("huggingplace", base_url, org_id)
        self.may_batch = urlsplit(base_url).hostname not in HOSTED
        self._headers = MappingProxyType(
            {
                "Authorization": f"Bearer {api_key}",
                "Content-Type": "application/json",
                "User-Agent": USER_AGENT,
            }
        )

    def single(self, record: Record) -> Request:
        headers = {
            **self._headers,
            "Idempotency-Key": record.id,
            "X-Event-Time": event_time(record.time),
        }
        return self.post(record.body or b"", headers)

    def post(self, body: bytes, headers: Mapping[str, str] | None = None) -> Request:
        return Request("POST", self.base_url + LOG_PATH, headers or self._headers, body)

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
        """None: there is no call that checks a key without writing a record."""
        return None

    def __repr__(self) -> str:
        return f"<HuggingPlaceDestination {self.base_url}>"


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
    return {**body, "step_data": [step]}


def problem_with_log(options: object) -> str | None:
    """What is wrong with a record, in a sentence that names the field; None if nothing is."""
    if not isinstance(options, Mapping):
        return f"log() takes a dict, got {describe(options)}"
    return _missing(options, ("user_prompt", "response")) or _negative(
        options, ("token_count", "response_time"), required=False
    )


def problem_with_step(step: object) -> str | None:
    """What is wrong with a step, in a sentence that names the field; None if nothing is."""
    if not isinstance(step, Mapping):
        return f"log_step() takes a dict, got {describe(step)}"
    return _missing(step, ("type", "user_question", "prompt_response")) or _negative(
        step, ("token", "response_time"), required=True
    )


def _missing(options: Mapping[Any, Any], names: Sequence[str]) -> str | None:
    for name in names:
        if name not in options:
            return f"{name} is missing; it is required and must not be empty"
        value = options[name]
        if value is None or (isinstance(value, (str, list, tuple, dict)) and not value):
            return f"{name} must not be empty, was {describe(value)}"
    return None


def _negative(options: Mapping[Any, Any], names: Sequence[str], *, required: bool) -> str | None:
    for name in names:
        value = options.get(name)
        if value is None and not required:
            continue
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not 0 <= value < math.inf:  # type: ignore[operator]
            return f"{name} must be a number, 0 or more, was {describe(value)}"
    return None
