"""What follows from an event: one decision, pure, the first row that fits.

=============================================================  ==============
complained                                                     COMPLAINT
unsubscribed                                                   UNSUBSCRIBE
delivered                                                      CLEAR
rejected for good (the provider's own list), or no address     SUPPRESS
rejected else, failed                                          TELL
bounced: blocked, spam, or what was said blames us             TELL
bounced: temporary, given up after trying, or a 4.x.x status   COUNT
bounced: what was said blames the recipient, or no address     SUPPRESS
bounced for good, says who knows the words, and nothing else   SUPPRESS
bounced else                                                   COUNT
anything else                                                  NOTHING
=============================================================  ==============

Suppressing by mistake loses a reader, and counting by mistake costs a few useless messages. So evidence against us
outranks the provider's word, and without evidence nobody is suppressed at once.
"""

from __future__ import annotations

import re
from enum import StrEnum

from mailer.bounces.event import Event, EventType, Reason
from mailer.delivery.blame import find_rule
from mailer.delivery.blame_rules import Blame
from mailer.model.ledger import RecipientState, Reply


class Effect(StrEnum):
    """What is done about an event."""

    COMPLAINT = "complaint"  # suppressed for good: only an operator may take it back
    UNSUBSCRIBE = "unsubscribe"
    SUPPRESS = "suppress"  # the address is no good
    COUNT = "count"  # counted against the address; too many within a time suppress it
    TELL = "tell"  # our fault or the provider's: nobody is suppressed, the operator is told
    CLEAR = "clear"  # it was delivered: what was counted against the address is forgotten
    NOTHING = "nothing"


BOUNCED, COMPLAINED, UNSUBSCRIBED, BLOCKED = "bounced", "complained", "unsubscribed", "blocked"
"""As what a recipient is counted for a send, each once: ``blocked`` are those of the bounced that are no recipient's
fault."""

_ARRIVALS = frozenset(
    {
        EventType.DELIVERED,
        # Whoever does these things has the message.
        EventType.OPENED,
        EventType.CLICKED,
        EventType.COMPLAINED,
        EventType.UNSUBSCRIBED,
    }
)
_FAILURES = frozenset({EventType.BOUNCED, EventType.REJECTED, EventType.FAILED})
_CODE = re.compile(r"(?<![\d.])([45]\d\d)(?=[ -])")


def effect_of(event: Event, *, classified: bool) -> Effect:
    """What follows from an event.

    ``classified``: its ``permanent`` is the judgement of somebody who knows what receivers' replies mean, as a provider
    does. Else it only says that a server answered 5xx, or gave up.
    """
    match event.type:
        case EventType.COMPLAINED:
            return Effect.COMPLAINT
        case EventType.UNSUBSCRIBED:
            return Effect.UNSUBSCRIBE
        case EventType.DELIVERED:
            return Effect.CLEAR
        case EventType.REJECTED:
            no_address = event.reason is Reason.INVALID and event.permanent is not False
            return Effect.SUPPRESS if event.permanent or no_address else Effect.TELL
        case EventType.FAILED:
            return Effect.TELL
        case EventType.BOUNCED:
            return _bounced(event, classified)
    return Effect.NOTHING


def settles(event: Event) -> RecipientState | None:
    """What an event proves for the very message that it names, if that is in doubt."""
    if event.type in _ARRIVALS:
        return RecipientState.SENT
    return RecipientState.FAILED if event.type in _FAILURES else None


def counted(event: Event, effect: Effect, *, in_session: bool = False) -> frozenset[str]:
    """As what its recipient is counted for the send. ``in_session``: a relay refused it, and the ledger says so."""
    if effect is Effect.COMPLAINT:
        return frozenset({COMPLAINED})
    if effect is Effect.UNSUBSCRIBE:
        return frozenset({UNSUBSCRIBED})
    bounced = {BOUNCED} if event.type in _FAILURES and not in_session else set()
    return frozenset(bounced | ({BLOCKED} if effect is Effect.TELL else set()))


def _bounced(event: Event, classified: bool) -> Effect:
    rule = find_rule(_reply(event))
    if event.reason in (Reason.BLOCKED, Reason.SPAM) or (rule and rule.blame is Blame.US):
        return Effect.TELL
    if event.permanent is False or event.reason is Reason.TIMED_OUT or event.status.startswith("4"):
        return Effect.COUNT
    no_address = event.reason is Reason.INVALID and (classified or rule is None)
    if no_address or (rule and rule.blame is Blame.RECIPIENT):
        return Effect.SUPPRESS
    if event.permanent and classified and rule is None:
        return Effect.SUPPRESS
    return Effect.COUNT


def _reply(event: Event) -> Reply:
    """What the receiving server said, as far as the event tells; a failure without any code is a 500."""
    found = _CODE.search(event.diagnostic[:200])
    if found:
        code = int(found[1])
    elif event.status[:1] in ("4", "5"):
        code = int(event.status[0]) * 100
    else:
        code = 400 if event.permanent is False else 500
    return Reply(code, event.status, event.diagnostic)
