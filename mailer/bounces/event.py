"""One thing that happened to a message, in the same words whichever provider or mail server tells it.

The words are django-anymail's (https://anymail.dev/en/stable/sending/tracking/).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

Raw = Mapping[str, object] | str


class EventType(StrEnum):
    """What happened. Members equal their plain strings."""

    BOUNCED = "bounced"  # the receiving side refused it, or it was given up
    DEFERRED = "deferred"  # not yet delivered, the provider keeps trying
    REJECTED = "rejected"  # the provider didn't even try: its own suppression list, content, quota
    FAILED = "failed"  # the provider couldn't: a template, its own fault
    COMPLAINED = "complained"  # reported as spam
    UNSUBSCRIBED = "unsubscribed"
    DELIVERED = "delivered"
    OPENED = "opened"
    CLICKED = "clicked"
    SUBSCRIBED = "subscribed"
    AUTORESPONDED = "autoresponded"  # a vacation reply and the like: nobody's bounce
    UNKNOWN = "unknown"


class Reason(StrEnum):
    """Why a message bounced or was rejected. Members equal their plain strings."""

    INVALID = "invalid"  # not an address, or its domain takes no mail
    BOUNCED = "bounced"  # the mailbox: unknown, disabled, full; or it bounced before
    TIMED_OUT = "timed_out"  # given up after trying for long
    BLOCKED = "blocked"  # policy or reputation, of the receiver or the provider
    SPAM = "spam"  # the content was taken for spam, or the recipient complained before
    UNSUBSCRIBED = "unsubscribed"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Meaning:
    """What one of a provider's words says in ours."""

    type: EventType
    reason: Reason | None = None
    permanent: bool | None = None


UNKNOWN = Meaning(EventType.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Event:
    """One event of one recipient.

    ``recipient``: the address as the source wrote it, without a display name; ``""`` when it names none.
    ``permanent``: True when the same address will fail again, False when it may not, None when nobody knows.
    ``status``: an enhanced status code (RFC 3463) such as ``5.1.1``, or ``""``. ``diagnostic``: what the receiving
    server or the provider said, or ``""``.
    ``message_id``: the ``Message-ID`` of our message where the source repeats it, in angle brackets, as `mailer
    recipients` shows it; else the provider's own id of the message, as it is; else ``""``.
    ``event_id``: equal when the source tells the same event again, and different for each recipient of it.
    ``timestamp``: when it happened, Unix seconds. ``raw``: the source's own JSON object, or text.
    """

    type: EventType
    recipient: str = ""
    permanent: bool | None = None
    reason: Reason | None = None
    status: str = ""
    diagnostic: str = ""
    message_id: str = ""
    event_id: str = ""
    timestamp: float | None = None
    raw: Raw = field(default="", hash=False, repr=False)
