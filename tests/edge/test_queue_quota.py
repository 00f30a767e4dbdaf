"""A day's quota in a real Redis."""

from __future__ import annotations

import asyncio

import pytest

from mailer.queue.embedded import EmbeddedRedis
from mailer.queue.quota import connect_quota

pytest_plugins = ("tests.servers.redis",)

DAY = 1_900_000_000.0


async def test_never_more_than_the_ceiling(redis_url: str) -> None:
    """Blocks taken at once by several workers add up to the ceiling; days and relays are apart."""
    workers = [connect_quota(redis_url) for _ in range(3)]
    assert await workers[0].take("relay", DAY, 100, 7) is None
    for worker in workers:
        await worker.begin("relay", DAY, 30)
        await worker.begin("relay", DAY + 86400, 0)
    taken = await asyncio.gather(*(worker.take("relay", DAY, 100, 7) for worker in workers for _ in range(10)))
    assert sum(given or 0 for given in taken) == 70
    assert await workers[0].take("relay", DAY + 86400, 100, 7) == 7
    assert await workers[0].take("other", DAY, 100, 7) is None
    for worker in workers:
        await worker.close()


async def test_without_redis(own_redis: EmbeddedRedis) -> None:
    """While Redis is away the caller is told so."""
    quota = connect_quota(own_redis.url)
    own_redis.stop()
    for call in (quota.take("relay", DAY, 100, 7), quota.begin("relay", DAY, 0)):
        with pytest.raises(OSError, match="can't be reached"):
            await call
    await quota.close()
