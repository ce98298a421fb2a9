"""What proves a refused record at fault: that another one is accepted after it."""

from __future__ import annotations

import time

from banyan_hp import PromptStackLogger
from tests.support.patience import PATIENCE

GOOD = 1_000_000  # the number in the metadata of the first record that is logged here


def quarantine_refused(logger: PromptStackLogger, refused: int = 1) -> int:
    """Log records that are accepted until this many refused ones are in quarantine; returns how many.

    Without them the test depends on the order of the responses: a record whose refusal is the last of all
    stays on disk.
    """
    deadline = time.monotonic() + PATIENCE
    logged = 0
    while logger.get_stats()["logs_quarantined"] < refused:
        assert time.monotonic() < deadline, logger.get_stats()
        assert logger.log_prompt("good", "answer", metadata={"number": GOOD + logged})
        logged += 1
        logger.flush(5)
    return logged
