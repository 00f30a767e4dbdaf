"""What a session with a real Postfix looks like on the wire, and what its refusals leave behind."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from mailer.errors import RelayError
from mailer.model.ledger import Reply
from mailer.model.settings import Relay
from mailer.service.ports import Refused
from mailer.smtp.connect import connect
from mailer.smtp.connection import SmtpConnection, Timeouts
from mailer.wire.envelope import Envelope
from tests.servers.postfix import PostfixServer

pytest_plugins = ("tests.servers.postfix", "tests.servers.quiet")
pytestmark = pytest.mark.usefixtures("quiet_loop")

MESSAGE = b"From: a@garten.example\r\nSubject: A\r\n\r\nA\r\n"


@dataclass
class Tap:
    """Between a client and a server: ``said`` holds what came from either, in order, with who said it."""

    server_port: int
    port: int = 0
    said: list[tuple[str, bytes]] = field(default_factory=list)
    _ended: list[asyncio.Event] = field(default_factory=list)

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ended = asyncio.Event()
        self._ended.append(ended)
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.server_port)
        await asyncio.gather(self._carry("client", reader, far_writer), self._carry("server", far_reader, writer))
        ended.set()

    async def _carry(self, who: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):  # either may hang up on the other; what was said until then counts
            while data := await reader.read(100_000):
                self.said.append((who, data))
                writer.write(data)
                await writer.drain()
        writer.close()

    async def over(self) -> None:
        """Returns when every session has ended."""
        for ended in self._ended:
            await ended.wait()

    def of(self, who: str) -> bytes:
        return b"".join(data for speaker, data in self.said if speaker == who)


@asynccontextmanager
async def tapped(server: PostfixServer) -> AsyncIterator[Tap]:
    tap = Tap(server.port)
    listener = await asyncio.start_server(tap.take, "127.0.0.1", 0)
    tap.port = listener.sockets[0].getsockname()[1]
    try:
        yield tap
        await tap.over()
    finally:
        listener.close()
        await listener.wait_closed()


async def session(port: int) -> SmtpConnection:
    return await connect(Relay(host="127.0.0.1", port=port, security="none"), Timeouts())


def to(recipient: str) -> Envelope:
    return Envelope("bounces@garten.example", recipient, MESSAGE)


async def test_pipelined(postfix: PostfixServer) -> None:
    """MAIL, RCPT and DATA go to Postfix in one piece, then nothing but the message as it is, and its dot."""
    async with tapped(postfix) as tap:
        connection = await session(tap.port)
        assert await connection.offer(to("anna@example.com")) is None
        assert (await connection.dot()).code == 250
        await connection.quit()
    commands = b"MAIL FROM:<bounces@garten.example> SIZE=%d\r\nRCPT TO:<anna@example.com>\r\nDATA\r\n" % len(MESSAGE)
    assert ("client", commands) in tap.said
    assert tap.of("client").endswith(commands + MESSAGE + b".\r\nQUIT\r\n")
    (arrived,) = postfix.wait_arrived(1)
    assert arrived.content == MESSAGE


REFUSALS = {
    "unlisted": (
        "unlisted@example.com",
        Reply(
            550, "5.1.1", "<unlisted@example.com>: Recipient address rejected: User unknown in virtual mailbox table"
        ),
    ),
    "gone": (
        "gone@example.com",
        Reply(550, "5.1.1", "<gone@example.com>: Recipient address rejected: nobody of that name here any more"),
    ),
    "full": (
        "full@example.com",
        Reply(450, "4.2.0", "<full@example.com>: Recipient address rejected: the mailbox is full"),
    ),
    "elsewhere": ("anna@elsewhere.test", Reply(554, "5.7.1", "<anna@elsewhere.test>: Relay access denied")),
}


@pytest.mark.parametrize(("recipient", "reply"), REFUSALS.values(), ids=REFUSALS)
async def test_refused(postfix: PostfixServer, recipient: str, reply: Reply) -> None:
    """A refused recipient brings Postfix's own words, delivers nothing to anybody, and the session goes on."""
    connection = await session(postfix.port)
    assert await connection.offer(to(recipient)) == Refused("rcpt", reply)
    assert connection.usable
    assert await connection.offer(to("anna@example.com")) is None
    assert (await connection.dot()).code == 250
    await connection.quit()
    assert [one.recipient for one in postfix.wait_arrived(1)] == ["anna@example.com"]


async def test_refused_after_the_dot(postfix: PostfixServer) -> None:
    """A message that Postfix refuses after its dot isn't delivered, and the session goes on with the next."""
    connection = await session(postfix.port)
    assert await connection.offer(to("spam@example.com")) is None
    refused = Reply(554, "5.7.1", "<spam@example.com>: Recipient address rejected: we don't like it")
    assert await connection.dot() == refused
    assert await connection.offer(to("anna@example.com")) is None
    assert (await connection.dot()).code == 250
    await connection.quit()
    assert [one.recipient for one in postfix.wait_arrived(1)] == ["anna@example.com"]


async def test_announced(postfix: PostfixServer) -> None:
    """Postfix, which hangs up on whoever pipelines what mustn't be, takes a message's commands with the dot before it;
    what it refuses, after a dot too, delivers nothing to anybody else."""
    connection = await session(postfix.port)
    connection.lend(float("inf"), 100, may_announce=True)
    messages = [to(f"{name}@example.com") for name in ("anna", "ben", "spam", "cleo", "unlisted")]
    answers: list[object] = []
    assert await connection.offer(messages[0]) is None
    answers.append((await connection.dot()).code)
    assert await connection.offer(messages[1]) is None
    for message in messages[2:]:
        assert connection.announce(message)
        answers.append((await connection.dot()).code)
        refused = await connection.offer(message)
    assert answers == [250, 250, 554, 250]
    assert refused == Refused("rcpt", REFUSALS["unlisted"][1])
    assert connection.usable
    assert await connection.offer(to("dora@example.com")) is None
    assert (await connection.dot()).code == 250
    await connection.quit()
    arrived = {one.recipient: one.content for one in postfix.wait_arrived(4)}
    assert arrived == {f"{name}@example.com": MESSAGE for name in ("anna", "ben", "cleo", "dora")}


async def test_closing(postfix: PostfixServer) -> None:
    """421 ends the session with Postfix's words, and nothing is delivered."""
    connection = await session(postfix.port)
    with pytest.raises(RelayError, match=r"421 .*this server goes to bed"):
        await connection.offer(to("closing@example.com"))
    assert not connection.usable
    await connection.quit()
    assert postfix.wait_arrived(0) == []


async def test_too_many_errors(postfix: PostfixServer) -> None:
    """Postfix hangs up on whoever has named too many wrong recipients: those named get its 550, nobody gets its 421."""
    left = [f"unlisted{n}@example.com" for n in range(25)]
    sessions = 0
    while left:
        connection = await session(postfix.port)
        sessions += 1
        before = len(left)
        with contextlib.suppress(RelayError):  # it hung up before it was asked about this one
            while left and connection.usable:
                refused = await connection.offer(to(left[0]))
                assert refused is not None
                assert (refused.phase, refused.reply.code, refused.reply.status) == ("rcpt", 550, "5.1.1")
                assert f"<{left[0]}>" in refused.reply.text
                left.pop(0)
        await connection.quit()
        assert len(left) < before
    assert sessions > 1
    assert "too many errors after" in postfix.log()


async def test_dropped_before_the_dot(postfix: PostfixServer) -> None:
    """A message whose session is dropped before the dot is delivered to nobody."""
    connection = await session(postfix.port)
    assert await connection.offer(to("anna@example.com")) is None
    connection.drop()
    await connection.quit()
    connection = await session(postfix.port)
    assert await connection.offer(to("berta@example.com")) is None
    assert (await connection.dot()).code == 250
    await connection.quit()
    assert [one.recipient for one in postfix.wait_arrived(1)] == ["berta@example.com"]
