"""Complaints against a send, on SQLite and on PostgreSQL: the operator is warned, and then the send pauses itself."""

from __future__ import annotations

import logging

import pytest

from mailer.bounces.event import Event, EventType
from mailer.model.ledger import RecipientState, SendState
from mailer.model.settings import Bounces
from mailer.service.complaints import heed_complaints
from mailer.service.events import act_on_events
from mailer.service.inbox import NewEvent
from mailer.store import SqlStore
from tests.contract.store_cases import NOW, dotted, settle, started

pytest_plugins = ("tests.servers.postgres",)

LATER = NOW + 3600


def complain(store: SqlStore, *numbers: int) -> None:
    """These people complain, and the send is weighed."""
    told = [Event(EventType.COMPLAINED, f"p{n}@example.com", event_id=str(n), timestamp=LATER) for n in numbers]
    store.events.add("postmark", [NewEvent(one) for one in told], LATER)
    act_on_events(store.events, b"a key of sixteen and more octets", 5, LATER)
    heed_complaints(store, Bounces(), LATER)


def test_warned_and_paused(store: SqlStore, caplog: pytest.LogCaptureFixture) -> None:
    """At 0.1 % of what was sent the operator is warned and the send goes on, at 0.3 % it pauses itself and says why;
    one that is resumed isn't paused again for the same complaints, nor for a few more."""
    send = started(store, *(f"p{n}" for n in range(1001))).id
    settle(store, dotted(store, send, 1000), RecipientState.SENT)

    complain(store, 0)
    assert store.sends.get(send).state is SendState.RUNNING
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "1 complaint about 1000 messages (0.10%)" in caplog.text

    complain(store, 1, 2)
    paused = store.sends.get(send)
    assert paused.state is SendState.PAUSED
    assert paused.reason == "3 complaints about 1000 messages (0.30%): find out why before you resume"
    assert store.sends.status(send, LATER).complained == 3

    store.sends.resume(send, LATER)
    heed_complaints(store, Bounces(), LATER)
    complain(store, 3, 4)
    assert store.sends.get(send).state is SendState.RUNNING
    complain(store, 5)
    assert store.sends.get(send).state is SendState.PAUSED


def test_finished(store: SqlStore, caplog: pytest.LogCaptureFixture) -> None:
    """A send that has finished is warned of, and not paused."""
    send = started(store, *(f"p{n}" for n in range(4))).id
    settle(store, dotted(store, send), RecipientState.SENT)
    store.sends.finish(NOW + 1, resend_since=float("inf"))
    complain(store, 0, 1, 2)
    assert store.sends.get(send).state is SendState.FINISHED
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_a_few_at_the_beginning(store: SqlStore) -> None:
    """While little has been sent two complaints stop nothing, and the third does."""
    send = started(store, *(f"p{n}" for n in range(5))).id
    settle(store, dotted(store, send, 4), RecipientState.SENT)
    complain(store, 0, 1)
    assert store.sends.get(send).state is SendState.RUNNING
    complain(store, 2)
    assert store.sends.get(send).state is SendState.PAUSED
