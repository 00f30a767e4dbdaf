"""MailerSend: one JSON object a request, signed with HMAC-SHA256.

https://developers.mailersend.com/api/v1/webhooks.html. The flat form of events (version 2) and the names in its
``meta`` are from django-anymail's module, which was written against real requests.

Settings: ``secret``, the webhook's signing secret. When a webhook is saved, MailerSend asks the URL with a
``webhook.test`` that is signed with a secret known to everybody: that ping is let through and says nothing, anything
else is not. A signature has no time. ``message_id`` is MailerSend's own id.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping

from mailer.bounces.event import UNKNOWN, Event, EventType, Meaning, Reason
from mailer.bounces.reading import blame, broken, dig, make_event, moment, read_events, status, text, word
from mailer.bounces.request import Request, Secrets
from mailer.bounces.signatures import any_equal, check_hmac, decode_hex, header, required

EVENTS = {
    # Taken over by MailerSend; nothing has happened yet.
    "sent": UNKNOWN,
    "queued": UNKNOWN,
    "delivered": Meaning(EventType.DELIVERED),
    # Temporarily delayed; MailerSend tries again.
    "deferred": Meaning(EventType.DEFERRED, None, False),
    # Given up, but it may work another time.
    "soft_bounced": Meaning(EventType.BOUNCED, Reason.BOUNCED, False),
    "hard_bounced": Meaning(EventType.BOUNCED, Reason.BOUNCED, True),
    # MailerSend didn't try: the address is on its suppression list.
    "suppressed": Meaning(EventType.REJECTED, Reason.BLOCKED, True),
    "spam_complaint": Meaning(EventType.COMPLAINED, Reason.SPAM),
    "spam_complaints": Meaning(EventType.COMPLAINED, Reason.SPAM),
    "unsubscribed": Meaning(EventType.UNSUBSCRIBED, Reason.UNSUBSCRIBED),
    "opened": Meaning(EventType.OPENED),
    "opened_unique": Meaning(EventType.OPENED),
    "clicked": Meaning(EventType.CLICKED),
    "clicked_unique": Meaning(EventType.CLICKED),
    "survey_opened": UNKNOWN,
    "survey_submitted": UNKNOWN,
}
"""``type`` without its ``activity.``; what isn't an activity is no message of ours."""

SAID = ("bounce_reason", "reject_reason", "suppression_reason", "unsubscribe_reason")
"""Where ``meta`` says why."""

TEST_SECRET = b"test_Am3L1GuOIc4blLUuHqAPxxwkZaJyEk8G"
"""What a ``webhook.test`` is signed with; MailerSend's documentation shows it."""


def parse(request: Request) -> list[Event]:
    """The events of a request; none for a ping. Raises ``WebhookMalformed``."""
    events = read_events(request.document)
    return [_event(one) if isinstance(one, dict) else broken(one) for one in events if not _is_ping(one)]


def verify(request: Request, secrets: Secrets, now: float) -> None:
    """Raises ``WebhookRefused`` unless one of the secrets signed the body. A ping may come in without."""
    given = decode_hex(header(request.headers, "mailersend", "signature"), "mailersend")
    if any_equal(given, [hmac.digest(TEST_SECRET, request.body, "sha256")]) and _is_ping(request.document):
        return
    keys = [secret.encode() for secret in required(secrets, "mailersend", "secret")]
    check_hmac("mailersend", given, request.body, keys, "sha256")


def _is_ping(document: object) -> bool:
    return word(dig(document, "type")) == "webhook.test"


def _event(raw: Mapping[str, object]) -> Event:
    data = raw.get("data")
    meta, morph = dig(data, "meta"), dig(data, "morph")
    said = (*(dig(meta, key) for key in SAID), dig(meta, "bounce_code"), dig(morph, "readable_reason"))
    said = (*said, dig(morph, "reason"))
    email = dig(data, "email")
    return make_event(
        blame(_meaning(raw), status(*said)),
        raw,
        # Version 2 has the address itself, version 1 an object around it.
        recipient=text(dig(data, "recipient")) or text(email) or dig(email, "recipient", "email"),
        status_in=said,
        said=said,
        message=dig(data, "message_id") or dig(email, "message", "id"),
        event_id=dig(data, "id"),
        at=moment(dig(data, "created_at")) or moment(raw.get("created_at")),
    )


def _meaning(raw: Mapping[str, object]) -> Meaning:
    kind = word(raw.get("type"))
    if kind.startswith("activity."):
        return EVENTS.get(kind.removeprefix("activity."), UNKNOWN)
    return EVENTS.get(word(dig(raw, "data", "type")), UNKNOWN) if not kind else UNKNOWN
