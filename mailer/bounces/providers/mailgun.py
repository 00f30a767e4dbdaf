"""Mailgun: one event a request, with an HMAC-SHA256 over a time and a token.

https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/webhook-payloads
https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/securing-webhooks
https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/webhook-retries
https://documentation.mailgun.com/docs/mailgun/user-manual/events/events

Settings: ``signing_key``, the HTTP webhook signing key. The signature doesn't cover the event: whoever stores events
must take each ``token`` for one body only. Old accounts still send form fields: those are read too.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping

from mailer.bounces.errors import WebhookMalformed, WebhookRefused
from mailer.bounces.event import UNKNOWN, Event, EventType, Meaning, Reason
from mailer.bounces.reading import blame, dig, listed, make_event, read_form, seconds, status, text, word
from mailer.bounces.request import Request, Secrets
from mailer.bounces.signatures import any_equal, check_time, decode_hex, required

WINDOW = 9 * 3600.0
"""Seconds. Mailgun tries again for eight hours, with the signature of the first time."""

EVENTS = {
    "delivered": Meaning(EventType.DELIVERED),
    # Mailgun didn't accept it: its own policy, see reject.reason.
    "rejected": Meaning(EventType.REJECTED, Reason.OTHER, False),
    "opened": Meaning(EventType.OPENED),
    "clicked": Meaning(EventType.CLICKED),
    "unsubscribed": Meaning(EventType.UNSUBSCRIBED, Reason.UNSUBSCRIBED),
    "complained": Meaning(EventType.COMPLAINED, Reason.SPAM),
}
"""``event``; ``failed`` is told by ``severity`` and ``reason``."""

REASONS = {
    # Didn't send: on one of this domain's lists. The 6xx codes say the same.
    "suppress-bounce": Meaning(EventType.REJECTED, Reason.BOUNCED, True),
    "suppress-unsubscribe": Meaning(EventType.REJECTED, Reason.UNSUBSCRIBED, True),
    "suppress-complaint": Meaning(EventType.REJECTED, Reason.SPAM, True),
    # The receiver against us.
    "espblock": Meaning(EventType.BOUNCED, Reason.BLOCKED, False),
    "blacklisted": Meaning(EventType.BOUNCED, Reason.BLOCKED, False),
    # Tried for eight hours.
    "old": Meaning(EventType.BOUNCED, Reason.TIMED_OUT, False),
    "greylisted": Meaning(EventType.BOUNCED, Reason.TIMED_OUT, False),
    "bounce": Meaning(EventType.BOUNCED, Reason.BOUNCED, True),
    "hardfail": Meaning(EventType.BOUNCED, Reason.BOUNCED, True),
    "generic": Meaning(EventType.BOUNCED, Reason.OTHER, True),
}
"""``reason`` of a failure whose ``severity`` is permanent: the message is given up."""

MAX_FIELDS = 1000
"""Fields of a form."""

_LAST = {"token", "timestamp", "signature"}
_STAMP = re.compile(r"[0-9]{10}")

CODES = {
    "605": REASONS["suppress-bounce"],
    "606": REASONS["suppress-unsubscribe"],
    "607": REASONS["suppress-complaint"],
    "602": REASONS["old"],
}
"""``delivery-status.code``, where Mailgun's own."""

FORM_EVENTS = {
    "bounced": Meaning(EventType.BOUNCED, Reason.BOUNCED, True),
    "dropped": Meaning(EventType.REJECTED, Reason.OTHER, None),
    "delivered": EVENTS["delivered"],
    "opened": EVENTS["opened"],
    "clicked": EVENTS["clicked"],
    "unsubscribed": EVENTS["unsubscribed"],
    "complained": EVENTS["complained"],
}
"""``event`` of the form fields; ``dropped`` is told by ``code`` and ``reason``."""


def parse(request: Request) -> list[Event]:
    """The event of a request. Raises ``WebhookMalformed``."""
    document = _document(request)
    data = document.get("event-data")
    if isinstance(data, dict):
        return [_event(data)]
    return [_form_event(document)]


def token(request: Request) -> str:
    """The token of a request that ``verify`` has accepted: whoever stores it takes it for one body only.

    The same token with the same body is a retry, with another body a forgery. Raises ``WebhookMalformed``.
    """
    return text(_signature(_document(request)).get("token"))


def verify(request: Request, secrets: Secrets, now: float) -> None:
    """Raises ``WebhookRefused`` unless one of the keys signed time and token."""
    keys = required(secrets, "mailgun", "signing_key")
    signature = _signature(_document(request))
    stamp, nonce = text(signature.get("timestamp")), text(signature.get("token"))
    # An event of a subaccount is signed with the subaccount's key, and with the account's own.
    given = [text(signature.get(name)) for name in ("signature", "parent-signature") if signature.get(name)]
    if not (stamp and nonce and given):
        raise WebhookRefused("the body has no signature with timestamp and token", status=401, where="mailgun")
    # Nothing parts time and token in what is signed: of any length, another pair with the same signature would be made.
    if not _STAMP.fullmatch(stamp):
        raise WebhookRefused("the signature's timestamp isn't ten digits", where="mailgun")
    check_time("mailgun", float(stamp), now, WINDOW)
    signed = f"{stamp}{nonce}".encode(errors="replace")
    wanted = [hmac.digest(key.encode(), signed, "sha256") for key in keys]
    if not any(any_equal(decode_hex(one, "mailgun"), wanted) for one in given):
        raise WebhookRefused("the signature is wrong", where="mailgun", todo="Is signing_key this account's?")


def _signature(document: Mapping[str, object]) -> Mapping[str, object]:
    found = document.get("signature")
    return found if isinstance(found, dict) else document


def _document(request: Request) -> dict[str, object]:
    if "x-www-form-urlencoded" in request.headers.get("content-type", "").lower():
        pairs = read_form(request.body, MAX_FIELDS)
        # A user variable of the same name comes before `token timestamp signature`, and after all other fields.
        return {**dict(reversed(pairs)), **{key: value for key, value in pairs if key in _LAST}}
    document = request.document
    if not isinstance(document, dict):
        raise WebhookMalformed("the body is no JSON object", where="mailgun")
    return document


def _event(raw: Mapping[str, object]) -> Event:
    delivery = raw.get("delivery-status")
    said = (dig(delivery, "message"), dig(delivery, "description"), dig(raw, "reject", "reason"))
    code = status(dig(delivery, "enhanced-code"), *said)
    headers = dig(raw, "message", "headers")
    # `rejected` names the recipient in the message only.
    to = raw.get("recipient") or dig(headers, "to") or next(iter(listed(dig(raw, "message", "recipients"))), None)
    at = seconds(raw.get("timestamp"))
    number = text(raw.get("id"))
    return make_event(
        blame(_meaning(raw, text(dig(delivery, "code"))), code),
        raw,
        recipient=to,
        status_in=[code],
        said=said,
        message=dig(headers, "message-id"),
        # "Guaranteed to be unique within a day".
        event_id=f"{number}:{int(at) // 86400}" if number and at is not None else "",
        at=at,
    )


def _meaning(raw: Mapping[str, object], code: str) -> Meaning:
    kind, severity, reason = word(raw.get("event")), word(raw.get("severity")), word(raw.get("reason"))
    if kind != "failed":
        return EVENTS.get(kind, UNKNOWN)
    meaning = CODES.get(code) or REASONS.get(reason) or REASONS["generic"]
    if meaning.permanent and meaning.type is EventType.BOUNCED and code.startswith("4"):
        # Given up, although nobody refused it for good.
        meaning = Meaning(meaning.type, meaning.reason, False)
    if severity == "temporary":
        why = meaning.reason if meaning.reason in {Reason.BLOCKED, Reason.SPAM} else None
        return Meaning(EventType.DEFERRED, why, False)
    return meaning


def _form_event(form: Mapping[str, object]) -> Event:
    said = (form.get("error"), form.get("notification"), form.get("description"))
    code = status(form.get("code"), *said)
    kind, number = word(form.get("event")), text(form.get("code"))
    meaning = FORM_EVENTS.get(kind, UNKNOWN)
    if kind == "dropped":
        meaning = CODES.get(number) or (REASONS["old"] if word(form.get("reason")) == "old" else meaning)
    elif kind == "bounced" and number[:1] == "4":
        meaning = Meaning(EventType.BOUNCED, Reason.BOUNCED, False)
    return make_event(
        blame(meaning, code),
        dict(form),
        recipient=form.get("recipient"),
        status_in=[code],
        said=said,
        message=form.get("Message-Id") or form.get("message-id"),
        event_id=form.get("token"),
        at=seconds(form.get("timestamp")),
    )
