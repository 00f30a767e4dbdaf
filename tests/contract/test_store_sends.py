"""Sends, their ledgers and their figures, on SQLite and PostgreSQL."""

from __future__ import annotations

import pytest

from mailer.errors import SendError, StoreError
from mailer.model.compiled import CompiledIssue, Escape, Slot
from mailer.model.ledger import RecipientState as S
from mailer.model.ledger import Reply, SendId, SendKind, SendState
from mailer.model.people import Subscriber
from mailer.service.ports import Addressee
from mailer.store import SqlStore
from tests.contract.store_cases import (
    NOW,
    OK,
    W1,
    claim,
    counts,
    dotted,
    ident,
    keys,
    new,
    people,
    settle,
    started,
    states,
)

pytest_plugins = ("tests.servers.postgres",)

ISSUE = CompiledIssue(
    slug="kw24",
    title="Ü",
    language="de",
    country="DE",
    timezone="Europe/Berlin",
    date="2025-06-09",
    sender="N <n@example.com>",
    reply_to="",
    subject=("Hi ", Slot("subscriber.first_name", Escape.HEADER)),
    text=("t",),
    html=("<p>",),
    word_count=3,
    reading_minutes=1,
)


def test_issues(store: SqlStore) -> None:
    """A compiled issue is stored once under its digest and comes back equal; an unknown digest is an error."""
    digest = store.issues.put(ISSUE, NOW)
    assert store.issues.put(ISSUE, NOW + 1) == digest == ISSUE.digest
    assert store.issues.get(digest) == ISSUE
    with pytest.raises(StoreError, match="no compiled issue"):
        store.issues.get("0" * 64)


def test_create(store: SqlStore) -> None:
    """A send reaches each subscribed, unsuppressed person once, in the order of their ids, and runs at once."""
    ids = people(store, "a", "b", "c", "d")
    store.subscribers.unsubscribe(ids[1], NOW)
    store.suppressions.add("c@example.com", "bounced", "test", NOW)
    send = store.sends.create(new(), None, NOW)
    assert (send.id, send.state, send.audience, send.started_at) == ("kw24-1", SendState.RUNNING, 2, NOW)
    rows = list(store.sends.recipients(send.id, None))
    assert [(row.email, row.position, row.state) for row in rows] == [
        ("a@example.com", 1, S.PENDING),
        ("d@example.com", 2, S.PENDING),
    ]
    assert store.sends.get(send.id) == send
    assert store.sends.all() == [send]


def test_create_segment(store: SqlStore) -> None:
    """A segment narrows the audience; ids that are unknown or come twice do no harm."""
    a, b, c = people(store, "a", "b", "c")
    store.subscribers.unsubscribe(b, NOW)
    assert store.sends.create(new(), iter([c, a, c, b, 10_000]), NOW).audience == 2
    assert store.sends.create(new("kw25"), [c], NOW).audience == 1


def test_create_twice(store: SqlStore) -> None:
    """An issue is sent once: a second send of the slug is refused while one is uncancelled."""
    first = started(store, "a")
    with pytest.raises(SendError, match="kw24 was sent already: kw24-1 is running"):
        store.sends.create(new(), None, NOW)
    store.sends.cancel(first.id, NOW)
    assert store.sends.create(new(), None, NOW).id == "kw24-2"


def test_create_after_a_cancelled_send(store: SqlStore) -> None:
    """Whoever had been sent to before the send was cancelled isn't sent to again by the next one."""
    first = started(store, "a", "b", "c").id
    settle(store, dotted(store, first, limit=1), S.SENT)
    store.sends.cancel(first, NOW)
    second = store.sends.create(new(), None, NOW)
    assert [row.email[0] for row in store.sends.recipients(second.id, None)] == ["b", "c"]
    store.sends.cancel(second.id, NOW)
    third = store.sends.create(new(), [1, 2], NOW)
    assert [row.email[0] for row in store.sends.recipients(third.id, None)] == ["b"]


@pytest.mark.parametrize("segment", [None, [], [10_000]])
def test_create_for_nobody(store: SqlStore, segment: list[int] | None) -> None:
    """An empty audience is an error that leaves no send behind."""
    if segment is not None:
        people(store, "a")
    with pytest.raises(SendError, match="nobody would get kw24"):
        store.sends.create(new(), segment, NOW)
    assert store.sends.all() == []


def test_remaining(store: SqlStore) -> None:
    """Remaining are those in no issue send of the slug, or skipped in all of those."""
    a, b, _ = people(store, "a", "b", "c")
    first = started(store, segment=[a, b]).id
    settle(store, dotted(store, first, limit=1), S.FAILED)
    assert store.sends.remaining("kw24") == 1
    store.sends.cancel(first, NOW)
    people(store, "d")
    assert store.sends.remaining("kw24") == 3
    assert store.sends.remaining("kw24", [1, 2]) == 1  # the first got it
    second = store.sends.create(new(), None, NOW, remaining=True)
    assert [row.email[0] for row in store.sends.recipients(second.id, None)] == ["b", "c", "d"]
    assert store.sends.remaining("kw24") == 0
    assert store.sends.remaining("kw25") == 4
    with pytest.raises(SendError, match="nobody"):
        store.sends.create(new(), None, NOW, remaining=True)


def test_previous_subscribers(store: SqlStore) -> None:
    """The list before is as long as it was at the last uncancelled issue send of another slug, whoever got that."""
    assert store.sends.previous_subscribers("kw24") is None
    started(store, "a", slug="kw22")
    people(store, "b")
    store.sends.create(new("kw23"), None, NOW)
    store.sends.create_test(new("kw23", SendKind.TEST), [Addressee("e@example.org", None)], NOW)
    store.sends.create(new("kw24"), [1], NOW)
    assert store.sends.previous_subscribers("kw24") == 2
    assert store.sends.previous_subscribers("kw23") == 2  # kw24 went to one of two
    store.sends.cancel(SendId("kw23-1"), NOW)
    store.sends.cancel(SendId("kw24-1"), NOW)
    assert store.sends.previous_subscribers("kw24") == 1


def test_public_ids(store: SqlStore) -> None:
    """Ids count by slug and kind, and step over one that another slug has taken."""
    people(store, "a")
    to = [Addressee("e@example.org", None)]
    assert store.sends.create(new("kw24-test"), None, NOW).id == "kw24-test-1"
    assert [store.sends.create_test(new("kw24", SendKind.TEST), to, NOW).id for _ in range(2)] == [
        "kw24-test-2",
        "kw24-test-3",
    ]
    assert store.sends.create(new("kw24"), None, NOW).id == "kw24-1"


def test_test_send(store: SqlStore) -> None:
    """A test-send is personalised for the persona, else for the subscriber of that address, else for nobody."""
    people(store, "a", "b")
    started(store, slug="other")
    persona = Subscriber(id=7, email="p@example.com", first_name="Päl", attributes={"plan": "x"})
    to = [
        Addressee("editor@example.org", persona),
        Addressee("B@example.com", None),
        Addressee("nobody@example.org", None),
        Addressee("b@Example.com", None),
    ]
    send = store.sends.create_test(new(kind=SendKind.TEST), to, NOW)
    assert (send.audience, send.kind) == (3, SendKind.TEST)
    one, two, three = claim(store, send.id)
    assert (one.email, one.subscriber) == ("editor@example.org", persona)
    assert (two.email, two.subscriber.id) == ("B@example.com", ident(store, "b"))
    assert (three.email, three.subscriber) == ("nobody@example.org", Subscriber(id=0, email="nobody@example.org"))


def test_test_send_and_suppression(store: SqlStore) -> None:
    """A suppressed address is skipped in a test-send too: at the claim, and up to the dot."""
    started(store, "a", slug="other")
    store.suppressions.add("x@example.org", "bounced", "test", NOW)
    to = [Addressee(f"{name}@example.org", None) for name in "xyz"]
    send = store.sends.create_test(new(kind=SendKind.TEST), to, NOW).id
    claims = keys(claim(store, send))
    store.suppressions.add("y@example.org", "bounced", "test", NOW)
    assert store.ledger.write(NOW, dots=claims) == {claims[1]}
    assert states(store, send) == ["skipped", "skipped", "dotted"]


def test_removed_persona(store: SqlStore) -> None:
    """Nothing of a removed person is kept in a test-send: neither the address nor the persona."""
    people(store, "a")
    person = store.subscribers.find("a@example.com")
    started(store, slug="other")
    to = [Addressee("e@example.org", person), Addressee("a@example.com", None)]
    send = store.sends.create_test(new(kind=SendKind.TEST), to, NOW).id
    store.subscribers.remove("a@example.com", NOW)
    (row,) = claim(store, send)
    assert (row.email, row.subscriber.id) == ("e@example.org", 0)
    assert [row.email for row in store.sends.recipients(send, S.SKIPPED)] == [""]


def test_get_unknown(store: SqlStore) -> None:
    """An unknown send is an error that names the nearest known one."""
    with pytest.raises(SendError, match="Nothing was sent yet"):
        store.sends.get(SendId("kw24-1"))
    started(store, "a")
    with pytest.raises(SendError, match="Did you mean 'kw24-1'"):
        store.sends.pause(SendId("kw24-2"), "", NOW)


def test_schedule(store: SqlStore) -> None:
    """A scheduled send starts when it is due, and nothing of it can be claimed before."""
    people(store, "a")
    started(store, slug="other")
    send = store.sends.create(new(at=NOW + 100), None, NOW)
    assert (send.state, send.started_at) == (SendState.SCHEDULED, None)
    assert store.sends.start_due(NOW + 99, 3600) == []
    assert claim(store, send.id) == []
    (due,) = store.sends.start_due(NOW + 101, 3600)
    assert (due.id, due.state, due.started_at) == (send.id, SendState.RUNNING, NOW + 101)
    assert len(claim(store, send.id)) == 1


def test_sent_since(store: SqlStore) -> None:
    """Relays may have taken what was sent, is dotted or in doubt; not what was refused, what waits, or came before."""
    send = started(store, "a", "b", "c", "d", "e", "f").id
    settle(store, dotted(store, send, limit=1), S.SENT, now=NOW - 10)
    settle(store, dotted(store, send, limit=1), S.SENT)
    settle(store, dotted(store, send, limit=1), S.IN_DOUBT)
    settle(store, dotted(store, send, limit=1), S.FAILED, Reply(550))
    dotted(store, send, limit=1)
    assert store.sends.sent_since(NOW) == 3
    assert store.sends.sent_since(NOW - 10) == 4


def test_overdue(store: SqlStore) -> None:
    """A send that is overdue by more than the freshness is held with a reason; resuming starts it."""
    people(store, "a")
    send = store.sends.create(new(at=NOW), None, NOW)
    (held,) = store.sends.start_due(NOW + 7200, 3600)
    assert held.state is SendState.PAUSED
    assert "overdue by 2.0 hours" in held.reason
    resumed = store.sends.resume(send.id, NOW + 7300)
    assert (resumed.state, resumed.reason, resumed.started_at) == (SendState.RUNNING, "", NOW + 7300)


def test_pause_and_resume(store: SqlStore) -> None:
    """Pausing gives the claimed back, leaves the dotted, keeps its first reason; resuming goes on."""
    send = started(store, "a", "b", "c").id
    dotted(store, send, limit=1)
    claims = keys(claim(store, send, limit=1))
    assert store.sends.pause(send, "because", NOW).state is SendState.PAUSED
    assert store.sends.pause(send, "again", NOW).reason == "because"
    assert counts(store, send) == {"dotted": 1, "pending": 2}
    assert store.ledger.write(NOW, dots=claims) == set()
    assert claim(store, send) == []
    assert store.sends.resume(send, NOW).state is SendState.RUNNING
    assert store.sends.resume(send, NOW).state is SendState.RUNNING
    assert len(claim(store, send)) == 2


def test_resume_before_its_time(store: SqlStore) -> None:
    """A send that was paused before its time is scheduled again."""
    people(store, "a")
    send = store.sends.create(new(at=NOW + 100), None, NOW).id
    store.sends.pause(send, "", NOW)
    assert store.sends.start_due(NOW + 200, 3600) == []
    assert store.sends.resume(send, NOW).state is SendState.SCHEDULED


def test_waiting(store: SqlStore) -> None:
    """Before resuming one can ask how many would be sent and how many skipped."""
    send = started(store, "a", "b", "c", "d").id
    settle(store, dotted(store, send, limit=1), S.SENT)
    settle(store, dotted(store, send, limit=1), S.DEFERRED, Reply(451))
    store.sends.pause(send, "", NOW)
    assert store.sends.waiting(send) == (3, 0)
    with store.database.write() as connection:  # as an unsubscribe leaves it that has only just been committed
        connection.exec_driver_sql("UPDATE subscribers SET status = 'unsubscribed' WHERE email LIKE 'c%%'")
    assert store.sends.waiting(send) == (2, 1)


def test_cancel(store: SqlStore) -> None:
    """Cancelling skips what waits or is claimed; what is in flight gets its outcome, and is not tried again."""
    send = started(store, "a", "b", "c", "d").id
    settle(store, dotted(store, send, limit=1), S.DEFERRED, Reply(451))
    flying = dotted(store, send, limit=1)
    claims = keys(claim(store, send, limit=1))
    assert store.sends.cancel(send, NOW).state is SendState.CANCELLED
    assert store.sends.cancel(send, NOW + 5).finished_at == NOW
    assert counts(store, send) == {"skipped": 3, "dotted": 1}
    assert store.ledger.write(NOW, dots=claims) == set()
    settle(store, flying, S.DEFERRED, Reply(451))
    store.sends.finish(NOW)
    assert counts(store, send) == {"skipped": 4}


def test_steering_refused(store: SqlStore) -> None:
    """What is over can't be paused, resumed or cancelled, and the error says so."""
    send = started(store, "a").id
    settle(store, dotted(store, send), S.SENT)
    assert store.sends.finish(NOW) == [send]
    for steer in (lambda: store.sends.pause(send, "", NOW), lambda: store.sends.cancel(send, NOW)):
        with pytest.raises(SendError, match="kw24-1 is finished"):
            steer()
    with pytest.raises(SendError, match="can't be resumed"):
        store.sends.resume(send, NOW)


def test_finish(store: SqlStore) -> None:
    """A send is finished when none of its rows is pending, claimed, dotted or deferred; in doubt is no hindrance."""
    send = started(store, "a", "b", "c").id
    one, two, three = dotted(store, send)
    settle(store, [one], S.SENT)
    settle(store, [two], S.DEFERRED, Reply(451))
    settle(store, [three], S.IN_DOUBT)
    assert store.sends.finish(NOW) == []
    settle(store, dotted(store, send, now=NOW + 61), S.FAILED, Reply(550))
    assert store.sends.finish(NOW + 70) == [send]
    assert store.sends.get(send).finished_at == NOW + 70
    assert store.sends.finish(NOW + 80) == []


def test_finish_paused(store: SqlStore) -> None:
    """A paused send isn't finished behind its operator's back."""
    send = started(store, "a").id
    settle(store, dotted(store, send), S.SENT)
    store.sends.pause(send, "", NOW)
    assert store.sends.finish(NOW) == []


def test_resolve_sent(store: SqlStore) -> None:
    """``sent`` settles exactly the in-doubt, and says how many."""
    send = started(store, "a", "b", "c").id
    claims = dotted(store, send)
    settle(store, claims[:2], S.IN_DOUBT)
    assert store.sends.resolve(send, "sent", NOW) == 2
    assert counts(store, send) == {"sent": 2, "dotted": 1}
    assert store.sends.resolve(send, "sent", NOW) == 0


def test_resolve_resend(store: SqlStore) -> None:
    """``resend`` makes the in-doubt due again, with a fresh retry window, and a finished send runs again."""
    send = started(store, "a", "b").id
    claims = dotted(store, send)
    settle(store, claims, S.IN_DOUBT)
    store.sends.finish(NOW)
    later = NOW + 10 * 86400
    assert store.sends.resolve(send, "resend", later) == 2
    found = store.sends.get(send)
    assert (found.state, found.finished_at) == (SendState.RUNNING, None)
    assert store.ledger.expire(later, 48 * 3600) == 0
    assert store.workers.beat(W1, later)
    again = claim(store, send, now=later)
    assert [(one.attempts, one.first_attempt_at) for one in again] == [(1, None), (1, None)]
    settle(store, claims, S.SENT, OK)
    assert counts(store, send) == {"claimed": 2}, "a late reply to the first try settles nothing"


def test_resolve_cancelled(store: SqlStore) -> None:
    """Nothing of a cancelled send is sent again."""
    send = started(store, "a").id
    settle(store, dotted(store, send), S.IN_DOUBT)
    store.sends.cancel(send, NOW)
    with pytest.raises(SendError, match="was cancelled"):
        store.sends.resolve(send, "resend", NOW)


def test_status(store: SqlStore) -> None:
    """The figures count every state, add up, and know when the next deferred row is due."""
    send = started(store, *"abcdefg").id
    one, two, three, four, five = dotted(store, send, limit=5)
    settle(store, [one], S.SENT)
    settle(store, [two], S.FAILED, Reply(550))
    store.ledger.write(NOW, outcomes=[])
    settle(store, [three], S.DEFERRED, Reply(451), now=NOW + 5)
    settle(store, [four], S.DEFERRED, Reply(451), now=NOW + 1)
    settle(store, [five], S.IN_DOUBT)
    store.subscribers.unsubscribe(ident(store, "f"), NOW)
    status = store.sends.status(send, NOW + 10)
    assert counts(store, send) == {"pending": 1, "sent": 1, "deferred": 2, "failed": 1, "skipped": 1, "in_doubt": 1}
    assert status.send == store.sends.get(send)
    assert status.next_attempt_at == NOW + 61


def test_status_rate(store: SqlStore) -> None:
    """The rate is that of the last thirty seconds."""
    send = started(store, *(f"p{n}" for n in range(40))).id
    settle(store, dotted(store, send, limit=10), S.SENT, now=NOW + 10)
    settle(store, dotted(store, send, limit=30), S.SENT, now=NOW + 100)
    assert store.sends.status(send, NOW + 110).rate_per_second == pytest.approx(1.0)
    assert store.sends.status(send, NOW + 200).rate_per_second == 0.0


def test_status_unsubscribed(store: SqlStore) -> None:
    """Unsubscribed counts those a send reached who left since."""
    a, b, _ = people(store, "a", "b", "c")
    send = started(store).id
    settle(store, dotted(store, send, limit=1), S.SENT)
    store.subscribers.unsubscribe(a, NOW + 5)
    store.subscribers.unsubscribe(b, NOW + 5)
    assert store.sends.status(send, NOW + 6).unsubscribed == 1


def test_recipients(store: SqlStore) -> None:
    """The report gives each row's outcome, in order, across pages, and of one state where asked."""
    send = started(store, *(f"p{n}" for n in range(1005))).id
    claims = dotted(store, send)
    settle(store, claims[:1], S.FAILED, Reply(550, "5.1.1", "no such\0user"), now=NOW + 3)
    settle(store, claims[1:2], S.FAILED, Reply(0, "", "no message could be made"))
    first, second, *rest = store.sends.recipients(send, None)
    assert (first.code, first.reply, first.attempts, first.updated_at) == (550, "5.1.1 no such user", 1, NOW + 3)
    assert (second.code, second.reply) == (None, "no message could be made")
    assert [row.position for row in rest] == list(range(3, 1006))
    assert [row.position for row in store.sends.recipients(send, S.FAILED)] == [1, 2]
    with pytest.raises(SendError):
        list(store.sends.recipients(SendId("none"), None))
