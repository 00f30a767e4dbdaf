"""Anything else that can send HTTP: events in our own words, signed with HMAC-SHA256 over time and body.

``docs/webhooks.md`` has the format and a script. The body is one JSON object or an array of them, with the fields of
``mailer.bounces.Event``: ``type`` and ``recipient``, and as far as known ``permanent``, ``reason``, ``status``,
``diagnostic``, ``message_id``, ``event_id`` and ``timestamp``. The header is ``Mailer-Signature: t=<Unix
seconds>,v1=<hex>``, with the HMAC-SHA256 of the seconds, a full stop and the body; several ``v1`` while a secret is
replaced.

Settings: ``secret``.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping

from mailer.bounces.errors import WebhookRefused
from mailer.bounces.event import UNKNOWN, Event, EventType, Meaning, Reason
from mailer.bounces.reading import blame, each, make_event, moment, read_events, seconds, status, word
from mailer.bounces.request import Request, Secrets
from mailer.bounces.signatures import any_equal, check_time, header, required

HEADER = "mailer-signature"

EVENTS = {
    "bounced": Meaning(EventType.BOUNCED, Reason.BOUNCED),
    "deferred": Meaning(EventType.DEFERRED, None, False),
    "rejected": Meaning(EventType.REJECTED, Reason.OTHER),
    "failed": Meaning(EventType.FAILED, Reason.OTHER),
    "complained": Meaning(EventType.COMPLAINED, Reason.SPAM),
    "unsubscribed": Meaning(EventType.UNSUBSCRIBED, Reason.UNSUBSCRIBED),
    "delivered": Meaning(EventType.DELIVERED),
    "opened": Meaning(EventType.OPENED),
    "clicked": Meaning(EventType.CLICKED),
    "subscribed": Meaning(EventType.SUBSCRIBED),
    "autoresponded": Meaning(EventType.AUTORESPONDED),
    "unknown": UNKNOWN,
}
"""``type``, with what it means where the event doesn't say ``reason`` and ``permanent`` itself."""

REASONS = {reason.value: reason for reason in Reason}

CLASSES = {"5": True, "4": False}
"""Whether a failure is permanent, by the class of its ``status`` (RFC 3463 §2)."""


def parse(request: Request) -> list[Event]:
    """The events of a request. Raises ``WebhookMalformed``."""
    return each(read_events(request.document), _event)


def verify(request: Request, secrets: Secrets, now: float) -> None:
    """Raises ``WebhookRefused`` unless a secret signed the body, within five minutes of ``now``."""
    keys = [secret.encode() for secret in required(secrets, "generic", "secret")]
    pairs = [part.strip().partition("=") for part in header(request.headers, "generic", HEADER).split(",")]
    stamps = [value for name, _, value in pairs if name == "t"]
    given = [value.lower() for name, _, value in pairs if name == "v1"]
    if len(stamps) != 1 or not given:
        raise WebhookRefused(
            f"the {HEADER} header can't be read", where="generic", todo="It is t=<Unix seconds>,v1=<HMAC in hex>."
        )
    signed = f"{stamps[0]}.".encode(errors="surrogatepass") + request.body
    wanted = [hmac.new(key, signed, "sha256").hexdigest().encode() for key in keys]
    if not any(any_equal(one.encode(errors="surrogatepass"), wanted) for one in given):
        raise WebhookRefused("the signature is wrong", where="generic", todo="Is it the secret of [webhooks.generic]?")
    check_time("generic", seconds(stamps[0]), now)


def _event(raw: Mapping[str, object]) -> Event:
    said = (raw.get("diagnostic"),)
    code = status(raw.get("status"), *said)
    return make_event(
        _meaning(raw, code),
        raw,
        recipient=raw.get("recipient"),
        status_in=(code,),
        said=said,
        message=raw.get("message_id"),
        event_id=raw.get("event_id"),
        at=moment(raw.get("timestamp")),
    )


def _meaning(raw: Mapping[str, object], code: str) -> Meaning:
    usual = EVENTS.get(word(raw.get("type")), UNKNOWN)
    if usual is UNKNOWN:
        return UNKNOWN
    told, reason = raw.get("permanent"), REASONS.get(word(raw.get("reason")))
    permanent = told if isinstance(told, bool) else usual.permanent
    if permanent is None and usual.type is EventType.BOUNCED:
        permanent = CLASSES.get(code[:1])
    if reason:
        return Meaning(usual.type, reason, permanent)
    return blame(Meaning(usual.type, usual.reason, permanent), code)
