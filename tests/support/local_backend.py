"""A local backend with a seed of prompts and experiments, and how tests call it."""

from __future__ import annotations

import gzip
import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import requests

from tests.support.backend import Backend

RECORD: dict[str, Any] = {"input": "question", "output": "answer", "metadata": {"n": 1}}
CONFLICT = {"error": "this id belongs to a record with another content", "code": "id_conflict"}
TS = "2026-01-02T03:04:05.678Z"
SHOWN_TS = "2026-01-02T03:04:05.678000+00:00"
KEYS = ("psk_local", "psk_ö%")
KEY_OF = {"p1": "psk_of_p1", "p2": "psk_of_p2"}
EXAMPLE_SEED = Path(__file__).parents[2] / "examples" / "seed.json"
MIB = 1024 * 1024
HALF_A_REQUEST = b"""\
POST /api/logs/prompt-usage HTTP/1.1\r
Host: localhost\r
X-API-Key: psk_local\r
Content-Length: 99\r
\r
{"""
EMPTY_GZIP = gzip.compress(b'{"records": []}')

SEED: dict[str, Any] = {
    "projects": ["p0", {"id": "p1", "name": "Project One"}],
    "prompts": [
        {
            "name": "greeting",
            "content": "Hello {{name}}",
            "version": "2",
            "versions": [{"version": "1", "content": "Hi"}],
        },
        {"name": "a/b", "content": "slash"},
        {"name": "ä ö", "content": "umlauts"},
        {"name": "100%", "content": "percent"},
        {"name": "greeting", "branch": "dev", "content": "Hello from dev"},
        {"name": "shared", "content": "for all"},
        {
            "name": "shared",
            "content": "for p1",
            "project": "p1",
            "metadata": {"k": [1]},
            "enable_logging": False,
        },
        {"name": "only-p2", "content": "for p2", "project": "p2"},
        {"name": "tested", "content": "default", "version": "0"},
    ],
    "experiments": [
        {
            "experiment_id": "half",
            "prompt_name": "tested",
            "sticky_type": "user_id",
            "versions": [
                {
                    "experiment_version_id": "half-a",
                    "version": "1a",
                    "content": "A",
                    "traffic_percentage": 25,
                },
                {
                    "experiment_version_id": "half-b",
                    "version": "1b",
                    "content": "B",
                    "traffic_percentage": 25,
                },
            ],
        },
        {
            "experiment_id": "over",
            "prompt_name": "tested",
            "status": "finished",
            "sticky_type": "session_id",
            "versions": [
                {"experiment_version_id": "over-a", "version": "9", "content": "O", "traffic_percentage": 100}
            ],
        },
    ],
}


@contextmanager
def seeded_backend(directory: Path, db: str | None = None) -> Iterator[Backend]:
    """A backend with `SEED`, over a database of its own or `db`, whose log shows no traceback at its end.

    Its keys are `KEYS`, of the project ``default``, and `KEY_OF` others.
    """
    seed = directory / "seed.json"
    seed.write_text(json.dumps(SEED), "utf-8")
    others = [f"{project}:admin:{key}" for project, key in KEY_OF.items()]
    with Backend(db=db, seed=seed, api_keys=[*KEYS, *others]) as running:
        yield running
        running.stop()
        assert "Traceback" not in running.stderr


def call(backend: Backend, method: str, path: str, **options: Any) -> requests.Response:
    headers = {"X-API-Key": backend.api_key, **options.pop("headers", {})}
    return requests.request(
        method, backend.url + path, headers=headers, timeout=10, allow_redirects=False, **options
    )


def post(backend: Backend, body: Any, **headers: str | bytes) -> requests.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return call(backend, "POST", "/api/logs/prompt-usage", json=body, headers=named)


def post_batch(backend: Backend, envelope: Any, **headers: str) -> requests.Response:
    return call(backend, "POST", "/api/logs/prompt-usage/batch", json=envelope, headers=headers)


def entry(record_id: str | None = None, **changes: Any) -> dict[str, Any]:
    return {"id": record_id or new_id(), "ts": TS, "body": RECORD} | changes


def new_id() -> str:
    return str(uuid.uuid4())


def stored(backend: Backend, record_id: str) -> dict[str, Any]:
    (found,) = [log for log in backend.logs() if log["id"] == record_id]
    return found


def prompt(backend: Backend, name: str, *pairs: tuple[str, str], **headers: str) -> requests.Response:
    named = {header.replace("_", "-"): value for header, value in headers.items()}
    return call(backend, "GET", f"/api/logs/prompt/{quote(name, safe='')}", params=list(pairs), headers=named)


def sticky(key: str, value: str) -> list[tuple[str, str]]:
    return [("sticky_key", key), ("sticky_value", value)]
