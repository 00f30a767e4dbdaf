"""Connections that keep their relay's rate: ``[[relays]] rate``, shared by all workers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from mailer.service.ports import Connection, Pace, Relays

SHORT = 0.05
"""Seconds that a connection may be held while its turn comes; a longer wait would let it go stale."""


class PacedRelays:
    """``ports.Relays`` over others: a connection is lent when its relay's next place in line has come.

    ``rates``: messages per second by ``Connection.where``, of the relays that have a rate.
    """

    def __init__(self, relays: Relays, pace: Pace, rates: Mapping[str, float]) -> None:
        self._relays, self._pace, self._rates = relays, pace, rates

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """See the port. Comes back when the place in line has come; nobody holds a connection that waits for longer."""
        paid = ""
        while True:
            async with self._relays.connection() as connection:
                rate = self._rates.get(connection.where)
                wait = 0.0
                if rate is not None and connection.where != paid:
                    wait = await self._pace.take(connection.where, rate)
                    paid = connection.where
                if wait < SHORT:
                    await asyncio.sleep(wait)
                    yield connection
                    return
            await asyncio.sleep(wait)

    async def reach(self) -> None:
        """See the port."""
        await self._relays.reach()

    async def close(self) -> None:
        """See the port."""
        await self._relays.close()
