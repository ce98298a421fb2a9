"""Whether records travel in batches: asked, learnt, forgotten."""

from __future__ import annotations

import pytest

from banyan_hp.engine.policy.batch_support import ASK_AGAIN_SECONDS, BatchSupport, SizeLimit
from banyan_hp.engine.policy.compression import Compression


def support(setting: str, *, may_batch: bool = True, may_compress: bool = True) -> BatchSupport:
    return BatchSupport(setting, may_batch=may_batch, compression=Compression(allowed=may_compress))


def learn(
    subject: BatchSupport, status: int, *, batches: bool = False, compress: bool = False, now: float = 0.0
) -> None:
    subject.learn(status, batches=batches, compress=compress, now=now)


def taught(status: int = 200) -> BatchSupport:
    subject = support("auto")
    learn(subject, status, batches=True, compress=True)
    return subject


def test_auto_asks_before_it_batches() -> None:
    """Until the destination has said so, records travel one by one."""
    subject = support("auto")
    assert subject.must_ask(0.0)
    assert (subject.batches, subject.compression.active) == (False, False)


@pytest.mark.parametrize(
    ("setting", "may_batch", "may_compress", "batches"),
    [
        ("always", True, False, True),
        ("always", False, True, True),
        ("never", True, True, False),
        ("auto", False, True, False),
    ],
)
def test_where_it_is_settled_nobody_asks(
    setting: str, *, may_batch: bool, may_compress: bool, batches: bool
) -> None:
    """The setting decides, or the host that is known to take none."""
    subject = support(setting, may_batch=may_batch, may_compress=may_compress)
    assert subject.batches is batches
    assert not subject.must_ask(1e9)
    subject.ask_soon()
    assert not subject.must_ask(1e9)
    assert not subject.unlearn(404)


def test_always_asks_only_whether_batches_may_be_compressed() -> None:
    """Whatever the answer, batches are sent; a passing answer is asked for again."""
    subject = support("always")
    assert subject.must_ask(0.0)
    learn(subject, 503)
    assert (subject.batches, subject.compression.active) == (True, False)
    assert subject.must_ask(ASK_AGAIN_SECONDS)
    learn(subject, 200, batches=True, compress=True)
    assert (subject.batches, subject.compression.active) == (True, True)
    assert not subject.must_ask(1e9)


def test_a_proper_answer_means_batches_for_good() -> None:
    """It is not asked again."""
    subject = taught()
    assert (subject.batches, subject.compression.active) == (True, True)
    subject.ask_soon()
    assert not subject.must_ask(1e9)


def test_compression_needs_batches() -> None:
    """Without batches nothing is compressed, whatever the answer said."""
    subject = support("auto")
    learn(subject, 200, batches=False, compress=True)
    assert not subject.compression.active


@pytest.mark.parametrize("status", [200, 204, 404, 405, 410, 501])
def test_an_answer_that_tells_is_final(status: int) -> None:
    """A backend without a batch endpoint is not asked for ever."""
    subject = support("auto")
    learn(subject, status)
    subject.ask_soon()
    assert not subject.must_ask(1e9)
    assert not subject.batches


@pytest.mark.parametrize("status", [302, 400, 401, 403, 429, 500, 503])
def test_a_passing_answer_is_asked_for_again(status: int) -> None:
    """An outage or a refused key says nothing about batches: one by one for a while, then ask."""
    subject = support("auto")
    learn(subject, status, now=100.0)
    assert not subject.must_ask(100.0 + ASK_AGAIN_SECONDS - 0.1)
    assert subject.must_ask(100.0 + ASK_AGAIN_SECONDS)


def test_a_recovery_asks_at_once() -> None:
    """When the destination is back, the answer of the outage doesn't count."""
    subject = support("auto")
    learn(subject, 503, now=100.0)
    subject.ask_soon()
    assert subject.must_ask(100.0)


@pytest.mark.parametrize("status", [404, 405, 410, 501])
def test_a_vanished_endpoint_is_forgotten(status: int) -> None:
    """After a roll-back of the backend we ask again, and travel one by one."""
    subject = taught()
    assert subject.unlearn(status)
    assert (subject.batches, subject.compression.active) == (False, False)
    assert subject.must_ask(0.0)


@pytest.mark.parametrize("status", [200, 401, 403, 500, None])
def test_other_answers_forget_nothing(status: int | None) -> None:
    """An outage or a refused key doesn't mean that the endpoint is gone."""
    subject = taught()
    assert not subject.unlearn(status)
    assert (subject.batches, subject.compression.active) == (True, True)


def test_a_batch_that_fails_after_the_endpoint_was_forgotten_is_no_failure_either() -> None:
    """Two batches were under way when the endpoint went: the second answer means the same as the first."""
    subject = support("auto")
    learn(subject, 200, batches=True)
    assert subject.unlearn(404)
    assert subject.unlearn(404)
    assert not subject.batches


@pytest.mark.parametrize(("setting", "may_batch"), [("always", True), ("auto", False)])
def test_nothing_is_forgotten_that_was_not_found_out(setting: str, may_batch: bool) -> None:
    """Where batches were decided by the user, or can't be, a 404 is about the base URL."""
    assert not support(setting, may_batch=may_batch).unlearn(404)


def largest_passing(limit: SizeLimit, too_much: float, requests: int, most: float = 500.0) -> list[float]:
    """The sizes of so many full requests, of which those above `too_much` fail."""
    sizes = []
    for _ in range(requests):
        size = float(int(min(most, limit.value)))
        sizes.append(size)
        limit.failed(size) if size > too_much else limit.worked(size)
    return sizes


@pytest.mark.parametrize("too_much", [1, 2, 7, 100, 260, 499])
def test_the_size_that_passes_is_found_and_seldom_exceeded(too_much: int) -> None:
    """A proxy with a limit that does not say 413: few requests fail, and the others are nearly as large."""
    sizes = largest_passing(SizeLimit(), too_much, 400)
    assert sum(size > too_much for size in sizes) <= 20
    assert sum(size > too_much for size in sizes[200:]) <= 3
    assert min(sizes[100:]) >= 0.75 * too_much


@pytest.mark.parametrize("too_much", [1, 7, 260])
def test_a_limit_that_is_lifted_is_forgotten(too_much: int) -> None:
    """Within a few hundred full requests."""
    limit = SizeLimit()
    largest_passing(limit, too_much, 50)
    largest_passing(limit, 500, 400)
    assert limit.value >= 500


def test_requests_that_are_not_full_raise_no_limit() -> None:
    """They say nothing of larger ones."""
    limit = SizeLimit()
    limit.failed(500)
    for _ in range(1000):
        limit.worked(50)
    assert limit.value == 250
