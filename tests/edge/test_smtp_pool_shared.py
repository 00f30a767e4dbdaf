"""The pool as all workers share it: weights, how many connections are this worker's, and relays that rest."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from mailer.errors import RelayError
from mailer.model.settings import Relay
from mailer.smtp import pool as pool_module
from mailer.smtp.connect import place
from mailer.smtp.connection import Timeouts
from mailer.smtp.pool import RelayPool
from mailer.wire.envelope import Envelope
from tests.servers.smtp import SmtpServer

pytest_plugins = ("tests.servers.quiet",)
pytestmark = pytest.mark.usefixtures("quiet_loop")

SHORT = Timeouts(connect=1, mail=1, rcpt=1, data=1, block=1, dot=1, quit=0.3)


def relay(server: SmtpServer, name: str = "", **settings: float) -> Relay:
    return Relay(host="127.0.0.1", name=name, port=server.port, security="none", **settings)  # type: ignore[arg-type]


@asynccontextmanager
async def pooled(*relays: Relay) -> AsyncIterator[RelayPool]:
    pool = RelayPool(relays, SHORT)
    try:
        yield pool
    finally:
        await asyncio.wait_for(pool.close(), 5)


async def send(pool: RelayPool) -> None:
    async with pool.connection() as connection:
        assert await connection.offer(Envelope("a@example.com", "b@example.org", b"Subject: x\r\n\r\nx\r\n")) is None
        await connection.dot()


async def test_weights() -> None:
    """Of messages sent one after the other, or many at once, each relay gets its part."""
    async with SmtpServer() as one, SmtpServer() as two, pooled(relay(one, weight=3), relay(two, weight=1)) as pool:
        for _ in range(20):
            await send(pool)
        assert (one.accepted, two.accepted) == (15, 5)
        await asyncio.gather(*(send(pool) for _ in range(4)))
        assert (one.accepted, two.accepted) == (18, 6)


async def test_no_credit_for_absence() -> None:
    """A relay that was away takes its part when it is back, and not all that it missed."""
    async with SmtpServer() as one, SmtpServer() as two, pooled(relay(one, "one"), relay(two, "two")) as pool:
        pool.rest(place(relay(one, "one")), 60, "a rest")
        for _ in range(10):
            await send(pool)
        pool.rest(place(relay(one, "one")), 0, "")
        for _ in range(10):
            await send(pool)
        assert one.accepted in (5, 6)
        assert two.accepted == 20 - one.accepted


async def test_allowed_connections() -> None:
    """No more connections are opened than are allowed; more when more are."""
    async with SmtpServer() as server, pooled(relay(server, connections=4)) as pool:
        where = place(relay(server))
        pool.allow({where: 1})
        async with pool.connection():
            waiting = asyncio.create_task(send(pool))
            await asyncio.sleep(0.05)
            assert server.open == 1
            pool.allow({where: 2, "another": 0})
            await asyncio.wait_for(waiting, 5)
            assert server.connections == 2


async def test_too_many_are_closed() -> None:
    """When fewer are allowed, idle connections are closed, and lent ones as they come back."""
    async with SmtpServer() as server, pooled(relay(server, connections=4)) as pool:
        where = place(relay(server))
        async with pool.connection(), pool.connection():
            async with pool.connection():
                pass
            assert [demand.using for demand in pool.demands()] == [3]
            pool.allow({where: 1})
            assert [demand.using for demand in pool.demands()] == [2]
        assert [(demand.name, demand.limit, demand.using) for demand in pool.demands()] == [(where, 4, 1)]


async def test_demand() -> None:
    """Connections are wanted by whoever has, had just now, or waits for one."""
    async with SmtpServer() as server, pooled(relay(server, connections=4)) as pool:
        assert [demand.wanted for demand in pool.demands()] == [False]
        pool.allow({place(relay(server)): 0})
        waiting = asyncio.create_task(send(pool))
        await asyncio.sleep(0)
        assert [demand.wanted for demand in pool.demands()] == [True]
        pool.allow({place(relay(server)): 1})
        await asyncio.wait_for(waiting, 5)
        assert [demand.wanted for demand in pool.demands()] == [True]


async def test_others_have_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """While other workers have all connections, to ask whether a relay can be reached comes to an end."""
    monkeypatch.setattr(pool_module, "PATIENCE", 0.01)
    async with SmtpServer() as server, pooled(relay(server)) as pool:
        pool.allow({place(relay(server)): 0})
        with pytest.raises(RelayError, match="other workers"):
            await pool.reach()
        pool.allow({place(relay(server)): 1})
        await pool.reach()


async def test_why_it_rests() -> None:
    """A relay that rests says why, also where a connection to it was being made when it was sent to rest."""
    async with SmtpServer() as server, pooled(relay(server)) as pool:
        being_made = asyncio.create_task(send(pool))
        await asyncio.sleep(0)
        pool.rest(place(relay(server)), 60, "no more than 500 messages today")
        await being_made
        with pytest.raises(RelayError, match="no more than 500 messages today"):
            await pool.reach()


async def test_rest() -> None:
    """A relay that rests isn't used, its reason is said, and afterwards it is used again by itself."""
    async with SmtpServer() as server, pooled(relay(server)) as pool:
        await send(pool)
        pool.rest(place(relay(server)), 60, "no more than 500 messages today")
        with pytest.raises(RelayError, match="no more than 500 messages today"):
            await send(pool)
        pool.rest(place(relay(server)), 0.02, "a short rest")
        await asyncio.sleep(0.03)
        await send(pool)
        assert server.accepted == 2


async def test_usable() -> None:
    """Connections of a relay that is only there for another's failure count while it is used, and as they are
    allowed."""
    async with SmtpServer() as one, SmtpServer() as two:
        first, backup = relay(one, "one", connections=4), relay(two, "two", connections=6, priority=1)
        async with pooled(first, backup) as pool:
            assert pool.usable() == 4
            pool.rest(place(first), 60, "a rest")
            assert pool.usable() == 6
            pool.allow({place(first): 4, place(backup): 2})
            assert pool.usable() == 2
            pool.rest(place(backup), 60, "a rest")
            assert pool.usable() == 0


async def test_backup_while_resting() -> None:
    """While a relay rests, the one of the next priority is used."""
    async with SmtpServer() as one, SmtpServer() as two:
        first, backup = relay(one, "one"), relay(two, "two", priority=1)
        async with pooled(first, backup) as pool:
            pool.rest(place(first), 60, "a rest")
            await send(pool)
            assert (one.accepted, two.accepted) == (0, 1)
