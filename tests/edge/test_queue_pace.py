"""The shared pace, in a real Redis. Nothing here waits: what is looked at is how long each would have to."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest

from mailer.queue.address import open_client, redis_settings
from mailer.queue.embedded import EmbeddedRedis
from mailer.queue.pace import SharedPace, connect_pace

pytest_plugins = ("tests.servers.redis",)


@pytest.fixture
async def paces(redis_url: str) -> AsyncIterator[list[SharedPace]]:
    """Three workers' paces."""
    paces = [connect_pace(redis_url) for _ in range(3)]
    yield paces
    for pace in paces:
        await pace.close()


async def test_places_in_line(paces: list[SharedPace]) -> None:
    """Places of one name are one interval apart: ten places at one a minute take nine minutes."""
    waits = [await paces[0].take("relay", 1 / 60) for _ in range(10)]
    assert waits == pytest.approx([60.0 * place for place in range(10)], abs=5)


async def test_shared(paces: list[SharedPace]) -> None:
    """Workers share one line."""
    waits = [await paces[place % 3].take("relay", 1 / 60) for place in range(9)]
    assert waits == pytest.approx([60.0 * place for place in range(9)], abs=5)


async def test_at_once(paces: list[SharedPace]) -> None:
    """Places taken at once by many tasks of many workers are all different, and none is left out."""
    waits = await asyncio.gather(*(pace.take("relay", 1 / 60) for pace in paces for _ in range(10)))
    assert sorted(waits) == pytest.approx([60.0 * place for place in range(30)], abs=5)


async def test_names_are_apart(paces: list[SharedPace]) -> None:
    """Each name has a line of its own."""
    await paces[0].take("one", 1 / 60)
    assert await paces[0].take("two", 1 / 60) == pytest.approx(0, abs=5)


async def test_idle_time_isnt_saved(paces: list[SharedPace]) -> None:
    """After a quiet time there is no burst: the next two places are an interval apart."""
    await paces[0].take("relay", 1000)
    await asyncio.sleep(0.1)
    assert await paces[0].take("relay", 1 / 60) == pytest.approx(0, abs=5)
    assert await paces[1].take("relay", 1 / 60) == pytest.approx(60, abs=5)


async def test_flushed(paces: list[SharedPace], redis_url: str) -> None:
    """After FLUSHALL one process still doesn't exceed the rate, and the line is shared again."""
    await paces[0].take("relay", 1 / 60)
    client = open_client(redis_settings(redis_url))
    await client.flushall()
    await client.script_flush()
    await client.aclose(close_connection_pool=True)
    assert await paces[0].take("relay", 1 / 60) == pytest.approx(60, abs=5)
    assert await paces[1].take("relay", 1 / 60) == pytest.approx(60, abs=5)


async def test_clock_set_back(paces: list[SharedPace], redis_url: str) -> None:
    """A place far in the future, as a clock that was set back leaves it, stops nobody for hours."""
    client = open_client(redis_settings(redis_url))
    await client.set("mailer:pace:relay", str(10**18))
    await client.aclose(close_connection_pool=True)
    assert await paces[0].take("relay", 10) == pytest.approx(0, abs=5)


async def test_without_redis(own_redis: EmbeddedRedis, caplog: pytest.LogCaptureFixture) -> None:
    """When Redis goes, each process keeps the rate by itself and says so once; when it is back, so is the line."""
    now = 1000.0
    pace = SharedPace(
        open_client(redis_settings(own_redis.url), tries=0, timeout=1.0), own_redis.url, clock=lambda: now
    )
    caplog.set_level(logging.INFO, "mailer.queue.pace")
    await pace.take("relay", 1 / 60)
    own_redis.stop()
    for place in range(1, 5):
        assert await pace.take("relay", 1 / 60) == pytest.approx(60 * place - 3 * (place - 1))
        now += 3  # longer than it waits before it asks Redis again
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    own_redis.start()
    now += 1000
    assert await pace.take("relay", 1 / 60) == 0
    assert caplog.records[-1].getMessage() == "Redis is back: the rate is shared again"
    await pace.close()
