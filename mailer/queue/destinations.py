"""What workers share about destinations and relays, in Redis: conditions, and connections.

Each worker asks once a second, in one round trip, and acts on the answer meanwhile. Redis may lose everything: a worker
then goes on by what it knows, and puts it back.

*Conditions* are values of ``mailer.delivery.condition`` under their destination's name. A change replaces exactly the
value it was made from, so that none is lost and no two workers raise a pace twice.

*Connections* are granted to workers, a number each: an equal part to each that wants some, and one to each other where
there are plenty, as far as there are any left. What a worker has open counts as granted until it is closed, so that the
limit isn't exceeded while parts change. The grants of a worker that leaves are free again, and those of one that says
nothing for ``LEASE`` seconds.
"""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from arq.connections import ArqRedis

from mailer.delivery.condition import Condition
from mailer.queue.absence import Absence
from mailer.queue.address import open_client, redis_settings
from mailer.queue.failure import Failure, queue_error
from mailer.service.sharing import Demand, Shared

log = logging.getLogger(__name__)

LEASE = 12.0
"""Seconds for which what a worker said counts."""

_CONDITIONS, _WORKERS, _GENERATION = "mailer:conditions", "mailer:alive", "mailer:generation"

# KEYS: generation, workers, conditions, then one for each demand. ARGV: the worker, its lease in seconds, a new
# generation's name, then three for each demand: limit, in use, wanted (0 or 1). Of each worker a hash under the
# demand's key holds "granted wanted until". Gives time, generation, number of workers, conditions (flat), grants.
_EXCHANGE = """
local time = redis.call('TIME')
local now, me, lease = time[1] + time[2] / 1000000, ARGV[1], tonumber(ARGV[2])
local life = math.ceil(lease * 2)
redis.call('SET', KEYS[1], ARGV[3], 'NX')
redis.call('ZADD', KEYS[2], now + lease, me)
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
redis.call('EXPIRE', KEYS[2], life)
local workers = redis.call('ZCARD', KEYS[2])
local grants = {}
for i = 4, #KEYS do
  local at = 4 + (i - 4) * 3
  local limit, using, wants = tonumber(ARGV[at]), tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  local granted, wanting = 0, wants
  local held = redis.call('HGETALL', KEYS[i])
  for j = 1, #held, 2 do
    local theirs, wanted, ends = string.match(held[j + 1], '^(%S+) (%S+) (%S+)$')
    if tonumber(ends) <= now then
      redis.call('HDEL', KEYS[i], held[j])
    elseif held[j] ~= me then
      granted, wanting = granted + tonumber(theirs), wanting + tonumber(wanted)
    end
  end
  local part = 0
  if limit >= 2 * workers then part = 1 end
  if wants > 0 then part = math.ceil(limit / wanting) end
  part = math.min(part, math.max(limit - granted, 0))
  redis.call('HSET', KEYS[i], me, string.format('%d %d %.3f', math.max(using, part), wants, now + lease))
  redis.call('EXPIRE', KEYS[i], life)
  grants[#grants + 1] = part
end
return {string.format('%.6f', now), redis.call('GET', KEYS[1]), workers, redis.call('HGETALL', KEYS[3]), grants}
"""

# KEYS: conditions. ARGV: the name, what it must be now ('': nothing), what it becomes ('': nothing).
_CHANGE = """
if (redis.call('HGET', KEYS[1], ARGV[1]) or '') ~= ARGV[2] then return 0 end
if ARGV[3] == '' then redis.call('HDEL', KEYS[1], ARGV[1]) else redis.call('HSET', KEYS[1], ARGV[1], ARGV[3]) end
return 1
"""


class SharedDestinations:
    """``mailer.service.sharing.Sharing`` on Redis. No method raises for Redis."""

    def __init__(self, client: ArqRedis, url: str) -> None:
        self._client, self._url = client, url
        meanwhile, back = (
            "Until then each worker goes by what it knows.",
            "destinations and connections are shared again",
        )
        self._absence = Absence(url, log, meanwhile, back)
        self._commands: Any = client  # redis-py's types don't know which client waits
        self._worker = secrets.token_hex(8)
        self._granted: set[str] = set()
        self._exchange = client.register_script(_EXCHANGE)
        self._change = client.register_script(_CHANGE)

    async def exchange(self, demands: Sequence[Demand]) -> Shared | None:
        """Says what this worker uses and wants, and gives what all know; None while Redis can't be reached."""
        granted = [f"mailer:connections:{demand.name}" for demand in demands]
        self._granted.update(granted)
        keys = [_GENERATION, _WORKERS, _CONDITIONS, *granted]
        wants = [number for one in demands for number in (one.limit, one.using, int(one.wanted))]
        try:
            answer = await self._exchange(keys=keys, args=[self._worker, LEASE, secrets.token_hex(8), *wants])
        except Failure as error:
            self._absence.failed(error)
            return None
        self._absence.answered()
        time, generation, workers, conditions, grants = answer
        return Shared(
            now=float(time),
            generation=_text(generation),
            workers=int(workers),
            conditions=_conditions([_text(item) for item in conditions]),
            connections={demand.name: int(grant) for demand, grant in zip(demands, grants, strict=True)},
        )

    async def change(self, name: str, old: Condition | None, new: Condition | None) -> bool:
        """Replaces a condition, if it is still ``old`` (None: nothing is known). False: it isn't, or Redis is gone."""
        try:
            return bool(await self._change(keys=[_CONDITIONS], args=[name, _dump(old), _dump(new)]))
        except Failure as error:
            self._absence.failed(error)
            return False

    async def close_breakers(self) -> list[str]:
        """Forgets all breakers, for all workers: an operator says that the cause is mended. Gives their destinations.

        Raises ``QueueError`` while Redis can't be reached.
        """
        names = sorted(name for name, condition in (await self.conditions()).items() if condition.pause)
        try:
            if names:
                await self._commands.hdel(_CONDITIONS, *names)
        except Failure as error:
            raise queue_error(error, self._url) from None
        return names

    async def conditions(self) -> Mapping[str, Condition]:
        """What is known to be wrong with destinations. Raises ``QueueError`` while Redis can't be reached."""
        try:
            flat = await self._commands.hgetall(_CONDITIONS)
        except Failure as error:
            raise queue_error(error, self._url) from None
        return _conditions([_text(item) for pair in flat.items() for item in pair])

    async def close(self) -> None:
        """Leaves what it had to the others, and closes the connections. To be called when nothing of it is open."""
        try:
            for key in self._granted:
                await self._commands.hdel(key, self._worker)
            if self._granted:
                await self._commands.zrem(_WORKERS, self._worker)
        except Failure as error:
            log.debug("the others wait %.0f s for this worker's connections: %s", LEASE, error)
        await self._client.aclose(close_connection_pool=True)


def connect_destinations(url: str) -> SharedDestinations:
    """At a URL; connects when it is first used. Raises ``ConfigError`` for a URL that is none."""
    return SharedDestinations(open_client(redis_settings(url), tries=0, timeout=1.0), url)


def _dump(condition: Condition | None) -> str:
    """The same text for the same value, whoever writes it: it is compared."""
    return "" if condition is None else json.dumps(asdict(condition), ensure_ascii=False, sort_keys=True)


def _conditions(flat: Sequence[str]) -> Mapping[str, Condition]:
    """What can't be read (another version wrote it) is left out."""
    found = {}
    for name, text in zip(flat[::2], flat[1::2], strict=True):
        try:
            found[name] = Condition(**json.loads(text))
        except (ValueError, TypeError):
            log.debug("the condition of %s is of another version", name)
    return found


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
