"""SparkPost (Bird): an array of events a request, HTTP Basic authentication.

https://developers.sparkpost.com/api/webhooks/
https://support.sparkpost.com/docs/deliverability/bounce-classification-codes
https://www.sparkpost.com/docs/tech-resources/webhook-authentication/

Settings: ``username`` and ``password``. ``message_id`` is SparkPost's own id. A new webhook is tried with
``[{"msys": {}}]``: no event.
"""

from __future__ import annotations

from collections.abc import Mapping

from mailer.bounces.event import UNKNOWN, Event, EventType, Meaning, Reason
from mailer.bounces.reading import blame, broken, dig, make_event, moment, read_events, status, text, word
from mailer.bounces.request import Request, Secrets
from mailer.bounces.signatures import check_basic_auth

EVENTS = {
    "delivery": Meaning(EventType.DELIVERED),
    "delay": Meaning(EventType.DEFERRED, None, False),
    # SparkPost's policy: the sender, the content, or a list of suppressed addresses, see _meaning.
    "policy_rejection": Meaning(EventType.REJECTED, Reason.BLOCKED, None),
    "generation_rejection": Meaning(EventType.REJECTED, Reason.BLOCKED, None),
    "generation_failure": Meaning(EventType.FAILED, Reason.OTHER, False),
    "spam_complaint": Meaning(EventType.COMPLAINED, Reason.SPAM),
    "list_unsubscribe": Meaning(EventType.UNSUBSCRIBED, Reason.UNSUBSCRIBED),
    "link_unsubscribe": Meaning(EventType.UNSUBSCRIBED, Reason.UNSUBSCRIBED),
    "open": Meaning(EventType.OPENED),
    "initial_open": Meaning(EventType.OPENED),
    "amp_open": Meaning(EventType.OPENED),
    "amp_initial_open": Meaning(EventType.OPENED),
    "click": Meaning(EventType.CLICKED),
    "amp_click": Meaning(EventType.CLICKED),
}
"""``type``; ``bounce`` and ``out_of_band`` (a bounce that came by mail) are told by their ``bounce_class``."""

CLASSES = {
    "1": Meaning(EventType.BOUNCED, Reason.OTHER, None),  # undetermined
    # hard
    "10": Meaning(EventType.BOUNCED, Reason.INVALID, True),  # invalid recipient
    "30": Meaning(EventType.BOUNCED, Reason.BOUNCED, True),  # no recipient could be determined
    "90": Meaning(EventType.UNSUBSCRIBED, Reason.UNSUBSCRIBED),  # an unsubscribe request by mail
    # soft
    "20": Meaning(EventType.BOUNCED, Reason.BOUNCED, False),
    "21": Meaning(EventType.BOUNCED, Reason.BOUNCED, False),  # DNS failure
    "22": Meaning(EventType.BOUNCED, Reason.BOUNCED, False),  # mailbox full
    "23": Meaning(EventType.BOUNCED, Reason.OTHER, False),  # too large: about the message
    "24": Meaning(EventType.BOUNCED, Reason.TIMED_OUT, False),
    "40": Meaning(EventType.BOUNCED, Reason.BOUNCED, False),  # unspecified
    "60": Meaning(EventType.AUTORESPONDED),  # auto-reply, vacation
    "70": Meaning(EventType.BOUNCED, Reason.BOUNCED, False),  # temporary
    "100": Meaning(EventType.AUTORESPONDED),  # challenge-response
    # block: the receiver against us
    "50": Meaning(EventType.BOUNCED, Reason.BLOCKED, False),
    "51": Meaning(EventType.BOUNCED, Reason.SPAM, False),  # a known source of spam
    "52": Meaning(EventType.BOUNCED, Reason.SPAM, False),  # content
    "53": Meaning(EventType.BOUNCED, Reason.OTHER, False),  # prohibited attachment
    "54": Meaning(EventType.BOUNCED, Reason.BLOCKED, False),  # relaying denied
    # admin: SparkPost didn't send
    "25": Meaning(EventType.REJECTED, Reason.BLOCKED, None),
    "26": Meaning(EventType.REJECTED, Reason.BLOCKED, None),  # Smart Send
    "80": Meaning(EventType.SUBSCRIBED),  # a subscribe request by mail
}
"""``bounce_class``."""


def parse(request: Request) -> list[Event]:
    """The events of a request; none for a probe. Raises ``WebhookMalformed``."""
    return [_event(item) for item in read_events(request.document) if dig(item, "msys") != {}]


def verify(request: Request, secrets: Secrets, now: float) -> None:
    """Raises ``WebhookRefused`` unless user name and password are right."""
    check_basic_auth("sparkpost", request.headers, secrets)


def _event(raw: object) -> Event:
    classes = dig(raw, "msys")
    event = next(iter(classes.values())) if isinstance(classes, dict) and len(classes) == 1 else None
    if not isinstance(event, dict):
        return broken(raw)
    said = (event.get("raw_reason") or event.get("reason"),)
    code = status(*said)
    return make_event(
        blame(_meaning(event), code),
        raw,
        recipient=event.get("raw_rcpt_to") or event.get("rcpt_to"),
        status_in=[code],
        said=said,
        message=event.get("message_id"),
        event_id=event.get("event_id"),
        at=moment(event.get("timestamp")),
    )


def _meaning(event: Mapping[str, object]) -> Meaning:
    kind = word(event.get("type"))
    told = CLASSES.get(text(event.get("bounce_class")))
    if kind in {"bounce", "out_of_band"}:
        meaning = told or CLASSES["1"]
    elif kind == "delay" and told and told.type is EventType.BOUNCED:
        return Meaning(EventType.DEFERRED, told.reason, False)
    elif kind == "spam_complaint" and word(event.get("fbtype")) == "not-spam":
        return UNKNOWN
    else:
        meaning = EVENTS.get(kind, UNKNOWN)
    if meaning.type is EventType.REJECTED and "suppress" in word(event.get("raw_reason") or event.get("reason")):
        # "recipient address was suppressed": for an earlier bounce, complaint or opt-out; it isn't said which.
        return Meaning(EventType.REJECTED, Reason.BLOCKED, True)
    return meaning
