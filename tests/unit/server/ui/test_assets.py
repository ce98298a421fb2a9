"""What others have written and the pages load: all of it is named, unchanged, licensed, and small."""

from __future__ import annotations

import hashlib
import json
import zipfile
from importlib.resources import files
from pathlib import Path

import pytest

import banyan_hp.server.ui
from banyan_hp.server.ui.assets import address
from tests.support.app import LocalApp
from tests.support.browsing import Browser

STATIC = files(banyan_hp.server.ui) / "static"
LISTED = json.loads((STATIC / "manifest.json").read_text("utf-8"))["files"]
OURS = {"app.css", "app.js", "charts.js", "guide.css", "icon.svg", "manifest.json", "overview.css", "tail.js"}
MOST_BYTES = 400_000


@pytest.mark.parametrize("entry", LISTED, ids=[each["file"] for each in LISTED])
def test_a_file_of_others_is_the_one_that_its_package_has(entry: dict[str, str]) -> None:
    """The manifest says which package, version and path; the hash is that of the file as it is."""
    content = (STATIC / entry["file"]).read_bytes()
    assert hashlib.sha256(content).hexdigest() == entry["sha256"]
    assert all(entry[name] for name in ("package", "version", "path"))
    assert entry["license"] in ("0BSD", "BSD-3-Clause", "ISC", "MIT")
    assert (
        "copyright" in (STATIC / entry["license_file"]).read_text("utf-8").lower()
        or entry["license"] == "0BSD"
    )


def test_the_manifest_names_everything_that_is_not_ours() -> None:
    """A file that is added is written by us, or has an entry and a licence."""
    named = {each["file"] for each in LISTED} | {each["license_file"] for each in LISTED}
    there = {each.name for each in STATIC.iterdir()}
    assert there - named - OURS == set()
    assert named <= there


def test_the_pages_add_little_to_the_wheel(wheel: Path) -> None:
    """Everything in `ui/`, Python too, as the wheel's compressed bytes."""
    with zipfile.ZipFile(wheel) as archive:
        room = [each for each in archive.infolist() if each.filename.startswith("banyan_hp/server/ui/")]
    assert {Path(each.filename).suffix for each in room} >= {".css", ".html", ".js", ".json", ".py", ".txt"}
    assert sum(each.compress_size for each in room) <= MOST_BYTES


def test_an_asset_may_be_kept_for_its_address_changes_with_it(app: LocalApp) -> None:
    """Nobody has to be logged in for it, and browsers must not take it for something else."""
    answer = Browser(app).get(address("app.css")).response
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/css")
    assert "immutable" in answer.headers["cache-control"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert Browser(app).get("/static/..%2fassets.py").status == 404
