"""Mailtrap: several events a request, as JSON or as JSON Lines, signed with HMAC-SHA256.

https://docs.mailtrap.io/email-api-smtp/advanced/webhooks, https://docs.mailtrap.io/developers/webhooks/json-handler,
https://docs.mailtrap.io/email-api-smtp/analytics/statuses-and-events,
https://docs.mailtrap.io/email-api-smtp/bounce-categorization

Settings: ``secret``, the webhook's signing secret. A signature has no time. ``message_id`` is Mailtrap's own id.
"""

from __future__ import annotations

from collections.abc import Mapping

from mailer.bounces.errors import WebhookMalformed
from mailer.bounces.event import UNKNOWN, Event, EventType, Meaning, Reason
from mailer.bounces.reading import (
    MAX_EVENTS,
    blame,
    dig,
    each,
    make_event,
    read_events,
    read_json,
    seconds,
    status,
    word,
)
from mailer.bounces.request import Request, Secrets
from mailer.bounces.signatures import check_hmac, decode_hex, header, required

EVENTS = {
    "delivery": Meaning(EventType.DELIVERED),
    # Mailtrap tries again, ten times; then it is a delivery or a bounce.
    "soft bounce": Meaning(EventType.DEFERRED, None, False),
    # The sender's domain isn't verified; Mailtrap looks again, ten times. Then it is a delivery or a reject.
    "suspension": Meaning(EventType.DEFERRED, Reason.OTHER, False),
    # Given up; CATEGORIES says why. Without a known category it is what Mailtrap calls it: a permanent failure.
    "bounce": Meaning(EventType.BOUNCED, Reason.BOUNCED, True),
    # Mailtrap didn't try: its suppression list, or the domain that wasn't verified in time. Which one isn't said.
    "reject": Meaning(EventType.REJECTED, Reason.BLOCKED, None),
    "spam": Meaning(EventType.COMPLAINED, Reason.SPAM),
    "unsubscribe": Meaning(EventType.UNSUBSCRIBED, Reason.UNSUBSCRIBED),
    "open": Meaning(EventType.OPENED),
    "click": Meaning(EventType.CLICKED),
}
"""``event``, with a blank or an underscore in ``soft bounce``."""

CATEGORIES = {
    # No such address. Mailtrap suppresses it.
    "badrecipient": Meaning(EventType.BOUNCED, Reason.BOUNCED, True),
    # The mailbox was full, the server silent: it may work another time, although Mailtrap suppresses the address.
    "overquota": Meaning(EventType.BOUNCED, Reason.BOUNCED, False),
    "timeout": Meaning(EventType.BOUNCED, Reason.TIMED_OUT, False),
    # The DNS of the address's domain is wrong, for now or for good.
    "dnsfail": Meaning(EventType.BOUNCED, Reason.INVALID, None),
    # The receiving server's troubles.
    "transientfail": Meaning(EventType.BOUNCED, Reason.OTHER, False),
    "greylisting": Meaning(EventType.BOUNCED, Reason.OTHER, False),
    "serverfail": Meaning(EventType.BOUNCED, Reason.OTHER, False),
    # Ours: sender, reputation, authentication, content.
    "badsender": Meaning(EventType.BOUNCED, Reason.BLOCKED, False),
    "block": Meaning(EventType.BOUNCED, Reason.BLOCKED, False),
    "serverpolicy": Meaning(EventType.BOUNCED, Reason.BLOCKED, False),
    "spam_gmail": Meaning(EventType.BOUNCED, Reason.BLOCKED, False),
    "relayfail": Meaning(EventType.BOUNCED, Reason.BLOCKED, False),
    "content": Meaning(EventType.BOUNCED, Reason.SPAM, False),
    "spam": Meaning(EventType.BOUNCED, Reason.SPAM, False),
    # The sender's address or the recipient's couldn't be verified; or nobody knows.
    "verifyfail": Meaning(EventType.BOUNCED, Reason.OTHER, None),
    "generalfail": Meaning(EventType.BOUNCED, Reason.OTHER, None),
    "other": Meaning(EventType.BOUNCED, Reason.OTHER, None),
}
"""``bounce_category`` of a bounce."""


def parse(request: Request) -> list[Event]:
    """The events of a request. Raises ``WebhookMalformed``."""
    try:
        document = request.document
    except WebhookMalformed:
        return each(_lines(request.body), _event)
    events = dig(document, "events")
    return each(read_events(document if events is None else events), _event)


def verify(request: Request, secrets: Secrets, now: float) -> None:
    """Raises ``WebhookRefused`` unless one of the secrets signed the body."""
    keys = [secret.encode() for secret in required(secrets, "mailtrap", "secret")]
    given = decode_hex(header(request.headers, "mailtrap", "mailtrap-signature"), "mailtrap")
    check_hmac("mailtrap", given, request.body, keys, "sha256")


def _lines(body: bytes) -> list[object]:
    """The events of JSON Lines. A line that can't be read stays text. Raises ``WebhookMalformed`` where none can."""
    lines = [line for line in body.split(b"\n") if line.strip()]
    if len(lines) > MAX_EVENTS:
        raise WebhookMalformed(f"the body has more than {MAX_EVENTS} events", where="mailtrap")
    found: list[object] = []
    readable = 0
    for line in lines:
        try:
            found.append(read_json(line))
            readable += 1
        except WebhookMalformed:
            found.append(line.decode(errors="replace"))
    if not readable:
        raise WebhookMalformed("the body is neither JSON nor JSON Lines", where="mailtrap")
    return found


def _event(raw: Mapping[str, object]) -> Event:
    said = (raw.get("response"), raw.get("reason"), raw.get("bounce_category"))
    return make_event(
        blame(_meaning(raw), status(raw.get("response"))),
        raw,
        recipient=raw.get("email"),
        status_in=said,
        said=said,
        message=raw.get("message_id"),
        event_id=raw.get("event_id"),
        at=seconds(raw.get("timestamp")),
    )


def _meaning(raw: Mapping[str, object]) -> Meaning:
    kind = word(raw.get("event")).replace("_", " ")
    meaning = EVENTS.get(kind, UNKNOWN)
    return CATEGORIES.get(word(raw.get("bounce_category")), meaning) if kind == "bounce" else meaning
