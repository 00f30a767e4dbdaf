"""When to try again, and what a reply means."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailer.delivery.retry import LONGEST_WAIT, event_of, settle, wait
from mailer.delivery.states import Event
from mailer.errors import IllegalMove
from mailer.model.ledger import Recipient, RecipientState, Reply, SendId
from mailer.model.people import Subscriber

CLAIM = Recipient(SendId("a-1"), 7, 3, "a@example.com", 2, 10.0, Subscriber(1, "a@example.com"))


@pytest.mark.parametrize(
    ("attempts", "expected"), [(1, 60.0), (2, 120.0), (3, 240.0), (6, 1920.0), (7, 3600.0), (1000, 3600.0)]
)
def test_doubling(attempts: int, expected: float) -> None:
    """Each wait is twice the last, up to an hour."""
    assert wait(attempts, 60.0, 0.5) == expected


@given(st.integers(0, 10_000), st.floats(0.1, 3600), st.floats(0, 1))
def test_bounds(attempts: int, first: float, jitter: float) -> None:
    """A wait is never shorter than three quarters of the first one nor longer than five quarters of an hour."""
    assert 0.75 * first <= wait(attempts, first, jitter) <= 1.25 * LONGEST_WAIT


@pytest.mark.parametrize(
    ("code", "event"),
    [
        (250, Event.ACCEPT),
        (251, Event.ACCEPT),
        (421, Event.DEFER),
        (450, Event.DEFER),
        (550, Event.REFUSE),
        (554, Event.REFUSE),
        (354, Event.REFUSE),
        (0, Event.REFUSE),
    ],
)
def test_event_of(code: int, event: Event) -> None:
    """2xx accepts, 4xx defers, all else refuses."""
    assert event_of(Reply(code)) is event


def test_deferred_has_a_time() -> None:
    """Only a deferred recipient is tried again, after a wait that grows with the attempts."""
    outcome = settle(CLAIM, RecipientState.DOTTED, Event.DEFER, Reply(451), 1000.0, 60.0, 0.5)
    assert (outcome.state, outcome.next_attempt_at, outcome.epoch) == (RecipientState.DEFERRED, 1240.0, 3)
    sent = settle(CLAIM, RecipientState.DOTTED, Event.ACCEPT, Reply(250), 1000.0, 60.0, 0.5)
    assert (sent.state, sent.next_attempt_at) == (RecipientState.SENT, None)


def test_no_250_without_a_dot() -> None:
    """A recipient can't be accepted that was never dotted."""
    with pytest.raises(IllegalMove):
        settle(CLAIM, RecipientState.CLAIMED, Event.ACCEPT, Reply(250), 0.0, 60.0, 0.5)
