"""Postmark: one JSON object a request, HTTP Basic authentication.

https://postmarkapp.com/developer/webhooks/bounce-webhook (and its neighbours for the other record types),
https://postmarkapp.com/developer/api/bounce-api#bounce-types,
https://postmarkapp.com/developer/webhooks/subscription-change-webhook,
https://postmarkapp.com/developer/webhooks/webhooks-overview#protecting-your-webhook

Settings: ``username`` and ``password``, as in the webhook's URL. ``MessageID`` is Postmark's own id, no ``Message-ID``.
"""

from __future__ import annotations

from collections.abc import Mapping

from mailer.bounces.event import UNKNOWN, Event, EventType, Meaning, Reason
from mailer.bounces.reading import blame, dig, each, make_event, moment, read_events, status, text
from mailer.bounces.request import Request, Secrets
from mailer.bounces.signatures import check_basic_auth

RECORDS = {
    "Delivery": Meaning(EventType.DELIVERED),
    "Open": Meaning(EventType.OPENED),
    "Click": Meaning(EventType.CLICKED),
    "SpamComplaint": Meaning(EventType.COMPLAINED, Reason.SPAM),
}
"""``RecordType``; ``Bounce`` is told by its ``Type``, ``SubscriptionChange`` by its reason."""

BOUNCES = {
    # The server was unable to deliver (unknown user, mailbox not found).
    "HardBounce": Meaning(EventType.BOUNCED, Reason.BOUNCED, True),
    # Given up, but it may work another time: mailbox full, account disabled, quota.
    "SoftBounce": Meaning(EventType.BOUNCED, Reason.BOUNCED, False),
    # Delayed; Postmark tries again.
    "Transient": Meaning(EventType.DEFERRED, None, False),
    "DnsError": Meaning(EventType.DEFERRED, None, False),
    # Refused by the provider of the mailbox because of content or a blocklist: our fault, not the address's.
    "Blocked": Meaning(EventType.BOUNCED, Reason.BLOCKED, False),
    # "Blocked by the user, or classified as spam, bulk mail, or had rejected content": no complaint of a person.
    "SpamNotification": Meaning(EventType.BOUNCED, Reason.SPAM, False),
    "VirusNotification": Meaning(EventType.BOUNCED, Reason.OTHER, False),
    # A report that Postmark couldn't classify.
    "Unknown": Meaning(EventType.BOUNCED, Reason.OTHER, None),
    # Postmark itself didn't send.
    "BadEmailAddress": Meaning(EventType.REJECTED, Reason.INVALID, True),
    "ManuallyDeactivated": Meaning(EventType.REJECTED, Reason.BLOCKED, True),
    "InactiveRecipient": Meaning(EventType.REJECTED, Reason.BOUNCED, True),
    "Unconfirmed": Meaning(EventType.REJECTED, Reason.OTHER, None),
    "DMARCPolicy": Meaning(EventType.REJECTED, Reason.BLOCKED, False),
    "SMTPApiError": Meaning(EventType.FAILED, Reason.OTHER, False),
    "TemplateRenderingFailed": Meaning(EventType.FAILED, Reason.OTHER, False),
    # People, and their robots.
    "SpamComplaint": Meaning(EventType.COMPLAINED, Reason.SPAM),
    "Unsubscribe": Meaning(EventType.UNSUBSCRIBED, Reason.UNSUBSCRIBED),
    "ManualSuppression": Meaning(EventType.UNSUBSCRIBED, Reason.UNSUBSCRIBED),
    "Subscribe": Meaning(EventType.SUBSCRIBED),
    "AutoResponder": Meaning(EventType.AUTORESPONDED),
    "AddressChange": Meaning(EventType.AUTORESPONDED),
    "ChallengeVerification": Meaning(EventType.AUTORESPONDED),
    # Nothing that happened to a message of ours.
    "OpenRelayTest": UNKNOWN,
    "InboundError": UNKNOWN,
}
"""``Type`` of a bounce, and ``SuppressionReason`` of a subscription change."""


def parse(request: Request) -> list[Event]:
    """The events of a request. Raises ``WebhookMalformed``."""
    return each(read_events(request.document), _event)


def verify(request: Request, secrets: Secrets, now: float) -> None:
    """Raises ``WebhookRefused`` unless user name and password are right."""
    check_basic_auth("postmark", request.headers, secrets)


def _event(raw: Mapping[str, object]) -> Event:
    said = (raw.get("Details"), raw.get("Description"))
    number = text(raw.get("ID"))
    times = (raw.get(key) for key in ("DeliveredAt", "BouncedAt", "ReceivedAt", "ChangedAt"))
    return make_event(
        blame(_meaning(raw), status(*said)),
        raw,
        recipient=raw.get("Email") or raw.get("Recipient"),
        status_in=said,
        said=said,
        message=raw.get("MessageID"),
        event_id=f"{text(raw.get('RecordType'))}:{number}" if number not in {"", "0"} else "",
        at=next((found for found in map(moment, times) if found is not None), None),
    )


def _meaning(raw: Mapping[str, object]) -> Meaning:
    record = text(raw.get("RecordType"))
    # The first version of the bounce webhook had no RecordType.
    if record == "Bounce" or (not record and "Type" in raw):
        kind = text(raw.get("Type"))
        # Over SMTP an inactive recipient is told by nothing but this sentence (API error 406).
        if kind == "SMTPApiError" and "inactive" in text(dig(raw, "Details")).lower():
            kind = "InactiveRecipient"
        return BOUNCES.get(kind, UNKNOWN)
    if record == "SubscriptionChange":
        if raw.get("SuppressSending") is False:
            return BOUNCES["Subscribe"]
        return BOUNCES.get(text(raw.get("SuppressionReason")), UNKNOWN)
    return RECORDS.get(record, UNKNOWN)
