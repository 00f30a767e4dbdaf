"""One SMTP session against a judging server: every phase, every fault, with and without PIPELINING."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from mailer.errors import RelayError
from mailer.model.ledger import Reply
from mailer.model.settings import Relay
from mailer.service.ports import DotNotSent, Refused, SessionEnded, Unanswered
from mailer.smtp.connect import connect
from mailer.smtp.connection import NO_SMTPUTF8, SmtpConnection, Timeouts
from mailer.wire.envelope import Envelope
from mailer.wire.replies import ProtocolError
from tests.servers.smtp import AUTHORITY, SmtpServer
from tests.servers.smtp_faults import Fault

pytest_plugins = ("tests.servers.quiet",)
pytestmark = pytest.mark.usefixtures("quiet_loop")

BODY = b"Subject: x\r\n\r\n" + b"0123456789 the quick brown fox\r\n" * 3000
SHORT = Timeouts(connect=5, mail=0.3, rcpt=0.3, data=0.3, block=0.3, dot=0.3, quit=0.3)


def envelope(to: str = "a@example.org", body: bytes = BODY) -> Envelope:
    return Envelope("from@example.com", to, body)


@pytest.fixture(params=[True, False], ids=["pipelined", "one by one"])
def pipelining(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


async def until(condition: Callable[[], bool]) -> None:
    """Waits until something has come about, five seconds at most."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.002)


@asynccontextmanager
async def session(server: SmtpServer, timeouts: Timeouts = SHORT) -> AsyncIterator[SmtpConnection]:
    relay = Relay(host="127.0.0.1", port=server.port, security="none")
    connection = await connect(relay, timeouts)
    try:
        yield connection
    finally:
        await connection.quit()


async def test_message_arrives_untouched(pipelining: bool) -> None:
    """Bytes arrive as they were, many on one connection, with replies paired."""
    async with SmtpServer(pipelining=pipelining) as server, session(server) as connection:
        for number in range(5):
            body = BODY + b"%d\r\n" % number
            assert await connection.offer(envelope(f"{number}@example.org", body)) is None
            assert server.recipients == [f"{n}@example.org" for n in range(number)]
            assert await connection.dot() == Reply(250, "2.0.0", f"accepted as {number + 1}")
            assert server.messages[-1].content == body
            assert connection.usable
        assert connection.offered == 5
        await connection.quit()
        assert server.violations == []
        assert server.connections == 1
        assert server.broken_off == 0


async def test_replies_byte_by_byte(pipelining: bool) -> None:
    """Replies may come in pieces of one byte."""
    async with SmtpServer(pipelining=pipelining, split_replies=True) as server, session(server) as connection:
        for _ in range(2):
            assert await connection.offer(envelope()) is None
            assert (await connection.dot()).code == 250


async def test_size_is_declared() -> None:
    """MAIL declares the size where the relay offers SIZE, and a relay's refusal for it is the answer."""
    async with SmtpServer(size=1000) as server, session(server) as connection:
        refused = await connection.offer(envelope())
        assert refused == Refused("mail", Reply(552, "5.3.4", "too big"))
        assert f"MAIL FROM:<from@example.com> SIZE={len(BODY)}" in server.commands
    async with SmtpServer(size=None) as server, session(server) as connection:
        assert await connection.offer(envelope()) is None
        assert "MAIL FROM:<from@example.com>" in server.commands


async def test_smtputf8() -> None:
    """A non-ASCII address goes out with SMTPUTF8 and BODY=8BITMIME."""
    utf8 = Envelope("from@example.com", "jörg@example.org", BODY + "ü\r\n".encode(), smtputf8=True)
    async with SmtpServer() as server, session(server) as connection:
        assert await connection.offer(utf8) is None
        assert (await connection.dot()).code == 250
        assert server.recipients == ["jörg@example.org"]
        assert server.messages[0].options.endswith("BODY=8BITMIME SMTPUTF8")
        assert server.violations == []


async def test_no_smtputf8_refuses_only_that_recipient(pipelining: bool) -> None:
    """Where the relay has no SMTPUTF8, that recipient is refused without a command, and the next goes through."""
    utf8 = Envelope("from@example.com", "jörg@example.org", BODY, smtputf8=True)
    async with SmtpServer(pipelining=pipelining, smtputf8=False) as server, session(server) as connection:
        commands = len(server.commands)
        assert await connection.offer(utf8) == Refused("local", NO_SMTPUTF8)
        assert len(server.commands) == commands
        assert await connection.offer(envelope()) is None
        assert (await connection.dot()).code == 250


REFUSALS = [
    ("mail", "550 5.7.1 not you", Refused("mail", Reply(550, "5.7.1", "not you"))),
    ("mail", "451 4.3.0 later", Refused("mail", Reply(451, "4.3.0", "later"))),
    ("rcpt", "550 5.1.1 no such user", Refused("rcpt", Reply(550, "5.1.1", "no such user"))),
    ("rcpt", "450-4.7.1 grey\r\n450 4.7.1 listed", Refused("rcpt", Reply(450, "4.7.1", "grey listed"))),
    ("data", "451 4.3.1 disk full", Refused("data", Reply(451, "4.3.1", "disk full"))),
    ("data", "554 5.7.1 no", Refused("data", Reply(554, "5.7.1", "no"))),
]


@pytest.mark.parametrize(("phase", "reply", "refused"), REFUSALS)
@pytest.mark.parametrize("split", [False, True])
async def test_refusal_before_the_dot(pipelining: bool, phase: str, reply: str, refused: Refused, split: bool) -> None:
    """A refusal is given with its phase; the connection then takes the next message, and refuses nobody else."""
    faults = [Fault(phase, reply, times=1)]
    async with SmtpServer(faults, pipelining=pipelining, split_replies=split) as server, session(server) as connection:
        assert await connection.offer(envelope("bad@example.org")) == refused
        assert connection.usable
        for number in range(2):
            assert await connection.offer(envelope(f"{number}@example.org")) is None
            assert (await connection.dot()).code == 250
        assert server.recipients == ["0@example.org", "1@example.org"]
        assert server.violations == []
        assert server.connections == 1


async def test_354_after_a_refused_recipient() -> None:
    """DATA that is let through after a refused RCPT is ended by a lone dot that delivers nothing (RFC 2920 §3.1)."""
    faults = [Fault("rcpt", "550 5.1.1 no", to="bad"), Fault("data", "354 well, go ahead", times=1)]
    async with SmtpServer(faults) as server, session(server) as connection:
        assert await connection.offer(envelope("bad@example.org")) == Refused("rcpt", Reply(550, "5.1.1", "no"))
        assert connection.usable
        assert await connection.offer(envelope()) is None
        assert (await connection.dot()).code == 250
        assert server.recipients == ["a@example.org"]
        assert server.violations == []


@pytest.mark.parametrize("lost", [Fault("data", drop=True), Fault("data", "421 4.3.2 closing", drop=True)])
async def test_refusal_outlives_the_connection(lost: Fault) -> None:
    """A refused RCPT stays the answer when the relay closes before it answers DATA; the connection is then spent."""
    faults = [Fault("rcpt", "550 5.1.1 no"), lost]
    async with SmtpServer(faults) as server, session(server) as connection:
        assert await connection.offer(envelope()) == Refused("rcpt", Reply(550, "5.1.1", "no"))
        assert not connection.usable


async def test_no_empty_message_for_an_accepted_recipient() -> None:
    """When MAIL is refused but RCPT and DATA are let through, the connection is dropped rather than dotted."""
    replies = b"550 5.7.1 no\r\n250 ok\r\n354 go\r\n"
    async with scripted(replies) as (port, received):
        relay = Relay(host="127.0.0.1", port=port, security="none")
        connection = await connect(relay, SHORT)
        assert await connection.offer(envelope()) == Refused("mail", Reply(550, "5.7.1", "no"))
        assert not connection.usable
        await connection.quit()
    assert b"\r\n.\r\n" not in received


async def test_refusal_with_a_reply_missing_is_nobodys() -> None:
    """When a relay leaves one reply out, it isn't known whom its refusal meant: nobody is refused."""
    async with scripted(b"503 5.5.1 MAIL first\r\n554 5.5.1 no recipients\r\n") as (port, _):
        connection = await connect(Relay(host="127.0.0.1", port=port, security="none"), SHORT)
        with pytest.raises(RelayError, match="didn't answer DATA"):
            await connection.offer(envelope())
        assert not connection.usable
        await connection.quit()


@asynccontextmanager
async def scripted(replies: bytes) -> AsyncIterator[tuple[int, bytearray]]:
    """A relay that offers PIPELINING and answers the first MAIL with ``replies``, whatever follows."""
    received = bytearray()
    done = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hello\r\n")
        await reader.readline()
        writer.write(b"250-hello\r\n250 PIPELINING\r\n")
        received.extend(await reader.readline())
        writer.write(replies)
        try:
            while data := await reader.read(65536):
                received.extend(data)
        except ConnectionError:
            received.extend(b"")
        writer.close()
        done.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], received
    finally:
        server.close()
        await asyncio.wait_for(done.wait(), 5)


@pytest.mark.parametrize("phase", ["mail", "rcpt", "data"])
@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"reply": "421 4.3.2 shutting down"}, RelayError),
        ({"drop": True}, RelayError),
        ({"reply": b"25", "drop": True}, RelayError),
        ({"reply": b"250-half\r\n", "drop": True}, RelayError),
        ({"reply": b"\x00\x01 what is this\r\n"}, ProtocolError),
        ({"reply": "334 strange"}, ProtocolError),
        ({"reply": b""}, RelayError),
    ],
    ids=["421", "lost", "half a reply", "half a multiline", "garbage", "3xx", "silence"],
)
async def test_broken_before_the_dot(
    pipelining: bool, phase: str, fault: dict[str, object], error: type[RelayError]
) -> None:
    """421, a lost connection, half a reply, garbage or silence raise; nothing is delivered, nothing can follow."""
    server = SmtpServer([Fault(phase, times=1, **fault)], pipelining=pipelining)  # type: ignore[arg-type]
    async with server, session(server) as connection:
        with pytest.raises(error) as raised:
            await connection.offer(envelope())
        assert raised.value.where == f"relay 127.0.0.1:{server.port}"
        assert not connection.usable
        with pytest.raises(RelayError):
            await connection.offer(envelope())
        with pytest.raises(DotNotSent):
            await connection.dot()
        assert server.accepted == 0


async def test_2xx_to_data_is_no_permission(pipelining: bool) -> None:
    """DATA answered with 250 is a protocol error: the body isn't sent."""
    async with SmtpServer([Fault("data", "250 ok")], pipelining=pipelining) as server, session(server) as connection:
        with pytest.raises(ProtocolError):
            await connection.offer(envelope())
        assert server.accepted == 0


async def test_body_that_nobody_reads() -> None:
    """A relay that stops reading in the middle of a message is given up after the block timeout."""
    async with SmtpServer([Fault("body", stop_reading=True)]) as server, session(server) as connection:
        with pytest.raises(RelayError, match=r"took nothing of the message for 0\.3 seconds"):
            await connection.offer(envelope(body=b"x" * 70 + b"\r\n" + b"y" * 70 * 400_000 + b"\r\n"))
        assert not connection.usable


async def test_dropped_offer_delivers_nothing(pipelining: bool) -> None:
    """After drop the relay has no message, and a dot can't be sent any more."""
    async with SmtpServer(pipelining=pipelining) as server, session(server) as connection:
        assert await connection.offer(envelope()) is None
        connection.drop()
        assert not connection.usable
        with pytest.raises(DotNotSent):
            await connection.dot()
        await connection.quit()
        await until(lambda: not server.open)
        assert server.accepted == 0
        assert server.broken_off == 1


async def test_connection_lost_before_the_dot(pipelining: bool) -> None:
    """A connection known to be lost before the dot raises DotNotSent: nothing was delivered."""
    async with SmtpServer([Fault("body", drop=True)], pipelining=pipelining) as server, session(server) as connection:
        try:
            assert await connection.offer(envelope()) is None
        except RelayError:
            return  # it was noticed while the body was being written
        await until(lambda: not server.open)
        await asyncio.sleep(0.05)
        with pytest.raises(DotNotSent):
            await connection.dot()


async def test_421_before_the_dot(pipelining: bool) -> None:
    """A relay that says goodbye while the body waits for its dot gets no dot."""
    fault = Fault("body", "421 4.4.2 timeout", drop=True)
    async with SmtpServer([fault], pipelining=pipelining) as server, session(server) as connection:
        assert await connection.offer(envelope(body=b"x: y\r\n\r\n")) is None
        await until(lambda: connection._session.broken is not None)
        with pytest.raises(DotNotSent, match="421"):
            await connection.dot()
        assert server.accepted == 0


@pytest.mark.parametrize(
    ("fault", "phase", "is_turned_away"),
    [
        (Fault("mail", "421 4.7.0 later", drop=True), "mail", True),
        (Fault("rcpt", "421 4.7.0 later", drop=True), "rcpt", False),
        (Fault("rcpt", "421 4.3.2 closing", drop=True), "rcpt", True),
        (Fault("data", "421 4.3.2 closing", drop=True), "data", True),
        (Fault("dot", "421 4.7.0 later", drop=True), "dot", False),
        (Fault("dot", "421 4.3.2 closing", drop=True), "dot", True),
    ],
    ids=lambda value: f"{value.phase} {value.reply}" if isinstance(value, Fault) else "",
)
async def test_whose_421(pipelining: bool, fault: Fault, phase: str, is_turned_away: bool) -> None:
    """What 421 was the answer to is kept; one for the relay's own reason is held against the relay only while the
    session has carried nothing."""
    for carried in (0, 1):
        async with SmtpServer(pipelining=pipelining) as server, session(server) as connection:
            for _ in range(carried):
                assert await connection.offer(envelope()) is None
                await connection.dot()
            server.faults.append(fault)
            if phase == "dot":
                assert await connection.offer(envelope()) is None
                assert (await connection.dot()).code == 421
            elif phase == "mail" and carried:
                with pytest.raises(Unanswered, match=r"421 4\.7\.0 later"):
                    await connection.offer(envelope())
            else:
                with pytest.raises(SessionEnded) as ended:
                    await connection.offer(envelope())
                assert ended.value.phase == phase
            assert not connection.usable
            assert (connection.turned_away is not None) == (is_turned_away and not carried)


DOTS = [
    ("250-2.6.0 taken\r\n250 2.6.0 indeed", Reply(250, "2.6.0", "taken indeed"), True),
    ("451 4.7.1 later", Reply(451, "4.7.1", "later"), True),
    ("554 5.7.1 spam", Reply(554, "5.7.1", "spam"), True),
    ("421 4.3.2 closing", Reply(421, "4.3.2", "closing"), False),
]


@pytest.mark.parametrize(("reply", "expected", "usable"), DOTS)
async def test_reply_to_the_dot(pipelining: bool, reply: str, expected: Reply, usable: bool) -> None:
    """The reply to the dot is given whatever it says, and after 421 the connection is of no more use."""
    fault = Fault("dot", reply, times=1)
    async with SmtpServer([fault], pipelining=pipelining) as server, session(server) as connection:
        assert await connection.offer(envelope()) is None
        assert await connection.dot() == expected
        assert connection.usable is usable
        if usable:
            assert await connection.offer(envelope()) is None
            assert (await connection.dot()).code == 250
            assert server.violations == []


@pytest.mark.parametrize(
    ("fault", "accepted"),
    [
        ({"drop": True}, 0),
        ({"drop": True, "record": True}, 1),
        ({"reply": b"250 2.0", "drop": True, "record": True}, 1),
        ({"reply": b"", "record": True}, 1),
        ({"reply": b"what?\r\n", "record": True}, 1),
        ({"reply": "354 more?", "record": True}, 1),
    ],
    ids=["lost unrecorded", "lost recorded", "half a reply", "silence", "garbage", "3xx"],
)
async def test_no_reply_to_the_dot_is_in_doubt(pipelining: bool, fault: dict[str, object], accepted: int) -> None:
    """Without a reply to the dot there is a RelayError that isn't DotNotSent, whatever the relay did."""
    server = SmtpServer([Fault("dot", **fault)], pipelining=pipelining)  # type: ignore[arg-type]
    async with server, session(server) as connection:
        assert await connection.offer(envelope()) is None
        with pytest.raises(RelayError) as raised:
            await connection.dot()
        assert not isinstance(raised.value, DotNotSent)
        assert not connection.usable
        assert server.accepted == accepted


async def test_slow_replies(pipelining: bool) -> None:
    """Replies that come late, but in time, are waited for."""
    faults = [Fault(phase, delay=0.05) for phase in ("mail", "rcpt", "data", "dot")]
    async with SmtpServer(faults, pipelining=pipelining) as server, session(server) as connection:
        assert await connection.offer(envelope()) is None
        assert (await connection.dot()).code == 250


async def test_unsolicited_reply_ends_the_session() -> None:
    """A reply that nobody asked for makes the connection unusable, between messages and after a body."""
    faults = [Fault("reply", "250 by the way", times=1)]
    async with SmtpServer(faults) as server, session(server) as connection:
        assert await connection.offer(envelope()) is None
        assert (await connection.dot()).code == 250
        await until(lambda: not connection.usable)
        with pytest.raises(Unanswered, match="unasked"):
            await connection.offer(envelope())
    async with SmtpServer([Fault("body", "250 thanks")]) as server, session(server) as connection:
        assert await connection.offer(envelope(body=b"x: y\r\n\r\n")) is None
        await until(lambda: connection._session.broken is not None)
        with pytest.raises(DotNotSent):
            await connection.dot()
        assert server.accepted == 0


@pytest.mark.parametrize("phase", ["mail", "rcpt", "data", "dot"])
async def test_cancelled_wait_ends_the_session(pipelining: bool, phase: str) -> None:
    """After a cancelled wait the connection can't be used again: nobody reads the reply to someone else's question."""
    fault = Fault(phase, delay=5, times=1)
    server = SmtpServer([fault], pipelining=pipelining)
    async with server, session(server, Timeouts()) as connection:

        async def whole() -> None:
            assert await connection.offer(envelope()) is None
            await connection.dot()

        task = asyncio.create_task(whole())
        await until(lambda: fault.times == 0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not connection.usable
        await until(lambda: not server.open)
        with pytest.raises(RelayError):
            await connection.offer(envelope())


async def test_quit_never_hangs() -> None:
    """QUIT that isn't answered is waited for only a moment."""
    async with SmtpServer([Fault("quit", b"")]) as server:
        connection = await connect(Relay(host="127.0.0.1", port=server.port, security="none"), SHORT)
        await asyncio.wait_for(connection.quit(), 3)
        await connection.quit()
        assert server.commands[-1] == "QUIT"


async def test_line_breaks_in_addresses_are_not_sent() -> None:
    """An address that holds a line break can't smuggle a command."""
    async with SmtpServer() as server, session(server) as connection:
        with pytest.raises(RelayError):
            await connection.offer(envelope("a@b.de>\r\nRSET\r\nRCPT TO:<c@d.de"))
        assert "RSET" not in server.commands


@pytest.mark.parametrize("security", ["starttls", "tls"])
async def test_encrypted_and_logged_in(security: str, pipelining: bool) -> None:
    """Messages go through STARTTLS and implicit TLS, after login, on a transport that was handed over."""
    server = SmtpServer(
        tls=security == "tls", starttls=security == "starttls", login=("me", "geheim"), pipelining=pipelining
    )
    async with server:
        relay = Relay(
            host="localhost",
            port=server.port,
            security=security,  # type: ignore[arg-type]
            username="me",
            password="geheim",  # type: ignore[arg-type]
            ca_file=str(AUTHORITY),
        )
        connection = await connect(relay, Timeouts())
        for _ in range(3):
            assert await connection.offer(envelope()) is None
            assert (await connection.dot()).code == 250
        assert all(message.tls and message.login == "me" for message in server.messages)
        assert all(message.content == BODY for message in server.messages)
        server.faults.append(Fault("dot", drop=True))
        assert await connection.offer(envelope()) is None
        with pytest.raises(RelayError):
            await connection.dot()
        await connection.quit()
        assert server.violations == []


def test_certificates_are_good_for_years() -> None:
    """The test certificates load, and the authority's signature on them is checked in every TLS test."""
    context = ssl.create_default_context(cafile=str(AUTHORITY))
    assert context.cert_store_stats()["x509_ca"] == 1
