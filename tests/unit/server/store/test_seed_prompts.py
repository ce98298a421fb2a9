"""Prompts of a seed file, on each database."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from banyan_hp.server.app import stores_of
from banyan_hp.server.seed import load_seed
from banyan_hp.server.store.database import Database
from banyan_hp.server.store.prompts import Version
from banyan_hp.server.store.seeded import Seeded

CHAT = [{"role": "system", "content": "Be brief."}]


@pytest.fixture
def load(database: Database, tmp_path: Path) -> Any:
    """Apply a seed of one prompt; what is stored then: released version, versions, actions."""
    stores = stores_of(database)

    def load(**prompt: Any) -> tuple[str | None, list[Version], list[str]]:
        path = tmp_path / "seed.json"
        path.write_text(json.dumps({"prompts": [{"name": "p", **prompt}]}))
        load_seed(path, stores, Seeded(database))
        found = stores.prompts.find("default", "p")
        assert found is not None
        noted = stores.audit.of("default", f"prompt:{found.prompt_id}").items
        actions = [each.action for each in reversed(noted)]
        return found.version, list(stores.prompts.versions(found).items), actions

    return load


def test_the_version_that_a_seed_releases_is_the_newest(load: Any) -> None:
    """The others were before it; each change is noted once."""
    released, versions, actions = load(
        content="Two", version="2", config={"a": 1}, versions=[{"version": "1", "content": CHAT}]
    )
    assert released == "2"
    assert [(each.version, each.content, each.config) for each in versions] == [
        ("1", CHAT, None),
        ("2", "Two", {"a": 1}),
    ]
    assert actions == ["prompt.create", "prompt.version", "prompt.version", "prompt.release"]


def test_an_edited_seed_changes_what_it_says(load: Any) -> None:
    """The configuration, too, also where it is gone; what is as it was is no change."""
    load(content="One", config={"a": 1})
    _, versions, actions = load(content="One", config={"a": 2})
    assert versions[0].config == {"a": 2}
    assert actions[-1] == "prompt.rewrite"
    _, versions, actions = load(content="One", metadata={"owner": "me"})
    assert versions[0].config is None
    assert actions[-2:] == ["prompt.change", "prompt.rewrite"]
    _, _, again = load(content="One", metadata={"owner": "me"}, enable_logging=True)
    assert again == actions
