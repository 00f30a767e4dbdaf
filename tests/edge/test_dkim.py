"""Signed messages after a real SMTP session: what arrives verifies."""

from __future__ import annotations

import base64
from pathlib import Path

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from mailer.model.compiled import CompiledIssue, Escape, Slot
from mailer.model.ledger import Recipient, SendId, SendKind
from mailer.model.people import Subscriber
from mailer.model.settings import Relay
from mailer.smtp.capture import Capture
from mailer.smtp.connect import connect
from mailer.smtp.connection import Timeouts
from mailer.wire.dkim import dkim_key
from mailer.wire.envelope import Envelope
from mailer.wire.freeze import SendFacts, freeze
from tests.servers.smtp import SmtpServer

NAMES = ("Erika", ". ", "..", "x \t \r\n.\r\nQUIT\r\n", "\r", "a\nb", "Jörg  =20", "From me", "", "é" * 200)
NAME = Slot("subscriber.first_name", Escape.PLAIN)
LINES = ".\n..\nFrom here  on\t\n   deep\n" + "long " * 300 + "\n"
ISSUE = CompiledIssue(
    "a", "A", "en", "", "UTC", "2026-01-01", "a@example.com", "", ("For ", NAME), (LINES, NAME), (NAME, LINES), 1, 1
)


@pytest.fixture(params=["rsa", "ed25519"])
def private(request: pytest.FixtureRequest) -> RSAPrivateKey | Ed25519PrivateKey:
    return generate_private_key(65537, 2048) if request.param == "rsa" else Ed25519PrivateKey.generate()


def signed(private: RSAPrivateKey | Ed25519PrivateKey) -> list[Envelope]:
    """A message for each of the names."""
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    facts = SendFacts(
        SendId("a-1"),
        1,
        1749448800.0,
        SendKind.ISSUE,
        "",
        "https://example.com",
        b"s" * 32,
        dkim=dkim_key("example.com", "s", pem),
    )
    frozen = freeze(ISSUE, facts)
    people = [Subscriber(at, f"r{at}@example.org", first_name=name) for at, name in enumerate(NAMES)]
    return [frozen.assemble(Recipient(facts.send, one.id, 1, one.email, 0, None, one)) for one in people]


def verifies(raw: bytes, private: RSAPrivateKey | Ed25519PrivateKey) -> bool:
    public = private.public_key()
    if isinstance(private, RSAPrivateKey):
        kind, data = b"rsa", public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    else:
        kind, data = b"ed25519", public.public_bytes(Encoding.Raw, PublicFormat.Raw)
    record = b"v=DKIM1; k=%b; p=%b" % (kind, base64.b64encode(data))
    return bool(dkim.verify(raw, dnsfunc=lambda name, timeout=0: record))


def filed(directory: Path) -> list[bytes]:
    return [path.read_bytes() for path in directory.rglob("*.eml")]


async def deliver(envelopes: list[Envelope], port: int) -> None:
    connection = await connect(Relay(host="127.0.0.1", port=port, security="none"), Timeouts())
    for envelope in envelopes:
        assert await connection.offer(envelope) is None
        assert (await connection.dot()).code == 250
    await connection.quit()


async def test_verifies_at_a_server(private: RSAPrivateKey | Ed25519PrivateKey) -> None:
    """Each message that a server has received verifies, whatever name it was made for."""
    async with SmtpServer() as server:
        await deliver(signed(private), server.port)
        assert server.violations == []
        assert len(server.messages) == len(NAMES)
        assert all(verifies(message.content, private) for message in server.messages)


async def test_verifies_in_the_capture(private: RSAPrivateKey | Ed25519PrivateKey, tmp_path: Path) -> None:
    """Each message that the capture has filed verifies."""
    async with Capture(tmp_path) as capture:
        await deliver(signed(private), capture.port)
    messages = filed(tmp_path)
    assert len(messages) == len(NAMES)
    assert all(verifies(message, private) for message in messages)
