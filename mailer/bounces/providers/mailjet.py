"""Mailjet: one event a request, or an array of them; HTTP Basic authentication.

https://dev.mailjet.com/email/guides/webhooks/ and its table of errors,
https://dev.mailjet.com/email/guides/webhooks/#possible-values-for-errors

Settings: ``username`` and ``password``, as in the webhook's URL. ``MessageID`` is Mailjet's own number.
"""

from __future__ import annotations

from collections.abc import Mapping

from mailer.bounces.event import UNKNOWN, Event, EventType, Meaning, Reason
from mailer.bounces.reading import blame, each, make_event, read_events, seconds, status, word
from mailer.bounces.request import Request, Secrets
from mailer.bounces.signatures import check_basic_auth

EVENTS = {
    # The recipient's server has accepted it.
    "sent": Meaning(EventType.DELIVERED),
    "open": Meaning(EventType.OPENED),
    "click": Meaning(EventType.CLICKED),
    "spam": Meaning(EventType.COMPLAINED, Reason.SPAM),
    "unsub": Meaning(EventType.UNSUBSCRIBED, Reason.UNSUBSCRIBED),
}
"""``event``; ``bounce`` and ``blocked`` are told by their ``error``."""

ERRORS: dict[str, tuple[Reason, bool | None]] = {
    # recipient
    "user unknown": (Reason.BOUNCED, True),
    "mailbox inactive": (Reason.BOUNCED, True),
    "quota exceeded": (Reason.BOUNCED, False),
    "blacklisted": (Reason.BLOCKED, True),  # on this account's own list
    "spam reporter": (Reason.SPAM, True),  # complained before
    # domain
    "invalid domain": (Reason.INVALID, True),
    "typofix": (Reason.INVALID, True),
    "no mail host": (Reason.INVALID, None),
    "relay/access denied": (Reason.BLOCKED, False),
    "greylisted": (Reason.OTHER, False),
    # content
    "bad or empty template": (Reason.OTHER, False),
    "error in template language": (Reason.OTHER, False),
    # spam: policies of the receiver
    "sender blocked": (Reason.BLOCKED, False),
    "content blocked": (Reason.SPAM, False),
    "policy issue": (Reason.BLOCKED, False),
    # system
    "system issue": (Reason.OTHER, False),
    "protocol issue": (Reason.OTHER, False),
    "connection issue": (Reason.OTHER, False),
    # mailjet: bounced lately, so it wasn't even tried
    "preblocked": (Reason.BOUNCED, True),
    "duplicate in campaign": (Reason.OTHER, False),
}
"""``error`` → why, and whether it is permanent where ``hard_bounce`` doesn't say."""


def parse(request: Request) -> list[Event]:
    """The events of a request. Raises ``WebhookMalformed``."""
    return each(read_events(request.document), _event)


def verify(request: Request, secrets: Secrets, now: float) -> None:
    """Raises ``WebhookRefused`` unless user name and password are right."""
    check_basic_auth("mailjet", request.headers, secrets)


def _event(raw: Mapping[str, object]) -> Event:
    said = (raw.get("smtp_reply"), raw.get("error"), raw.get("comment"))
    code = status(*said)
    return make_event(
        blame(_meaning(raw), code),
        raw,
        recipient=raw.get("email"),
        status_in=[code],
        said=said,
        message=raw.get("MessageID") or "",
        at=seconds(raw.get("time")),
    )


def _meaning(raw: Mapping[str, object]) -> Meaning:
    kind = word(raw.get("event"))
    if kind not in {"bounce", "blocked"}:
        return EVENTS.get(kind, UNKNOWN)
    error = word(raw.get("error"))
    reason, permanent = ERRORS.get(error, (Reason.OTHER, None))
    if isinstance(raw.get("hard_bounce"), bool):
        permanent = raw.get("hard_bounce") is True
    if error == "greylisted" and not permanent:
        # "Delivery will be re-attempted."
        return Meaning(EventType.DEFERRED, reason, False)
    return Meaning(EventType.BOUNCED if kind == "bounce" else EventType.REJECTED, reason, permanent)
