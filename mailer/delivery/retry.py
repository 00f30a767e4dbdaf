"""When to try again, and what a relay's reply makes of a claim."""

from __future__ import annotations

from mailer.delivery.states import Event, move
from mailer.model.ledger import Outcome, Recipient, RecipientState, Reply

LONGEST_WAIT = 3600.0
"""Seconds: no wait between two tries is longer (RFC 5321 §4.5.4.1 asks for at least 30 minutes in the long run)."""


def wait(attempts: int, first: float, jitter: float) -> float:
    """Seconds until the next try after ``attempts`` tries: ``first``, doubled each time, at most an hour.

    ``jitter`` in 0…1 spreads it over 75 % to 125 %, so that those deferred together don't all come back together.
    """
    doubled = first * 2.0 ** min(max(attempts - 1, 0), 30)
    return min(doubled, LONGEST_WAIT) * (0.75 + jitter / 2)


def event_of(reply: Reply) -> Event:
    """What a reply to RCPT, DATA or the dot means for the recipient. Code 0 is our own refusal."""
    if 200 <= reply.code < 300:
        return Event.ACCEPT
    if 400 <= reply.code < 500:
        return Event.DEFER
    return Event.REFUSE


def settle(
    claim: Recipient, state: RecipientState, event: Event, reply: Reply, now: float, first_wait: float, jitter: float
) -> Outcome:
    """The outcome of an event for a claim in ``state``. Raises ``IllegalMove``."""
    to = move(state, event)
    again = now + wait(claim.attempts + 1, first_wait, jitter) if to is RecipientState.DEFERRED else None
    return Outcome(claim.send, claim.position, claim.epoch, to, reply, again)
