"""DKIM signatures, judged by dkimpy."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as ec_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as rsa_key
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from dkim.canonicalization import Relaxed
from hypothesis import given, settings
from hypothesis import strategies as st

from mailer.errors import CompileError, ConfigError
from mailer.model.compiled import Branch, Choice, CompiledIssue, Escape, Slot
from mailer.model.ledger import Recipient, SendId, SendKind
from mailer.model.people import Subscriber
from mailer.wire.dkim import OVERSIGNED, SIGNED, DkimKey, dkim_key, relaxed
from mailer.wire.freeze import SendFacts, freeze

KINDS = ("rsa", "ed25519")
ISSUE = CompiledIssue(
    slug="kw24",
    title="T",
    language="de",
    country="DE",
    timezone="Europe/Berlin",
    date="2025-06-09",
    sender="Grüne  Post <post@news.example.com>",
    reply_to="Redaktion <redaktion@example.com>",
    subject=("Neues ", Slot("subscriber.first_name", Escape.HEADER)),
    text=("Hallo  ", Slot("subscriber.first_name", Escape.PLAIN), "!\n\n\t two  blanks \n"),
    html=("<p>\n    <b>Hallo ", Slot("subscriber.last_name", Escape.TEXT), "</b>\t \n  </p>\n\n\n"),
    word_count=1,
    reading_minutes=1,
)
PIECES = (" ", "  ", "\t", ".", "=", "\r\n", "\n", "\r", "From ", "a", "b" * 70, "é", "\u2028", "\0", "😀")
NASTY = st.lists(st.sampled_from(PIECES), max_size=40).map("".join)


@cache
def private(kind: str) -> RSAPrivateKey | Ed25519PrivateKey:
    return rsa_key(65537, 2048) if kind == "rsa" else Ed25519PrivateKey.generate()


def pem(key: PrivateKeyTypes, encryption: KeySerializationEncryption | None = None) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption()).decode()


@cache
def key(kind: str) -> DkimKey:
    return dkim_key("example.com", "s1", pem(private(kind)))


def dns(kind: str) -> Callable[..., bytes]:
    """The TXT record of the kind's public key, under the name where it must stand and no other."""
    public = private(kind).public_key()
    if kind == "rsa":
        data = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    else:
        data = public.public_bytes(Encoding.Raw, PublicFormat.Raw)
    record = b"v=DKIM1; k=%b; p=%b" % (kind.encode(), base64.b64encode(data))

    def answer(name: bytes, timeout: float = 0) -> bytes:
        return record if name.rstrip(b".") == b"s1._domainkey.example.com" else b""

    return answer


def verifies(raw: bytes, kind: str) -> bool:
    return bool(dkim.verify(raw, dnsfunc=dns(kind)))


def facts(kind: str | None) -> SendFacts:
    return SendFacts(
        send=SendId("kw24-1"),
        key=5,
        date=1749448800.9,
        kind=SendKind.ISSUE,
        list_id="Wöchentliches <weekly.example.com>",
        base_url="https://news.example.com",
        secret=b"s" * 32,
        return_path="bounces@example.com",
        feedback_sender="example.com",
        dkim=key(kind) if kind else None,
    )


def made(
    kind: str | None,
    first: str = "Erika",
    last: str = "Muster",
    issue: CompiledIssue = ISSUE,
    email: str = "e@example.org",
) -> bytes:
    subscriber = Subscriber(42, email, first_name=first, last_name=last)
    recipient = Recipient(SendId("kw24-1"), 3, 1, email, 0, None, subscriber)
    return freeze(issue, facts(kind)).assemble(recipient).message


def tags(raw: bytes) -> dict[str, str]:
    """The tags of the signature, without folding."""
    value = re.match(rb"DKIM-Signature:((?:.|\r\n[ \t])*)\r\n", raw)
    assert value
    pairs = re.sub(r"\s+", "", value[1].decode()).split(";")
    return dict(pair.split("=", 1) for pair in pairs)


@pytest.mark.parametrize("kind", KINDS)
@given(first=NASTY, last=NASTY)
@settings(max_examples=60)
def test_any_name_verifies(kind: str, first: str, last: str) -> None:
    """Whatever names stand in subject, address and body, the signature holds."""
    assert verifies(made(kind, first, last), kind)


@pytest.mark.parametrize("kind", KINDS)
@given(before=NASTY, after=NASTY, branch=NASTY, value=NASTY)
@settings(max_examples=60)
def test_any_issue_verifies(kind: str, before: str, after: str, branch: str, value: str) -> None:
    """Whatever stands in the static pieces, beside a value or in a branch, the signature holds."""
    slot = Slot("subscriber.first_name", Escape.PLAIN)
    choice = Choice((Branch("subscriber.last_name", (branch, slot)),), (after, branch))
    pieces = (before, slot, after, choice, before)
    issue = replace(ISSUE, text=pieces, html=(*pieces, slot), subject=(before,))
    assert verifies(made(kind, value, branch, issue), kind)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("email", ["jörg@müller.example", "e@example.org", "a" * 64 + "@" + "b" * 63 + ".example"])
def test_any_address_verifies(kind: str, email: str) -> None:
    """The signature holds with a raw UTF-8 address in To, and with a long one."""
    assert verifies(made(kind, "Erika", "x" * 69, email=email), kind)


@given(st.text(alphabet=" \tab\n", max_size=60))
def test_relaxed_body(text: str) -> None:
    """A body in relaxed form is what dkimpy makes of it."""
    body = text.replace("\n", "\r\n").encode() + b"end\r\n"
    assert relaxed(body) == Relaxed.canonicalize_body(body)


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
@settings(max_examples=80)
def test_any_change_shows(kind: str, data: st.DataObject) -> None:
    """One letter or digit changed, in the body or in a signed field, and the signature doesn't hold."""
    raw = made(kind)
    start = raw.index(b"\r\nFrom: ") + 2
    places = [found.start() for found in re.finditer(rb"[A-Za-z0-9]", raw) if found.start() >= start]
    at = data.draw(st.sampled_from(places))
    other = data.draw(st.sampled_from([char for char in b"aZ09" if bytes([char]).lower() != raw[at : at + 1].lower()]))
    assert not verifies(raw[:at] + bytes([other]) + raw[at + 1 :], kind)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", OVERSIGNED)
def test_no_field_can_be_added(kind: str, name: str) -> None:
    """A second From, To, Subject or Date breaks the signature, wherever it is put."""
    raw = made(kind)
    head, _, body = raw.partition(b"\r\n\r\n")
    another = f"{name}: x@example.net\r\n".encode()
    assert not verifies(another + raw, kind)
    assert not verifies(b"%b\r\n%b\r\n%b" % (head, another, body), kind)


@pytest.mark.parametrize("kind", KINDS)
def test_what_relays_may_do(kind: str) -> None:
    """Fields put on top, other folding and other runs of blanks leave the signature whole."""
    raw = made(kind)
    assert verifies(b"Received: from a by b; Mon, 09 Jun 2025 08:00:00 +0200\r\n" + raw, kind)
    assert verifies(raw.replace(b"\r\nSubject: ", b"\r\nsubject:\r\n\t"), kind)
    assert verifies(raw.replace(b"  ", b" \t "), kind)
    assert verifies(raw + b"\r\n\r\n", kind)


@pytest.mark.parametrize("kind", KINDS)
def test_tags(kind: str) -> None:
    """The signature says what it must, of every field that is to be signed, and nothing that lets it expire."""
    raw = made(kind)
    found = tags(raw)
    assert list(found) == ["v", "a", "c", "d", "s", "i", "t", "h", "bh", "b"]
    assert (found["a"], found["c"]) == (f"{kind}-sha256", "relaxed/relaxed")
    assert (found["d"], found["s"], found["i"], found["t"]) == ("example.com", "s1", "@example.com", "1749448800")
    assert found["h"].split(":") == [*SIGNED, *OVERSIGNED]
    head = raw.partition(b"\r\n\r\n")[0]
    assert max(map(len, head.split(b"\r\n"))) <= 200  # List-Unsubscribe holds a URL
    assert max(map(len, raw[: raw.index(b"\r\nFrom:")].split(b"\r\n"))) <= 78


def test_absent_fields_are_not_named() -> None:
    """A field that a message doesn't have isn't named in h=."""
    raw = made("rsa", issue=replace(ISSUE, reply_to=""))
    assert "Reply-To" not in tags(raw)["h"]
    assert verifies(raw, "rsa")


@pytest.mark.parametrize("kind", KINDS)
def test_signing_changes_nothing_else(kind: str) -> None:
    """A signed message is the unsigned one with one field before it, the same each time it is made."""
    raw = made(kind)
    assert raw.endswith(b"\r\n" + made(None))
    assert raw.removesuffix(made(None)).count(b"\r\n ") == raw.removesuffix(made(None)).count(b"\r\n") - 1
    assert raw == made(kind)


@pytest.mark.parametrize("sender", ["a@example.com", "a@news.example.com", "a@EXAMPLE.com"])
def test_aligned_sender(sender: str) -> None:
    """The domain that signs may be the sender's or one above it."""
    assert verifies(made("rsa", issue=replace(ISSUE, sender=sender)), "rsa")


@pytest.mark.parametrize("sender", ["a@example.net", "a@notexample.com", "a@example.com.net"])
def test_foreign_sender(sender: str) -> None:
    """A sender of another domain is an error, not mail that DMARC counts as unsigned."""
    with pytest.raises(CompileError, match="DMARC") as caught:
        made("rsa", issue=replace(ISSUE, sender=sender))
    assert caught.value.where == "from"


def test_international_domain() -> None:
    """An internationalised domain signs as punycode."""
    assert dkim_key("Müller.example", "s", pem(private("ed25519"))).domain == "xn--mller-kva.example"


@pytest.mark.parametrize("selector", ["a b", "", "a..b", "-a", "a;b", "a\r\nb", "a" * 64, "ä"])
def test_wrong_selector(selector: str) -> None:
    """What is no name in DNS is no selector."""
    with pytest.raises(ConfigError) as caught:
        dkim_key("example.com", selector, pem(private("ed25519")))
    assert caught.value.where == "dkim.selector"


@pytest.mark.parametrize("domain", ["localhost", "a b.example", "a.com;", "a@b.com", "", "x..y", "\ud800.y"])
def test_wrong_domain(domain: str) -> None:
    """What is no domain can't sign."""
    with pytest.raises(ConfigError) as caught:
        dkim_key(domain, "s", pem(private("ed25519")))
    assert caught.value.where == "dkim.domain"


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: "nonsense", "no private key"),
        (lambda: "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----", "no private key"),
        (lambda: private("rsa").public_key().public_bytes(Encoding.PEM, PublicFormat.PKCS1).decode(), "no private key"),
        (lambda: pem(private("rsa"), BestAvailableEncryption(b"x")), "passphrase"),
        (lambda: pem(rsa_key(65537, 1024)), "1024 bits"),
        (lambda: pem(ec_key(SECP256R1())), "neither"),
    ],
    ids=["text", "broken", "public", "passphrase", "short", "curve"],
)
def test_wrong_key(make: Callable[[], str], says: str) -> None:
    """A key that can't sign is an error that says why, and never what the key is."""
    text = make()
    with pytest.raises(ConfigError, match=says) as caught:
        dkim_key("example.com", "s", text)
    assert caught.value.where == "dkim.key"
    assert "'dkim.key'" in caught.value.what
    assert text.splitlines()[-1] not in str(caught.value)


def test_key_is_not_shown() -> None:
    """The representation of a key and of a frozen message shows nothing to sign with."""
    assert "sign=" not in repr(key("rsa"))
    assert "PRIVATE" not in repr(freeze(ISSUE, facts("rsa")))
