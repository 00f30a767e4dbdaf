"""The web's shared limits, in a real Redis. Nothing here waits: intervals are a minute and more."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator

import pytest

from mailer.queue.address import open_client, redis_settings
from mailer.queue.client_limit import PATIENCE, SharedLimits, connect_limits
from mailer.queue.embedded import EmbeddedRedis
from mailer.web.rate_limit import RateLimit

pytest_plugins = ("tests.servers.redis",)

A_MINUTE, BURST = 1 / 60, 3.0
SECRET = b"k" * 32


@pytest.fixture
async def limits(redis_url: str) -> AsyncIterator[list[SharedLimits]]:
    """Two web processes' limits."""
    found = [connect_limits(redis_url, SECRET) for _ in range(2)]
    yield found
    for one in found:
        await one.close()


async def test_shared(limits: list[SharedLimits]) -> None:
    """Processes share what a client has at once; refused, it hears how long to wait, which costs nothing."""
    waits = [await limits[turn % 2].take("forms", "192.0.2.1", A_MINUTE, BURST) for turn in range(6)]
    assert waits[:3] == [0, 0, 0]
    assert waits[3:] == pytest.approx([60, 60, 60], abs=5)


async def test_at_once(limits: list[SharedLimits]) -> None:
    """Of many who ask in the same moment exactly as many as are allowed go ahead."""
    asked = (one.take("forms", "192.0.2.1", A_MINUTE, 20.0) for one in limits for _ in range(20))
    assert (await asyncio.gather(*asked)).count(0) == 20


async def test_as_alone(limits: list[SharedLimits]) -> None:
    """It lets through what a process's own limit does, and names the same wait."""
    own = RateLimit(A_MINUTE, BURST)
    for _ in range(5):
        assert await limits[0].take("forms", "a", A_MINUTE, BURST) == pytest.approx(own.take("a"), abs=5)


async def test_apart(limits: list[SharedLimits]) -> None:
    """Each client and each limit counts by itself."""
    names = [("forms", "192.0.2.1"), ("forms", "192.0.2.2"), ("sign-ups", "192.0.2.1")]
    assert [await limits[0].take(*name, A_MINUTE, 1.0) for name in names] == [0, 0, 0]
    assert await limits[0].take("forms", "192.0.2.1", A_MINUTE, 1.0) > 0


async def test_nothing_stays(limits: list[SharedLimits], redis_url: str) -> None:
    """No address stands in Redis, and what stands there is gone when the client has everything back."""
    await limits[0].take("forms", "192.0.2.1", A_MINUTE, BURST)
    client = open_client(redis_settings(redis_url))
    (key,) = await client.keys("mailer:limit:*")
    life = await client.pttl(key)
    await client.aclose(close_connection_pool=True)
    assert b"192.0" not in key
    assert 55_000 <= life <= 60_000


async def test_clock_set_back(limits: list[SharedLimits], redis_url: str) -> None:
    """What a clock that was set back leaves shuts nobody out."""
    await limits[0].take("forms", "192.0.2.1", A_MINUTE, BURST)
    client = open_client(redis_settings(redis_url))
    (key,) = await client.keys("mailer:limit:*")
    await client.set(key, str(10**18))
    await client.aclose(close_connection_pool=True)
    assert await limits[0].take("forms", "192.0.2.1", A_MINUTE, BURST) == 0


async def test_hanging() -> None:
    """A Redis that accepts and says nothing holds nobody up for longer than a moment, however many ask at once."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as silent:
        shared = connect_limits(f"redis://127.0.0.1:{silent.getsockname()[1]}", SECRET)
        async with asyncio.timeout(8 * PATIENCE):
            waits = await asyncio.gather(*(shared.take("forms", str(n), A_MINUTE, 1.0) for n in range(20)))
        await shared.close()
    assert set(waits) == {0}


async def test_without_redis(own_redis: EmbeddedRedis, caplog: pytest.LogCaptureFixture) -> None:
    """While Redis is gone nobody is refused by it, which is said once; when it is back, so is the limit."""
    now = 1000.0
    client = open_client(redis_settings(own_redis.url), tries=0, timeout=1.0)
    shared = SharedLimits(client, own_redis.url, SECRET, clock=lambda: now)
    caplog.set_level(logging.INFO, "mailer.queue.client_limit")
    assert [await shared.take("forms", "a", A_MINUTE, 1.0) for _ in range(2)] == [0, pytest.approx(60, abs=5)]
    own_redis.stop()
    for _ in range(4):
        assert await shared.take("forms", "a", A_MINUTE, 1.0) == 0
        now += 3  # longer than it waits before it asks Redis again
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    own_redis.start()
    await shared.take("forms", "a", A_MINUTE, 1.0)
    assert await shared.take("forms", "a", A_MINUTE, 1.0) > 0
    assert caplog.records[-1].getMessage() == "Redis is back: the limits are shared again"
    await shared.close()
