"""Postal: one JSON object a request, signed with the server's RSA key.

https://docs.postalserver.io/developer/webhooks, https://docs.postalserver.io/features/mail-server-settings for what is
held and suppressed; what ``details`` says is from ``app/lib/message_dequeuer`` and ``app/senders`` of
https://github.com/postalserver/postal.

Settings: ``public_key`` of the server, in any form in which Postal shows it: the JSON of ``/.well-known/jwks.json``,
the record that ``postal default-dkim-record`` prints, or PEM. ``uuid`` names the event and stays the same when it is
told again. Addresses are those of the envelope; ``message_id`` is our ``Message-ID`` without its brackets.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from functools import lru_cache

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key, load_pem_public_key

from mailer.bounces.errors import WebhookRefused
from mailer.bounces.event import UNKNOWN, Event, EventType, Meaning, Reason
from mailer.bounces.reading import (
    MAX_DIAGNOSTIC,
    blame,
    dig,
    each,
    make_event,
    moment,
    read_events,
    status,
    text,
)
from mailer.bounces.request import Request, Secrets
from mailer.bounces.signatures import decode_base64, header, required

EVENTS = {
    "MessageSent": Meaning(EventType.DELIVERED),
    # Postal tries again, up to 18 times.
    "MessageDelayed": Meaning(EventType.DEFERRED, None, False),
    # Not tried again; FAILURES says why. By itself: Postal's own fault.
    "MessageDeliveryFailed": Meaning(EventType.FAILED, Reason.OTHER, None),
    # Kept back until a person releases it or a week has passed: send limit, suspended, development mode.
    "MessageHeld": Meaning(EventType.DEFERRED, Reason.OTHER, False),
    # A bounce mail came back after the message had been accepted. It isn't read, so nobody knows why.
    "MessageBounced": Meaning(EventType.BOUNCED, Reason.BOUNCED, None),
    "MessageLinkClicked": Meaning(EventType.CLICKED),
    "MessageLoaded": Meaning(EventType.OPENED),
    # About the server, not a message.
    "DomainDNSError": UNKNOWN,
    "SendLimitApproaching": UNKNOWN,
    "SendLimitExceeded": UNKNOWN,
}
"""``event``."""

FAILURES = (
    # The receiving server said 5xx; ``output`` is what it said.
    (re.compile(r"permanent smtp delivery error"), Meaning(EventType.BOUNCED, Reason.BOUNCED, True)),
    (re.compile(r"maximum number of delivery attempts"), Meaning(EventType.BOUNCED, Reason.TIMED_OUT, False)),
    # Postal's own check of what goes out.
    (re.compile(r"message is likely spam"), Meaning(EventType.REJECTED, Reason.SPAM, False)),
    (re.compile(r"doesn't have an rcpt to"), Meaning(EventType.REJECTED, Reason.INVALID, True)),
    # On Postal's suppression list: it bounced twice within a day, or was given up. It stays there for 30 days.
    (re.compile(r"suppression list.*soft fail"), Meaning(EventType.REJECTED, Reason.BOUNCED, False)),
    (re.compile(r"is on the suppression list"), Meaning(EventType.REJECTED, Reason.BOUNCED, True)),
)
"""``details`` of what failed or is held, in lower case: the first that is found decides."""


def parse(request: Request) -> list[Event]:
    """The events of a request. Raises ``WebhookMalformed``."""
    return each(read_events(request.document), _event)


def verify(request: Request, secrets: Secrets, now: float) -> None:
    """Raises ``WebhookRefused`` unless one of the keys signed the body: with SHA-256, or with SHA-1 before Postal 3."""
    rings = [_public_keys(value) for value in required(secrets, "postal", "public_key")]
    modern = "x-postal-signature-256" in request.headers
    given = header(request.headers, "postal", "x-postal-signature-256" if modern else "x-postal-signature")
    signature = decode_base64(given, "postal")
    # Postal 2 signs with SHA-1 only.
    digest = SHA256() if modern else SHA1()  # noqa: S303
    if not any(_signed(key, signature, request.body, digest) for ring in rings for key in ring):
        raise WebhookRefused("the signature is wrong", where="postal", todo="Is it the public key of this server?")


def _signed(key: RSAPublicKey, signature: bytes, body: bytes, digest: SHA1 | SHA256) -> bool:
    try:
        key.verify(signature, body, PKCS1v15(), digest)
    except (InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


@lru_cache(maxsize=8)
def _public_keys(value: str) -> tuple[RSAPublicKey, ...]:
    try:
        found = _read_keys(value.strip())
    except (ValueError, TypeError, KeyError, AttributeError, UnsupportedAlgorithm, RecursionError):
        found = []
    keys = tuple(key for key in found if isinstance(key, RSAPublicKey))
    if not keys:
        raise WebhookRefused(
            "[webhooks.postal] public_key isn't an RSA public key",
            where="postal",
            todo="Give what https://<your Postal>/.well-known/jwks.json shows.",
        )
    return keys


def _read_keys(value: str) -> list[PublicKeyTypes]:
    if value.startswith("{"):
        document = json.loads(value)
        return [_from_jwk(one) for one in document.get("keys", [document])]
    if "-----BEGIN" in value:
        return [load_pem_public_key(value.encode())]
    # A DKIM record (RFC 6376 §3.6.1): tag=value, the key after p=; or only what stands after it.
    record = re.search(r"\bp=([^;\"]+)", value)
    return [load_der_public_key(base64.b64decode(re.sub(r"\s+", "", record[1] if record else value)))]


def _from_jwk(jwk: Mapping[str, str]) -> RSAPublicKey:
    exponent, modulus = (
        int.from_bytes(base64.urlsafe_b64decode(jwk[name] + "=" * (-len(jwk[name]) % 4))) for name in ("e", "n")
    )
    return RSAPublicNumbers(exponent, modulus).public_key()


def _event(raw: Mapping[str, object]) -> Event:
    payload = raw.get("payload")
    message = dig(payload, "message") or dig(payload, "original_message")
    said = (dig(payload, "output"), dig(payload, "details"))
    return make_event(
        _meaning(text(raw.get("event")), message, said),
        raw,
        recipient=dig(message, "to"),
        status_in=said,
        said=said,
        message=dig(message, "message_id"),
        event_id=raw.get("uuid"),
        at=moment(dig(payload, "timestamp")) or moment(raw.get("timestamp")),
    )


def _meaning(event: str, message: object, said: tuple[object, object]) -> Meaning:
    # Mail to us has the same events; its "recipient" is our own address.
    if dig(message, "direction") == "incoming":
        return UNKNOWN
    meaning = EVENTS.get(event, UNKNOWN)
    if event not in {"MessageDeliveryFailed", "MessageHeld"}:
        return blame(meaning, status(*said))
    details = text(said[1])[:MAX_DIAGNOSTIC].lower()
    meaning = next((found for pattern, found in FAILURES if pattern.search(details)), meaning)
    # Whatever else the details say: a 5xx is the receiving server's.
    if meaning.type is EventType.FAILED and re.match(r"5\d\d\b", text(said[0])):
        meaning = Meaning(EventType.BOUNCED, Reason.BOUNCED, True)
    return blame(meaning, status(*said))
