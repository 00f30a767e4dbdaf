"""Sharing through Redis: what only a real server can do."""

from __future__ import annotations

import asyncio
import logging

import pytest

from mailer.delivery.condition import Condition
from mailer.queue.address import open_client, redis_settings
from mailer.queue.destinations import connect_destinations
from mailer.queue.embedded import EmbeddedRedis
from mailer.service.sharing import Demand

pytest_plugins = ("tests.servers.redis",)

SLOW = Condition(rate=1.5, usual=3.0, slowed_at=12.25, counted_at=12.25)


async def test_dead_worker(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connections of a worker that was killed are free again within 15 seconds."""
    assert 0 < destinations_lease() <= 15
    monkeypatch.setattr("mailer.queue.destinations.LEASE", 0.2)
    dead, living = connect_destinations(redis_url), connect_destinations(redis_url)
    await dead.exchange([Demand("r", 4, 4, True)])
    before = await living.exchange([Demand("r", 4, 0, True)])
    await asyncio.sleep(0.25)
    after = await living.exchange([Demand("r", 4, 0, True)])
    assert before is not None
    assert after is not None
    assert (before.connections["r"], after.connections["r"]) == (0, 4)
    assert (before.workers, after.workers) == (2, 1)
    for one in (dead, living):
        await one.close()


def destinations_lease() -> float:
    from mailer.queue import destinations

    return destinations.LEASE


async def test_flushed(redis_url: str) -> None:
    """After FLUSHALL the generation is another one, and everything works."""
    shared = connect_destinations(redis_url)
    before = await shared.exchange([Demand("r", 4, 3, True)])
    client = open_client(redis_settings(redis_url))
    await client.flushall()
    await client.script_flush()
    await client.aclose(close_connection_pool=True)
    after = await shared.exchange([Demand("r", 4, 3, True)])
    assert before is not None
    assert after is not None
    assert before.generation != after.generation
    assert after.connections == {"r": 4}
    await shared.close()


async def test_without_redis(own_redis: EmbeddedRedis, caplog: pytest.LogCaptureFixture) -> None:
    """While Redis is away nothing is raised, one warning is logged, and one line when it is back."""
    caplog.set_level(logging.INFO, "mailer.queue.destinations")
    shared = connect_destinations(own_redis.url)
    assert await shared.exchange([]) is not None
    own_redis.stop()
    assert await shared.exchange([Demand("r", 4, 3, True)]) is None
    assert not await shared.change("a.example", None, SLOW)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    own_redis.start()
    assert await shared.exchange([]) is not None
    assert caplog.records[-1].levelname == "INFO"
    await shared.close()


async def test_other_version(redis_url: str) -> None:
    """A condition that another version wrote is left alone."""
    shared, client = connect_destinations(redis_url), open_client(redis_settings(redis_url))
    await client.hset("mailer:conditions", mapping={"a": '{"speed": 1}', "b": "no JSON"})
    await shared.change("c", None, SLOW)
    answer = await shared.exchange([])
    assert answer is not None
    assert answer.conditions == {"c": SLOW}
    for one in (shared.close(), client.aclose(close_connection_pool=True)):
        await one
