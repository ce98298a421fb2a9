"""The examples of tracking, run as they are documented, against local servers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.backend import Backend
from tests.support.models import models
from tests.support.scripted import ScriptedServer

ROOT = Path(__file__).parents[2]


def run(example: str, question: str, **environment: str) -> tuple[list[str], list[dict[str, Any]]]:
    """What an example printed, and what the local backend then holds."""
    with ScriptedServer(models()) as provider, Backend() as backend:
        urls = {"BANYAN_BASE_URL": backend.url, "HUGGINGPLACE_BASE_URL": backend.url}
        finished = subprocess.run(
            [sys.executable, f"examples/{example}", question],
            cwd=ROOT,
            env=os.environ
            | urls
            | {"OPENAI_API_KEY": "sk", "OPENAI_BASE_URL": f"{provider.url}/v1"}
            | environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (finished.returncode, finished.stderr) == (0, "")
        bodies = [each["body"] for each in [*backend.logs(), *backend.interactions()]]
        return finished.stdout.splitlines(), bodies


def test_the_streaming_example_shows_chunks_and_logs() -> None:
    """`examples/openai_streaming.py`: one record, with tokens and the time to the first chunk."""
    printed, bodies = run("openai_streaming.py", "Why?", BANYAN_API_KEY="psk_local")
    assert printed == ["Hello there!", "logged: True"]
    (body,) = bodies
    assert (body["output"], body["model"]) == ("Hello there!", "gpt-4.1-2025")
    assert body["input"] == '[{"role":"user","content":"Why?"}]'
    assert body["metadata"]["token_count"] == 29
    assert body["metadata"]["user_id"] == "user_123"
    assert 0 < body["metadata"]["time_to_first_chunk_ms"] <= body["duration_ms"]


def test_the_pipeline_example_logs_one_record_with_its_steps() -> None:
    """`examples/traced_pipeline.py`: two searches and a completion."""
    keys = {"HUGGINGPLACE_API_KEY": "psk_local", "HUGGINGPLACE_ORG_ID": "org"}
    printed, bodies = run("traced_pipeline.py", "Why?", **keys)
    assert printed == ["Hello! How can I help?", "logged: True"]
    (body,) = bodies
    assert [step["type"] for step in body["step_data"]] == ["search", "search", "completion"]
    assert [step["user_question"] for step in body["step_data"]] == ["Why?"] * 3
    assert (body["response"], body["token_count"], body["session_id"]) == (
        "Hello! How can I help?",
        29,
        "session_1",
    )
    assert body["response_time"] >= max(step["response_time"] for step in body["step_data"])
