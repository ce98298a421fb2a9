"""Who may compress, and who has refused it."""

from __future__ import annotations

import gzip

import pytest

from banyan_hp.engine.policy.compression import Compression, compressed, may_compress
from banyan_hp.engine.records.outcome import Outcome, Verdict


@pytest.mark.parametrize(
    ("setting", "url", "expected"),
    [
        ("auto", "https://backend.test", True),
        ("auto", "http://127.0.0.1:8000", False),
        ("auto", "http://[::1]", False),
        ("auto", "http://api.localhost", False),
        ("always", "http://localhost", True),
        ("never", "https://backend.test", False),
    ],
)
def test_on_this_machine_compressing_is_a_matter_of_the_setting(
    setting: str, url: str, *, expected: bool
) -> None:
    """Bytes are free there, and compressing them is not."""
    assert may_compress(setting, url) is expected


def test_it_begins_with_the_destination_s_offer() -> None:
    """And only if the settings allow it."""
    allowed, forbidden = Compression(allowed=True), Compression(allowed=False)
    assert not allowed.active
    for each in (allowed, forbidden):
        each.offer(offered=True)
    assert (allowed.active, forbidden.active) == (True, False)


def test_a_refusal_ends_it_for_good_and_is_new_once() -> None:
    """A later offer changes nothing."""
    compression = Compression(allowed=True)
    compression.offer(offered=True)
    assert [compression.refused(), compression.refused()] == [True, False]
    compression.offer(offered=True)
    assert not compression.active


def test_who_has_unpacked_a_batch_refuses_the_next_one_for_its_content() -> None:
    """A firewall's refusal may still be due to the compression."""
    compression = Compression(allowed=True)
    refusal, hold = Verdict(Outcome.REFUSED, status=400), Verdict(Outcome.HOLD_AUTH, status=403)
    assert compression.may_explain([refusal])
    compression.worked()
    assert not compression.may_explain([refusal])
    assert compression.may_explain([hold])
    assert not compression.may_explain([Verdict(Outcome.RETRY, status=503)])


def test_compressed_bytes_are_the_same_each_time() -> None:
    """No time of day is in them."""
    body = b"x" * 5000
    assert compressed(body) == compressed(body)
    assert gzip.decompress(compressed(body)) == body
