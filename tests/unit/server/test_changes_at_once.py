"""Two people change one experiment at the same time."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi.testclient import TestClient

from banyan_hp.server.api import experiments
from banyan_hp.server.store.audit import Actor
from banyan_hp.server.store.experiments import Experiments, OutdatedError
from tests.support.app import LocalApp

PATH = "/api/experiments"


def made(app: LocalApp) -> None:
    prompt = {"name": "email", "content": "one"}
    assert app.call("POST", "/api/logs/cli/prompts", prompt).status_code == 201
    versions = [
        {"experiment_version_id": name, "version": name, "content": name, "traffic_percentage": 50}
        for name in "ab"
    ]
    body = {"experiment_id": "tone", "prompt_name": "email", "sticky_type": "user", "versions": versions}
    assert app.call("POST", PATH, body).status_code == 201


def test_changes_of_different_fields_are_both_kept(app: LocalApp, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both start from the same state; the one that comes second is made anew from what the first has left."""
    made(app)
    both = threading.Barrier(2)
    usual, seen = experiments.with_slots, []

    def with_slots(*arguments: Any) -> Any:
        seen.append(1)
        if len(seen) <= 2:
            both.wait(10)
        return usual(*arguments)

    monkeypatch.setattr(experiments, "with_slots", with_slots)
    client = TestClient(app.app, headers={"X-API-Key": app.key}, base_url="http://localhost")
    with ThreadPoolExecutor(2) as pool:
        bodies = [{"status": "paused"}, {"control": "a"}]
        sent = [pool.submit(client.put, f"{PATH}/tone", json=body) for body in bodies]
        assert [each.result(20).status_code for each in sent] == [200, 200]
    assert len(seen) == 3
    after = app.get(f"{PATH}/tone")
    assert (after["status"], after["control"]) == ("paused", "a")


def test_a_change_of_what_has_changed_is_not_stored(app: LocalApp) -> None:
    """Nor of what was removed."""
    made(app)
    stored = Experiments(app.database)
    before = stored.get(app.project, "tone")
    assert before is not None
    stored.put(before, Actor(app.project, "k"), instead_of=before)
    assert app.call("PUT", f"{PATH}/tone", {"status": "paused"}).status_code == 200
    with pytest.raises(OutdatedError):
        stored.put(before, Actor(app.project, "k"), instead_of=before)
    assert app.call("DELETE", f"{PATH}/tone").status_code == 200
    with pytest.raises(OutdatedError):
        stored.put(before, Actor(app.project, "k"), instead_of=before)
