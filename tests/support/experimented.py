"""Experiments with a past, in the application in the test's own process: users, their calls, their scores."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.app import LocalApp

NOW = datetime.now(UTC)
STARTED = NOW - timedelta(days=3)
EXPOSED = NOW - timedelta(days=2)
ID = "tone"


def make(app: LocalApp, at: datetime, monkeypatch: pytest.MonkeyPatch, **fields: Any) -> dict[str, Any]:
    """A prompt and a running experiment with the versions a (control) and b, made at a time."""
    shares = fields.pop("shares", {"a": 50, "b": 50})
    app.call("POST", "/api/logs/cli/prompts", {"name": "email", "content": "one"})
    versions = [version(name, share) for name, share in shares.items()]
    body = {"prompt_name": "email", "sticky_type": "user_id", "experiment_id": ID, "versions": versions}
    with monkeypatch.context() as earlier:
        earlier.setattr("banyan_hp.server.store.audit.now", lambda: round(at.timestamp() * 1e6))
        made = app.call("POST", "/api/experiments", {"control": "a", **body, **fields})
    assert made.status_code == 201, made.text
    return dict(made.json())


def change(app: LocalApp, at: datetime, monkeypatch: pytest.MonkeyPatch, **fields: Any) -> None:
    """The experiment, changed at a time."""
    with monkeypatch.context() as earlier:
        earlier.setattr("banyan_hp.server.store.audit.now", lambda: round(at.timestamp() * 1e6))
        changed = app.call("PUT", f"/api/experiments/{ID}", fields)
    assert changed.status_code == 200, changed.text


def version(name: str, share: float) -> dict[str, Any]:
    own = {"experiment_version_id": name, "version": f"v-{name}", "content": name}
    return {**own, "traffic_percentage": share}


def called(user: str, got: str, at: datetime = EXPOSED, **fields: Any) -> dict[str, Any]:
    """A call of a user, as a client sends it in a batch."""
    assigned = {
        "experiment_id": ID,
        "experiment_version_id": got,
        "sticky_key": "user_id",
        "sticky_value": user,
    }
    body = {"input": "i", "output": "out", "metadata": {}, "duration_ms": 100.0, **assigned, **fields}
    return {"id": str(uuid.uuid4()), "ts": at.isoformat(), "body": body}


def scored(
    user: str, name: str, value: object, at: datetime = EXPOSED + timedelta(minutes=5)
) -> dict[str, Any]:
    """A user's score."""
    what = {"name": name, "value": value, "sticky_key": "user_id", "sticky_value": user}
    metadata = {"banyan_hp": {"kind": "score", "v": 1, **what}}
    return {
        "id": str(uuid.uuid4()),
        "ts": at.isoformat(),
        "body": {"input": "", "output": "", "metadata": metadata},
    }


def likes(users: int, shares: Mapping[str, float], name: str = "thumbs") -> list[dict[str, Any]]:
    """So many users of each version, of whom a share likes it."""
    return [
        record
        for got, share in shares.items()
        for number in range(users)
        for record in (called(f"{got}{number}", got), scored(f"{got}{number}", name, number < share * users))
    ]


def send(app: LocalApp, records: Iterable[Mapping[str, Any]]) -> None:
    """Log them, and wait until all are in the sums."""
    every = list(records)
    for start in range(0, len(every), 1000):
        sent = app.call("POST", "/api/logs/prompt-usage/batch", {"records": every[start : start + 1000]})
        assert sent.status_code == 200, sent.text
        assert sent.json()["accepted"] == len(every[start : start + 1000]), sent.text
    settle(app)


def settle(app: LocalApp) -> None:
    """Wait for the sums."""
    outcomes = app.app.state.stores.outcomes
    until = time.monotonic() + 30
    while outcomes.pending():
        assert time.monotonic() < until, "the sums did not come up to date"
        outcomes.step(5000)


def results(app: LocalApp, **asked: str) -> Any:
    """The results, as the API has them."""
    return app.get(f"/api/experiments/{ID}/results", *asked.items())
