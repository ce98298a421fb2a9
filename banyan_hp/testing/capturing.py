"""`capture`: what is logged stays in the process, in a list."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..engine import captures
from . import fake_scores

__all__ = ["CapturedRecords", "capture"]


class CapturedRecords(list[dict[str, Any]]):
    """The records that were captured; `scores` has those that are scores, as of `FakeBackend`."""

    __slots__ = ("scores",)

    def __init__(self) -> None:
        super().__init__()
        self.scores: list[dict[str, Any]] = []

    def append(self, record: dict[str, Any]) -> None:
        """Add a record, wherever it belongs."""
        content = fake_scores.content_of(record)
        if content is None:
            super().append(record)
        else:
            self.scores.append(fake_scores.listed(content))


@contextmanager
def capture() -> Iterator[CapturedRecords]:
    """Keep what is logged in the `with` from leaving the process; yields the list that it goes into.

        with capture() as records:
            answer("What is an ombudsperson?")  # calls banyan.log_prompt
        assert records[0]["input"] == "What is an ombudsperson?"

    It holds for all threads and all loggers of the process, whoever made them; of several captures the one
    that was opened last takes everything. No server and no key is needed: clients that are made in it
    without a key are switched off outside of captures, and in it those that are switched off
    (`enabled=False`, `BANYAN_HP_DISABLED`) are captured, too.

    A record is a dict, the one that `before_send` returns, as it would be sent: with the names of
    `log_prompt`'s arguments (`input`, `output`, `metadata`, `model`, …; those that were not given are left
    out, but for `metadata`), or with the names of the dict that `HuggingPlace.log` got, and `org_id` and
    `mode`. A step that was logged by itself is in `step_data`, a list of one, as `log_step` got it; what
    `interaction`, `trace` and wrapped provider clients log has the fields of their client's log call.

    Scores are in `records.scores`, dicts with `name`, `value` and what else was given to `score`; they are
    captured whatever the setting `send_scores` says.

    `before_send` runs on the calling thread. A record is in the list when the log call returns; it counts as
    delivered: `flush()` is true, `blocking=True` returns True, receipts resolve. It is in no counter of
    `get_stats()`. What was logged before goes on being delivered. A forked child has a copy of the list.
    Prompts are still fetched from where the logger fetches them: where there is no backend, pass `fallback=`.
    """
    records = CapturedRecords()
    opened = captures.begin(records)
    try:
        yield records
    finally:
        captures.end(opened)
