"""`capture`: what is logged stays in the process, in a list."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..engine import captures

__all__ = ["capture"]


@contextmanager
def capture() -> Iterator[list[dict[str, Any]]]:
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

    `before_send` runs on the calling thread. A record is in the list when the log call returns; it counts as
    delivered: `flush()` is true, `blocking=True` returns True, receipts resolve. It is in no counter of
    `get_stats()`. What was logged before goes on being delivered. A forked child has a copy of the list.
    Prompts are still fetched from where the logger fetches them: where there is no backend, pass `fallback=`.
    """
    opened = captures.begin()
    try:
        yield opened.records
    finally:
        captures.end(opened)
