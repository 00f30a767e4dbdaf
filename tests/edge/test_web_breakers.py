"""What /metrics says of destinations, from a real Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from mailer.delivery.condition import Condition
from mailer.queue.destinations import connect_destinations
from mailer.queue.embedded import EmbeddedRedis
from mailer.web.breakers import BreakerFigures
from mailer.web.metrics import Source

pytest_plugins = ("tests.servers.redis",)

SLOW = Condition(rate=1.5, usual=3.0, slowed_at=12.25, counted_at=12.25)
OPEN = Condition(pause=60.0, open_until=1e10, why="550 5.7.1 no")


def share(url: str, conditions: Mapping[str, Condition]) -> None:
    async def change() -> None:
        shared = connect_destinations(url)
        for name, condition in conditions.items():
            assert await shared.change(name, None, condition)
        await shared.close()

    asyncio.run(change())


def said(source: Source) -> dict[str, dict[str, float]]:
    """Values by metric and destination."""
    return {
        family.name: {sample.labels.get("destination", ""): sample.value for sample in family.samples}
        for family in source()
    }


def test_breakers_are_counted(own_redis: EmbeddedRedis) -> None:
    """Open breakers and throttles are counted by provider; a domain that is no known provider's isn't named."""
    share(own_redis.url, {"gmx.net": OPEN, "anna-meier.example": OPEN, "bob.example": OPEN, "outlook.com": SLOW})
    assert said(BreakerFigures(own_redis.url)) == {
        "mailer_redis_up": {"": 1},
        "mailer_open_breakers": {"gmx.net": 1, "other": 2},
        "mailer_throttled_destinations": {"outlook.com": 1},
    }


def test_operator_closes_breakers(own_redis: EmbeddedRedis) -> None:
    """Closing breakers forgets all of them, and leaves throttles."""
    share(own_redis.url, {"gmx.net": OPEN, "a.example": OPEN, "outlook.com": SLOW})

    async def close() -> list[str]:
        shared = connect_destinations(own_redis.url)
        try:
            return await shared.close_breakers()
        finally:
            await shared.close()

    assert asyncio.run(close()) == ["a.example", "gmx.net"]
    assert asyncio.run(close()) == []
    assert said(BreakerFigures(own_redis.url))["mailer_throttled_destinations"] == {"outlook.com": 1}


def test_redis_away(own_redis: EmbeddedRedis) -> None:
    """Without Redis the page says just that."""
    own_redis.stop()
    assert said(BreakerFigures(own_redis.url)) == {"mailer_redis_up": {"": 0}}
