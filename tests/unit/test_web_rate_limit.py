"""The token bucket of public forms."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from mailer.web.rate_limit import RateLimit, whom


class Clock:
    """Seconds, moved by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_burst_and_rate() -> None:
    """So many at once, then one each time one has grown again; the answer says how long that takes."""
    clock = Clock()
    limit = RateLimit(0.5, 3, clock=clock)
    assert [limit.take("a") for _ in range(4)] == [0, 0, 0, 2.0]
    assert limit.take("b") == 0, "everybody has their own"
    clock.now += 1.5
    assert limit.take("a") == pytest.approx(0.5), "being refused costs nothing"
    clock.now += 0.5
    assert (limit.take("a"), limit.take("a")) == (0, 2.0)
    clock.now += 1e6
    assert [limit.take("a") for _ in range(4)] == [0, 0, 0, 2.0], "no more than the burst is saved up"


def test_bounded() -> None:
    """Of a million addresses no more than the capacity is kept, and whoever comes all the time stays limited."""
    limit = RateLimit(0.001, 2, capacity=50, clock=Clock())
    assert [limit.take("a"), limit.take("a")] == [0, 0]
    for number in range(5000):
        limit.take(f"x{number}")
        if number % 20 == 0:
            assert limit.take("a") > 0
    assert len(limit) == 50


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
    ],
)
def test_whom(one: str, other: str, same: bool) -> None:
    """IPv4 addresses count each, IPv6 addresses by their /64."""
    assert (whom(ip_address(one)) == whom(ip_address(other))) is same
