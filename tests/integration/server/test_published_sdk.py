"""The published client, banyan-sdk 1.0.1, as it is on PyPI, against our backend."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.backend import Backend
from tests.support.local_backend import call

PUBLISHED = ("banyan-sdk==1.0.1", "pyyaml")  # it needs requests, too; the rest is for its command line
SCRIPT = """
import json, sys
from banyan import BanyanAPIClient, PromptStackLogger, __version__

url, key = sys.argv[1:]
said = {"version": __version__}
api = BanyanAPIClient(key, url)
for name, response in (
    ("validated", api.validate_api_key()),
    ("projects", api.list_projects()),
    ("project", api.get_project("default")),
    ("created", api.create_prompt("welcome", "Hello")),
    ("taken", api.create_prompt("welcome", "Hello")),
    ("versioned", api.create_prompt_version("welcome", "Hi", "2.0", "shorter")),
    ("elsewhere", api.create_prompt("other", "x", project_id="default")),
    ("foreign", api.create_prompt("other", "x", project_id="not-mine")),
    ("listed", api.list_prompts()),
    ("absent", api.get_prompt("nothing")),
):
    said[name] = [response.success, response.status_code, response.data or response.error]
ident = api._get_prompt_id_by_name("welcome", None)
for name, response in (
    ("updated", api.update_prompt(ident, content="Hey", metadata={"a": 1})),
    ("deleted", api.delete_prompt(api._get_prompt_id_by_name("other", "default"))),
    ("projected", api.get_prompt("welcome", project_id="default")),
):
    said[name] = [response.success, response.status_code, response.data or response.error]
sys.stdout.write(json.dumps(said) + "\\n")
sys.stdout.flush()
sys.stdin.readline()

USER = {"user_id": "u-1"}
logger = PromptStackLogger(key, url, flush_interval=0.1)
prompt = logger.get_prompt("welcome")
routed = logger.experiment("tone", "user_id", "u-1")
done = {
    "prompt": vars(prompt),
    "pinned": vars(logger.get_prompt("welcome", version="1.0")),
    "routed": vars(routed),
    "blocking": logger.log_prompt("i0", "o0", prompt_data=prompt, blocking=True),
    "queued": logger.log_prompt("i1", "o1", prompt_data=routed, model="m", metadata=USER, duration_ms=5),
}
logger.shutdown(10)
done["stats"] = logger.get_stats()
print(json.dumps(done, default=str))
"""


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the package."""
    where = tmp_path_factory.mktemp("published")
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--target",
        str(where),
        *PUBLISHED,
    ]
    installed = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if installed.returncode:
        reason = f"{PUBLISHED[0]} can't be installed here: {installed.stderr[-500:]}"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return where


def test_it_works_as_it_is(backend: Backend, published: Path) -> None:
    """It manages prompts, without a project, too; fetches, routes and logs."""
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, backend.url, backend.api_key],
        env={**os.environ, "PYTHONPATH": str(published)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    managed = json.loads(process.stdout.readline())
    _check_managed(managed)
    versions = [
        {"experiment_version_id": "a", "version": "a", "content": "Routed", "traffic_percentage": 100}
    ]
    made = {"experiment_id": "tone", "prompt_name": "welcome", "sticky_type": "user_id", "versions": versions}
    assert call(backend, "POST", "/api/experiments", json=made).status_code == 201
    out, err = process.communicate("go on\n", timeout=60)
    assert process.returncode == 0, err
    _check_done(json.loads(out), backend)


def _check_managed(said: dict[str, Any]) -> None:
    assert said["version"] == "1.0.1"
    outcomes = {name: each[:2] for name, each in said.items() if name != "version"}
    good = [True, 200]
    assert outcomes == {
        **dict.fromkeys(["validated", "projects", "project", "listed", "updated", "deleted"], good),
        "projected": good,
        **{name: [True, 201] for name in ("created", "versioned", "elsewhere")},
        "taken": [False, 409],
        "foreign": [False, 403],
        "absent": [False, 404],
    }
    assert said["created"][2]["project_id"] == "default"
    assert {each["name"] for each in said["listed"][2]["prompts"]} == {"welcome", "other"}
    assert said["projected"][2]["content"] == "Hey"


def _check_done(done: dict[str, Any], backend: Backend) -> None:
    assert (done["prompt"]["version"], done["prompt"]["content"]) == ("2.0", "Hey")
    assert done["pinned"]["content"] == "Hello"
    assert done["routed"]["content"] == "Routed"
    assert done["blocking"] is done["queued"] is True
    assert done["stats"]["failed_requests"] == 0
    logged = sorted(backend.get("/api/calls")["calls"], key=lambda each: str(each["input"]))
    assert [each["input"] for each in logged] == ["i0", "i1"]
    assert [each["prompt_name"] for each in logged] == ["welcome", "welcome"]
    routed = logged[1]
    assert (routed["experiment_id"], routed["experiment_version_id"]) == ("tone", "a")
    assert (routed["user"], routed["sticky_value"], routed["latency_ms"]) == ("u-1", "u-1", 5.0)
