"""The table of moves, driven in both directions."""

from __future__ import annotations

import pytest

from mailer.delivery.states import MOVES, UNFINISHED, WAITING, Event, move, sources
from mailer.errors import IllegalMove
from mailer.model.ledger import RecipientState as S

LEGAL = [
    (S.PENDING, Event.CLAIM, S.CLAIMED),
    (S.PENDING, Event.SKIP, S.SKIPPED),
    (S.CLAIMED, Event.RELEASE, S.PENDING),
    (S.CLAIMED, Event.DOT, S.DOTTED),
    (S.CLAIMED, Event.DEFER, S.DEFERRED),
    (S.CLAIMED, Event.REFUSE, S.FAILED),
    (S.CLAIMED, Event.SKIP, S.SKIPPED),
    (S.DOTTED, Event.ACCEPT, S.SENT),
    (S.DOTTED, Event.DEFER, S.DEFERRED),
    (S.DOTTED, Event.REFUSE, S.FAILED),
    (S.DOTTED, Event.LOSE, S.IN_DOUBT),
    (S.DEFERRED, Event.CLAIM, S.CLAIMED),
    (S.DEFERRED, Event.SKIP, S.SKIPPED),
    (S.DEFERRED, Event.EXPIRE, S.EXPIRED),
    (S.IN_DOUBT, Event.ACCEPT, S.SENT),
    (S.IN_DOUBT, Event.REFUSE, S.FAILED),
    (S.IN_DOUBT, Event.DEFER, S.DEFERRED),
    (S.IN_DOUBT, Event.RESEND, S.DEFERRED),
    (S.PENDING, Event.WITHDRAW, S.IN_DOUBT),
    (S.CLAIMED, Event.WITHDRAW, S.IN_DOUBT),
    (S.DEFERRED, Event.WITHDRAW, S.IN_DOUBT),
]


@pytest.mark.parametrize(("state", "event", "to"), LEGAL)
def test_legal(state: S, event: Event, to: S) -> None:
    """Each designed move leads where the design says."""
    assert move(state, event) is to


def test_nothing_else() -> None:
    """Every pair that isn't in the design is refused, by a named error."""
    legal = {(state, event) for state, event, _ in LEGAL}
    for state in S:
        for event in Event:
            if (state, event) not in legal:
                with pytest.raises(IllegalMove, match=f"{state} can't {event}"):
                    move(state, event)


def test_every_state_has_a_row() -> None:
    """The table speaks of every state."""
    assert set(MOVES) == set(S)


def test_no_dot_is_given_back() -> None:
    """Nothing leads from dotted to a state from which it would be sent again without a word from relay or operator."""
    assert set(MOVES[S.DOTTED]) == {Event.ACCEPT, Event.DEFER, Event.REFUSE, Event.LOSE}
    assert Event.CLAIM not in MOVES[S.IN_DOUBT]


@pytest.mark.parametrize("event", list(Event))
def test_sources(event: Event) -> None:
    """`sources` says the same as the table."""
    assert set(sources(event)) == {state for state, e, _ in LEGAL if e is event}


def test_finished_states_have_no_way_back_to_waiting() -> None:
    """Sent, failed, skipped and expired are final."""
    for state in (S.SENT, S.FAILED, S.SKIPPED, S.EXPIRED):
        assert MOVES[state] == {}
        assert state not in UNFINISHED | WAITING
