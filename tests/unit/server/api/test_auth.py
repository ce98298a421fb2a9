"""What is kept in memory of keys that were sent."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import cast

from banyan_hp.server.api.auth import Caller, Callers
from banyan_hp.server.store.keys import Key, Keys, Role, digest_of

GOOD = "psk_good"


class Stored:
    """Holds one key; notes who asks."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []

    def find(self, digest: bytes) -> Key | None:
        self.asked.append(digest)
        now = datetime.now(UTC)
        return Key("k", "p", Role.READ, "good", now) if digest == digest_of(GOOD) else None


def test_keys_in_use_stay_whatever_else_is_tried() -> None:
    """Thousands of bad keys push out one another, and not a key that is used between them."""
    stored = Stored()
    callers = Callers(cast("Keys", stored), {})
    for number in range(3_000):
        assert callers.of(f"psk_bad{number}") is None
        if number % 100 == 0:
            assert callers.of(GOOD) == Caller("p", Role.READ, "k")
    assert stored.asked.count(digest_of(GOOD)) == 1
    assert callers.of("psk_bad2999") is None
    assert stored.asked.count(digest_of("psk_bad2999")) == 1


def test_no_key_is_kept_as_it_was_sent() -> None:
    """Neither one that was given at the start, nor one of the database, nor what somebody has tried."""
    callers = Callers(cast("Keys", Stored()), {"psk_given": Caller("p", Role.ADMIN, "given")})
    assert callers.of("psk_given") is not None
    assert [callers.of(secret) is None for secret in (GOOD, "psk_bad")] == [False, True]
    assert callers.knows(["psk_given", GOOD, "psk_bad"])
    assert not callers.knows(["psk_other"])
    assert "psk_" not in str(vars(callers))
