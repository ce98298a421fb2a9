"""A mock Kafka cluster and its only consumer: which records came through a collector, and how often.

Runs in the environment that has confluent-kafka, see `make collectors`:

    python kafka_mock.py        prints the broker's address, then counts until its input ends, then prints
                                {"spans": {record id: times}, "scores": {record id: times}}

It consumes while others produce: the mock cluster keeps a partition within a size, so that reading at the end
would report false losses.
"""

from __future__ import annotations

import json
import sys
import threading
from collections import Counter
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition

TOPICS = {"otlp_traces": ("spans", "spans"), "otlp_logs": ("scores", "logRecords")}
QUIET_POLLS = 20
RECORD_ID = "banyan.record.id"


def main() -> None:
    cluster = Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": 1})
    (broker,) = cluster.list_topics(timeout=10).brokers.values()
    address = f"{broker.host}:{broker.port}"
    for topic in TOPICS:
        cluster.produce(topic, b"{}")  # makes it
    cluster.flush(10)
    consumer = Consumer(
        {
            "bootstrap.servers": address,
            "group.id": "g",
            "auto.offset.reset": "earliest",
            "fetch.wait.max.ms": 10,
        }
    )
    consumer.subscribe(list(TOPICS))
    unread = set(TOPICS)
    while unread:  # it is part of its group only then
        message = consumer.poll(0.1)
        unread -= {message.topic()} if message is not None else set()
    print(address, flush=True)
    ended = threading.Event()
    threading.Thread(target=_watch_input, args=(ended,), daemon=True).start()
    kept = []  # read when all is here: the cluster discards what is not consumed in time
    quiet = 0
    while not (ended.is_set() and quiet >= QUIET_POLLS):
        message = consumer.poll(0.1)
        quiet = 0 if message is not None else quiet + 1
        if message is not None and message.error() is None:
            kept.append((message.topic(), message.value()))
    _check_that_all_was_read(consumer, len(kept) + len(TOPICS))
    counts: dict[str, Counter[str]] = {name: Counter() for name, _ in TOPICS.values()}
    for topic, value in kept:
        name, items = TOPICS[topic]
        counts[name].update(ids_in(json.loads(value), items))
    print(json.dumps(counts), flush=True)


def _check_that_all_was_read(consumer: Consumer, read: int) -> None:
    """Raises `SystemExit` if the cluster has discarded messages before they were read."""
    written = 0
    for topic, metadata in consumer.list_topics(timeout=10).topics.items():
        if topic in TOPICS:
            for partition in metadata.partitions:
                written += consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)[1]
    if read != written:
        raise SystemExit(f"the mock cluster has discarded {written - read} of {written} messages, unread")


def _watch_input(ended: threading.Event) -> None:
    sys.stdin.read()
    ended.set()


def ids_in(value: Any, items: str) -> list[str]:
    """The records' ids of all spans but those of steps."""
    found: list[str] = []
    if isinstance(value, dict):
        for name, each in value.items():
            if name == items:
                found += [ident for item in each if (ident := _id_of(item)) is not None]
            else:
                found += ids_in(each, items)
    elif isinstance(value, list):
        for each in value:
            found += ids_in(each, items)
    return found


def _id_of(item: dict[str, Any]) -> str | None:
    if item.get("parentSpanId"):
        return None
    for attribute in item.get("attributes", []):
        if attribute["key"] == RECORD_ID:
            value = attribute["value"]
            return str(value.get("stringValue", value))
    return None


if __name__ == "__main__":
    main()
