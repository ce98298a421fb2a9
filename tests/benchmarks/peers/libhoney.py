"""libhoney (Honeycomb): 100 events a request, at the latest every 0.25 s, ten sender threads, gzip level 1.

Sends a statsd datagram or two an event to the loopback interface. Changed from the defaults: `max_pending`
(1,000, beyond which events are dropped), and `max_responses` (2,000), as a full queue of responses, which
nobody reads here, makes a flush wait for ten seconds. Nothing is sampled.
"""

from __future__ import annotations

import libhoney
from libhoney.transmission import Transmission

from tests.benchmarks.peers import QUEUE_RECORDS
from tests.benchmarks.workload import Record


class Libhoney:
    def __init__(self, url: str) -> None:
        self._client = libhoney.Client(
            writekey="bench",
            dataset="bench",
            api_host=url,
            transmission_impl=Transmission(max_pending=QUEUE_RECORDS, max_responses=2 * QUEUE_RECORDS),
        )

    def log(self, record: Record) -> bool:
        event = self._client.new_event()
        event.add(record)
        event.send()
        return True

    def flush(self) -> None:
        self._client.flush()

    def close(self) -> None:
        self._client.close()
