"""A score takes a record's way: whatever happens meanwhile, it is there once in the end."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from banyan_hp import HuggingPlace, PromptStackLogger
from banyan_hp.testing import FakeBackend

QUICK: Any = {"background_thread": False, "max_retries": 0, "retry_delay": 0.001, "timeout": 2.0}
EVENTS = st.lists(
    st.sampled_from(["score", "score", "call", "down", "up", "error", "restart", "flush"]),
    min_size=1,
    max_size=12,
)


def loggers(backend: FakeBackend, spool: Path) -> list[PromptStackLogger | HuggingPlace]:
    """A new process, as far as the spool is concerned."""
    own = {**QUICK, "spool_dir": spool}
    hp = HuggingPlace(backend.api_key, "o", base_url=backend.url, **{**own, "timeout": 2000})
    return [PromptStackLogger(backend.api_key, backend.url, **own), hp]


def happen(event: str, backend: FakeBackend, clients: list[Any], number: int) -> None:
    """One event."""
    banyan, hp = clients
    if event == "score":
        banyan.score("n", number, record_id=f"r{number}", at=1_767_225_600 + number)
        hp.score("n", -number, record_id=f"r{number}")
    elif event == "call":
        banyan.log_prompt("q", str(number))
    elif event == "down":
        backend.down()
    elif event == "up":
        backend.up()
    elif event == "error":
        backend.respond(503, 2)
    elif event == "flush":
        banyan.flush(timeout=0.05)
        hp.flush(timeout=0.05)


@settings(max_examples=25, deadline=None)
@given(EVENTS)
def test_a_score_survives_and_is_delivered_once(events: list[str]) -> None:
    """Outages, errors and new processes, in any order; calls and scores stay apart."""
    with tempfile.TemporaryDirectory() as directory, FakeBackend() as backend:
        clients = loggers(backend, Path(directory))
        scored, calls = [], 0
        for number, event in enumerate(events, 1):
            if event == "restart":
                for each in clients:
                    each.shutdown(timeout=0.05)
                clients = loggers(backend, Path(directory))
            happen(event, backend, clients, number)
            scored += [number, -number] if event == "score" else []
            calls += event == "call"
        backend.up()
        for each in [*clients, *loggers(backend, Path(directory))]:
            each.flush(timeout=5)
            each.shutdown(timeout=5)
        assert sorted(score["value"] for score in backend.scores) == sorted(scored)
        assert all(score["record_id"] == f"r{abs(score['value'])}" for score in backend.scores)
        assert len(backend.records) == calls
