"""What people change about themselves, on both databases."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest

from mailer.errors import SendError
from mailer.model.ledger import RecipientState as S
from mailer.model.ledger import Reply
from mailer.model.people import Preferences
from mailer.store import SqlStore
from tests.contract.store_cases import (
    NOW,
    claim,
    counts,
    ident,
    incoming,
    keys,
    new,
    outcome,
    people,
    started,
    states,
)

pytest_plugins = ("tests.servers.postgres",)

WEEK = 7 * 86400.0


def pause(store: SqlStore, name: str, until: float | None) -> None:
    """A person's pause, and nothing else."""
    found = store.preferences.find(ident(store, name))
    assert found is not None
    assert store.preferences.save(ident(store, name), replace(found, paused_until=until), NOW)


def test_saved(store: SqlStore) -> None:
    """What is saved is what is found, and what messages are personalised by; an import's attributes stay."""
    store.subscribers.upsert([incoming("a", first_name="Ann", attributes={"plan": "free"})], NOW)
    a = ident(store, "a")
    assert store.preferences.find(a) == Preferences("Ann")
    wanted = Preferences("Zoe", "Ö'Näil\0", "de", NOW + WEEK)
    assert store.preferences.save(a, wanted, NOW)
    assert store.preferences.save(a, wanted, NOW), "it may come twice"
    assert store.preferences.find(a) == replace(wanted, last_name="Ö'Näil ")
    person = store.subscribers.find("a@example.com")
    assert person is not None
    assert (person.first_name, person.language, person.attributes) == ("Zoe", "de", {"plan": "free"})
    store.subscribers.upsert([incoming("a", last_name="B")], NOW)
    assert store.preferences.find(a) == replace(wanted, last_name="B"), "an import ends nobody's pause"


def test_gone(store: SqlStore) -> None:
    """Of whoever was removed or has unsubscribed nothing is found, and nothing is saved."""
    people(store, "a", "b", "c")
    a, b, c = (ident(store, name) for name in "abc")
    store.subscribers.unsubscribe(a, NOW)
    store.subscribers.remove("b@example.com", NOW)
    for gone in (a, b, c + 1):
        assert store.preferences.find(gone) is None
        assert not store.preferences.save(gone, Preferences("Zoe"), NOW)
    person = store.subscribers.find("a@example.com")
    assert person is not None
    assert person.first_name == ""


@pytest.mark.parametrize(
    ("until", "at", "gets"),
    [
        (None, None, True),
        (NOW + 1, None, False),
        (NOW, None, True),
        (NOW - WEEK, None, True),
        (NOW + WEEK, NOW + WEEK - 1, False),
        (NOW + WEEK, NOW + WEEK, True),
        (NOW - 1, NOW + WEEK, True),
    ],
)
def test_audience(store: SqlStore, until: float | None, at: float | None, gets: bool) -> None:
    """Whoever pauses when a send begins isn't in it, whenever it was queued."""
    people(store, "a", "b")
    pause(store, "a", until)
    begins = NOW if at is None else at
    assert store.sends.remaining("kw24", at=begins) == (2 if gets else 1)
    assert store.sends.remaining("kw24", [ident(store, "a")], at=begins) == int(gets)
    assert store.sends.remaining("kw24") == 2
    send = store.sends.create(new(at=at), None, NOW)
    assert [row.email for row in store.sends.recipients(send.id, None)][-1] == "b@example.com"
    assert send.audience == (2 if gets else 1)
    assert store.subscribers.count() == 2, "who pauses is a subscriber"


def test_everybody_pauses(store: SqlStore) -> None:
    """A send to people who all pause isn't made."""
    people(store, "a")
    pause(store, "a", inf)
    with pytest.raises(SendError):
        store.sends.create(new(), None, NOW)
    with pytest.raises(SendError):
        store.sends.create(new(), [ident(store, "a")], NOW)


def test_pause_while_sending(store: SqlStore) -> None:
    """A pause that comes when the send is queued leaves it as it is; the next one heeds it."""
    send = started(store, "a", "b").id
    pause(store, "a", NOW + WEEK)
    assert len(claim(store, send)) == 2
    assert counts(store, send) == {"claimed": 2}
    assert store.sends.create(new("kw25"), None, NOW).audience == 1


@pytest.mark.parametrize("moment", ["claimed", "dotted", "in doubt", "deferred"])
def test_same_message(store: SqlStore, moment: str) -> None:
    """A name changed while a message is under way, or in doubt, doesn't change what is sent again."""
    store.subscribers.upsert([incoming("a", first_name="Ann")], NOW)
    send = started(store, "b", slug="kw24").id
    a = ident(store, "a")
    (first,) = [row for row in claim(store, send) if row.email == "a@example.com"]
    (key,) = keys([first])

    def change(now: str) -> None:
        if now == moment:
            assert store.preferences.save(a, Preferences("Zoe", "Z", "de", NOW + WEEK), NOW)

    change("claimed")
    store.ledger.write(NOW, dots=[key])
    change("dotted")
    store.ledger.write(NOW, outcomes=[outcome(key, S.IN_DOUBT, Reply(0))])
    change("in doubt")
    assert store.sends.resolve(send, "resend", NOW) == 1
    change("deferred")
    (second,) = [row for row in claim(store, send) if row.email == "a@example.com"]
    assert second.subscriber == first.subscriber
    assert store.preferences.find(a) == Preferences("Zoe", "Z", "de", NOW + WEEK)


def test_new_name_next(store: SqlStore) -> None:
    """A message that hasn't begun is made for the person as they are now."""
    send = started(store, "a").id
    store.preferences.save(ident(store, "a"), Preferences("Zoe"), NOW)
    (row,) = claim(store, send)
    assert row.subscriber.first_name == "Zoe"
    assert states(store, send) == ["claimed"]


def test_suppressions_by_reason(store: SqlStore) -> None:
    """Suppressions are counted by their reason."""
    for name, reason in (("a", "bounced"), ("b", "bounced"), ("c", "spam")):
        store.suppressions.add(f"{name}@example.com", reason, "test", NOW)
    assert store.suppressions.by_reason() == {"bounced": 2, "spam": 1}
