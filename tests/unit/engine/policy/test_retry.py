"""How long to wait after a failed attempt."""

from __future__ import annotations

from email.utils import formatdate

import pytest

from banyan_hp.engine.policy.retry import (
    BACKOFF_CAP,
    RETRY_AFTER_CAP,
    backoff,
    parse_retry_after,
    probe_delay,
)

NOW = 1_767_225_600.0
ALMOST_ONE = 1 - 2**-53


@pytest.mark.parametrize(
    ("failures", "step"), [(1, 0.5), (2, 1.0), (3, 2.0), (6, 16.0), (7, 30.0), (5000, 30.0)]
)
def test_backoff_doubles_up_to_its_cap_with_full_jitter(failures: int, step: float) -> None:
    """The bound doubles with each failure, and chance takes all of [0, bound)."""
    assert backoff(failures, 0.5, 0.0) == 0.0
    assert backoff(failures, 0.5, 0.5) == step / 2
    assert 0.999 * step < backoff(failures, 0.5, ALMOST_ONE) <= step <= BACKOFF_CAP


def test_backoff_without_a_base_does_not_wait() -> None:
    """`retry_delay=0` tries again at once."""
    assert backoff(3, 0.0, ALMOST_ONE) == 0.0


@pytest.mark.parametrize("base", [0.0, 0.01, 1.0, 100.0])
@pytest.mark.parametrize("failures", [1, 2, 5, 5000])
def test_a_probe_waits_at_least_half_the_step(base: float, failures: int) -> None:
    """A probe is never at once, even without a base, and never later than the cap."""
    step = min(BACKOFF_CAP, max(base, 0.1) * 2.0 ** min(failures - 1, 32))
    assert probe_delay(failures, base, 0.0) == step / 2
    assert step / 2 < probe_delay(failures, base, ALMOST_ONE) <= step


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("120", 120.0),
        (" 7 ", 7.0),
        ("1.5", 1.5),
        ("-5", 0.0),
        ("301", RETRY_AFTER_CAP),
        ("999999999999", RETRY_AFTER_CAP),
        (None, None),
        ("", None),
        ("soon", None),
        ("nan", None),
        ("inf", None),
        ("-inf", None),
        ("12 parrots", None),
        ("9" * 400, None),
        ("Mon, 99 Foo 2026 00:00:00 GMT", None),
        ("Mon, 01 Jan 99999 00:00:00 GMT", None),
    ],
)
def test_retry_after_in_seconds(text: str | None, seconds: float | None) -> None:
    """A number of seconds is taken within bounds; what makes no sense counts as missing."""
    assert parse_retry_after(text, NOW) == seconds


@pytest.mark.parametrize(
    ("ahead", "seconds"), [(90, 90.0), (0, 0.0), (-3600, 0.0), (86_400, RETRY_AFTER_CAP)]
)
def test_retry_after_as_a_date(ahead: int, seconds: float) -> None:
    """A date counts from now; one that is past means at once."""
    assert parse_retry_after(formatdate(NOW + ahead, usegmt=True), NOW) == seconds


def test_a_date_without_a_zone_is_utc() -> None:
    """HTTP dates are in UTC, also where the header leaves that out."""
    assert parse_retry_after(formatdate(NOW + 60).replace("-0000", "").strip(), NOW) == 60.0
    assert parse_retry_after(formatdate(NOW + 60), NOW) == 60.0


@pytest.mark.parametrize(
    "text",
    [
        "Mon, 01 Jan 99999999999999999999 00:00:00 GMT",
        "Mon, 01 Jan 2026 00:00:00 +99999999999999999999",
    ],
)
def test_a_date_out_of_all_bounds_makes_no_sense(text: str) -> None:
    """Whatever a server or a proxy puts in the header, the sender goes on."""
    assert parse_retry_after(text, NOW) is None
