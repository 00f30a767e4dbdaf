"""Postal's webhooks."""

from __future__ import annotations

import base64
import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st

from mailer.bounces import Event, parse_webhook, verify_webhook
from mailer.bounces.errors import WebhookError, WebhookMalformed, WebhookRefused
from mailer.bounces.providers import postal
from mailer.bounces.request import Section

NOW = 1_700_000_000.0
KEY = rsa.generate_private_key(65537, 2048)
OLD = rsa.generate_private_key(65537, 1024)


def pem(key: rsa.RSAPrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def der(key: rsa.RSAPrivateKey) -> str:
    encoded = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(encoded).decode()


def jwk(key: rsa.RSAPrivateKey) -> dict[str, str]:
    numbers = key.public_key().public_numbers()
    encoded = {}
    for name, value in (("n", numbers.n), ("e", numbers.e)):
        octets = value.to_bytes((value.bit_length() + 7) // 8, "big")
        encoded[name] = base64.urlsafe_b64encode(octets).rstrip(b"=").decode()
    return {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "1"} | encoded


def signed(body: bytes, key: rsa.RSAPrivateKey = KEY, *, sha1: bool = False) -> dict[str, str]:
    if sha1:
        signature = key.sign(body, padding.PKCS1v15(), SHA1())
        return {"X-Postal-Signature": base64.b64encode(signature).decode()}
    signature = key.sign(body, padding.PKCS1v15(), SHA256())
    return {"X-Postal-Signature-256": base64.b64encode(signature).decode(), "X-Postal-Signature-KID": "1"}


def message(**fields: object) -> dict[str, object]:
    return {
        "id": 12345,
        "token": "abcdef123",
        "direction": "outgoing",
        "message_id": "24.1@letter.example.com",
        "to": "reader@example.com",
        "from": "letter@example.com",
        "subject": "Issue 24",
        "timestamp": 1477945177.12994,
        "spam_status": "NotSpam",
        "tag": None,
    } | fields


def event(name: str, **payload: object) -> dict[str, object]:
    """An event as the documentation shows it."""
    return {
        "event": name,
        "timestamp": 1477945177.12994,
        "uuid": "820b47a4-4dfd-42e4-ae6a-1e5bed5a33fd",
        "payload": {"message": message(), "timestamp": 1477945180.5} | payload,
    }


def parse(raw: object) -> list[Event]:
    return parse_webhook("postal", {}, json.dumps(raw).encode())


@pytest.mark.parametrize(
    ("name", "type", "reason", "permanent"),
    [
        ("MessageSent", "delivered", None, None),
        ("MessageDelayed", "deferred", None, False),
        ("MessageDeliveryFailed", "failed", "other", None),
        ("MessageHeld", "deferred", "other", False),
        ("MessageBounced", "bounced", "bounced", None),
        ("MessageLinkClicked", "clicked", None, None),
        ("MessageLoaded", "opened", None, None),
        ("DomainDNSError", "unknown", None, None),
        ("SendLimitExceeded", "unknown", None, None),
        ("Invented", "unknown", None, None),
    ],
)
def test_words(name: str, type: str, reason: str | None, permanent: bool | None) -> None:
    """Each of Postal's events has its meaning, and an unknown one is ``unknown`` with the event kept."""
    raw = event(name)
    (found,) = parse(raw)
    assert (found.type, found.reason, found.permanent) == (type, reason, permanent)
    assert (found.recipient, found.raw) == ("reader@example.com", raw)


@pytest.mark.parametrize(
    ("name", "details", "output", "type", "reason", "permanent"),
    [
        (
            "MessageDeliveryFailed",
            "Permanent SMTP delivery error when sending to 192.0.2.1:25 (mx.example.com)",
            "550 5.1.1 no such user",
            "bounced",
            "bounced",
            True,
        ),
        (
            "MessageDeliveryFailed",
            "Permanent SMTP delivery error when sending to 192.0.2.1:25 (mx.example.com)",
            "550 5.7.1 blocked",
            "bounced",
            "blocked",
            True,
        ),
        (
            "MessageDeliveryFailed",
            "Maximum number of delivery attempts (18) has been reached.",
            "",
            "bounced",
            "timed_out",
            False,
        ),
        ("MessageDeliveryFailed", "Something new", "554 no", "bounced", "bounced", True),
        ("MessageDeliveryFailed", "Message is likely spam. Threshold is 5.0", "", "rejected", "spam", False),
        ("MessageDeliveryFailed", "Message doesn't have an RCPT to", "", "rejected", "invalid", True),
        ("MessageDeliveryFailed", "Message's domain no longer exist", "", "failed", "other", None),
        (
            "MessageHeld",
            "Recipient (reader@example.com) is on the suppression list (reason: too many hard fails)",
            "",
            "rejected",
            "bounced",
            True,
        ),
        (
            "MessageHeld",
            "Recipient (reader@example.com) is on the suppression list (reason: too many soft fails)",
            "",
            "rejected",
            "bounced",
            False,
        ),
        ("MessageHeld", "Message held because send limit (100) has been reached.", "", "deferred", "other", False),
        ("MessageHeld", "Server is in development mode.", "", "deferred", "other", False),
    ],
)
def test_failures(name: str, details: str, output: str, type: str, reason: str, permanent: bool | None) -> None:
    """What failed or is held is the recipient's, the receiving server's or our own doing, as Postal's details say."""
    (found,) = parse(event(name, details=details, output=output))
    assert (found.type, found.reason, found.permanent) == (type, reason, permanent)


def test_failure() -> None:
    """A failure has status code, diagnostic, our Message-ID, the event's id and the time of the attempt."""
    (found,) = parse(event("MessageDeliveryFailed", status="HardFail", details="Permanent.", output="550 5.1.1 no"))
    assert (found.status, found.diagnostic) == ("5.1.1", "550 5.1.1 no; Permanent.")
    assert found.message_id == "<24.1@letter.example.com>"
    assert found.event_id == "820b47a4-4dfd-42e4-ae6a-1e5bed5a33fd"
    assert found.timestamp == 1477945180.5


def test_bounce_mail() -> None:
    """A bounce mail is told of the original message's recipient; the mail itself isn't read, so nobody knows why."""
    bounce = message(direction="incoming", to="abcde@psrp.postal.example.com", message_id="x@example.net")
    (found,) = parse(event("MessageBounced", message=None, original_message=message(), bounce=bounce))
    assert (found.type, found.permanent, found.recipient) == ("bounced", None, "reader@example.com")
    assert found.message_id == "<24.1@letter.example.com>"


def test_mail_to_us() -> None:
    """A failure of mail that came to Postal is nobody's bounce."""
    raw = event("MessageDeliveryFailed", message=message(direction="incoming"), details="Permanent SMTP delivery error")
    (found,) = parse(raw)
    assert found.type == "unknown"


@pytest.mark.parametrize("raw", [{}, {"event": "MessageBounced"}, {"event": "MessageBounced", "payload": [1]}])
def test_broken(raw: object) -> None:
    """An event that names neither recipient nor message is ``unknown``."""
    (found,) = parse(raw)
    assert found.type == "unknown"


@pytest.mark.parametrize("body", [b"", b"hello", b"7", b"\xff", b"[" * 100 + b"]" * 100])
def test_malformed(body: bytes) -> None:
    """A body that is no event is refused as malformed."""
    with pytest.raises(WebhookMalformed):
        parse_webhook("postal", {}, body)


BODY = json.dumps(event("MessageSent")).encode()


@pytest.mark.parametrize(
    "key",
    [
        pem(KEY),
        "\n" + pem(KEY),
        der(KEY),
        f"v=DKIM1; t=s; h=sha256; p={der(KEY)};",
        f'"v=DKIM1; k=rsa; p={der(KEY)}"',
        json.dumps({"keys": [jwk(OLD), jwk(KEY)]}),
        json.dumps(jwk(KEY)),
        [pem(OLD), pem(KEY)],
    ],
    ids=["PEM", "PEM after a blank line", "base64", "DKIM record", "quoted DKIM record", "JWKS", "JWK", "two keys"],
)
def test_keys(key: str | list[str]) -> None:
    """The public key may be given in any form in which Postal shows it, and there may be several."""
    verify_webhook("postal", signed(BODY), BODY, {"public_key": key}, NOW)


def test_sha1() -> None:
    """A server that signs with SHA-1 only is believed."""
    verify_webhook("postal", signed(BODY, sha1=True), BODY, {"public_key": pem(KEY)}, NOW)


ED25519 = ed25519.Ed25519PrivateKey.generate().public_key()
SETTINGS = {"public_key": pem(KEY)}


@pytest.mark.parametrize(
    ("headers", "settings", "status"),
    [
        ({}, SETTINGS, 401),
        ({"X-Postal-Signature-256": ""}, SETTINGS, 401),
        (signed(BODY, OLD), SETTINGS, 403),
        (signed(BODY + b" "), SETTINGS, 403),
        ({"X-Postal-Signature-256": signed(BODY, sha1=True)["X-Postal-Signature"]}, SETTINGS, 403),
        (signed(BODY, sha1=True) | {"X-Postal-Signature-256": "AAAA"}, SETTINGS, 403),
        ({"X-Postal-Signature-256": "no base64!"}, SETTINGS, 403),
        ({"X-Postal-Signature-256": "\udcff"}, SETTINGS, 403),
        (signed(BODY), {}, 403),
        (signed(BODY), {"public_key": ""}, 403),
        (signed(BODY), {"public_key": "no key"}, 403),
        (signed(BODY), {"public_key": "-----BEGIN PUBLIC KEY-----"}, 403),
        (signed(BODY), {"public_key": "{"}, 403),
        (signed(BODY), {"public_key": '{"keys": [{"n": 1, "e": "AQAB"}]}'}, 403),
        (signed(BODY), {"public_key": '{"keys": []}'}, 403),
        (signed(BODY), {"public_key": '{"keys": 7}'}, 403),
        (
            signed(BODY),
            {"public_key": ED25519.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()},
            403,
        ),
    ],
)
def test_refused(headers: dict[str, str], settings: Section, status: int) -> None:
    """Missing and wrong signatures are refused, and everything is without a readable RSA key."""
    with pytest.raises(WebhookRefused) as refused:
        verify_webhook("postal", headers, BODY, settings, NOW)
    assert refused.value.status == status


KEYS = ["event", "payload", "message", "original_message", "direction", "to", "message_id", "output", "details", "uuid"]
WORDS = [*postal.EVENTS, "incoming", "reader@example.com", "is on the suppression list", "550 5.1.1"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=15,
)


@limits(max_examples=40)
@given(st.one_of(st.binary(), JSON.map(json.dumps).map(str.encode)))
def test_any_body(body: bytes) -> None:
    """Whatever the body is, only our errors come out, and each event can be stored."""
    try:
        events = parse_webhook("postal", {}, body)
    except WebhookError:
        return
    for one in events:
        json.dumps([one.type, one.recipient, one.diagnostic, one.event_id], ensure_ascii=False).encode()


@limits(max_examples=40)
@given(st.text(), st.one_of(st.text(), st.binary().map(base64.b64encode).map(bytes.decode)))
def test_any_signature(key: str, signature: str) -> None:
    """Whatever header and key are, nothing unsigned is let through, and only our errors come out."""
    for settings in ({"public_key": key}, {"public_key": "{" + key}, SETTINGS):
        with pytest.raises(WebhookError):
            verify_webhook("postal", {"x-postal-signature-256": signature}, BODY, settings, NOW)
