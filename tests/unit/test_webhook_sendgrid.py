"""SendGrid's words in ours, and its signature."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from mailer.bounces import parse_webhook, verify_webhook
from mailer.bounces.errors import WebhookRefused

NOW = 1_700_000_000.0
KEY, OTHER = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())

# https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/event
BOUNCE = {
    "email": "example@example.com",
    "timestamp": 1513299569,
    "smtp-id": "<14c5d75ce93.dfd.64b469@ismtpd-555>",
    "bounce_classification": "Invalid Address",
    "event": "bounce",
    "category": ["cat facts"],
    "sg_event_id": "6g4ZI7SA-xmRDv57GoPIPw==",
    "sg_message_id": "14c5d75ce93.dfd.64b469.filter0001.16648.5515E0B88.0",
    "reason": "550 5.1.1 The email account that you tried to reach does not exist",
    "status": "5.1.1",
    "type": "bounce",
}


def public(key: ec.EllipticCurvePrivateKey) -> str:
    return base64.b64encode(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()


def sign(body: bytes, key: ec.EllipticCurvePrivateKey = KEY, at: float = NOW) -> dict[str, str]:
    stamp = str(int(at))
    signature = key.sign(stamp.encode() + body, ec.ECDSA(hashes.SHA256()))
    return {
        "X-Twilio-Email-Event-Webhook-Signature": base64.b64encode(signature).decode(),
        "X-Twilio-Email-Event-Webhook-Timestamp": stamp,
    }


def read(**changes: object) -> tuple[str, str | None, bool | None]:
    event = {key: value for key, value in (BOUNCE | changes).items() if value is not None}
    [found] = parse_webhook("sendgrid", {}, json.dumps([event]).encode())
    return (found.type, found.reason, found.permanent)


def test_a_bounce_in_full() -> None:
    """Every field of a documented bounce is where it belongs."""
    [event] = parse_webhook("sendgrid", {}, json.dumps([BOUNCE]).encode())
    assert (event.type, event.reason, event.permanent) == ("bounced", "bounced", True)
    assert (event.recipient, event.status) == ("example@example.com", "5.1.1")
    assert event.diagnostic == "550 5.1.1 The email account that you tried to reach does not exist"
    assert event.message_id == "<14c5d75ce93.dfd.64b469@ismtpd-555>"
    assert (event.event_id, event.timestamp) == ("6g4ZI7SA-xmRDv57GoPIPw==", 1513299569.0)
    assert event.raw == BOUNCE


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"type": "bounce"}, ("bounced", "bounced", True)),
        ({"type": "blocked", "bounce_classification": None}, ("bounced", "blocked", False)),
        ({"type": "blocked", "bounce_classification": "Content"}, ("bounced", "spam", False)),
        ({"type": "blocked", "bounce_classification": "Reputation"}, ("bounced", "blocked", False)),
        ({"type": "blocked", "bounce_classification": "Technical"}, ("bounced", "blocked", False)),
        ({"type": "blocked", "bounce_classification": "Mailbox Unavailable"}, ("bounced", "bounced", False)),
        ({"type": "blocked", "bounce_classification": None, "status": "5.2.2"}, ("bounced", "bounced", False)),
        ({"type": "bounce", "bounce_classification": "Reputation"}, ("bounced", "blocked", True)),
        ({"type": "bounce", "status": "5.7.1"}, ("bounced", "blocked", True)),
        ({"type": "expired"}, ("bounced", "timed_out", False)),
        ({"type": None}, ("bounced", "other", True)),
        ({"type": None, "status": "4.4.1", "reason": ""}, ("bounced", "other", False)),
        ({"type": None, "status": None, "reason": "no"}, ("bounced", "other", None)),
    ],
)
def test_bounces_and_blocks(changes: dict[str, object], wanted: tuple[str, str, bool | None]) -> None:
    """A bounce is hard, a block is soft and ours unless the mailbox is full; without either the status decides."""
    assert read(**changes) == wanted


@pytest.mark.parametrize(
    ("why", "wanted"),
    [
        ("Bounced Address", ("bounced", True)),
        ("Unsubscribed Address", ("unsubscribed", True)),
        ("Spam Reporting Address", ("spam", True)),
        ("Invalid", ("invalid", True)),
        ("Invalid SMTPAPI header", ("other", False)),
        ("Spam Content (if Spam Checker app is enabled)", ("spam", False)),
        ("Recipient List over Package Quota", ("other", False)),
        ("Something new", ("other", None)),
    ],
)
def test_drops(why: str, wanted: tuple[str, bool | None]) -> None:
    """What SendGrid dropped is rejected; its own lists are lasting, our mistakes aren't."""
    assert read(event="dropped", reason=why, type=None, status="5.0.0") == ("rejected", *wanted)


@pytest.mark.parametrize(
    ("word", "wanted"),
    [
        ("delivered", ("delivered", None, None)),
        ("deferred", ("deferred", None, False)),
        ("open", ("opened", None, None)),
        ("click", ("clicked", None, None)),
        ("spamreport", ("complained", "spam", None)),
        ("unsubscribe", ("unsubscribed", "unsubscribed", None)),
        ("group_unsubscribe", ("unsubscribed", "unsubscribed", None)),
        ("group_resubscribe", ("subscribed", None, None)),
        ("processed", ("unknown", None, None)),
        ("account_status_change", ("unknown", None, None)),
    ],
)
def test_other_events(word: str, wanted: tuple[str, str | None, bool | None]) -> None:
    """The remaining documented events have their words; an unknown one is kept as such."""
    assert read(event=word) == wanted


def test_a_batch_is_read_in_order() -> None:
    """Several events in one request are several events."""
    batch = [BOUNCE | {"event": word, "sg_event_id": word} for word in ("delivered", "open", "bounce")]
    events = parse_webhook("sendgrid", {}, json.dumps(batch).encode())
    assert [(event.type, event.event_id) for event in events] == [
        ("delivered", "delivered"),
        ("opened", "open"),
        ("bounced", "bounce"),
    ]


def pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


@pytest.mark.parametrize("shown", [public, pem])
def test_a_right_signature_is_accepted(shown: Callable[[ec.EllipticCurvePrivateKey], str]) -> None:
    """The key may be in base64, as SendGrid shows it, or PEM; an old one may stand beside the new."""
    body = json.dumps([BOUNCE]).encode() + b"\r\n"
    verify_webhook("sendgrid", sign(body), body, {"public_key": shown(KEY)}, NOW)
    verify_webhook("sendgrid", sign(body), body, {"public_key": (shown(OTHER), shown(KEY))}, NOW + 3600)


def without(name: str) -> dict[str, str]:
    return {key: value for key, value in sign(b"[]").items() if key != f"X-Twilio-Email-Event-Webhook-{name}"}


@pytest.mark.parametrize(
    ("headers", "body", "now", "status"),
    [
        ({}, b"[]", NOW, 401),
        (without("Signature"), b"[]", NOW, 401),
        (without("Timestamp"), b"[]", NOW, 401),
        (sign(b"[]"), b"[ ]", NOW, 403),
        (sign(b"[]", OTHER), b"[]", NOW, 403),
        (sign(b"[]") | {"X-Twilio-Email-Event-Webhook-Timestamp": str(int(NOW) + 1)}, b"[]", NOW, 403),
        (sign(b"[]") | {"X-Twilio-Email-Event-Webhook-Timestamp": "now"}, b"[]", NOW, 403),
        (sign(b"[]") | {"X-Twilio-Email-Event-Webhook-Signature": "!"}, b"[]", NOW, 403),
        (sign(b"[]") | {"X-Twilio-Email-Event-Webhook-Signature": "AAAA"}, b"[]", NOW, 403),
        (sign(b"[]") | {"X-Twilio-Email-Event-Webhook-Signature": "\ud800"}, b"[]", NOW, 403),
        (sign(b"[]"), b"[]", NOW + 26 * 3600, 403),
        (sign(b"[]"), b"[]", NOW - 3600, 403),
    ],
)
def test_a_signature_is_refused(headers: dict[str, str], body: bytes, now: float, status: int) -> None:
    """Missing, foreign, of another body or time, unreadable, old, or from the future: refused."""
    with pytest.raises(WebhookRefused) as caught:
        verify_webhook("sendgrid", headers, body, {"public_key": public(KEY)}, now)
    assert caught.value.status == status


@pytest.mark.parametrize("key", ["nonsense", "AAAA", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"])
def test_a_key_that_is_none_is_named(key: str) -> None:
    """A public key that can't be read accepts nothing, and the error names the setting."""
    with pytest.raises(WebhookRefused, match="public_key"):
        verify_webhook("sendgrid", sign(b"[]"), b"[]", {"public_key": key}, NOW)


def test_a_key_of_another_kind_is_refused() -> None:
    """An RSA key is no verification key of SendGrid's."""
    key = rsa.generate_private_key(65537, 2048).public_key()
    shown = base64.b64encode(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()
    with pytest.raises(WebhookRefused, match="public_key"):
        verify_webhook("sendgrid", sign(b"[]"), b"[]", {"public_key": shown}, NOW)
