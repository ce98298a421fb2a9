"""Epochs: what a flush has to wait for, and what it says."""

from __future__ import annotations

import pytest

from banyan_hp.engine.delivery.waiters import FlushResult
from banyan_hp.engine.records.record import Epochs


def test_an_empty_epoch_is_nothing_to_wait_for() -> None:
    """A flush without records waits for nothing."""
    assert Epochs().close() == []


def test_a_flush_waits_for_what_was_accepted_before_it() -> None:
    """Its own epoch is closed: later records count in another one."""
    epochs = Epochs()
    before = epochs.current
    before.in_memory += 2
    waiting = epochs.close()
    epochs.current.in_memory += 5
    assert waiting == [before]
    assert sum(epoch.in_memory for epoch in waiting) == 2


def test_a_second_flush_waits_for_both() -> None:
    """What an earlier flush still waits for was accepted before the later one as well."""
    epochs = Epochs()
    first = epochs.current
    first.in_memory += 1
    epochs.close()
    second = epochs.current
    second.in_memory += 1
    assert epochs.close() == [first, second]


def test_settled_epochs_are_forgotten() -> None:
    """Flushing for ever does not gather empty epochs, and settled ones are not waited for."""
    epochs = Epochs()
    first = epochs.current
    first.in_memory += 1
    epochs.close()
    epochs.current.in_memory += 1
    first.in_memory -= 1
    assert first not in epochs.close()
    assert len(epochs.close()) == 1


def test_losses_before_a_flush_are_told_by_it_once() -> None:
    """What was refused or dropped between two flushes is of interest to the second, and to no third."""
    epochs = Epochs()
    first = epochs.current
    first.lost += 1
    assert epochs.close() == [first]
    first.reported = first.lost
    assert epochs.close() == []


def test_many_flushes_keep_one_epoch() -> None:
    """A flush a second for a year costs no memory."""
    epochs = Epochs()
    for _ in range(1000):
        epochs.current.in_memory += 1
        (epoch,) = epochs.close()
        epoch.in_memory -= 1
    assert epochs.close() == []


@pytest.mark.parametrize("delivered", [True, False])
def test_a_result_is_true_if_all_was_delivered(delivered: bool) -> None:
    """`if logger.flush():` means what it reads like."""
    result = FlushResult(delivered, pending=0, spooled=0, lost=0, ledger={})
    assert bool(result) is delivered
