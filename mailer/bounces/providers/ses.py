"""Amazon SES, through Amazon SNS: one notification a request, signed with a certificate of AWS's.

Notifications: https://docs.aws.amazon.com/ses/latest/dg/notification-contents.html
Event publishing: https://docs.aws.amazon.com/ses/latest/dg/event-publishing-retrieving-sns-contents.html
Signatures: https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html
Subscribing: https://docs.aws.amazon.com/sns/latest/dg/SendMessageToHttp.prepare.html

Settings: ``topic_arn``, one or several. A valid signature only says that *some* topic of anybody's sent it: so the
topic is checked before anything else. The certificate is fetched by the caller, see ``CertificateNeeded``. Raw message
delivery isn't signed: ``parse`` reads it, ``verify`` refuses it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from mailer.bounces.errors import CertificateNeeded, WebhookMalformed, WebhookRefused
from mailer.bounces.event import UNKNOWN, Event, EventType, Meaning, Reason
from mailer.bounces.reading import (
    MAX_DIAGNOSTIC,
    blame,
    broken,
    dig,
    fingerprint,
    listed,
    make_event,
    message_id,
    moment,
    read_json,
    status,
    text,
    word,
)
from mailer.bounces.request import Request, Secrets
from mailer.bounces.signatures import any_equal, check_time, decode_base64, required

WINDOW = 8 * 3600.0
"""Seconds. ``Timestamp`` is when it was published, and SNS goes on trying for hours."""

MAX_RECIPIENTS = 1000
"""Recipients of one event; SES takes 50 a message."""

EVENTS = {
    "delivery": Meaning(EventType.DELIVERED),
    "deliverydelay": Meaning(EventType.DEFERRED, None, False),
    "complaint": Meaning(EventType.COMPLAINED, Reason.SPAM),
    # SES found a virus and didn't send.
    "reject": Meaning(EventType.REJECTED, Reason.BLOCKED, False),
    "rendering failure": Meaning(EventType.FAILED, Reason.OTHER, False),
    "open": Meaning(EventType.OPENED),
    "click": Meaning(EventType.CLICKED),
}
"""``eventType``, or ``notificationType`` in lower case. ``bounce`` and ``subscription`` are told by what they hold."""

BOUNCES = {
    ("permanent", ""): Meaning(EventType.BOUNCED, Reason.BOUNCED, True),
    ("transient", ""): Meaning(EventType.BOUNCED, Reason.BOUNCED, False),
    # SES couldn't read the bounce message.
    ("undetermined", ""): Meaning(EventType.BOUNCED, Reason.OTHER, None),
    # SES didn't send: on its own list of addresses that bounced, on the account's, or opted out of a contact list.
    ("permanent", "suppressed"): Meaning(EventType.REJECTED, Reason.BOUNCED, True),
    ("permanent", "onaccountsuppressionlist"): Meaning(EventType.REJECTED, Reason.BOUNCED, True),
    ("permanent", "unsubscribedrecipient"): Meaning(EventType.REJECTED, Reason.UNSUBSCRIBED, True),
    # About this message, not the address.
    ("transient", "messagetoolarge"): Meaning(EventType.BOUNCED, Reason.OTHER, False),
    ("transient", "contentrejected"): Meaning(EventType.BOUNCED, Reason.SPAM, False),
    ("transient", "attachmentrejected"): Meaning(EventType.BOUNCED, Reason.OTHER, False),
    ("transient", "customtimeoutexceeded"): Meaning(EventType.BOUNCED, Reason.TIMED_OUT, False),
}
"""``bounceType`` and ``bounceSubType`` in lower case; a sub-type that isn't here (``General``, ``NoEmail``,
``MailboxFull``) means what its type does."""

DELAYS = {
    "mailboxfull": Reason.BOUNCED,
    "spamdetected": Reason.SPAM,
    "ipfailure": Reason.BLOCKED,
}
"""``delayType`` in lower case, where it says why."""

NO_COMPLAINT = {"not-spam", "auth-failure"}
"""``complaintFeedbackType`` of reports (RFC 5965, RFC 6591) that no recipient made against us."""

_DETAILS = {"deliverydelay": "deliveryDelay", "rendering failure": "failure"}
_RECIPIENTS = {"bounce": "bouncedRecipients", "complaint": "complainedRecipients", "deliverydelay": "delayedRecipients"}
# No digit in the first label of the region: "sns" may be a bucket's name, and sns.s3-us-west-2.amazonaws.com anybody's.
_HOST = r"https://sns\.[a-z]{2,10}(?:-[a-z]{2,20}){1,3}-[0-9]{1,2}\.amazonaws\.com(?:\.cn)?"
_CERTIFICATE = re.compile(_HOST + r"/[A-Za-z0-9_-]{1,200}\.pem")
_CONFIRMATION = re.compile(_HOST + r"/\?[\x21-\x7e]{1,2000}")
_SIGNED = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    "SubscriptionConfirmation": ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
    "UnsubscribeConfirmation": ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
}
_HASHES = {"1": hashes.SHA1, "2": hashes.SHA256}


def parse(request: Request) -> list[Event]:
    """The events of a request; none for SNS's own messages. Raises ``WebhookMalformed``."""
    sns = _object(request)
    if "eventType" in sns or "notificationType" in sns:
        return _events(sns, "")
    if text(sns.get("Type")) != "Notification":
        return [] if text(sns.get("Type")) in _SIGNED else [broken(sns)]
    message = sns.get("Message")
    if not isinstance(message, str):
        return [broken(sns)]
    if message.startswith("Successfully validated SNS topic"):
        return []
    try:
        event = read_json(message.encode(errors="replace"))
    except WebhookMalformed:
        return [broken(sns)]
    return _events(event, text(sns.get("MessageId"))) if isinstance(event, dict) else [broken(sns)]


def confirmation_url(request: Request) -> str | None:
    """The URL to GET, without following redirects, to confirm a subscription; None if the request asks for none.

    Only for a request that ``verify`` has accepted. Raises ``WebhookMalformed``, and ``WebhookRefused`` where the URL
    isn't SNS's.
    """
    sns = _object(request)
    if sns.get("Type") != "SubscriptionConfirmation":
        return None
    url = sns.get("SubscribeURL")
    if not isinstance(url, str) or not _CONFIRMATION.fullmatch(url) or "Action=ConfirmSubscription" not in url:
        raise WebhookRefused("SubscribeURL isn't one of Amazon SNS", where="ses")
    return url


def verify(request: Request, secrets: Secrets, now: float) -> None:
    """Raises ``WebhookRefused``, ``WebhookMalformed``, or ``CertificateNeeded`` while the certificate isn't here."""
    topics = required(secrets, "ses", "topic_arn")
    sns = _object(request)
    topic = sns.get("TopicArn")
    if not isinstance(topic, str) or not any_equal(_utf8(topic), [one.encode() for one in topics]):
        raise WebhookRefused(
            "the message is of another SNS topic", where="ses", todo="Put its ARN into [webhooks.ses] topic_arn."
        )
    version, url = text(sns.get("SignatureVersion")), sns.get("SigningCertURL")
    if version not in _HASHES or not isinstance(sns.get("Signature"), str):
        raise WebhookRefused("the message has no signature of version 1 or 2", status=401, where="ses")
    if not isinstance(url, str) or not _CERTIFICATE.fullmatch(url):
        raise WebhookRefused("SigningCertURL isn't one of Amazon SNS", where="ses")
    signature = decode_base64(text(sns.get("Signature")), "ses")
    signed = _signed_bytes(sns)
    check_time("ses", moment(sns.get("Timestamp")), now, WINDOW)
    if url not in request.certificates:
        raise CertificateNeeded(url)
    try:
        key = x509.load_pem_x509_certificate(request.certificates[url]).public_key()
        if not isinstance(key, rsa.RSAPublicKey):
            raise WebhookRefused("the certificate has no RSA key", where="ses")
        key.verify(signature, signed, padding.PKCS1v15(), _HASHES[version]())
    except (ValueError, UnsupportedAlgorithm):
        raise WebhookRefused("the certificate can't be read", where="ses") from None
    except InvalidSignature:
        raise WebhookRefused("the signature is wrong", where="ses") from None


def _object(request: Request) -> dict[str, object]:
    document = request.document
    if not isinstance(document, dict):
        raise WebhookMalformed("the body is no message of Amazon SNS", where="ses")
    return document


def _utf8(value: str) -> bytes:
    try:
        return value.encode()
    except UnicodeEncodeError:
        raise WebhookMalformed("a signed field isn't Unicode text", where="ses") from None


def _signed_bytes(sns: Mapping[str, object]) -> bytes:
    names = _SIGNED.get(text(sns.get("Type")))
    if names is None:
        raise WebhookMalformed("the message's Type isn't one of Amazon SNS", where="ses")
    parts = []
    for name in names:
        value = sns.get(name)
        if name == "Subject" and value is None:
            continue
        if not isinstance(value, str):
            raise WebhookMalformed(f"the message has no {name}", where="ses")
        parts.append(f"{name}\n{value}\n")
    return _utf8("".join(parts))


def _events(raw: Mapping[str, object], sns_id: str) -> list[Event]:
    kind = word(raw.get("eventType") or raw.get("notificationType"))
    detail = dig(raw, _DETAILS.get(kind, kind))
    recipients = _recipients(raw, kind, detail)
    common = _Common(
        meaning=_meaning(kind, detail),
        # Cut here, once: each recipient's event reads it again.
        said=tuple(text(dig(detail, key))[:MAX_DIAGNOSTIC] for key in ("smtpResponse", "errorMessage", "reason")),
        message=message_id(_message_id(raw)),
        event_id=text(dig(detail, "feedbackId"))[:200] or sns_id[:200] or fingerprint(raw),
        at=next((at for at in (moment(dig(detail, "timestamp")), moment(dig(raw, "mail", "timestamp"))) if at), None),
        recipients=len(recipients),
    )
    return [_event(raw, common, who) for who in recipients or [{}]]


@dataclass(frozen=True, slots=True)
class _Common:
    """What the events of all recipients have in common."""

    meaning: Meaning
    said: tuple[str, ...]
    message: str
    event_id: str
    at: float | None
    recipients: int


def _recipients(raw: Mapping[str, object], kind: str, detail: object) -> list[Mapping[str, object]]:
    found = listed(dig(detail, _RECIPIENTS.get(kind, "recipients"))) or listed(dig(raw, "mail", "destination"))
    if len(found) > MAX_RECIPIENTS:
        raise WebhookMalformed(f"the event has more than {MAX_RECIPIENTS} recipients", where="ses")
    return [item if isinstance(item, dict) else {"emailAddress": item} for item in found]


def _event(raw: Mapping[str, object], common: _Common, who: Mapping[str, object]) -> Event:
    said = (who.get("diagnosticCode"), *common.said)
    code = status(who.get("status"), *said)
    return make_event(
        blame(common.meaning, code),
        raw,
        recipient=who.get("emailAddress"),
        status_in=[code],
        said=said,
        message=common.message,
        event_id=common.event_id,
        at=common.at,
        one_of=common.recipients,
    )


def _meaning(kind: str, detail: object) -> Meaning:
    if kind == "bounce":
        hardness, sub_type = word(dig(detail, "bounceType")), word(dig(detail, "bounceSubType"))
        fallback = BOUNCES.get((hardness, ""), BOUNCES["undetermined", ""])
        return BOUNCES.get((hardness, sub_type), fallback)
    if kind == "complaint":
        if word(dig(detail, "complaintSubType")) == "onaccountsuppressionlist":
            # SES didn't send, because of an earlier complaint.
            return Meaning(EventType.REJECTED, Reason.SPAM, True)
        return UNKNOWN if word(dig(detail, "complaintFeedbackType")) in NO_COMPLAINT else EVENTS[kind]
    if kind == "deliverydelay":
        return Meaning(EventType.DEFERRED, DELAYS.get(word(dig(detail, "delayType"))), False)
    if kind == "subscription":
        return _subscription(dig(detail, "newTopicPreferences"))
    return EVENTS.get(kind, UNKNOWN)


def _subscription(wanted: object) -> Meaning:
    topics = [word(dig(topic, "subscriptionStatus")) for topic in listed(dig(wanted, "topicSubscriptionStatus"))]
    if dig(wanted, "unsubscribeAll") is True or (topics and set(topics) == {"optout"}):
        return Meaning(EventType.UNSUBSCRIBED, Reason.UNSUBSCRIBED)
    return Meaning(EventType.SUBSCRIBED) if "optin" in topics else UNKNOWN


def _message_id(raw: Mapping[str, object]) -> object:
    # SES sends the message with an id of its own; `headers` and `commonHeaders` hold the original's.
    for header in listed(dig(raw, "mail", "headers")):
        if word(dig(header, "name")) == "message-id":
            return dig(header, "value")
    return dig(raw, "mail", "commonHeaders", "messageId") or dig(raw, "mail", "messageId")
