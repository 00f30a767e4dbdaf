"""What follows from an event."""

from __future__ import annotations

import pytest

from mailer.bounces.event import Event, EventType, Reason
from mailer.model.ledger import RecipientState
from mailer.service.effects import Effect, counted, effect_of, settles

B = EventType.BOUNCED


def event(kind: EventType, reason: Reason | None = None, permanent: bool | None = None, said: str = "") -> Event:
    """``said``: an enhanced status code first, if there is one."""
    code = said.split()[0] if said[:1].isdigit() and "." in said.split()[0] else ""
    return Event(kind, "a@example.com", permanent=permanent, reason=reason, status=code, diagnostic=said)


@pytest.mark.parametrize(
    ("given", "effect"),
    [
        (event(EventType.COMPLAINED, Reason.SPAM), Effect.COMPLAINT),
        (event(EventType.UNSUBSCRIBED, Reason.UNSUBSCRIBED), Effect.UNSUBSCRIBE),
        (event(EventType.DELIVERED), Effect.CLEAR),
        (event(EventType.DEFERRED, None, False, "4.2.2 over quota"), Effect.NOTHING),
        (event(EventType.OPENED), Effect.NOTHING),
        (event(EventType.UNKNOWN), Effect.NOTHING),
        (event(EventType.REJECTED, Reason.BOUNCED, True), Effect.SUPPRESS),
        (event(EventType.REJECTED, Reason.INVALID), Effect.SUPPRESS),
        (event(EventType.REJECTED, Reason.OTHER, False), Effect.TELL),
        (event(EventType.FAILED, Reason.OTHER), Effect.TELL),
        (event(B, Reason.BLOCKED, True, "5.7.1 no"), Effect.TELL),
        (event(B, Reason.SPAM, True), Effect.TELL),
        (event(B, Reason.BOUNCED, True, "5.1.1 blocked using zen.spamhaus.org"), Effect.TELL),
        (event(B, Reason.BOUNCED, True, "5.1.8 not from there"), Effect.TELL),
        (event(B, Reason.BOUNCED, True, "5.6.0 content"), Effect.COUNT),
        (event(B, Reason.BOUNCED, False, "5.2.2 full"), Effect.COUNT),
        (event(B, Reason.BOUNCED, None, "4.2.2 full"), Effect.COUNT),
        (event(B, Reason.TIMED_OUT, True, "5.4.7 too long"), Effect.COUNT),
        (event(B, Reason.BOUNCED, True, "5.1.1 User unknown"), Effect.SUPPRESS),
        (event(B, Reason.BOUNCED, None, "5.1.1 User unknown"), Effect.SUPPRESS),
        (event(B, Reason.INVALID, True), Effect.SUPPRESS),
        (event(B, Reason.BOUNCED, True, "5.5.3 too many of them"), Effect.COUNT),
        (event(B, Reason.OTHER, None), Effect.COUNT),
    ],
)
def test_effects(given: Event, effect: Effect) -> None:
    """Evidence against us outranks the word for it, a temporary failure is counted, a wrong address is suppressed."""
    assert effect_of(given, classified=True) is effect
    assert effect_of(given, classified=False) is effect


@pytest.mark.parametrize(
    "given",
    [
        event(B, Reason.BOUNCED, True),
        event(B, Reason.BOUNCED, True, "5.0.0 no"),
        event(B, Reason.INVALID, True, "5.4.4 Host or domain name not found"),
    ],
)
def test_who_knows_the_words(given: Event) -> None:
    """A provider's "for good" and "no address" suppress; that a server said no, or that its name wasn't found, is
    counted: a domain's DNS may have slipped."""
    assert effect_of(given, classified=True) is Effect.SUPPRESS
    assert effect_of(given, classified=False) is Effect.COUNT


def test_what_is_in_doubt() -> None:
    """A delivery, and whatever only its reader can do, proves that a message was sent, a failure that it wasn't."""
    for kind in ("delivered", "opened", "clicked", "complained", "unsubscribed"):
        assert settles(event(EventType(kind))) is RecipientState.SENT
    for kind in (B, EventType.REJECTED, EventType.FAILED):
        assert settles(event(kind)) is RecipientState.FAILED
    assert settles(event(EventType.DEFERRED)) is None
    assert settles(event(EventType.AUTORESPONDED)) is None


def test_counted() -> None:
    """What is told is counted as it is called, and as blocked too where it is our fault; what a relay refused in the
    session stands in the ledger already."""
    assert counted(event(EventType.COMPLAINED), Effect.COMPLAINT) == {"complained"}
    assert counted(event(EventType.UNSUBSCRIBED), Effect.UNSUBSCRIBE) == {"unsubscribed"}
    assert counted(event(B), Effect.SUPPRESS) == {"bounced"}
    assert counted(event(B), Effect.TELL) == {"bounced", "blocked"}
    assert counted(event(B), Effect.TELL, in_session=True) == {"blocked"}
    assert counted(event(EventType.DELIVERED), Effect.CLEAR) == frozenset()
