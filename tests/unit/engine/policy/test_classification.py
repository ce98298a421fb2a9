"""What a response means."""

from __future__ import annotations

import pytest

from banyan_hp.engine.policy.classification import classify
from banyan_hp.engine.records.outcome import Outcome


@pytest.mark.parametrize(
    ("outcome", "statuses"),
    [
        (Outcome.DELIVERED, [200, 201, 202, 204, 207, 299]),
        (Outcome.CONFLICT, [409]),
        (Outcome.RETRY, [408, 425, 429, 500, 501, 502, 503, 504, 507, 520, 599]),
        (Outcome.HOLD_AUTH, [401, 403]),
        (
            Outcome.HOLD_CONFIG,
            [300, 301, 302, 303, 304, 307, 308, 402, 404, 405, 406, 410, 411, 415, 418, 451],
        ),
        (Outcome.REFUSED, [400, 422]),
        (Outcome.TOO_LARGE, [413]),
    ],
)
def test_each_status_has_its_outcome(outcome: Outcome, statuses: list[int]) -> None:
    """The table of outcomes by status, as it is documented."""
    assert {status: classify(status) for status in statuses} == dict.fromkeys(statuses, outcome)


def test_only_success_counts_as_delivered() -> None:
    """Of all statuses there are, none but 2xx acknowledges a record by itself."""
    delivered = [status for status in range(100, 600) if classify(status) is Outcome.DELIVERED]
    assert delivered == [*range(200, 300)]
