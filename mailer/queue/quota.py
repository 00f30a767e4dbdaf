"""A number of messages that all workers together may send in a day, counted in Redis and taken in blocks.

Redis may lose the count. It is then begun anew, rather with too many than with too few: see ``mailer.service.warm_up``.
"""

from __future__ import annotations

from arq.connections import ArqRedis

from mailer.queue.address import open_client, redis_settings
from mailer.queue.failure import Failure

KEPT = 2 * 86400
"""Seconds for which a day's count is kept."""

# KEYS: the day's count. ARGV: the ceiling, how many are wanted. Gives how many may be sent; -1: there is no count.
_TAKE = """
local used = redis.call('GET', KEYS[1])
if not used then return -1 end
local given = math.max(0, math.min(tonumber(ARGV[2]), tonumber(ARGV[1]) - tonumber(used)))
if given > 0 then redis.call('INCRBY', KEYS[1], given) end
return given
"""


class SharedQuota:
    """``mailer.service.warm_up.Quota`` on Redis."""

    def __init__(self, client: ArqRedis) -> None:
        self._client = client
        self._take = client.register_script(_TAKE)

    async def take(self, name: str, day: float, ceiling: int, wanted: int) -> int | None:
        """Takes up to ``wanted`` of what is left of a day's ceiling. None: nobody knows how many were sent.

        Raises ``OSError`` while Redis can't be reached.
        """
        try:
            given = int(await self._take(keys=[_key(name, day)], args=[ceiling, wanted]))
        except Failure as error:
            raise OSError(f"the warm-up's count can't be reached: {error}") from error
        return None if given < 0 else given

    async def begin(self, name: str, day: float, used: int) -> None:
        """Begins a day's count, unless another worker has."""
        try:
            await self._client.set(_key(name, day), used, nx=True, ex=KEPT)
        except Failure as error:
            raise OSError(f"the warm-up's count can't be reached: {error}") from error

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.aclose(close_connection_pool=True)


def connect_quota(url: str) -> SharedQuota:
    """At a URL; connects when it is first used. Raises ``ConfigError`` for a URL that is none."""
    return SharedQuota(open_client(redis_settings(url), tries=0, timeout=1.0))


def _key(name: str, day: float) -> str:
    return f"mailer:sent:{name}:{day:.0f}"
