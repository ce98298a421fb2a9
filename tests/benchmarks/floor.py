"""The floor: the least that a background logger can do, written by hand, for the library to be compared with.

A queue, a thread, `json.dumps` and `http.client`, 100 records a request. It copies nothing, so a caller that
changes its record changes what is sent; it has no retry, time-out, bound or spool: an error loses the rest.
Not an example of how to log.
"""

from __future__ import annotations

import http.client
import itertools
import json
import queue
import threading
from urllib.parse import urlsplit

from tests.benchmarks.workload import Record

BATCH_RECORDS = 100
PATH = "/api/logs/prompt-usage/batch"
_FLUSH_SECONDS = 60.0
_END = threading.Event()

_Entry = tuple[int, Record]


class Floor:
    """Sends JSON arrays of records, each with an `id` of its own."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(parts.hostname or "", parts.port)
        self._queue: queue.SimpleQueue[_Entry | threading.Event] = queue.SimpleQueue()
        self._numbers = itertools.count()
        self._thread = threading.Thread(target=self._work, name="floor", daemon=True)
        self._thread.start()

    def log(self, record: Record) -> bool:
        self._queue.put((next(self._numbers), record))
        return True

    def flush(self) -> None:
        """Wait until all that was logged before has been answered; TimeoutError if it is not."""
        done = threading.Event()
        self._queue.put(done)
        if not done.wait(_FLUSH_SECONDS):
            raise TimeoutError("the floor's thread has died or the sink does not answer")

    def close(self) -> None:
        self._queue.put(_END)
        self._thread.join(_FLUSH_SECONDS)
        self._connection.close()

    def _work(self) -> None:
        batch: list[_Entry] = []
        while (item := self._queue.get()) is not _END:
            if not isinstance(item, threading.Event):
                batch.append(item)
            if batch and (len(batch) == BATCH_RECORDS or isinstance(item, threading.Event)):
                self._send(batch)
                batch = []
            if isinstance(item, threading.Event):
                item.set()

    def _send(self, batch: list[_Entry]) -> None:
        body = json.dumps([{"id": number, **record} for number, record in batch]).encode()
        self._connection.request("POST", PATH, body, {"Content-Type": "application/json"})
        response = self._connection.getresponse()
        response.read()
        if response.status != 200:
            raise http.client.HTTPException(f"the sink answered {response.status}")
