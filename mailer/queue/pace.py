"""Rates shared by all workers: the generic cell rate algorithm (ITU-T I.371) with no burst, in Redis, by its clock.

Under each name stands the time of the next free place in line; taking a place moves it on by one interval. What Redis
says is never allowed to be faster than this process alone may be, so that a Redis that was flushed, or is gone, can't
make one process exceed the rate.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Callable

from arq.connections import ArqRedis

from mailer.queue.absence import Absence
from mailer.queue.address import open_client, redis_settings
from mailer.queue.failure import Failure

log = logging.getLogger(__name__)

# KEYS: the name. ARGV: the interval in µs. Gives the wait in µs. A place further away than any line of ours can reach
# means that the server's clock was set back; it is forgotten.
_TAKE = """
local time, interval = redis.call('TIME'), tonumber(ARGV[1])
local now = time[1] * 1000000 + time[2]
local place = tonumber(redis.call('GET', KEYS[1]) or now)
if place < now or place - now > 10000 * interval + 60000000 then place = now end
local following = place + interval
local life = math.ceil((following - now) / 1000) + 1000
redis.call('SET', KEYS[1], string.format('%.0f', following), 'PX', life)
return math.floor(place - now)
"""


class SharedPace:
    """``ports.Pace`` on Redis."""

    def __init__(self, client: ArqRedis, url: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._client, self._clock = client, clock
        meanwhile = "Until then each worker keeps the rate by itself."
        self._absence = Absence(url, log, meanwhile, "the rate is shared again", clock)
        self._script = client.register_script(_TAKE)
        self._next: dict[str, float] = {}
        self._in_turn: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def take(self, name: str, per_second: float) -> float:
        """Takes the next place in line under ``name``; gives the seconds to wait before using it.

        Never raises for Redis: without it, each process keeps the rate by itself.
        """
        interval = 1.0 / per_second
        async with self._in_turn[name]:  # answers that overtake one another would leave places unused
            shared = await self._shared(name, interval)
            now = self._clock()
            place = max(now + shared, self._next.get(name, now))
            self._next[name] = place + interval
        return place - now

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.aclose(close_connection_pool=True)

    async def _shared(self, name: str, interval: float) -> float:
        if not self._absence.may_ask:
            return 0.0
        try:
            wait = float(await self._script(keys=[f"mailer:pace:{name}"], args=[round(interval * 1_000_000)]))
        except Failure as error:
            self._absence.failed(error)
            return 0.0
        self._absence.answered()
        return wait / 1_000_000


def connect_pace(url: str) -> SharedPace:
    """The shared pace at a URL; connects when it is first used. Raises ``ConfigError`` for a URL that is none.

    Tries only once and briefly: a message waits for it.
    """
    return SharedPace(open_client(redis_settings(url), tries=0, timeout=1.0), url)
