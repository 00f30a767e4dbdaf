"""A message whose MAIL, RCPT and DATA go out with the dot of the one before (RFC 2920)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from mailer.errors import RelayError
from mailer.model.ledger import Reply
from mailer.model.settings import Relay
from mailer.service.ports import Refused, Unanswered
from mailer.smtp.connect import connect
from mailer.smtp.connection import PROMPT, SmtpConnection, Timeouts
from mailer.smtp.pool import RelayPool
from mailer.wire.envelope import Envelope
from tests.servers.smtp import SmtpServer
from tests.servers.smtp_faults import Fault

pytest_plugins = ("tests.servers.quiet",)
pytestmark = pytest.mark.usefixtures("quiet_loop")

BODY = b"Subject: x\r\n\r\n" + b"0123456789 the quick brown fox\r\n" * 3000
TIMEOUTS = Timeouts(connect=5, mail=0.5, rcpt=0.5, data=0.5, block=0.5, dot=5, quit=0.3)


def envelope(to: str = "a@example.org", body: bytes = BODY) -> Envelope:
    return Envelope("from@example.com", to, body)


@asynccontextmanager
async def session(server: SmtpServer, *, offers: int = 100) -> AsyncIterator[SmtpConnection]:
    """A connection that has carried one message, so that the relay is known to be quick, and is lent for others."""
    connection = await connect(Relay(host="127.0.0.1", port=server.port, security="none"), TIMEOUTS)
    try:
        assert not connection.may_announce
        connection.lend(float("inf"), offers, may_announce=True)
        await carry(connection, envelope("first@example.org"))
        yield connection
    finally:
        await connection.quit()


async def carry(connection: SmtpConnection, message: Envelope) -> None:
    assert await connection.offer(message) is None
    assert (await connection.dot()).code == 250


@pytest.mark.parametrize("split", [False, True])
async def test_chain(split: bool) -> None:
    """Announced messages arrive untouched, one after the other, with replies paired even byte by byte."""
    async with SmtpServer(split_replies=split) as server, session(server) as connection:
        messages = [envelope(f"{n}@example.org", BODY + b"%d\r\n" % n) for n in range(5)]
        for number, message in enumerate(messages):
            assert await connection.offer(message) is None
            if number < 4:
                assert connection.announce(messages[number + 1])
            assert await connection.dot() == Reply(250, "2.0.0", f"accepted as {number + 2}")
            assert connection.again()
        assert [message.content for message in server.messages[1:]] == [message.message for message in messages]
        assert server.recipients[1:] == [f"{n}@example.org" for n in range(5)]
        assert connection.offered == 6
        assert server.violations == []
        assert server.connections == 1


async def test_commands_go_with_the_dot() -> None:
    """An announced message's commands are at the relay before it has answered the dot, and nothing of its body is."""
    async with SmtpServer([Fault("dot", delay=0.3, to="slow")]) as server, session(server) as connection:
        assert await connection.offer(envelope("slow@example.org")) is None
        assert connection.announce(envelope("next@example.org"))
        dot = asyncio.create_task(connection.dot())
        await asyncio.sleep(0.1)
        (side,) = server.sessions
        assert bytes(side._buffer).split(b"\r\n") == [
            b"RSET",
            b"MAIL FROM:<from@example.com> SIZE=%d" % len(BODY),
            b"RCPT TO:<next@example.org>",
            b"DATA",
            b"",
        ]
        assert (await dot).code == 250


@pytest.mark.parametrize("reply", ["451 4.7.1 later", "554 5.7.1 spam"])
async def test_refused_dot(reply: str) -> None:
    """A refusal of the dot is for its message alone: the announced one, of another transaction, goes through."""
    faults = [Fault("dot", reply, to="bad")]
    async with SmtpServer(faults) as server, session(server) as connection:
        bad, good = envelope("bad@example.org"), envelope("good@example.org")
        assert await connection.offer(bad) is None
        assert connection.announce(good)
        assert (await connection.dot()).code == int(reply[:3])
        assert connection.again()
        await carry(connection, good)
        assert server.recipients == ["first@example.org", "good@example.org"]
        assert server.violations == []


@pytest.mark.parametrize(
    ("fault", "refused"),
    [
        (Fault("mail", "452 4.5.3 too many", times=1), Refused("mail", Reply(452, "4.5.3", "too many"))),
        (Fault("rcpt", "550 5.1.1 no", to="bad"), Refused("rcpt", Reply(550, "5.1.1", "no"))),
        (Fault("data", "451 4.3.1 full", times=1), Refused("data", Reply(451, "4.3.1", "full"))),
    ],
    ids=["mail", "rcpt", "data"],
)
async def test_announced_is_refused(fault: Fault, refused: Refused) -> None:
    """A refusal of an announced message is given with its phase; the connection then takes the next one."""
    async with SmtpServer() as server, session(server) as connection:
        bad = envelope("bad@example.org")
        assert await connection.offer(envelope()) is None
        server.faults.append(fault)
        assert connection.announce(bad)
        assert (await connection.dot()).code == 250
        assert await connection.offer(bad) == refused
        assert connection.usable
        await carry(connection, envelope("good@example.org"))
        assert server.recipients == ["first@example.org", "a@example.org", "good@example.org"]
        assert server.violations == []


@pytest.mark.parametrize(
    "fault",
    [
        Fault("rset", drop=True),
        Fault("rset", "421 4.3.2 closing", drop=True),
        Fault("mail", "421 4.7.0 too many messages", drop=True),
        Fault("mail", drop=True),
        Fault("rset", "502 5.5.1 what"),
        Fault("reply", drop=True),
    ],
    ids=lambda fault: f"{fault.phase} {fault.reply}",
)
async def test_unanswered(fault: Fault) -> None:
    """A session that ends before it has answered MAIL has the dot's reply, and says nothing about who was announced."""
    async with SmtpServer() as server, session(server) as connection:
        announced = envelope("next@example.org")
        assert await connection.offer(envelope()) is None
        server.faults.append(fault)
        assert connection.announce(announced)
        assert (await connection.dot()).code == 250
        if connection.again():
            with pytest.raises(Unanswered):
                await connection.offer(announced)
        assert connection.unanswered
        assert not connection.again()
        assert not connection.usable
        assert server.recipients == ["first@example.org", "a@example.org"]


async def test_lost_after_its_recipient_was_named() -> None:
    """A session that ends at RCPT or later ends for the announced message as for any other."""
    async with SmtpServer() as server, session(server) as connection:
        announced = envelope("next@example.org")
        assert await connection.offer(envelope()) is None
        server.faults.append(Fault("rcpt", drop=True))
        assert connection.announce(announced)
        assert (await connection.dot()).code == 250
        with pytest.raises(RelayError) as raised:
            await connection.offer(announced)
        assert not isinstance(raised.value, Unanswered)


async def test_dropped_after_the_announcement() -> None:
    """A connection that is dropped with a message announced delivers nothing of it, not even an empty one."""
    async with SmtpServer() as server, session(server) as connection:
        assert await connection.offer(envelope()) is None
        assert connection.announce(envelope("next@example.org"))
        assert (await connection.dot()).code == 250
        assert not connection.usable
        connection.drop()
        assert not connection.unanswered
        await connection.quit()
        async with asyncio.timeout(5):
            while server.open:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert server.recipients == ["first@example.org", "a@example.org"]


async def test_another_one_is_no_heir() -> None:
    """What is offered after an announcement must be what was announced."""
    async with SmtpServer() as server, session(server) as connection:
        assert await connection.offer(envelope()) is None
        assert connection.announce(envelope("next@example.org"))
        assert (await connection.dot()).code == 250
        with pytest.raises(RelayError, match="in the middle"):
            await connection.offer(envelope("other@example.org"))


async def test_not_to_everybody() -> None:
    """Nothing is announced without PIPELINING, beyond the lent messages, before a body is out, for an address that the
    relay can't take, or for one with a line break."""
    async with SmtpServer(pipelining=False) as server, session(server) as connection:
        assert await connection.offer(envelope()) is None
        assert not connection.may_announce
    async with SmtpServer() as server, session(server, offers=2) as connection:
        assert await connection.offer(envelope()) is None
        assert not connection.may_announce
    async with SmtpServer(smtputf8=False) as server, session(server) as connection:
        assert not connection.announce(envelope())
        assert await connection.offer(envelope()) is None
        assert not connection.announce(Envelope("from@example.com", "jörg@example.org", BODY, smtputf8=True))
        assert not connection.announce(envelope("a@b.de>\r\nRSET\r\nRCPT TO:<c@d.de"))
        assert (await connection.dot()).code == 250
        assert connection.usable


async def test_not_to_a_slow_relay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is announced while the relay's last answer to a dot took long."""
    monkeypatch.setattr("mailer.smtp.connection.PROMPT", 0.05)
    assert PROMPT > 0.05
    async with SmtpServer([Fault("dot", to="slow", delay=0.1)]) as server, session(server) as connection:
        await carry(connection, envelope("slow@example.org"))
        assert not connection.may_announce
        await carry(connection, envelope())
        assert connection.may_announce


async def test_pool_stops_announcing() -> None:
    """To a relay that ended a session on an announced message nothing is announced for a while."""
    async with SmtpServer() as server:
        pool = RelayPool([Relay(host="127.0.0.1", port=server.port, security="none", connections=1)], TIMEOUTS)
        async with pool.connection() as connection:
            await carry(connection, envelope())
            assert connection.may_announce
            announced = envelope("next@example.org")
            assert await connection.offer(envelope()) is None
            server.faults.append(Fault("mail", "421 4.7.0 enough", times=1, drop=True))
            assert connection.announce(announced)
            assert (await connection.dot()).code == 250
            if connection.again():
                with pytest.raises(Unanswered):
                    await connection.offer(announced)
        async with pool.connection() as connection:
            await carry(connection, envelope())
            assert not connection.may_announce
        await pool.close()
