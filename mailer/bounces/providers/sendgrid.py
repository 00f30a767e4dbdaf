"""Twilio SendGrid: an array of events a request, signed with ECDSA over P-256.

https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/event
https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/getting-started-event-webhook-security-features
https://www.twilio.com/docs/sendgrid/ui/sending-email/deliverability#bounces-vs-blocks

Settings: ``public_key``, the verification key as SendGrid shows it (base64), or PEM. ``smtp-id`` is our ``Message-ID``.
"""

from __future__ import annotations

from collections.abc import Mapping

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key, load_pem_public_key

from mailer.bounces.errors import WebhookRefused
from mailer.bounces.event import UNKNOWN, Event, EventType, Meaning, Reason
from mailer.bounces.reading import blame, each, make_event, read_events, seconds, status, word
from mailer.bounces.request import Request, Secrets
from mailer.bounces.signatures import check_time, decode_base64, header, required

WINDOW = 25 * 3600.0
"""Seconds. SendGrid tries again for a day and doesn't say whether it signs anew: a shorter window might lose what came
while we were down for half a day. Each event has an id of its own, so a replay does nothing."""

EVENTS = {
    "delivered": Meaning(EventType.DELIVERED),
    "deferred": Meaning(EventType.DEFERRED, None, False),
    "open": Meaning(EventType.OPENED),
    "click": Meaning(EventType.CLICKED),
    "spamreport": Meaning(EventType.COMPLAINED, Reason.SPAM),
    "unsubscribe": Meaning(EventType.UNSUBSCRIBED, Reason.UNSUBSCRIBED),
    "group_unsubscribe": Meaning(EventType.UNSUBSCRIBED, Reason.UNSUBSCRIBED),
    "group_resubscribe": Meaning(EventType.SUBSCRIBED),
}
"""``event``; ``bounce`` is told by its ``type``, ``dropped`` by its ``reason``."""

BOUNCES = {
    # Refused, and SendGrid won't send there again.
    "bounce": Meaning(EventType.BOUNCED, Reason.BOUNCED, True),
    # Refused, but SendGrid will send there again: a block is about the message or the sender.
    "blocked": Meaning(EventType.BOUNCED, Reason.BLOCKED, False),
    # Deferred for 72 hours.
    "expired": Meaning(EventType.BOUNCED, Reason.TIMED_OUT, False),
}
"""``type`` of a bounce."""

CLASSIFICATIONS = {
    "content": Reason.SPAM,
    "reputation": Reason.BLOCKED,
    "frequency or volume too high": Reason.BLOCKED,
    # Full, suspended, disabled: also where SendGrid calls that a block, as it will send there again.
    "mailbox unavailable": Reason.BOUNCED,
}
"""``bounce_classification`` in lower case, where it says who is to blame: we, or the mailbox."""

DROPS = (
    ("bounced address", Meaning(EventType.REJECTED, Reason.BOUNCED, True)),
    ("unsubscribed address", Meaning(EventType.REJECTED, Reason.UNSUBSCRIBED, True)),
    ("spam reporting address", Meaning(EventType.REJECTED, Reason.SPAM, True)),
    # "Invalid SMTPAPI header" is our message's fault, so before "Invalid".
    ("invalid smtpapi header", Meaning(EventType.REJECTED, Reason.OTHER, False)),
    ("invalid", Meaning(EventType.REJECTED, Reason.INVALID, True)),
    ("spam content", Meaning(EventType.REJECTED, Reason.SPAM, False)),
    ("recipient list over package quota", Meaning(EventType.REJECTED, Reason.OTHER, False)),
)
"""How the ``reason`` of a drop begins, in lower case; the first that fits."""


def parse(request: Request) -> list[Event]:
    """The events of a request. Raises ``WebhookMalformed``."""
    return each(read_events(request.document), _event)


def verify(request: Request, secrets: Secrets, now: float) -> None:
    """Raises ``WebhookRefused`` unless one of the keys signed timestamp and body."""
    keys = [_key(value) for value in required(secrets, "sendgrid", "public_key")]
    signature = decode_base64(header(request.headers, "sendgrid", "x-twilio-email-event-webhook-signature"), "sendgrid")
    stamp = header(request.headers, "sendgrid", "x-twilio-email-event-webhook-timestamp")
    check_time("sendgrid", seconds(stamp), now, WINDOW)
    signed = stamp.encode(errors="replace") + request.body
    if not any(_signed_by(key, signature, signed) for key in keys):
        raise WebhookRefused("the signature is wrong", where="sendgrid", todo="Is public_key this webhook's?")


def _key(value: str) -> ec.EllipticCurvePublicKey:
    try:
        if "-----BEGIN" in value:
            found = load_pem_public_key(value.encode())
        else:
            found = load_der_public_key(decode_base64("".join(value.split()), "sendgrid"))
    except (ValueError, UnsupportedAlgorithm, WebhookRefused):
        found = None
    if not isinstance(found, ec.EllipticCurvePublicKey):
        raise WebhookRefused(
            "[webhooks.sendgrid] public_key is no ECDSA key", where="sendgrid", todo="Copy SendGrid's verification key."
        )
    return found


def _signed_by(key: ec.EllipticCurvePublicKey, signature: bytes, signed: bytes) -> bool:
    try:
        key.verify(signature, signed, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def _event(raw: Mapping[str, object]) -> Event:
    said = (raw.get("reason"), raw.get("response"))
    code = status(raw.get("status"), *said)
    return make_event(
        blame(_meaning(raw, code), code),
        raw,
        recipient=raw.get("email"),
        status_in=[code],
        said=said,
        message=raw.get("smtp-id") or raw.get("sg_message_id"),
        event_id=raw.get("sg_event_id"),
        at=seconds(raw.get("timestamp")),
    )


def _meaning(raw: Mapping[str, object], code: str) -> Meaning:
    kind = word(raw.get("event"))
    if kind == "bounce":
        hardness = {"5": True, "4": False}.get(code[:1])
        meaning = BOUNCES.get(word(raw.get("type")), Meaning(EventType.BOUNCED, Reason.OTHER, hardness))
        reason = CLASSIFICATIONS.get(word(raw.get("bounce_classification")), meaning.reason)
        return Meaning(meaning.type, reason, meaning.permanent)
    if kind == "dropped":
        why = word(raw.get("reason")) or word(raw.get("type"))
        return next((meaning for start, meaning in DROPS if why.startswith(start)), _DROPPED)
    return EVENTS.get(kind, UNKNOWN)


_DROPPED = Meaning(EventType.REJECTED, Reason.OTHER, None)
