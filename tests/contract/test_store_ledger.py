"""The protocol's transactions, on SQLite and PostgreSQL."""

from __future__ import annotations

import pytest

from mailer.delivery.states import MOVES, Event
from mailer.model.ledger import RecipientState as S
from mailer.model.ledger import Reply, SendId, WorkerId
from mailer.store import SqlStore
from tests.contract.store_cases import (
    NOW,
    W1,
    W2,
    claim,
    counts,
    dotted,
    ident,
    incoming,
    keys,
    outcome,
    people,
    settle,
    started,
    states,
)

pytest_plugins = ("tests.servers.postgres",)


def test_claim(store: SqlStore) -> None:
    """A claim gives rows in order, up to the limit and within the batch, with the subscriber as they are now."""
    send = started(store, *"abcde")
    store.subscribers.upsert([incoming("b", first_name="Bob", attributes={"plan": "x"})], NOW)
    rows = store.ledger.claim(send.id, 2, 4, W1, 2, NOW)
    assert [(one.position, one.epoch, one.attempts, one.first_attempt_at) for one in rows] == [
        (2, 1, 0, None),
        (3, 1, 0, None),
    ]
    assert (rows[0].send, rows[0].email, rows[0].subscriber.first_name) == (send.id, "b@example.com", "Bob")
    assert rows[0].subscriber.attributes == {"plan": "x"}
    assert [one.position for one in store.ledger.claim(send.id, 2, 4, W1, 9, NOW)] == [4]
    assert store.ledger.claim(send.id, 2, 4, W1, 9, NOW) == []


def test_claim_by_nobody(store: SqlStore) -> None:
    """Only a living worker claims, and only from a send that exists."""
    send = started(store, "a").id
    assert claim(store, send, worker=WorkerId("unknown")) == []
    store.workers.retire(W1, NOW)
    assert claim(store, send, worker=W1) == []
    assert claim(store, SendId("none"), worker=W2) == []
    assert counts(store, send) == {"pending": 1}


def test_claim_skips(store: SqlStore) -> None:
    """Those who left since the ledger was written are skipped, and a claim goes on behind them."""
    send = started(store, *"abcdef").id
    with store.database.write() as connection:  # what a claim sees that runs just then
        connection.exec_driver_sql("UPDATE subscribers SET status = 'unsubscribed' WHERE email_key < 'c'")
        connection.exec_driver_sql("DELETE FROM subscribers WHERE email_key = 'c@example.com'")
        connection.exec_driver_sql("INSERT INTO suppressions VALUES ('d@example.com', 'bounced', 'test', 0)")
    assert [one.email for one in claim(store, send, limit=2)] == ["e@example.com", "f@example.com"]
    rows = list(store.sends.recipients(send, S.SKIPPED))
    assert [(row.email, row.reply) for row in rows] == [
        ("a@example.com", "unsubscribed"),
        ("b@example.com", "unsubscribed"),
        ("", "the subscriber was removed"),
        ("d@example.com", "the address is suppressed"),
    ]


def test_claim_deferred_when_due(store: SqlStore) -> None:
    """A deferred row is claimed when it is due, and not before, with its attempts and its first attempt."""
    send = started(store, "a").id
    settle(store, dotted(store, send), S.DEFERRED, Reply(451), now=NOW + 1)
    assert claim(store, send, now=NOW + 60) == []
    (again,) = claim(store, send, now=NOW + 61)
    assert (again.epoch, again.attempts, again.first_attempt_at) == (2, 1, NOW + 1)


def test_dot_needs_the_epoch(store: SqlStore) -> None:
    """A claim that was given back and taken again grants a dot to its last holder alone."""
    send = started(store, "a").id
    old = keys(claim(store, send))
    store.ledger.write(NOW, releases=old)
    new = keys(claim(store, send, worker=W2))
    assert store.ledger.write(NOW, dots=old) == set()
    store.ledger.write(NOW, releases=old)
    assert counts(store, send) == {"claimed": 1}
    assert store.ledger.write(NOW, dots=new) == set(new)


def test_dot_of_an_old_and_a_new_claim(store: SqlStore) -> None:
    """Of two claims of one row in one group, only the one that holds is granted."""
    send = started(store, "a").id
    old = keys(claim(store, send))
    store.ledger.write(NOW, releases=old)
    new = keys(claim(store, send))
    assert store.ledger.write(NOW, dots=old + new) == set(new)


def test_dot_again(store: SqlStore) -> None:
    """A dot that was granted is granted again to the same claim, even when it couldn't be granted any more."""
    send = started(store, "a", "b").id
    claims = dotted(store, send)
    store.sends.pause(send, "", NOW)
    store.subscribers.unsubscribe(ident(store, "a"), NOW)
    assert store.ledger.write(NOW, dots=claims) == set(claims)
    settle(store, claims[:1], S.SENT)
    assert store.ledger.write(NOW, dots=claims) == {claims[1]}


def test_dot_of_several_sends(store: SqlStore) -> None:
    """A group may mix sends; each row answers for its own."""
    one = started(store, "a", "b").id
    two = started(store, slug="kw25").id
    claims = keys(claim(store, one)) + keys(claim(store, two))
    store.sends.pause(one, "", NOW)
    assert store.ledger.write(NOW, dots=[*claims, (SendId("none"), 1, 1)]) == set(claims[2:])
    assert counts(store, one) == {"pending": 2}


def test_dot_refused_for_the_person(store: SqlStore) -> None:
    """A dot is refused, and the row skipped, for those who are unsubscribed, suppressed or gone."""
    send = started(store, *"abcd").id
    claims = keys(claim(store, send))
    with store.database.write() as connection:  # what a dot sees that runs just then
        connection.exec_driver_sql("UPDATE subscribers SET status = 'unsubscribed' WHERE email_key < 'b'")
        connection.exec_driver_sql("DELETE FROM subscribers WHERE email_key = 'b@example.com'")
        connection.exec_driver_sql("INSERT INTO suppressions VALUES ('c@example.com', 'bounced', 'test', 0)")
    assert store.ledger.write(NOW, dots=claims) == {claims[3]}
    assert states(store, send) == ["skipped", "skipped", "skipped", "dotted"]


def test_empty_groups(store: SqlStore) -> None:
    """Nothing given, nothing done."""
    assert store.ledger.write(NOW, dots=[]) == set()
    store.ledger.write(NOW, outcomes=[])
    store.ledger.write(NOW, releases=[])


@pytest.mark.parametrize("source", [S.PENDING, S.CLAIMED, S.DOTTED, S.SENT, S.FAILED, S.IN_DOUBT, S.SKIPPED])
@pytest.mark.parametrize("target", list(S))
def test_settle_moves_by_the_table(store: SqlStore, source: S, target: S) -> None:
    """An outcome moves a row exactly where the table of moves has a way that isn't a claim, a dot or a withdrawal."""
    send = started(store, "a").id
    key = (send, 1, 0)
    if source is not S.PENDING:
        (key,) = keys(claim(store, send))
    if source not in (S.PENDING, S.CLAIMED, S.SKIPPED):
        store.ledger.write(NOW, dots=[key])
    if source in (S.SENT, S.FAILED, S.IN_DOUBT, S.SKIPPED):
        settle(store, [key], source)
    assert states(store, send) == [source]
    others = (Event.CLAIM, Event.DOT, Event.WITHDRAW)
    legal = target in {to for event, to in MOVES[source].items() if event not in others}
    settle(store, [key], target)
    assert states(store, send) == [target if legal else source]


def test_settle_needs_the_epoch(store: SqlStore) -> None:
    """The outcome of a claim that is another's now changes nothing."""
    send = started(store, "a").id
    old = keys(claim(store, send))
    store.ledger.write(NOW, releases=old)
    dotted(store, send, worker=W2)
    settle(store, old, S.FAILED)
    assert counts(store, send) == {"dotted": 1}


def test_attempts(store: SqlStore) -> None:
    """Tries that reached the relay count: dots and its refusals, not a release, and not what no relay said."""
    send = started(store, *"abcd").id
    store.ledger.write(NOW, releases=keys(claim(store, send)))
    a, b, c, d = keys(claim(store, send))
    store.ledger.write(NOW, dots=[a, b])
    store.ledger.write(
        NOW,
        outcomes=[
            outcome(a, S.SENT),
            outcome(b, S.IN_DOUBT),
            outcome(c, S.FAILED, Reply(550)),
            outcome(d, S.FAILED, Reply(0, "", "no message")),
        ],
    )
    settle(store, [b], S.SENT)
    assert [row.attempts for row in store.sends.recipients(send, None)] == [1, 1, 1, 0]


def test_settle_deferred_from_claimed(store: SqlStore) -> None:
    """A 4xx before the dot defers the row and counts as its first attempt."""
    send = started(store, "a").id
    settle(store, keys(claim(store, send)), S.DEFERRED, Reply(450, "4.2.0", "greylisted"), now=NOW + 2)
    (again,) = claim(store, send, now=NOW + 62)
    assert (again.attempts, again.first_attempt_at) == (1, NOW + 2)


@pytest.mark.parametrize("text", ["a\0b", "\udc80", "x" * 10_000, "{now} :now %s", '"]}', "ß"])
def test_settle_any_reply(store: SqlStore, text: str) -> None:
    """Whatever a relay says can be stored and read."""
    send = started(store, "a").id
    settle(store, dotted(store, send), S.SENT, Reply(250, text, text))
    (row,) = store.sends.recipients(send, None)
    assert row.state is S.SENT
    assert row.reply


def test_large_group(store: SqlStore) -> None:
    """A group may be as large as a batch."""
    send = started(store, *(f"p{n}" for n in range(3000))).id
    settle(store, dotted(store, send, limit=3000), S.SENT)
    assert counts(store, send) == {"sent": 3000}


def test_reap(store: SqlStore) -> None:
    """Of a worker without a heartbeat for a lease: claimed go back, dotted are in doubt; its id is dead."""
    send = started(store, *"abcde").id
    flying = dotted(store, send, limit=2)
    claims = keys(claim(store, send, limit=2))
    others = keys(claim(store, send, worker=W2))
    assert store.workers.beat(W2, NOW + 15)
    assert store.ledger.reap(NOW + 20, 20) == (0, 0)
    assert store.ledger.reap(NOW + 21, 20) == (2, 2)
    assert store.workers.beat(W1, NOW + 21) is False
    assert store.workers.beat(W2, NOW + 21) is True
    assert counts(store, send) == {"in_doubt": 2, "pending": 2, "claimed": 1}
    assert store.ledger.write(NOW, dots=claims) == set()
    assert claim(store, send, worker=W1) == []
    settle(store, flying[:1], S.SENT)
    assert counts(store, send) == {"in_doubt": 1, "sent": 1, "pending": 2, "claimed": 1}
    assert store.ledger.write(NOW, dots=others) == set(others)
    assert [row.attempts for row in store.sends.recipients(send, S.IN_DOUBT)] == [1]


def test_retire(store: SqlStore) -> None:
    """A worker that ends holds nothing any more."""
    send = started(store, "a", "b").id
    dotted(store, send, limit=1)
    claim(store, send)
    assert store.workers.alive(NOW, 20) == 2
    store.workers.retire(W1, NOW)
    store.workers.retire(W1, NOW)
    assert counts(store, send) == {"in_doubt": 1, "pending": 1}
    assert store.workers.alive(NOW, 20) == 1
    assert store.workers.alive(NOW + 21, 20) == 0


def test_expire(store: SqlStore) -> None:
    """A deferred row expires when its first attempt was ``retry_for`` ago; nothing else does."""
    send = started(store, *"abc").id
    settle(store, dotted(store, send, limit=1), S.DEFERRED, Reply(451), now=NOW)
    settle(store, dotted(store, send, limit=1, now=NOW + 1), S.DEFERRED, Reply(451), now=NOW + 50)
    assert store.ledger.expire(NOW + 99, 100) == 0
    assert store.ledger.expire(NOW + 100, 100) == 1
    assert states(store, send) == ["expired", "deferred", "pending"]


def test_unfinished(store: SqlStore) -> None:
    """Batches with waiting rows are found, and their round tells the greatest epoch among those."""
    people(store, *(f"p{n}" for n in range(45)))
    send = started(store).id
    batches = store.ledger.unfinished(NOW, 10)
    assert [(b.send, b.first, b.last, b.round) for b in batches] == [
        (send, first, first + 9, "0.0") for first in (1, 11, 21, 31, 41)
    ]
    settle(store, dotted(store, send, limit=20), S.SENT)
    first, second, third, *_ = keys(claim(store, send, limit=10))
    store.ledger.write(NOW, releases=[second])
    settle(store, [third], S.DEFERRED, Reply(451))
    assert [(b.first, b.round) for b in store.ledger.unfinished(NOW, 10)] == [(21, "0.1"), (31, "0.0"), (41, "0.0")]
    (again,) = claim(store, send, limit=1)
    store.ledger.write(NOW, releases=keys([again]))
    assert [(b.first, b.round) for b in store.ledger.unfinished(NOW, 10)] == [(21, "0.2"), (31, "0.0"), (41, "0.0")]
    assert first


def test_unfinished_only_running(store: SqlStore) -> None:
    """Sends that don't run, and deferred rows that aren't due, are no work."""
    send = started(store, "a").id
    settle(store, dotted(store, send), S.DEFERRED, Reply(451))
    assert store.ledger.unfinished(NOW + 59, 10) == []
    assert [b.round for b in store.ledger.unfinished(NOW + 60, 10)] == ["0.1"]
    store.sends.pause(send, "", NOW)
    assert store.ledger.unfinished(NOW + 60, 10) == []
