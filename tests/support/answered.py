"""Clients that note each record when they learn that it is stored, for tests that kill servers."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

from banyan_hp import PromptStackLogger

SECONDS = 60.0


class Answered:
    """The ids of records whose caller was told that they are stored.

    Args:
        loggers: who logs.
        threads: of each logger, each of which logs a record when the one before is answered.
        records: of each thread.
    """

    def __init__(self, loggers: Sequence[PromptStackLogger], threads: int, records: int) -> None:
        self.ids: list[str] = []
        self._loggers, self._threads, self._records = loggers, threads, records
        self._noted = threading.Condition()
        self._running: list[Future[None]] = []

    @property
    def expected(self) -> set[str]:
        """The ids of all records that are logged in the end."""
        return {
            f"{who}-{thread}-{number}"
            for who in range(len(self._loggers))
            for thread in range(self._threads)
            for number in range(self._records)
        }

    @contextmanager
    def being_logged(self) -> Iterator[None]:
        """Log while the block runs, and until all is logged and delivered."""
        with ThreadPoolExecutor(len(self._loggers) * self._threads) as pool:
            self._running = [
                pool.submit(self._log, logger, f"{who}-{thread}")
                for who, logger in enumerate(self._loggers)
                for thread in range(self._threads)
            ]
            yield
            for each in self._running:
                each.result(SECONDS)
        for logger in self._loggers:
            assert logger.flush(SECONDS).delivered, logger.get_stats()

    def wait_for(self, many: int) -> None:
        """Wait until so many records are answered."""
        with self._noted:
            assert self._noted.wait_for(lambda: len(self.ids) >= many, SECONDS), len(self.ids)

    def _log(self, logger: PromptStackLogger, who: str) -> None:
        for number in range(self._records):
            record_id = f"{who}-{number}"
            if logger.log_prompt(f"question {number}", "answer", record_id=record_id, blocking=True):
                with self._noted:
                    self.ids.append(record_id)
                    self._noted.notify_all()
