"""How often an address may ask, by a clock that stands still."""

from __future__ import annotations

from banyan_hp.server.api.limits import RateLimit
from tests.support.clock import FakeClock


def test_a_burst_and_then_a_rate() -> None:
    """The seconds to wait are those after which it works."""
    clock = FakeClock()
    limit = RateLimit(3, 0.5, clock.monotonic)
    assert [limit.wait_of("192.0.2.1") for _ in range(5)] == [0, 0, 0, 2, 2]
    clock.advance(1.9)
    assert limit.wait_of("192.0.2.1") == 1
    clock.advance(0.2)
    assert [limit.wait_of("192.0.2.1") for _ in range(2)] == [0, 2]
    clock.advance(1_000)
    assert [limit.wait_of("192.0.2.1") for _ in range(4)] == [0, 0, 0, 2]


def test_each_address_has_its_own() -> None:
    """Of IPv6 each network of 64 bits; what is no address is one, too."""
    limit = RateLimit(1, 0.5, FakeClock().monotonic)
    addresses = ["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8:0:1::1", "", "unknown"]
    assert [limit.wait_of(each) for each in addresses] == [0] * 6
    assert limit.wait_of("2001:db8::ffff") == 2
    assert "6 addresses" in repr(limit)


def test_memory_is_bounded() -> None:
    """Whoever has not asked for longest is forgotten."""
    limit = RateLimit(1, 0.5, FakeClock().monotonic)
    for number in range(10_002):
        limit.wait_of(f"10.{number // 65536}.{number // 256 % 256}.{number % 256}")
    assert "10000 addresses" in repr(limit)
    assert (limit.wait_of("10.0.0.0"), limit.wait_of("10.0.39.17")) == (0, 2)
