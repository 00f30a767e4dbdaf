"""Thirteen providers' webhooks as they are sent: a hard bounce for each address, signed as each provider signs.

Written from the providers' descriptions, not with the modules that check them. Keys are made once a process.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from urllib.parse import urlencode

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

BASE_URL = "https://garten.example"
TOPIC = "arn:aws:sns:eu-central-1:123456789012:letter"
OTHER_TOPIC = "arn:aws:sns:eu-central-1:999999999999:letter"
CERTIFICATE_URL = "https://sns.eu-central-1.amazonaws.com/SimpleNotificationService-0123456789abcdef.pem"
CONFIRM_URL = "https://sns.eu-central-1.amazonaws.com/?Action=ConfirmSubscription&Token=2336"
SNS_WINDOW, SENDGRID_WINDOW, MAILGUN_WINDOW, SHORT_WINDOW = 8 * 3600, 25 * 3600, 9 * 3600, 300

_SECRET = "a secret of twenty-four!"
_SIGNED_BY_SNS = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    "SubscriptionConfirmation": ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
}


@dataclass(frozen=True, slots=True)
class Told:
    """One request."""

    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    def with_headers(self, **more: str) -> Told:
        """``more`` with ``_`` for ``-``."""
        return replace(self, headers={**self.headers, **{name.replace("_", "-"): one for name, one in more.items()}})


@cache
def ec_key(who: str) -> ec.EllipticCurvePrivateKey:
    """SendGrid's key; ``who``: whose."""
    return ec.generate_private_key(ec.SECP256R1())


@cache
def rsa_key(who: str) -> rsa.RSAPrivateKey:
    """Amazon's and Postal's key; ``who``: whose."""
    return rsa.generate_private_key(65537, 2048)


@cache
def certificate(who: str = "right") -> bytes:
    """The certificate (PEM) of the key that signs for Amazon SNS."""
    key, name = rsa_key(who), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(1))
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def sections() -> dict[str, dict[str, str]]:
    """What ``[webhooks.<provider>]`` has for each."""
    sendgrid = ec_key("right").public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    postal = rsa_key("right").public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return {
        "ses": {"topic_arn": TOPIC},
        "sendgrid": {"public_key": base64.b64encode(sendgrid).decode()},
        "mailgun": {"signing_key": _SECRET},
        **{name: {"username": name, "password": _SECRET} for name in ("postmark", "mailjet", "sparkpost")},
        "brevo": {"token": _SECRET},
        "resend": {"secret": "whsec_" + base64.b64encode(_SECRET.encode()).decode()},
        "mailersend": {"secret": _SECRET},
        "mandrill": {"key": _SECRET, "url": f"{BASE_URL}/webhooks/mandrill"},
        "mailtrap": {"secret": _SECRET},
        "postal": {"public_key": postal.decode()},
        "generic": {"secret": _SECRET},
    }


def sections_toml() -> str:
    """The same as part of a ``mailer.toml``."""
    return "\n".join(
        f"[webhooks.{name}]\n" + "\n".join(f"{key} = {json.dumps(value)}" for key, value in section.items())
        for name, section in sections().items()
    )


def tell(
    provider: str, *recipients: str, forged: bool = False, unsigned: bool = False, at: float | None = None
) -> Told:
    """A request that says that mail to these addresses bounced for good, an event each, with ids made of the address.

    ``forged``: signed with somebody else's key, or with another password. ``unsigned``: the proof is left out. ``at``:
    Unix seconds, when it was signed; now, if left out.
    """
    told = sign(provider, said(provider, *recipients), forged=forged, at=at)
    if not unsigned:
        return told
    if provider not in {"ses", "mailgun"}:
        return replace(told, headers={"Content-Type": told.headers["Content-Type"]})
    document = json.loads(told.body)
    document.pop("Signature" if provider == "ses" else "signature")
    return replace(told, body=json.dumps(document).encode())


def said(provider: str, *recipients: str) -> bytes:
    """The events alone, before they are signed and wrapped: what ``sign`` takes."""
    return _BODIES[provider](recipients)


def sign(provider: str, body: bytes, *, forged: bool = False, at: float | None = None, token: str = "") -> Told:
    """Any body with the provider's proof around it. ``token``: Mailgun's; one of the body's own, if left out."""
    secret, who = ("another secret altogether", "another") if forged else (_SECRET, "right")
    now = time.time() if at is None else at
    json_type = {"Content-Type": "application/json"}
    match provider:
        case "ses":
            return sns({"Type": "Notification", "Message": body.decode()}, who=who, at=now)
        case "mailgun":
            signature = _mailgun(secret, now, token or hashlib.sha256(body).hexdigest()[:50])
            return Told(json.dumps({"signature": signature, "event-data": json.loads(body)}).encode(), json_type)
        case "mandrill":
            made = hmac.digest(secret.encode(), f"{BASE_URL}/webhooks/mandrillmandrill_events".encode() + body, "sha1")
            form = urlencode({"mandrill_events": body.decode()}).encode()
            kind = {"Content-Type": "application/x-www-form-urlencoded"}
            return Told(form, {**kind, "X-Mandrill-Signature": base64.b64encode(made).decode()})
    return Told(body, {**json_type, **_proof(provider, body, secret, who, now)})


def sns(message: Mapping[str, str], *, who: str = "right", at: float | None = None) -> Told:
    """A message of Amazon SNS; ``message`` is what isn't usual in it. Signed by ``who``, published at ``at``."""
    stamp = datetime.fromtimestamp(time.time() if at is None else at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
    kind = message["Type"]
    document: dict[str, str] = {
        "MessageId": hashlib.sha256(json.dumps(message).encode()).hexdigest()[:32],
        "TopicArn": TOPIC,
        "Timestamp": stamp,
        "SignatureVersion": "2",
        "SigningCertURL": CERTIFICATE_URL,
        **({"Token": "2336", "SubscribeURL": CONFIRM_URL, "Message": "Confirm?"} if "Sub" in kind else {}),
        **message,
    }
    text = "".join(f"{name}\n{document[name]}\n" for name in _SIGNED_BY_SNS[kind] if name in document)
    made = rsa_key(who).sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())
    body = json.dumps(document | {"Signature": base64.b64encode(made).decode()})
    return Told(body.encode(), {"Content-Type": "text/plain; charset=UTF-8", "x-amz-sns-message-type": kind})


def _mailgun(secret: str, now: float, token: str) -> dict[str, str]:
    stamp = str(int(now))
    made = hmac.new(secret.encode(), f"{stamp}{token}".encode(), hashlib.sha256).hexdigest()
    return {"timestamp": stamp, "token": token, "signature": made}


def _proof(provider: str, body: bytes, secret: str, who: str, now: float) -> dict[str, str]:
    stamp = str(int(now))
    match provider:
        case "sendgrid":
            made = ec_key(who).sign(stamp.encode() + body, ec.ECDSA(hashes.SHA256()))
            prefix = "X-Twilio-Email-Event-Webhook"
            return {f"{prefix}-Signature": base64.b64encode(made).decode(), f"{prefix}-Timestamp": stamp}
        case "postmark" | "mailjet" | "sparkpost":
            return {"Authorization": "Basic " + base64.b64encode(f"{provider}:{secret}".encode()).decode()}
        case "brevo":
            return {"Authorization": f"Bearer {secret}"}
        case "resend":
            number = "msg_" + hashlib.sha256(body).hexdigest()[:20]
            made = hmac.digest(secret.encode(), f"{number}.{stamp}.".encode() + body, "sha256")
            signature = "v1," + base64.b64encode(made).decode()
            return {"Svix-Id": number, "Svix-Timestamp": stamp, "Svix-Signature": signature}
        case "mailersend" | "mailtrap":
            name = "Signature" if provider == "mailersend" else "Mailtrap-Signature"
            return {name: hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}
        case "postal":
            made = rsa_key(who).sign(body, padding.PKCS1v15(), hashes.SHA256())
            return {"X-Postal-Signature-256": base64.b64encode(made).decode(), "X-Postal-Signature-KID": "1"}
        case "generic":
            made_hex = hmac.new(secret.encode(), f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
            return {"Mailer-Signature": f"t={stamp},v1={made_hex}"}
    raise AssertionError(provider)


_REPLY = "550 5.1.1 User unknown"


def _one_each(event: Callable[[str], object], *, batch: bool) -> Callable[[Sequence[str]], bytes]:
    """Bodies of providers that send an array of events, and of those that send one event a request."""

    def body(recipients: Sequence[str]) -> bytes:
        events = [event(one) for one in recipients]
        assert batch or len(events) == 1, "this provider sends one event a request"
        return json.dumps(events if batch else events[0]).encode()

    return body


def _ses(recipients: Sequence[str]) -> bytes:
    who = [{"emailAddress": one, "status": "5.1.1", "diagnosticCode": f"smtp; {_REPLY}"} for one in recipients]
    bounce: dict[str, Any] = {"bounceType": "Permanent", "bounceSubType": "General", "bouncedRecipients": who}
    bounce |= {"feedbackId": f"f-{recipients[0]}"}
    mail = {"messageId": "m", "destination": list(recipients)}
    return json.dumps({"eventType": "Bounce", "bounce": bounce, "mail": mail}).encode()


def _mailtrap(recipients: Sequence[str]) -> bytes:
    events = [
        {
            "event": "bounce",
            "bounce_category": "badrecipient",
            "response": _REPLY,
            "email": one,
            "event_id": f"e-{one}",
            "timestamp": 1_700_000_000,
        }
        for one in recipients
    ]
    return json.dumps({"events": events}).encode()


def _sendgrid(recipient: str) -> dict[str, Any]:
    return {
        "event": "bounce",
        "type": "bounce",
        "email": recipient,
        "timestamp": 1_700_000_000,
        "reason": _REPLY,
        "status": "5.1.1",
        "sg_event_id": f"e-{recipient}",
    }


_BODIES: Mapping[str, Callable[[Sequence[str]], bytes]] = {
    "ses": _ses,
    "sendgrid": _one_each(_sendgrid, batch=True),
    "mailgun": _one_each(
        lambda one: {
            "event": "failed",
            "severity": "permanent",
            "reason": "bounce",
            "recipient": one,
            "id": f"e-{one}",
            "timestamp": 1_700_000_000.5,
            "delivery-status": {"code": 550, "message": "5.1.1 User unknown"},
        },
        batch=False,
    ),
    "postmark": _one_each(
        lambda one: {
            "RecordType": "Bounce",
            "Type": "HardBounce",
            "ID": int(hashlib.sha256(one.encode()).hexdigest()[:12], 16),
            "Email": one,
            "Details": f"smtp;{_REPLY}",
            "BouncedAt": "2023-11-14T22:13:20Z",
        },
        batch=False,
    ),
    "mailjet": _one_each(
        lambda one: {
            "event": "bounce",
            "hard_bounce": True,
            "error_related_to": "recipient",
            "error": "user unknown",
            "email": one,
            "MessageID": 1,
            "time": 1_700_000_000,
        },
        batch=True,
    ),
    "sparkpost": _one_each(
        lambda one: {
            "msys": {
                "message_event": {
                    "type": "bounce",
                    "bounce_class": "10",
                    "rcpt_to": one,
                    "raw_reason": _REPLY,
                    "event_id": f"e-{one}",
                }
            }
        },
        batch=True,
    ),
    "brevo": _one_each(
        lambda one: {"event": "hard_bounce", "email": one, "reason": _REPLY, "ts_epoch": 1_700_000_000_000}, batch=True
    ),
    "resend": _one_each(
        lambda one: {
            "type": "email.bounced",
            "created_at": "2023-11-14T22:13:20.000Z",
            "data": {"email_id": "m", "to": [one], "bounce": {"type": "Permanent", "subType": "General"}},
        },
        batch=False,
    ),
    "mailersend": _one_each(
        lambda one: {
            "type": "activity.hard_bounced",
            "created_at": "2023-11-14T22:13:20.000000Z",
            "data": {"id": f"e-{one}", "recipient": one, "type": "hard_bounced", "meta": {"reason": _REPLY}},
        },
        batch=False,
    ),
    "mandrill": _one_each(
        lambda one: {
            "event": "hard_bounce",
            "_id": f"e-{one}",
            "ts": 1_700_000_000,
            "msg": {"email": one, "_id": f"e-{one}", "diag": f"smtp;{_REPLY}"},
        },
        batch=True,
    ),
    "mailtrap": _mailtrap,
    "postal": _one_each(
        lambda one: {
            "event": "MessageDeliveryFailed",
            "uuid": f"e-{one}",
            "timestamp": 1_700_000_000.5,
            "payload": {
                "message": {"to": one, "direction": "outgoing"},
                "status": "HardFail",
                "details": "Permanent SMTP delivery error",
                "output": _REPLY,
            },
        },
        batch=False,
    ),
    "generic": _one_each(
        lambda one: {"type": "bounced", "recipient": one, "status": "5.1.1", "event_id": f"e-{one}"}, batch=True
    ),
}

PROVIDERS = tuple(_BODIES)
BATCHING = ("ses", "sendgrid", "mailjet", "sparkpost", "brevo", "mandrill", "mailtrap", "generic")
"""Those that tell several events at once."""
TIMED = {
    "ses": SNS_WINDOW,
    "sendgrid": SENDGRID_WINDOW,
    "mailgun": MAILGUN_WINDOW,
    "resend": SHORT_WINDOW,
    "generic": SHORT_WINDOW,
}
"""Those whose signature has a time in it, with how many seconds it may be old."""
