"""What the backend's reply to a question says: an answer, the same as before, or that there is none."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from ..engine.http.transport import NoResponse, Response


@dataclass(frozen=True, slots=True)
class Told:
    """An answer, its size in bytes, the tag to ask with the next time, and its age in seconds."""

    answer: dict[str, Any]
    size: int
    etag: str | None
    age: float = 0.0


@dataclass(frozen=True, slots=True)
class Unchanged:
    """What was asked with its tag still holds, or did so many seconds ago."""

    age: float = 0.0


class Gone:
    """There is none, for any user."""


Reply = Told | Unchanged | Gone


def read(response: Response | NoResponse) -> Reply:
    """What it says.

    Raises:
        ValueError: nothing that can be used.
    """
    if isinstance(response, NoResponse):
        raise ValueError(response.detail)
    answer = _json_object(response)
    if response.status == 304:
        return Unchanged(_age(response))
    if response.status == 404 and answer is not None and ("error" in answer or "message" in answer):
        return Gone()
    if 200 <= response.status <= 201 and answer is not None:
        return Told(answer, len(response.body), _etag(response), _age(response))
    raise ValueError(f"it answered with {_described(response)}")


def _described(response: Response) -> str:
    if response.status in (401, 403):
        return f"status {response.status}: it refuses the API key"
    kind = response.headers.get("content-type", "no content type")
    return f"status {response.status} ({kind})"


def _etag(response: Response) -> str | None:
    """The tag, if it can travel back."""
    etag = response.headers.get("etag")
    return etag if etag and etag.isascii() and etag.isprintable() else None


def _age(response: Response) -> float:
    """Seconds since the backend said so: a cache on the way may have kept it (RFC 9111, 5.1)."""
    stated = response.headers.get("age", "").strip()
    return float(stated) if stated.isascii() and stated.isdecimal() and len(stated) <= 10 else 0.0


def _json_object(response: Response) -> dict[str, Any] | None:
    try:
        answer = json.loads(response.body)
    except (ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else None
