"""Through a real Postfix into a mailbox: the bytes that arrive are the bytes that were made, whoever they are for."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import replace
from email import message_from_bytes, policy
from email.message import EmailMessage

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from mailer.expressions.escape import escape
from mailer.model.compiled import Branch, Choice, CompiledIssue, Escape, Slot
from mailer.model.ledger import Recipient, SendId, SendKind
from mailer.model.people import Subscriber
from mailer.model.settings import Relay
from mailer.smtp.connect import connect
from mailer.smtp.connection import SmtpConnection, Timeouts
from mailer.wire.dkim import dkim_key
from mailer.wire.envelope import Envelope
from mailer.wire.freeze import SendFacts, freeze
from tests.servers.postfix import Arrived, PostfixServer

pytest_plugins = ("tests.servers.postfix",)

NAME, NOTE = "subscriber.first_name", "subscriber.note"
STATIC = (
    "bare\rCR\n.\n..\n.dot\nFrom here on \t\n\ttabs  and  blanks \n= =20 =\n"
    + "wide " * 2000
    + "\n"
    + "ß" * 3000
    + "\n\n\n"
)
ISSUE = CompiledIssue(
    slug="beet",
    title="Beet",
    language="de",
    country="DE",
    timezone="Europe/Berlin",
    date="2026-05-11",
    sender="Gärten & mehr <bote@garten.example>",
    reply_to="Redaktion <redaktion@garten.example>",
    subject=("Für ", Slot(NAME, Escape.HEADER), ": ", Slot(NOTE, Escape.HEADER)),
    text=("[", Slot(NOTE, Escape.PLAIN), "]\n", Slot(NAME, Escape.PLAIN), "\n", STATIC, Slot(NOTE, Escape.PLAIN)),
    html=(
        '<p title="',
        Slot(NOTE, Escape.ATTRIBUTE),
        '"><a href="https://garten.example/?n=',
        Slot(NAME, Escape.URL_PART),
        '">',
        Slot(NOTE, Escape.TEXT),
        "</a>",
        Choice((Branch(NAME, (".\n", Slot(NAME, Escape.TEXT))),), ("..\n",)),
        f"</p>\n<pre>{STATIC}</pre>",
    ),
    word_count=1,
    reading_minutes=1,
)
FACTS = SendFacts(
    send=SendId("beet-1"),
    key=1,
    date=1778486400.0,
    kind=SendKind.ISSUE,
    list_id="Gießkanne <newsletter.garten.example>",
    base_url="https://garten.example",
    secret=b"s" * 32,
    return_path="bounces@garten.example",
    feedback_sender="garten.example",
)
PEOPLE = {
    "plain": Subscriber(1, "erika@example.com", "Erika", "Muster", attributes={"note": "Hallo"}),
    "nameless": Subscriber(2, "nameless@example.com"),
    "emoji": Subscriber(3, "emoji@example.com", "👩‍👩‍👧‍👦", "🏳️‍🌈", attributes={"note": "🌱" * 400}),
    "right to left": Subscriber(4, "rtl@example.com", "مريم", "\u202egnp.exe", attributes={"note": "שלום\u200f"}),
    "8 bit": Subscriber(5, "8bit@example.com", "Jörg", "Œuvre\xa0\x85", attributes={"note": "Ä\x80\xff" * 99}),
    "long": Subscriber(6, "long@example.com", "N" * 300, "ß" * 300, attributes={"note": "x" * 10_000}),
    "long and wide": Subscriber(7, "wide@example.com", "a b " * 99, attributes={"note": "ü " * 5_000}),
    "one dot": Subscriber(8, "dot@example.com", ".", "..", attributes={"note": "."}),
    "lines of dots": Subscriber(9, "dots@example.com", ".x", attributes={"note": ".\r\n.\n..\n...\n.\n"}),
    "end of data": Subscriber(10, "end@example.com", "\r\n.\r\n", attributes={"note": "a\r\n.\r\nQUIT\r\n"}),
    "bare CR": Subscriber(11, "cr@example.com", "a\rb", "\r", attributes={"note": "c\rd\r\r.\r"}),
    "bare LF": Subscriber(12, "lf@example.com", "a\nb", "\n", attributes={"note": "c\nd\n\n.\n"}),
    "LF CR": Subscriber(13, "lfcr@example.com", "\n\r", attributes={"note": "\n\r.\n\r\n.\r"}),
    "other line ends": Subscriber(14, "ls@example.com", "a\u2028b", attributes={"note": "\u2028.\u2029.\x85.\v.\f."}),
    "equals": Subscriber(15, "eq@example.com", "=3D=", "=", attributes={"note": "=\n==\n=0D=0A.\n="}),
    "blanks": Subscriber(16, "blank@example.com", "  a  ", " ", attributes={"note": "end \nend\t\n \n\t\n "}),
    "injection": Subscriber(
        17, "eve@example.com", "Eve\r\nBcc: gone@example.com", attributes={"note": "\r\nBcc: x@example.com\r\n\r\nHi"}
    ),
    "quotes": Subscriber(18, "quote@example.com", '"Q" <a@example.com>,', "\\", attributes={"note": '"\'`\\"<>&'}),
    "markup": Subscriber(19, "markup@example.com", "<b>B</b>", "{{ 7*7 }}", attributes={"note": "--><script>]]>"}),
    "encoded word": Subscriber(20, "ew@example.com", "=?utf-8?q?a?=", attributes={"note": "=?utf-8?b?Cg==?="}),
    "controls": Subscriber(21, "nul@example.com", "a\0b", "\x1b[0m\x7f", attributes={"note": "\0\x01\x08\x7f"}),
    "From": Subscriber(22, "from@example.com", "From me", attributes={"note": "From you \nFrom me\n>From us"}),
    "O'Brien": Subscriber(23, "o'brien+news@example.com", "O'Brien", attributes={"note": "'"}),
    "IDN": Subscriber(24, "info@müller.example", "Käthe", attributes={"note": "müller.example"}),
    "SMTPUTF8": Subscriber(25, "jürgen@müller.example", "Jürgen", attributes={"note": "jürgen"}),
    "long address": Subscriber(26, "a" * 64 + "@" + "b" * 63 + ".example", "x" * 69, attributes={"note": "x"}),
}


def envelopes(people: Iterable[Subscriber], facts: SendFacts = FACTS) -> list[Envelope]:
    """A message for each, as a worker makes it."""
    frozen = freeze(ISSUE, facts)
    return [frozen.assemble(Recipient(facts.send, one.id, 1, one.email, 0, None, one)) for one in people]


async def session(server: PostfixServer) -> SmtpConnection:
    return await connect(Relay(host="127.0.0.1", port=server.port, security="none"), Timeouts())


async def send(server: PostfixServer, messages: Iterable[Envelope]) -> None:
    """All over one connection; each is accepted."""
    connection = await session(server)
    for message in messages:
        assert await connection.offer(message) is None
        assert (await connection.dot()).code == 250
    await connection.quit()


def text_of(raw: bytes) -> str:
    """The text part, decoded, with ``\\n`` line ends."""
    message = message_from_bytes(raw, policy=policy.default)
    assert isinstance(message, EmailMessage)
    body = message.get_body(("plain",))
    assert isinstance(body, EmailMessage)
    data = body.get_payload(decode=True)
    assert isinstance(data, bytes)
    return data.decode().replace("\r\n", "\n")


@pytest.mark.parametrize("who", PEOPLE)
async def test_bytes(postfix: PostfixServer, who: str) -> None:
    """What arrives is what was made, byte for byte, and reads as the person's own text."""
    person = PEOPLE[who]
    (envelope,) = envelopes([person])
    await send(postfix, [envelope])
    (arrived,) = postfix.wait_arrived(1)
    assert arrived.content == envelope.message
    assert arrived.recipient == envelope.recipient
    note = escape(person.value("note"), Escape.PLAIN).replace("\r\n", "\n").replace("\r", "\n")
    assert text_of(arrived.content).startswith(f"[{note}]\n")
    assert text_of(arrived.content).rstrip("\n").endswith(note.rstrip("\n"))


async def test_one_session(postfix: PostfixServer) -> None:
    """All of them over one connection: each arrives once, as it was made, and for nobody but whom it was made for."""
    made = envelopes(PEOPLE.values())
    await send(postfix, made)
    arrived = postfix.wait_arrived(len(made))
    found = {one.recipient: one.content for one in arrived}
    assert len(arrived) == len(found) == len(made)
    assert found == {envelope.recipient: envelope.message for envelope in made}


def verifies(message: Arrived, private: RSAPrivateKey | Ed25519PrivateKey) -> bool:
    public = private.public_key()
    if isinstance(private, RSAPrivateKey):
        kind, data = b"rsa", public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    else:
        kind, data = b"ed25519", public.public_bytes(Encoding.Raw, PublicFormat.Raw)
    record = b"v=DKIM1; k=%b; p=%b" % (kind, base64.b64encode(data))
    whole = message.added.replace("\n", "\r\n").encode() + message.content
    return bool(dkim.verify(whole, dnsfunc=lambda name, timeout=0: record))


@pytest.mark.parametrize("kind", ["rsa", "ed25519"])
async def test_dkim(postfix: PostfixServer, kind: str) -> None:
    """Each signature verifies in the mailbox, whatever name and note the message was made for, and holds for no other
    content."""
    private = generate_private_key(65537, 2048) if kind == "rsa" else Ed25519PrivateKey.generate()
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    made = envelopes(PEOPLE.values(), replace(FACTS, dkim=dkim_key("garten.example", "s", pem)))
    await send(postfix, made)
    arrived = postfix.wait_arrived(len(made))
    assert sorted(one.content for one in arrived) == sorted(envelope.message for envelope in made)
    assert [one.recipient for one in arrived if not verifies(one, private)] == []
    changed = replace(arrived[0], content=arrived[0].content.replace(b"dot", b"Dot"))
    assert not verifies(changed, private)


async def test_without_smtputf8(ascii_postfix: PostfixServer) -> None:
    """A Postfix without SMTPUTF8 is never shown an address that needs it; it gets the others on the same connection."""
    first, utf8, last = envelopes(PEOPLE[who] for who in ("plain", "SMTPUTF8", "IDN"))
    connection = await session(ascii_postfix)
    assert await connection.offer(first) is None
    assert (await connection.dot()).code == 250
    refused = await connection.offer(utf8)
    assert refused is not None
    assert (refused.phase, refused.reply.code, refused.reply.status) == ("local", 0, "5.6.7")
    assert await connection.offer(last) is None
    assert (await connection.dot()).code == 250
    await connection.quit()
    arrived = ascii_postfix.wait_arrived(2)
    assert sorted(one.content for one in arrived) == sorted([first.message, last.message])
