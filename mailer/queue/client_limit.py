"""Limits for clients of the web, shared by all web processes: the generic cell rate algorithm (ITU-T I.371), in Redis.

Under a client's name stands the time at which it will have everything back; it is forgotten then. Without Redis each
process limits by itself, which it does anyway: see ``mailer.web.rate_limit``.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from arq.connections import ArqRedis

from mailer.queue.absence import Absence
from mailer.queue.address import open_client, redis_settings
from mailer.queue.failure import Failure
from mailer.wire.mac import keyed

log = logging.getLogger(__name__)

PATIENCE = 1.0
"""Seconds to wait for Redis: a reader waits too."""

# KEYS: the client. ARGV: the interval in µs, how many at once. Gives the wait in µs, and takes nothing if there is one.
# More than all of them taken means that the server's clock was set back; it is forgotten.
_TAKE = """
local time, interval, burst = redis.call('TIME'), tonumber(ARGV[1]), tonumber(ARGV[2])
local now = time[1] * 1000000 + time[2]
local whole = tonumber(redis.call('GET', KEYS[1]) or now)
if whole < now or whole - now > burst * interval then whole = now end
local wait = whole - now - (burst - 1) * interval
if wait > 0 then return math.ceil(wait) end
local following = whole + interval
redis.call('SET', KEYS[1], string.format('%.0f', following), 'PX', math.ceil((following - now) / 1000))
return 0
"""


class SharedLimits:
    """``mailer.web.rate_limit.Shared`` on Redis. No address of a client stands there, only a hash with our key."""

    def __init__(self, client: ArqRedis, url: str, secret: bytes, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        meanwhile = "Until then each web process limits by itself."
        self._absence = Absence(url, log, meanwhile, "the limits are shared again", clock)
        self._hash = keyed(secret, "mailer client")
        self._script = client.register_script(_TAKE)

    async def take(self, name: str, whom: str, per_second: float, burst: float) -> float:
        """Takes one of a client's. 0: go ahead; else the seconds until there is one again, and nothing is taken.

        ``name``: which limit. Never raises for Redis: 0 while it can't be reached.
        """
        if not self._absence.may_ask:
            return 0.0
        key = f"mailer:limit:{name}:{self._hash(whom.encode())[:10].hex()}"
        try:
            async with asyncio.timeout(PATIENCE):  # the client's own counts for each that waits for a connection
                wait = int(await self._script(keys=[key], args=[round(1_000_000 / per_second), round(burst)]))
        except Failure as error:
            self._absence.failed(error)
            return 0.0
        self._absence.answered()
        return wait / 1_000_000

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.aclose(close_connection_pool=True)


def connect_limits(url: str, secret: bytes) -> SharedLimits:
    """The shared limits at a URL; connects when they are first used. Raises ``ConfigError`` for a URL that is none.

    Tries only once and briefly.
    """
    return SharedLimits(open_client(redis_settings(url), tries=0, timeout=PATIENCE), url, secret)
