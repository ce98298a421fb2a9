"""The types of `banyan_hp.testing`, as an application's type checker sees them. Checked, never run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from banyan_hp.testing import CapturedRecords, capture
from banyan_hp.testing.fake_backend import FakeBackend

if TYPE_CHECKING:
    from typing import assert_type

    def captures_are_lists_of_dicts() -> None:
        with capture() as records:
            assert_type(records, CapturedRecords)
            plain: list[dict[str, Any]] = records
            assert_type(records.scores + plain, list[dict[str, Any]])

    def a_backend_is_set_up_and_asked(backend: FakeBackend) -> None:
        backend.prompts["name"] = "content"
        backend.prompts["name", "dev"] = {"content": "other"}
        backend.experiments["id"] = {"prompt_name": "name", "sticky_type": "user_id", "versions": []}
        assert_type(backend.wait_for(1), list[dict[str, Any]])
        with backend as entered:
            assert_type(entered, FakeBackend)

    def wrong_calls_are_errors(backend: FakeBackend) -> None:
        backend.respond("503")  # type: ignore[arg-type]
        backend.experiments[1] = {}  # type: ignore[index]
