"""Brevo (once Sendinblue): one JSON object a request, or an array of up to 500 where the webhook is ``batched``.

https://developers.brevo.com/docs/transactional-webhooks, https://developers.brevo.com/docs/marketing-webhooks,
https://developers.brevo.com/docs/batch-webhooks, https://developers.brevo.com/docs/secured-webhooks. What ``complaint``
and ``error`` look like isn't on these pages; it is from django-anymail's tests.

Settings: ``token``, the bearer token given when the webhook was made, or ``username`` and ``password``, as in its URL.
Brevo signs nothing. ``id`` is the webhook's, not the event's; ``message-id`` is the one Brevo wrote into the mail.
"""

from __future__ import annotations

from collections.abc import Mapping

from mailer.bounces.errors import WebhookMalformed, WebhookRefused
from mailer.bounces.event import UNKNOWN, Event, EventType, Meaning, Reason
from mailer.bounces.reading import (
    MAX_EVENTS,
    blame,
    broken,
    fingerprint,
    listed,
    make_event,
    read_events,
    seconds,
    status,
    word,
)
from mailer.bounces.request import Request, Secrets
from mailer.bounces.signatures import any_equal, check_basic_auth, header

EVENTS = {
    # Taken over by Brevo; nothing has happened yet.
    "request": UNKNOWN,
    "sent": UNKNOWN,
    "delivered": Meaning(EventType.DELIVERED),
    # Refused for good by the receiving server.
    "hard_bounce": Meaning(EventType.BOUNCED, Reason.BOUNCED, True),
    # Given up, but it may work another time: mailbox full, server down, no MX found.
    "soft_bounce": Meaning(EventType.BOUNCED, Reason.BOUNCED, False),
    # The receiving server put it off; Brevo tries again, even when the reason quotes a 550.
    "deferred": Meaning(EventType.DEFERRED, None, False),
    # No address, as Brevo or the receiving server found.
    "invalid_email": Meaning(EventType.BOUNCED, Reason.INVALID, True),
    "invalid": Meaning(EventType.BOUNCED, Reason.INVALID, True),
    # Brevo didn't try: the address is on its blocklist, or the sender is. Which of them, only the reason's prose says.
    "blocked": Meaning(EventType.REJECTED, Reason.BLOCKED, None),
    # An error between Brevo and the receiving server.
    "error": Meaning(EventType.FAILED, Reason.OTHER, None),
    "spam": Meaning(EventType.COMPLAINED, Reason.SPAM),
    "complaint": Meaning(EventType.COMPLAINED, Reason.SPAM),
    "unsubscribe": Meaning(EventType.UNSUBSCRIBED, Reason.UNSUBSCRIBED),
    "unsubscribed": Meaning(EventType.UNSUBSCRIBED, Reason.UNSUBSCRIBED),
    "opened": Meaning(EventType.OPENED),
    "unique_opened": Meaning(EventType.OPENED),
    # A mail client's proxy fetched the picture, nobody need have read anything.
    "proxy_open": Meaning(EventType.OPENED),
    "unique_proxy_open": Meaning(EventType.OPENED),
    "click": Meaning(EventType.CLICKED),
    # Brevo's own lists of contacts.
    "list_addition": Meaning(EventType.SUBSCRIBED),
    "contact_updated": UNKNOWN,
    "contact_deleted": UNKNOWN,
}
"""``event``, of transactional and marketing webhooks alike."""

MAX_RECIPIENTS = 100
"""Addresses that one event may name; it is ``unknown`` with more."""


def parse(request: Request) -> list[Event]:
    """The events of a request. Raises ``WebhookMalformed``."""
    events: list[Event] = []
    for item in read_events(request.document):
        events += _events(item)
        if len(events) > MAX_EVENTS:
            raise WebhookMalformed(f"the body has more than {MAX_EVENTS} events", where="brevo")
    return events


def verify(request: Request, secrets: Secrets, now: float) -> None:
    """Raises ``WebhookRefused`` unless the bearer token, or user name and password, are right."""
    tokens = secrets.get("token", ())
    if not tokens and not secrets.get("username"):
        raise WebhookRefused(
            "[webhooks.brevo] has no token", where="brevo", todo="Set token, or username and password."
        )
    scheme, _, given = header(request.headers, "brevo", "authorization").partition(" ")
    if scheme.lower() != "bearer" and secrets.get("username"):
        check_basic_auth("brevo", request.headers, secrets)
    elif not any_equal(given.strip().encode(errors="surrogatepass"), [token.encode() for token in tokens]):
        raise WebhookRefused("the bearer token is wrong", status=401, where="brevo")


def _events(raw: object) -> list[Event]:
    if not isinstance(raw, dict):
        return [broken(raw)]
    # A deletion of contacts names several addresses.
    addresses = listed(raw.get("email")) or [raw.get("email")]
    if len(addresses) > MAX_RECIPIENTS:
        return [broken(raw)]
    number = fingerprint(raw)
    return [_event(raw, recipient, number, len(addresses)) for recipient in addresses]


def _event(raw: Mapping[str, object], recipient: object, number: str, one_of: int) -> Event:
    said = (raw.get("reason"),)
    # The documentation calls ts_event UTC too; it has been seen in the account's time zone.
    times = (seconds(raw.get(key)) for key in ("ts_epoch", "ts_event", "ts"))
    return make_event(
        blame(EVENTS.get(word(raw.get("event")), UNKNOWN), status(*said)),
        raw,
        recipient=recipient,
        status_in=said,
        said=said,
        message=raw.get("message-id"),
        event_id=number,
        at=next((found for found in times if found is not None), None),
        one_of=one_of,
    )
