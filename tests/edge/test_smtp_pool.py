"""The pool of connections to relays."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from mailer.errors import RelayError
from mailer.model.settings import Relay
from mailer.service.ports import SessionEnded
from mailer.smtp import lane
from mailer.smtp.connection import SmtpConnection, Timeouts
from mailer.smtp.pool import RelayPool
from mailer.wire.envelope import Envelope
from tests.servers.smtp import SmtpServer
from tests.servers.smtp_faults import Fault

pytest_plugins = ("tests.servers.quiet",)
pytestmark = pytest.mark.usefixtures("quiet_loop")

BODY = b"Subject: x\r\n\r\nbody\r\n"
SHORT = Timeouts(connect=1, mail=1, rcpt=1, data=1, block=1, dot=1, quit=0.3)


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses of relays that failed last a twentieth of a second."""
    monkeypatch.setattr(lane, "FIRST_PAUSE", 0.05)
    monkeypatch.setattr(lane, "LONGEST_PAUSE", 0.05)


def relay(server: SmtpServer | int, **settings: int | str) -> Relay:
    port = server if isinstance(server, int) else server.port
    return Relay(host="127.0.0.1", port=port, security="none", **settings)  # type: ignore[arg-type]


def dead_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@asynccontextmanager
async def pooled(*relays: Relay, idle: float = 30.0) -> AsyncIterator[RelayPool]:
    pool = RelayPool(relays, SHORT, idle=idle)
    try:
        yield pool
    finally:
        await asyncio.wait_for(pool.close(), 5)


async def deliver(connection: SmtpConnection, to: str = "a@example.org") -> None:
    assert await connection.offer(Envelope("from@example.com", to, BODY)) is None
    assert (await connection.dot()).code == 250


async def until(condition: Callable[[], bool]) -> None:
    """Waits until something has come about, five seconds at most."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.002)


async def test_connection_is_reused() -> None:
    """One after the other, messages go over one connection."""
    async with SmtpServer() as server, pooled(relay(server)) as pool:
        for _ in range(5):
            async with pool.connection() as connection:
                await deliver(connection)
        assert server.accepted == 5
        assert server.connections == 1


async def test_latest_returned_is_lent_first() -> None:
    """What came back last is lent next, so that surplus connections can grow old."""
    async with SmtpServer() as server, pooled(relay(server)) as pool:
        async with pool.connection() as first, pool.connection() as second:
            pass
        async with pool.connection() as again:
            assert again in (first, second)
            last = again
        async with pool.connection() as again:
            assert again is last
        assert server.connections == 2


async def test_no_more_connections_than_allowed() -> None:
    """Fifty at once share the three that are allowed, and all get through."""
    async with SmtpServer([Fault("dot", delay=0.002)]) as server, pooled(relay(server, connections=3)) as pool:
        most = 0

        async def one(number: int) -> None:
            nonlocal most
            async with pool.connection() as connection:
                most = max(most, server.open)
                await deliver(connection, f"{number}@example.org")

        await asyncio.gather(*(one(number) for number in range(50)))
        assert sorted(server.recipients) == sorted(f"{number}@example.org" for number in range(50))
        assert most <= 3
        assert server.connections == 3
        assert server.violations == []


async def test_waiting_is_fair() -> None:
    """Whoever waits is served in order of arrival."""
    async with SmtpServer() as server, pooled(relay(server, connections=1)) as pool:
        order: list[int] = []

        async def one(number: int) -> None:
            async with pool.connection():
                order.append(number)
                await asyncio.sleep(0)

        async with asyncio.TaskGroup() as group:
            for number in range(10):
                group.create_task(one(number))
                await asyncio.sleep(0)
        assert order == list(range(10))


async def test_cancelled_waiter_takes_no_place() -> None:
    """Waiting can be cancelled, before and after a place was granted, and the place goes to the next."""
    async with SmtpServer() as server, pooled(relay(server, connections=1)) as pool:

        async def one() -> str:
            async with pool.connection() as connection:
                await deliver(connection)
                return "served"

        async with pool.connection():
            waiting = [asyncio.create_task(one()) for _ in range(3)]
            await asyncio.sleep(0)
            waiting[0].cancel()
        # The place came back and was granted to the second, which is cancelled before it can take it.
        waiting[1].cancel()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert isinstance(results[0], asyncio.CancelledError)
        assert isinstance(results[1], asyncio.CancelledError)
        assert results[2] == "served"
        assert server.accepted == 1


async def test_messages_per_connection() -> None:
    """A connection is replaced after its number of messages, with a QUIT."""
    async with SmtpServer() as server, pooled(relay(server, messages_per_connection=2)) as pool:
        for _ in range(5):
            async with pool.connection() as connection:
                await deliver(connection)
        assert server.connections == 3
        await until(lambda: server.commands.count("QUIT") == 2)


async def test_idle_connections_are_closed() -> None:
    """A connection that nobody needed for a while is closed with QUIT."""
    async with SmtpServer() as server, pooled(relay(server), idle=0.05) as pool:
        async with pool.connection() as connection:
            await deliver(connection)
        assert server.open == 1
        await until(lambda: server.open == 0)
        assert server.commands[-1] == "QUIT"
        async with pool.connection() as connection:
            await deliver(connection)
        assert server.connections == 2


async def test_quit_that_hangs_holds_nothing_up() -> None:
    """Closing the pool doesn't hang on a relay that doesn't answer QUIT."""
    server = SmtpServer([Fault("quit", b"")])
    async with server, pooled(relay(server)) as pool, pool.connection() as connection:
        await deliver(connection)
    assert server.commands[-1] == "QUIT"


async def test_dropped_and_failed_connections_are_not_lent_again() -> None:
    """A connection that was dropped, or lent when an exception passed, or left before its dot, is gone."""
    async with SmtpServer() as server, pooled(relay(server, connections=1)) as pool:
        async with pool.connection() as dropped:
            dropped.drop()
        with pytest.raises(ZeroDivisionError):
            async with pool.connection() as failed:
                raise ZeroDivisionError
        async with pool.connection() as undotted:
            assert await undotted.offer(Envelope("from@example.com", "a@example.org", BODY)) is None
        async with pool.connection() as good:
            assert good not in (dropped, failed, undotted)
            await deliver(good)
        assert server.connections == 4
        assert server.accepted == 1
        await until(lambda: server.broken_off == 1)


async def test_connection_closed_by_the_relay_is_replaced() -> None:
    """An idle connection that the relay has closed is noticed before it is lent."""
    async with SmtpServer() as server, pooled(relay(server, connections=1)) as pool:
        async with pool.connection() as first:
            await deliver(first)
        (session,) = server.sessions
        session._say("421 4.4.2 idle for too long")
        assert session.transport is not None
        session.transport.close()
        await until(lambda: not first.usable)
        async with pool.connection() as second:
            await deliver(second)
        assert server.accepted == 2


async def test_failover_and_return(short_pauses: None) -> None:
    """The next priority takes over while the first can't be reached, and gives back when it can."""
    port = dead_port()
    async with SmtpServer() as backup, pooled(relay(port, priority=1), relay(backup, priority=2)) as pool:
        for _ in range(3):
            async with pool.connection() as connection:
                await deliver(connection)
        assert backup.accepted == 3
        async with SmtpServer(port=port) as first:
            await asyncio.sleep(0.06)
            async with pool.connection() as connection:
                await deliver(connection)
            assert first.accepted == 1
            assert backup.accepted == 3
            await pool.close()


async def test_same_priority_shares_the_work() -> None:
    """Relays of one priority are used alike."""
    async with (
        SmtpServer() as one,
        SmtpServer() as two,
        pooled(relay(one, connections=4), relay(two, connections=4)) as pool,
        pool.connection(),
        pool.connection(),
        pool.connection(),
        pool.connection(),
    ):
        assert one.open == two.open == 2


async def test_nothing_can_be_reached() -> None:
    """Without a relay within reach everybody is told at once, with the last error and what to do."""
    async with pooled(relay(dead_port(), connections=2), relay(dead_port(), priority=1)) as pool:

        async def one() -> None:
            async with pool.connection():
                raise AssertionError("there is no relay")

        results = await asyncio.gather(*(one() for _ in range(6)), return_exceptions=True)
        for error in results:
            assert isinstance(error, RelayError)
            assert "connection refused" in error.what
            assert error.where.startswith("relay 127.0.0.1:")
            assert error.todo


async def test_failed_relay_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a failure no attempt is made until the pause is over; then one; then all, when it succeeds."""
    monkeypatch.setattr(lane, "FIRST_PAUSE", 0.2)
    fault = Fault("connect", "421 4.7.0 later", times=1, drop=True)
    async with SmtpServer([fault]) as server, pooled(relay(server, connections=4)) as pool:
        for _ in range(3):
            with pytest.raises(RelayError, match=r"421 4\.7\.0 later"):
                async with pool.connection():
                    raise AssertionError("the relay is left alone")
        assert server.connections == 1
        await asyncio.sleep(0.25)

        async def one() -> None:
            async with pool.connection() as connection:
                await deliver(connection)

        await asyncio.gather(*(one() for _ in range(8)))
        assert server.accepted == 8
        assert server.connections <= 5


async def test_relay_that_lets_in_and_shows_out() -> None:
    """A relay that takes connections, and says 421 to the first message of each, is left alone for pauses that grow."""
    fault = Fault("mail", "421 4.3.2 not now", drop=True)
    async with SmtpServer([fault]) as server, pooled(relay(server, connections=4)) as pool:
        with pytest.raises(SessionEnded):
            async with pool.connection() as connection:
                await deliver(connection)
        for _ in range(3):
            with pytest.raises(RelayError, match=r"421 4\.3\.2 not now"):
                async with pool.connection():
                    raise AssertionError("the relay is left alone")
        (one,) = pool._lanes
        assert (one.pause, server.connections) == (1, 1)
        one.retry_at = 0.0
        with pytest.raises(SessionEnded):
            async with pool.connection() as connection:
                await deliver(connection)
        assert (one.pause, server.connections) == (2, 2)
        one.retry_at = 0.0
        server.faults.clear()
        async with pool.connection() as connection:
            await deliver(connection)
        assert one.pause == 0


@pytest.mark.parametrize(
    ("carried", "said"),
    [(1, "421 too many messages in this connection"), (0, "421 4.7.0 too much mail for example.org, try again later")],
    ids=["session used up", "destination"],
)
async def test_421_that_is_not_held_against_the_relay(carried: int, said: str) -> None:
    """A session that ends after some messages, or for its recipient's destination, is replaced at once."""
    async with SmtpServer() as server, pooled(relay(server, connections=1)) as pool:
        async with pool.connection() as connection:
            for _ in range(carried):
                await deliver(connection)
            server.faults.append(Fault("rcpt", said, times=1, drop=True))
            with pytest.raises(SessionEnded):
                await deliver(connection)
        async with pool.connection() as connection:
            await deliver(connection)
        assert server.connections == 2


def test_pause_grows() -> None:
    """The pause doubles from one second to a minute, once for attempts that began together, and success ends it."""
    one = lane.Lane(Relay(host="localhost", security="none"))
    error = RelayError("down")
    pauses = []
    now = 100.0
    for _ in range(8):
        for _ in range(3):
            one.failed(error, now, now)
        pauses.append(one.retry_at - now)
        assert not one.may_open(one.retry_at - 0.01)
        now = one.retry_at
        assert one.may_open(now)
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]
    one.carried(now, is_new=True)
    one.failed(error, now, now)
    assert one.retry_at - now == 1


def test_one_trial_after_a_failure() -> None:
    """When the pause is over, one connection is tried; others wait for it, or use another relay."""
    one = lane.Lane(Relay(host="localhost", security="none"))
    one.failed(RelayError("down"), 0.0, 0.0)
    assert not one.ready(0.5)
    assert one.ready(1.0)
    one.open = one.connecting = 1
    assert not one.may_open(1.0)
    assert not one.ready(1.0)
    one.carried(1.0, is_new=True)
    one.connecting = 0
    assert one.may_open(1.0)
    assert one.ready(1.0)


async def test_backup_when_the_last_connection_dies(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a relay takes no new connections and its idle one turns out dead, the next priority serves at once."""
    monkeypatch.setattr(lane, "FIRST_PAUSE", 60.0)
    monkeypatch.setattr(lane, "LONGEST_PAUSE", 60.0)
    first = SmtpServer(max_connections=1)
    async with SmtpServer() as backup, first, pooled(relay(first, priority=1), relay(backup, priority=2)) as pool:

        async def one() -> None:
            async with pool.connection() as connection:
                await deliver(connection)

        async with pool.connection() as connection:
            second = asyncio.create_task(one())
            await until(lambda: pool._lanes[0].error is not None)
            await deliver(connection)
        await second
        assert (first.accepted, backup.accepted) == (2, 0)
        for session in list(first.sessions):
            session.drop()
        await until(lambda: not first.open)
        await asyncio.sleep(0.02)
        await asyncio.wait_for(one(), 3)
        assert (first.accepted, backup.accepted) == (2, 1)


async def test_relay_that_allows_fewer_connections() -> None:
    """A relay that takes fewer connections than we may open is used with those it takes."""
    async with SmtpServer(max_connections=2) as server, pooled(relay(server, connections=6)) as pool:

        async def one() -> None:
            async with pool.connection() as connection:
                await deliver(connection)

        await asyncio.gather(*(one() for _ in range(30)))
        assert server.accepted == 30


async def test_full_relay_is_not_pestered(monkeypatch: pytest.MonkeyPatch) -> None:
    """A relay that takes no further connection isn't asked more often because those that it took go on carrying."""
    monkeypatch.setattr(lane, "FIRST_PAUSE", 100.0)
    monkeypatch.setattr(lane, "LONGEST_PAUSE", 1000.0)
    async with SmtpServer(max_connections=1) as server, pooled(relay(server, connections=4)) as pool:
        (one,) = pool._lanes

        async def send() -> None:
            async with pool.connection() as connection:
                await deliver(connection)

        for failures in (1, 2, 3):
            one.retry_at = 0.0
            await asyncio.gather(*(send() for _ in range(4)))
            await until(lambda: not one.connecting)
            assert one.pause == 100 * 2 ** (failures - 1)
        assert server.accepted == 12
        assert server.connections == 1 + 3 + 1 + 1  # three at once before anything was known, then one at a time


async def test_lent_connection_outlives_close() -> None:
    """A dot in flight while the pool closes still gets its reply; nobody gets a new connection."""
    async with SmtpServer() as server, pooled(relay(server)) as pool:
        async with pool.connection() as connection:
            assert await connection.offer(Envelope("from@example.com", "a@example.org", BODY)) is None
            await pool.close()
            assert (await connection.dot()).code == 250
        with pytest.raises(RelayError):
            async with pool.connection():
                raise AssertionError("it is closed")
        await pool.close()
        await until(lambda: server.open == 0)


async def test_no_relay_configured() -> None:
    """A pool without relays says so."""
    async with pooled() as pool:
        with pytest.raises(RelayError, match="no relay is configured"):
            async with pool.connection():
                raise AssertionError("there is none")
