"""Connections that keep their relay's rate: ``[[relays]] rate``, shared by all workers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from mailer.model.ledger import Reply
from mailer.service.ports import Connection, Pace, Refused, Relays
from mailer.wire.envelope import Envelope


class PacedRelays:
    """``ports.Relays`` over others: a message is offered when its relay's next place in line has come.

    ``rates``: messages per second by ``Connection.where``, of the relays that have a rate. Whoever waits holds a
    connection, so that no more wait than connections are open.
    """

    def __init__(self, relays: Relays, pace: Pace, rates: Mapping[str, float]) -> None:
        self._relays, self._pace, self._rates = relays, pace, rates

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """See the port."""
        async with self._relays.connection() as connection:
            rate = self._rates.get(connection.where)
            yield connection if rate is None else _Paced(connection, self._pace, rate)

    async def close(self) -> None:
        """See the port."""
        await self._relays.close()


class _Paced:
    """A connection that waits before each message."""

    def __init__(self, connection: Connection, pace: Pace, rate: float) -> None:
        self._connection, self._pace, self._rate = connection, pace, rate
        self.where = connection.where

    async def offer(self, envelope: Envelope) -> Refused | None:
        await asyncio.sleep(await self._pace.take(self.where, self._rate))
        return await self._connection.offer(envelope)

    async def dot(self) -> Reply:
        return await self._connection.dot()

    def drop(self) -> None:
        self._connection.drop()
