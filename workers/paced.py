"""Connections that keep their relay's rate and its warm-up: ``[[relays]] rate`` and ``warm_up``, shared by all workers.

A connection is lent for one message at a time (``RelayPool(…, hold=0)``).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from mailer.service.ports import Connection, Pace, Relays
from mailer.service.warm_up import WarmUp

SHORT = 0.05
"""Seconds that a connection may be held while its turn comes; a longer wait would let it go stale."""


class PacedRelays:
    """``ports.Relays`` over others: a connection is lent when its relay's next place in line has come.

    ``rates``: messages per second by ``Connection.where``, of the relays that have a rate. ``warm_up`` says when a
    relay has had its messages of the day; ``rest`` then leaves it alone: where, seconds, why.
    """

    def __init__(
        self,
        relays: Relays,
        pace: Pace,
        rates: Mapping[str, float],
        warm_up: WarmUp | None = None,
        rest: Callable[[str, float, str], None] | None = None,
    ) -> None:
        self._relays, self._pace, self._rates = relays, pace, rates
        self._warm_up, self._rest = warm_up, rest

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """See the port. Comes back when the place in line has come; nobody holds a connection that waits for longer."""
        paid = ""
        while True:
            async with self._relays.connection() as connection:
                rate = self._rates.get(connection.where)
                wait = 0.0
                if connection.where != paid:
                    self._give_back(paid)
                    paid = ""
                    if not await self._has_any_left(connection.where):
                        continue
                    paid = connection.where
                    wait = await self._pace.take(connection.where, rate) if rate is not None else 0.0
                if wait < SHORT:
                    offered = connection.offered
                    try:
                        await asyncio.sleep(wait)
                        yield connection
                    finally:
                        if connection.offered == offered:  # there was nothing to carry, or it couldn't be carried
                            self._give_back(paid)
                    return
            await asyncio.sleep(wait)

    async def _has_any_left(self, where: str) -> bool:
        """Takes a message from the relay's day; one that has none left rests."""
        if self._warm_up is None or self._rest is None or (rest := await self._warm_up.one(where)) is None:
            return True
        self._rest(where, rest.seconds, rest.why)
        return False

    def _give_back(self, where: str) -> None:
        """A message of the relay's day that wasn't sent."""
        if self._warm_up is not None:
            self._warm_up.give_back(where)

    async def reach(self) -> None:
        """See the port."""
        await self._relays.reach()

    async def close(self) -> None:
        """See the port."""
        await self._relays.close()
