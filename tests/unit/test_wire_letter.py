"""Messages to one person that belong to no send."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import replace
from email import message_from_bytes, policy
from email.message import EmailMessage

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from mailer.errors import AddressError, CompileError
from mailer.wire.dkim import dkim_key
from mailer.wire.letter import SERIES, Letterhead, make_letter
from mailer.wire.message_id import own_message, split_message_id
from mailer.wire.verp import find_verp

SECRET = b"s" * 32
HEAD = Letterhead(
    "Grüne Post <post@example.com>",
    "Redaktion <redaktion@example.com>",
    "bounces@bounce.example.com",
    "Europe/Berlin",
    SECRET,
)
DATE = 1749448800.0


def made(head: Letterhead = HEAD, to: str = "erika@example.org", subject: str = "S", text: str = "T", html: str = "H"):
    return make_letter(head, 7, to, subject, text, html, DATE)


def opened(raw: bytes) -> EmailMessage:
    message = message_from_bytes(raw, policy=policy.default)
    assert isinstance(message, EmailMessage)
    return message


def part(raw: bytes, kind: str) -> str:
    body = opened(raw).get_body((kind,))
    assert isinstance(body, EmailMessage)
    assert not body.defects
    return str(body.get_content()).replace("\r\n", "\n")


def test_headers() -> None:
    """It has each header once; it says that no person has written it, and offers nothing to unsubscribe from."""
    message = opened(made(subject="Bitte bestätigen").message)
    assert sorted(message.keys()) == sorted(
        ["From", "To", "Message-ID", "Date", "Reply-To", "Auto-Submitted", "MIME-Version", "Content-Type", "Subject"]
    )
    assert message["From"] == "Grüne Post <post@example.com>"
    assert message["To"] == "erika@example.org"
    assert message["Reply-To"] == "Redaktion <redaktion@example.com>"
    assert message["Subject"] == "Bitte bestätigen"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["Date"] == "Mon, 09 Jun 2025 08:00:00 +0200"
    assert "Reply-To" not in opened(made(replace(HEAD, reply_to="")).message)
    assert [sub.get_content_type() for sub in message.iter_parts()] == ["text/plain", "text/html"]


def test_what_comes_back_proves_nothing() -> None:
    """The envelope sender has no token, and the Message-ID names no send: a bounce of it changes nobody's state."""
    envelope = made()
    assert envelope.sender == "bounces@bounce.example.com"
    assert find_verp(SECRET, envelope.sender) is None
    message_id = str(opened(envelope.message)["Message-ID"])
    assert own_message(SECRET, message_id) == split_message_id(message_id) == (SERIES, 7)
    assert made(replace(HEAD, return_path="")).sender == "post@example.com"


@pytest.mark.parametrize(
    ("to", "wire", "utf8"),
    [
        ("erika@example.org", "erika@example.org", False),
        ("info@müller.example", "info@xn--mller-kva.example", False),
        ("jürgen@müller.example", "jürgen@xn--mller-kva.example", True),
    ],
)
def test_international(to: str, wire: str, utf8: bool) -> None:
    """A domain goes out in punycode; a local part that isn't ASCII asks for SMTPUTF8, and stands in To as it is."""
    envelope = made(to=to)
    assert (envelope.recipient, envelope.smtputf8) == (wire, utf8)
    assert f"\r\nTo: {wire}\r\n".encode() in envelope.message


@pytest.mark.parametrize("to", ["a@b.example\r\nBcc: c@d.example", "a b@c.example", "<a@b.example>", ""])
def test_no_injection(to: str) -> None:
    """An address that could end a field or a command makes no message."""
    with pytest.raises(AddressError):
        made(to=to)


@pytest.mark.parametrize("sender", ["nobody", "Jürgen <jürgen@example.com>"])
def test_no_sender(sender: str) -> None:
    """A sender that can't stand in a message is an error that names the key."""
    with pytest.raises(CompileError) as caught:
        made(replace(HEAD, sender=sender))
    assert caught.value.where == "from"


@given(subject=st.text(max_size=200), text=st.text(max_size=300), html=st.text(max_size=300))
def test_any_text(subject: str, text: str, html: str) -> None:
    """Whatever stands in it, the bytes are legal, no line begins with a dot, and the parts come out as they went in."""
    raw = made(subject=subject, text=text, html=html).message
    assert raw.isascii()
    assert raw.endswith(b"\r\n")
    assert raw.count(b"\n") == raw.count(b"\r\n") == raw.count(b"\r")
    for line in raw.split(b"\r\n"):
        assert len(line) <= 998
        assert not line.startswith(b".")
    assert opened(raw).is_multipart()
    for kind, given_text in (("plain", text), ("html", html)):
        expected = given_text.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n") + "\n"
        found = part(raw, kind)
        assert found.splitlines() == expected.splitlines()


def test_dkim() -> None:
    """Signed, it verifies by other code than ours, and no longer when its subject has changed."""
    private = generate_private_key(65537, 2048)
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    public = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    record = b"v=DKIM1; k=rsa; p=" + b64encode(public)
    key = dkim_key("example.com", "s1", pem)
    raw = made(replace(HEAD, dkim=key), text="Zwei  Blanks \n.\nund mehr", html="<p>x</p>").message
    assert raw.startswith(b"DKIM-Signature: ")
    assert dkim.verify(raw, dnsfunc=lambda *_args, **_more: record)
    assert not dkim.verify(raw.replace(b"Subject: S", b"Subject: T"), dnsfunc=lambda *_args, **_more: record)
