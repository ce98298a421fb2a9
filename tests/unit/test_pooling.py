"""Idle connections are kept without a lock, which a fork could leave held for ever."""

from __future__ import annotations

import queue

import pytest
import urllib3

from banyan_hp.engine.pooling import POOL_CLASSES, Stack


def test_the_last_one_put_in_is_the_first_one_out() -> None:
    """The connection used last is the least likely to be stale."""
    stack = Stack(3)
    for item in (1, 2, 3):
        stack.put(item, block=False)
    assert (stack.qsize(), [stack.get(block=False) for _ in range(3)]) == (3, [3, 2, 1])


def test_full_and_empty_are_said_as_urllib3_expects() -> None:
    """By the exceptions of `queue`, at once."""
    stack = Stack(1)
    with pytest.raises(queue.Empty):
        stack.get(block=True, timeout=60)
    stack.put(1)
    with pytest.raises(queue.Full):
        stack.put(2)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_urllib3_uses_it(scheme: str) -> None:
    """Its pools are made with our stack, and know how to close it."""
    manager = urllib3.PoolManager(maxsize=2)
    manager.pool_classes_by_scheme = POOL_CLASSES
    pool = manager.connection_from_url(f"{scheme}://localhost:1")
    made: object = pool.pool
    assert isinstance(made, Stack)
    pool.close()
