"""What a response means."""

from __future__ import annotations

import pytest

from banyan_hp.engine.policy.classification import (
    classify,
    is_of_the_endpoint,
    outcome_of,
    reconsider,
    resolve_conflicts,
)
from banyan_hp.engine.records.outcome import Outcome, Verdict


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


@pytest.mark.parametrize("status", [200, 201])
def test_a_page_is_no_delivery(status: int) -> None:
    """A login page with status 200 is not the API's."""
    assert outcome_of(status, is_html=True) is None
    assert outcome_of(status, is_html=False) is Outcome.DELIVERED


@pytest.mark.parametrize(("status", "outcome"), [(400, Outcome.REFUSED), (409, Outcome.CONFLICT)])
def test_only_the_api_refuses_a_record(status: int, outcome: Outcome) -> None:
    """A refusal is a decision about a record; a stranger's is none. Other errors don't ask who sent them."""
    assert outcome_of(status, is_html=False) is outcome
    assert outcome_of(status, is_html=True, is_json=False, may_be_the_apis=False) is None
    assert outcome_of(503, is_html=True, is_json=False, may_be_the_apis=False) is Outcome.RETRY


def test_a_refusal_before_the_whole_request_was_read_is_about_its_size() -> None:
    """Unless it says why, in JSON."""
    assert outcome_of(400, is_html=False, is_json=False, took_all=False) is Outcome.TOO_LARGE
    assert outcome_of(400, is_html=False, is_json=True, took_all=False) is Outcome.REFUSED


def test_a_conflict_is_a_delivery_only_if_an_earlier_attempt_may_have_stored_it() -> None:
    """Otherwise the record is refused; other verdicts stay."""
    conflict, delivered = Verdict(Outcome.CONFLICT, status=409), Verdict(Outcome.DELIVERED, status=200)
    resolved = resolve_conflicts([conflict, conflict, delivered], [True, False, False])
    assert [verdict.outcome for verdict in resolved] == [
        Outcome.DELIVERED,
        Outcome.REFUSED,
        Outcome.DELIVERED,
    ]


@pytest.mark.parametrize(
    ("statuses", "key_is_good", "reasons"),
    [
        ([403], True, ["forbidden"]),
        ([403], False, ["status"]),
        ([401], True, ["status"]),
        ([404], True, ["status"]),
        ([404, 200], False, ["forbidden", "status"]),
        ([500, 200], False, ["status", "status"]),
    ],
)
def test_what_looks_like_a_wrong_key_may_be_a_refusal_of_that_record(
    statuses: list[int], reasons: list[str], *, key_is_good: bool
) -> None:
    """It is, if other records are accepted, or if the key is valid all the same."""
    verdicts = [Verdict(classify(status), status=status) for status in statuses]
    reconsidered = reconsider(verdicts, lambda: key_is_good)
    assert [verdict.reason for verdict in reconsidered] == reasons
    refused = [verdict.outcome is Outcome.REFUSED for verdict in reconsidered]
    assert refused == [reason == "forbidden" for reason in reasons]


@pytest.mark.parametrize(
    ("verdict", "same_host", "wanted"),
    [
        (Verdict(Outcome.RETRY, reason="no_connection"), False, True),
        (Verdict(Outcome.RETRY, reason="no_connection"), True, False),
        (Verdict(Outcome.RETRY, status=503), False, False),
        (Verdict(Outcome.HOLD_AUTH, status=401), True, True),
        (Verdict(Outcome.HOLD_AUTH, status=403), True, False),
        (Verdict(Outcome.HOLD_CONFIG, status=301), True, True),
        (Verdict(Outcome.REFUSED, status=400), True, False),
    ],
)
def test_what_fails_at_a_second_endpoint_alone(verdict: Verdict, same_host: bool, wanted: bool) -> None:
    """A host that can't be reached is a matter of all that goes there; a 403 may be one record's."""
    assert is_of_the_endpoint(verdict, same_host=same_host) is wanted
