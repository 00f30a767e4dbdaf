"""Resend: one JSON object a request, signed as Svix does it.

https://resend.com/docs/webhooks/event-types and the pages below https://resend.com/docs/webhooks/emails/,
https://resend.com/docs/dashboard/emails/email-bounces for the types of bounces (they are Amazon SES's),
https://resend.com/docs/webhooks/verify-webhooks-requests, https://docs.svix.com/receiving/verifying-payloads/how-manual

Settings: ``secret``, the webhook's signing secret, ``whsec_`` and base64. ``svix-id`` names the event and stays the
same when it is told again. Resend tells an event of each recipient, but names all that the mail was addressed to.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping

from mailer.bounces.errors import WebhookMalformed, WebhookRefused
from mailer.bounces.event import UNKNOWN, Event, EventType, Meaning, Reason
from mailer.bounces.reading import (
    MAX_EVENTS,
    blame,
    broken,
    dig,
    fingerprint,
    listed,
    make_event,
    moment,
    read_events,
    seconds,
    status,
    text,
    word,
)
from mailer.bounces.request import Request, Secrets
from mailer.bounces.signatures import any_equal, check_time, header, required

EVENTS = {
    # Taken over by Resend; nothing has happened yet.
    "email.sent": UNKNOWN,
    "email.scheduled": UNKNOWN,
    "email.delivered": Meaning(EventType.DELIVERED),
    # A temporary issue; Resend tries again.
    "email.delivery_delayed": Meaning(EventType.DEFERRED, None, False),
    "email.complained": Meaning(EventType.COMPLAINED, Reason.SPAM),
    # Resend didn't try: the address is on its suppression list, after a hard bounce, a complaint, or by hand.
    "email.suppressed": Meaning(EventType.REJECTED, Reason.BLOCKED, True),
    # Resend couldn't: domain, API key, quota. "Invalid recipients" are among the causes, so nobody knows.
    "email.failed": Meaning(EventType.FAILED, Reason.OTHER, None),
    "email.opened": Meaning(EventType.OPENED),
    "email.clicked": Meaning(EventType.CLICKED),
    # Mail to us, and Resend's own lists: nothing that happened to a message of ours. A suppression follows a bounce or
    # a complaint, which was told already.
    "email.received": UNKNOWN,
    "suppression.added": UNKNOWN,
    "suppression.removed": UNKNOWN,
    "contact.created": UNKNOWN,
    "contact.updated": UNKNOWN,
    "contact.deleted": UNKNOWN,
}
"""``type``; ``email.bounced`` is told by its bounce."""

BOUNCES = {
    "permanent": Meaning(EventType.BOUNCED, Reason.BOUNCED, True),
    "transient": Meaning(EventType.BOUNCED, Reason.BOUNCED, False),
    # The report didn't say enough.
    "undetermined": Meaning(EventType.BOUNCED, Reason.OTHER, None),
}
"""``data.bounce.type``."""

SUBTYPES = {
    # Resend didn't try: it bounced before.
    "suppressed": Meaning(EventType.REJECTED, Reason.BOUNCED, True),
    "onaccountsuppressionlist": Meaning(EventType.REJECTED, Reason.BOUNCED, True),
    # Refused because of the message: our fault, not the address's.
    "messagetoolarge": Meaning(EventType.BOUNCED, Reason.OTHER, False),
    "contentrejected": Meaning(EventType.BOUNCED, Reason.SPAM, False),
    "attachmentrejected": Meaning(EventType.BOUNCED, Reason.OTHER, False),
}
"""``data.bounce.subType`` where it says more than the type; ``General NoEmail MailboxFull Undetermined`` don't."""

MAX_RECIPIENTS = 100
"""Addresses that one event may name; it is ``unknown`` with more. Resend allows 50."""

NOBODY_KNOWS = Meaning(EventType.BOUNCED, Reason.OTHER, None)


def parse(request: Request) -> list[Event]:
    """The events of a request. Raises ``WebhookMalformed``."""
    document = request.document
    # It names one event, and Resend sends one; several can't share it.
    number = _named(request.headers, "id") if isinstance(document, dict) else ""
    events: list[Event] = []
    for item in read_events(document):
        events += _events(item, number)
        if len(events) > MAX_EVENTS:
            raise WebhookMalformed(f"the body has more than {MAX_EVENTS} events", where="resend")
    return events


def verify(request: Request, secrets: Secrets, now: float) -> None:
    """Raises ``WebhookRefused`` unless one of the signatures is right and its time within five minutes of ``now``."""
    keys = [_key(secret) for secret in required(secrets, "resend", "secret")]
    number, stamp, signatures = (
        _named(request.headers, name) or header(request.headers, "resend", f"svix-{name}")
        for name in ("id", "timestamp", "signature")
    )
    signed = f"{number}.{stamp}.".encode(errors="surrogatepass") + request.body
    wanted = [base64.b64encode(hmac.digest(key, signed, "sha256")) for key in keys]
    given = [one.removeprefix("v1,") for one in signatures.split() if one.startswith("v1,")]
    if not any(any_equal(one.encode(errors="surrogatepass"), wanted) for one in given):
        raise WebhookRefused("the signature is wrong", where="resend", todo="Is it the secret of this webhook?")
    check_time("resend", seconds(stamp), now)


def _named(headers: Mapping[str, str], name: str) -> str:
    """A header by Svix's name for it, or by that of Standard Webhooks, which came of it."""
    return headers.get(f"svix-{name}", "").strip() or headers.get(f"webhook-{name}", "").strip()


def _key(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.strip().removeprefix("whsec_").encode("ascii"), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not key:  # whoever signs with an empty key would be let in
        raise WebhookRefused(
            "[webhooks.resend] secret isn't a signing secret", where="resend", todo="It is whsec_ and base64."
        )
    return key


def _events(raw: object, number: str) -> list[Event]:
    if not isinstance(raw, dict):
        return [broken(raw)]
    to = dig(raw, "data", "to")
    addresses = listed(to) or [to or dig(raw, "data", "email")]
    if len(addresses) > MAX_RECIPIENTS:
        return [broken(raw)]
    number = number or fingerprint(raw)
    return [_event(raw, number, recipient, len(addresses)) for recipient in addresses]


def _event(raw: Mapping[str, object], number: str, recipient: object, one_of: int) -> Event:
    bounce = dig(raw, "data", "bounce")
    codes = dig(bounce, "diagnosticCode")
    said = (
        *(listed(codes) or [codes]),
        dig(bounce, "message"),
        dig(raw, "data", "suppressed", "message"),
        dig(raw, "data", "failed", "reason"),
    )
    meaning = blame(_meaning(raw), status(*said))
    if one_of > 1 and meaning.type is EventType.BOUNCED:
        # It bounced for one of several, and nobody is to be suppressed for another.
        meaning = NOBODY_KNOWS
    return make_event(
        meaning,
        raw,
        recipient=recipient,
        status_in=said,
        said=said,
        message=_message_id(raw),
        event_id=number,
        at=moment(raw.get("created_at")),
        one_of=one_of,
    )


def _meaning(raw: Mapping[str, object]) -> Meaning:
    kind = word(raw.get("type"))
    if kind != "email.bounced":
        return EVENTS.get(kind, UNKNOWN)
    subtype = SUBTYPES.get(word(dig(raw, "data", "bounce", "subType")))
    # The first version had no type; what bounced then may have been either.
    return subtype or BOUNCES.get(word(dig(raw, "data", "bounce", "type")), NOBODY_KNOWS)


def _message_id(raw: Mapping[str, object]) -> object:
    headers = listed(dig(raw, "data", "headers"))
    own = [dig(one, "value") for one in headers if word(dig(one, "name")) == "message-id"]
    return text(dig(raw, "data", "message_id")) or next(filter(text, own), None) or dig(raw, "data", "email_id")
