"""The capture files messages, and three domains always misbehave."""

from __future__ import annotations

import asyncio
import os
import smtplib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mailer.model.ledger import Reply, SendId
from mailer.model.settings import Relay
from mailer.service.ports import Refused
from mailer.smtp.capture import Capture
from mailer.smtp.connect import connect
from mailer.smtp.connection import SmtpConnection, Timeouts
from mailer.wire.envelope import Envelope
from mailer.wire.message_id import make_message_id


def message(position: int = 7, extra: bytes = b"") -> bytes:
    message_id = make_message_id(b"secret", SendId("kw24-1"), position, "example.com").encode()
    return b"Subject: x\r\nMessage-ID: " + message_id + b"\r\n\r\n" + b"some text\r\n" * 5000 + extra


async def open_session(capture: Capture) -> SmtpConnection:
    return await connect(Relay(host="127.0.0.1", port=capture.port, security="none"), Timeouts())


async def deliver(connection: SmtpConnection, content: bytes, to: str = "a@example.org") -> Reply:
    assert await connection.offer(Envelope("from@example.com", to, content)) is None
    return await connection.dot()


async def test_files_bytes_as_received(tmp_path: Path) -> None:
    """A message of ours is filed by send and position, byte for byte, and nothing else is left there."""
    async with Capture(tmp_path / "capture") as capture:
        connection = await open_session(capture)
        for position in (7, 8):
            reply = await deliver(connection, message(position))
            assert reply == Reply(250, "2.0.0", f"Filed as kw24-1/{position}.eml")
        await connection.quit()
        files = {path.name: path.read_bytes() for path in (tmp_path / "capture" / "kw24-1").iterdir()}
        assert files == {"7.eml": message(7), "8.eml": message(8)}
        assert capture.filed == 2


async def test_second_copy_is_kept(tmp_path: Path) -> None:
    """A message that comes twice is filed twice."""
    async with Capture(tmp_path) as capture:
        connection = await open_session(capture)
        await deliver(connection, message(7))
        await deliver(connection, message(7, b"again\r\n"))
        await connection.quit()
        assert (tmp_path / "kw24-1" / "7.eml").read_bytes() == message(7)
        assert (tmp_path / "kw24-1" / "7-2.eml").read_bytes() == message(7, b"again\r\n")


async def test_foreign_messages_and_dots(tmp_path: Path) -> None:
    """A message of another program is filed by date, with its stuffed dots taken off again."""
    async with Capture(tmp_path) as capture:

        def send() -> None:
            with smtplib.SMTP("127.0.0.1", capture.port) as client:
                client.sendmail("a@b.de", ["c@d.de"], b"Subject: y\r\n\r\n.\r\n..\r\n.dot\r\n")

        await asyncio.to_thread(send)
        (path,) = (tmp_path / datetime.now(UTC).date().isoformat()).glob("*.eml")
        assert path.read_bytes() == b"Subject: y\r\n\r\n.\r\n..\r\n.dot\r\n"


@pytest.mark.parametrize(
    ("address", "reply"),
    [
        ("x@refused.example", Reply(550, "5.1.1", "No such mailbox here")),
        ("x@deep.REFUSED.example", Reply(550, "5.1.1", "No such mailbox here")),
        ("x@full.example", Reply(452, "4.2.2", "Mailbox full")),
    ],
)
async def test_misbehaving_domains(tmp_path: Path, address: str, reply: Reply) -> None:
    """Two domains always refuse, and the next recipient isn't touched by it."""
    async with Capture(tmp_path) as capture:
        connection = await open_session(capture)
        for _ in range(2):
            assert await connection.offer(Envelope("f@example.com", address, message())) == Refused("rcpt", reply)
        assert (await deliver(connection, message())).code == 250
        await connection.quit()
        assert capture.filed == 1


async def test_greylisting(tmp_path: Path) -> None:
    """A greylisted address is refused the first time and taken the second, each address for itself."""
    async with Capture(tmp_path) as capture:
        connection = await open_session(capture)
        for name in ("one", "two"):
            envelope = Envelope("f@example.com", f"{name}@greylisted.example", message())
            refused = await connection.offer(envelope)
            assert refused is not None
            assert (refused.reply.code, refused.reply.status) == (451, "4.7.1")
            assert (await deliver(connection, message(), envelope.recipient)).code == 250
        await connection.quit()


async def test_dropped_message_is_not_filed(tmp_path: Path) -> None:
    """A message whose dot never came leaves no file."""
    async with Capture(tmp_path) as capture:
        connection = await open_session(capture)
        assert await connection.offer(Envelope("f@example.com", "a@example.org", message())) is None
        await connection.quit()
        connection = await open_session(capture)
        await deliver(connection, message(9))
        await connection.quit()
    assert os.listdir(tmp_path) == ["kw24-1"]
    assert os.listdir(tmp_path / "kw24-1") == ["9.eml"]


async def test_offers_extensions(tmp_path: Path) -> None:
    """It offers PIPELINING, SIZE and SMTPUTF8, and takes an internationalised address."""
    async with Capture(tmp_path) as capture:
        connection = await open_session(capture)
        utf8 = Envelope("f@example.com", "jörg@example.org", message(), smtputf8=True)
        assert await connection.offer(utf8) is None
        assert (await connection.dot()).code == 250
        await connection.quit()

        def ehlo() -> dict[str, str]:
            with smtplib.SMTP("127.0.0.1", capture.port) as client:
                client.ehlo()
                return dict(client.esmtp_features)

        assert {"pipelining", "size", "smtputf8", "8bitmime"} <= set(await asyncio.to_thread(ehlo))


async def test_full_disk_is_a_temporary_error(tmp_path: Path) -> None:
    """When a message can't be filed, the sender is told to come again."""
    (tmp_path / "kw24-1").write_text("in the way")
    async with Capture(tmp_path) as capture:
        connection = await open_session(capture)
        reply = await deliver(connection, message())
        assert (reply.code, reply.status) == (452, "4.3.1")
        await connection.quit()


async def test_stop_closes_open_sessions(tmp_path: Path) -> None:
    """Stopping ends sessions that are open, and the port can be used again."""
    capture = Capture(tmp_path)
    port = await capture.start()
    connection = await open_session(capture)
    await asyncio.wait_for(capture.stop(), 5)
    async with Capture(tmp_path, port) as again:
        assert again.port == port
    await connection.quit()
    assert not connection.usable
