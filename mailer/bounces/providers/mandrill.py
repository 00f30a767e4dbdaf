"""Mandrill (Mailchimp Transactional): a form whose field ``mandrill_events`` is a JSON array of up to 1,000 events.

https://mailchimp.com/developer/transactional/docs/webhooks/,
https://mandrill.zendesk.com/hc/en-us/articles/360039232513-How-to-Authenticate-Webhook-Requests,
https://mailchimp.com/developer/transactional/api/messages/ for the reasons of rejections.

Settings: ``key``, which Mandrill makes with the webhook, and ``url``, the webhook's URL as it was typed there, to the
letter. Both stand in an HMAC-SHA1 with the form's fields. Before there is a key Mandrill probes the URL, with HEAD or
with an empty array: that array carries nothing, and is let through. ``_id`` is the message's, not the event's.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping

from mailer.bounces.errors import WebhookMalformed, WebhookRefused
from mailer.bounces.event import UNKNOWN, Event, EventType, Meaning, Reason
from mailer.bounces.reading import (
    blame,
    dig,
    each,
    listed,
    make_event,
    read_events,
    read_form,
    read_json,
    seconds,
    status,
    text,
    word,
)
from mailer.bounces.request import Request, Secrets
from mailer.bounces.signatures import any_equal, decode_base64, header, required

EVENTS = {
    # Taken over by the receiving server or on its way there; ``delivered`` tells.
    "send": UNKNOWN,
    "delivered": Meaning(EventType.DELIVERED),
    # The receiving server asked for patience; Mandrill tries again.
    "deferral": Meaning(EventType.DEFERRED, None, False),
    "hard_bounce": Meaning(EventType.BOUNCED, Reason.BOUNCED, True),
    # Given up, but it may work another time: mailbox full, too large, not connected.
    "soft_bounce": Meaning(EventType.BOUNCED, Reason.BOUNCED, False),
    "open": Meaning(EventType.OPENED),
    "click": Meaning(EventType.CLICKED),
    "spam": Meaning(EventType.COMPLAINED, Reason.SPAM),
    "unsub": Meaning(EventType.UNSUBSCRIBED, Reason.UNSUBSCRIBED),
    # Mandrill didn't try; REJECTIONS says why, where the event does.
    "reject": Meaning(EventType.REJECTED, Reason.OTHER, None),
    # Mail to us, and changes of Mandrill's own lists, which follow a bounce or a complaint that was told already.
    "inbound": UNKNOWN,
    "blacklist": UNKNOWN,
    "denylist": UNKNOWN,
    "whitelist": UNKNOWN,
    "allowlist": UNKNOWN,
}
"""``event``, or ``type`` of a change of a list."""

REJECTIONS = {
    # The address is on Mandrill's denylist: for what happened before, or because the account's owner put it there.
    "hard-bounce": Meaning(EventType.REJECTED, Reason.BOUNCED, True),
    # On the list for some days only.
    "soft-bounce": Meaning(EventType.REJECTED, Reason.BOUNCED, False),
    "spam": Meaning(EventType.REJECTED, Reason.SPAM, True),
    "unsub": Meaning(EventType.REJECTED, Reason.UNSUBSCRIBED, True),
    "custom": Meaning(EventType.REJECTED, Reason.BLOCKED, True),
    # No address.
    "invalid": Meaning(EventType.REJECTED, Reason.INVALID, True),
    # Ours: a rule of the account, the sender, the account itself.
    "rule": Meaning(EventType.REJECTED, Reason.BLOCKED, False),
    "invalid-sender": Meaning(EventType.REJECTED, Reason.OTHER, False),
    "unsigned": Meaning(EventType.REJECTED, Reason.OTHER, False),
    "test-mode-limit": Meaning(EventType.REJECTED, Reason.OTHER, False),
}
"""Why Mandrill rejected a message: ``msg.reject.reason``."""

MAX_FIELDS = 50
"""Fields of a form; Mandrill sends one."""


def parse(request: Request) -> list[Event]:
    """The events of a request; none for a probe. Raises ``WebhookMalformed``."""
    fields = dict(read_form(request.body, MAX_FIELDS))
    if "mandrill_events" not in fields:
        raise WebhookMalformed("the form has no field mandrill_events", where="mandrill")
    return each(read_events(read_json(fields["mandrill_events"].encode())), _event)


def verify(request: Request, secrets: Secrets, now: float) -> None:
    """Raises ``WebhookRefused`` unless Mandrill signed the URL and the fields. An empty array of events may come in."""
    fields = dict(read_form(request.body, MAX_FIELDS))
    if {name: value.strip() for name, value in fields.items()} == {"mandrill_events": "[]"}:
        return
    keys = [key.encode() for key in required(secrets, "mandrill", "key")]
    urls = secrets.get("url") or ((request.url,) if request.url else ())
    if not urls:
        raise WebhookRefused(
            "[webhooks.mandrill] has no url", where="mandrill", todo="Set it to the webhook's URL, as Mandrill has it."
        )
    given = decode_base64(header(request.headers, "mandrill", "x-mandrill-signature"), "mandrill")
    form = "".join(name + fields[name] for name in sorted(fields))
    signed = [(url + form).encode(errors="surrogatepass") for url in urls]
    if not any_equal(given, [hmac.digest(key, one, "sha1") for one in signed for key in keys]):
        raise WebhookRefused(
            "the signature is wrong", where="mandrill", todo="Are key and url what Mandrill shows, to the letter?"
        )


def _event(raw: Mapping[str, object]) -> Event:
    attempts = listed(dig(raw, "msg", "smtp_events"))
    reject = dig(raw, "msg", "reject") or raw.get("reject")
    said = (
        dig(raw, "msg", "diag"),
        dig(attempts[-1], "diag") if attempts else None,
        dig(raw, "msg", "bounce_description"),
        dig(reject, "detail") or dig(reject, "reason") or reject,
    )
    kind = word(raw.get("event") or raw.get("type"))
    number = text(raw.get("_id") or dig(raw, "msg", "_id"))
    return make_event(
        blame(_meaning(kind, reject), status(*said)),
        raw,
        recipient=dig(raw, "msg", "email") or dig(reject, "email"),
        status_in=said,
        said=said,
        message=number,
        # A message bounces once, but is opened often.
        event_id=f"{number}:{kind}:{text(raw.get('ts'))}" if number else "",
        at=seconds(raw.get("ts")),
    )


def _meaning(kind: str, reject: object) -> Meaning:
    meaning = EVENTS.get(kind, UNKNOWN)
    if meaning.type is not EventType.REJECTED:
        return meaning
    return REJECTIONS.get(word(dig(reject, "reason") or reject), meaning)
