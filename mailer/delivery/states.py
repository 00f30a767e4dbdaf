"""The moves of one recipient of one send, in one table.

Two kinds of event move a row: what a worker does (``CLAIM RELEASE DOT``) and what became of it. Whatever isn't in the
table is illegal and raises ``IllegalMove``; the store derives its ``WHERE state IN (…)`` from the same table, so that
SQL and Python can't disagree.
"""

from __future__ import annotations

from enum import StrEnum

from mailer.errors import IllegalMove
from mailer.model.ledger import RecipientState as S


class Event(StrEnum):
    """What happens to a recipient."""

    CLAIM = "claim"  # a worker takes it, with a new epoch
    RELEASE = "release"  # given back before the dot: lease expired, relay down, send paused, worker draining
    DOT = "dot"  # the compare-and-set just before the final dot
    ACCEPT = "accept"  # 250 after the dot, or an operator who knows it arrived
    DEFER = "defer"  # 4xx
    REFUSE = "refuse"  # 5xx, or no message can be made for this recipient
    LOSE = "lose"  # after the dot: connection lost, no reply in ten minutes, worker dead
    SKIP = "skip"  # unsubscribed, suppressed or cancelled
    EXPIRE = "expire"  # deferred for longer than delivery.retry_for
    RESEND = "resend"  # an operator, or in_doubt = "resend", accepts that it may arrive twice
    WITHDRAW = (
        "withdraw"  # a resend ends before its dot, for what skips or expires others: the first dot stays in doubt
    )


MOVES: dict[S, dict[Event, S]] = {
    S.PENDING: {Event.CLAIM: S.CLAIMED, Event.SKIP: S.SKIPPED, Event.WITHDRAW: S.IN_DOUBT},
    S.CLAIMED: {
        Event.RELEASE: S.PENDING,
        Event.DOT: S.DOTTED,
        Event.DEFER: S.DEFERRED,
        Event.REFUSE: S.FAILED,
        Event.SKIP: S.SKIPPED,
        Event.WITHDRAW: S.IN_DOUBT,
    },
    S.DOTTED: {
        Event.ACCEPT: S.SENT,
        Event.DEFER: S.DEFERRED,
        Event.REFUSE: S.FAILED,
        Event.LOSE: S.IN_DOUBT,
    },
    S.DEFERRED: {
        Event.CLAIM: S.CLAIMED,
        Event.SKIP: S.SKIPPED,
        Event.EXPIRE: S.EXPIRED,
        Event.WITHDRAW: S.IN_DOUBT,
    },
    # A reply may still come to a worker that was taken for dead, and a report may come by mail.
    S.IN_DOUBT: {
        Event.ACCEPT: S.SENT,
        Event.REFUSE: S.FAILED,
        Event.DEFER: S.DEFERRED,
        Event.RESEND: S.DEFERRED,
    },
    S.SENT: {},
    S.FAILED: {},
    S.SKIPPED: {},
    S.EXPIRED: {},
}

UNFINISHED = frozenset({S.PENDING, S.CLAIMED, S.DOTTED, S.DEFERRED})
"""A send with a row in one of these isn't finished."""

WAITING = frozenset({S.PENDING, S.DEFERRED})
"""Rows a worker may claim (deferred ones when they are due)."""


def move(state: S, event: Event) -> S:
    """The state after an event. Raises ``IllegalMove``."""
    try:
        return MOVES[state][event]
    except KeyError:
        raise IllegalMove(f"a recipient that is {state} can't {event}") from None


def sources(event: Event) -> tuple[S, ...]:
    """The states in which an event may happen."""
    return tuple(state for state, moves in MOVES.items() if event in moves)
