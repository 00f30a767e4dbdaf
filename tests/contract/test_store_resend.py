"""Who is in doubt is sent to again: the same message, and only to those who may still be sent to; on both databases."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from math import inf
from typing import Any

import pytest
from sqlalchemy import text

from mailer.errors import SendError
from mailer.model.ledger import Recipient, Reply, SendId, SendKind, SendState
from mailer.model.ledger import RecipientState as S
from mailer.model.people import Subscriber
from mailer.model.settings import Delivery
from mailer.service.ports import Addressee
from mailer.service.reconcile import settle_overdue
from mailer.store import SqlStore, open_store
from mailer.store.database import Lock
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
    new,
    outcome,
    people,
    settle,
    started,
    states,
)

pytest_plugins = ("tests.servers.postgres",)


def import_ann(store: SqlStore, first_name: str = "Zoe", **attributes: str) -> None:
    """An import that changes ``a@example.com``."""
    store.subscribers.upsert([incoming("a", first_name=first_name, attributes=attributes)], NOW)


@pytest.fixture
def ann(store: SqlStore) -> tuple[SendId, Recipient]:
    """A running send to ``a`` and ``b``, and the claim of ``a``, who is Ann, has a plan, and has brought one."""
    people(store, "a", "b")
    import_ann(store, "Ann", plan="free")
    a = ident(store, "a")
    store.subscribers.upsert([incoming("n1")], NOW)
    with store.database.write() as connection:
        connection.execute(text("UPDATE subscribers SET referrer_id = :a WHERE email_key LIKE 'n1%'"), {"a": a})
    send = started(store, segment=[a, ident(store, "b")]).id
    (row,) = claim(store, send, limit=1)
    assert (row.subscriber.first_name, row.subscriber.attributes) == ("Ann", {"plan": "free"})
    assert row.subscriber.referrals_this_week == 1
    return send, row


def lose(store: SqlStore, row: Recipient, now: float = NOW) -> None:
    """The dot of a claim goes out, and no reply comes."""
    (key,) = keys([row])
    assert store.ledger.write(now, dots=[key]) == {key}
    store.ledger.write(now, outcomes=[outcome(key, S.IN_DOUBT, Reply(0))])


def again(store: SqlStore, send: SendId, now: float = NOW) -> Recipient:
    """Has the one in doubt sent to again by the operator; gives the claim."""
    assert store.sends.resolve(send, "resend", now) == 1
    (row,) = claim(store, send, limit=1, now=now)
    return row


def same_message(row: Recipient, first: Recipient) -> bool:
    """All of a claim that enters the message."""
    return replace(row, epoch=0, attempts=0) == replace(first, epoch=0, attempts=0)


MOMENTS = ("claimed", "dotted", "in_doubt", "deferred", "claimed again")


@pytest.mark.parametrize("moment", MOMENTS)
def test_changed_meanwhile(store: SqlStore, ann: tuple[SendId, Recipient], moment: str) -> None:
    """Whenever a person is changed between two dots, the second message is for the person of the first."""
    send, first = ann
    (key,) = keys([first])
    changes = {name: (lambda: import_ann(store, plan="paid", city="Ulm")) for name in MOMENTS}

    def maybe(now: str) -> None:
        if now == moment:
            changes[now]()
            with store.database.write() as connection:  # another is brought, too
                connection.execute(text("UPDATE subscribers SET referrer_id = :id"), {"id": first.subscriber.id})

    maybe("claimed")
    store.ledger.write(NOW, dots=[key])
    maybe("dotted")
    store.ledger.write(NOW, outcomes=[outcome(key, S.IN_DOUBT, Reply(0))])
    maybe("in_doubt")
    assert store.sends.resolve(send, "resend", NOW) == 1
    maybe("deferred")
    (second,) = claim(store, send, limit=1)
    maybe("claimed again")
    assert same_message(second, first)
    lose(store, second)
    third = again(store, send)
    assert same_message(third, first)
    store.ledger.write(NOW, releases=keys([third]))
    (fourth,) = claim(store, send, limit=1)
    assert same_message(fourth, first), "given back, or refused by a 4xx, a resend stays the same message"
    settle(store, keys([fourth]), S.DEFERRED, Reply(451))
    (fifth,) = claim(store, send, limit=1, now=NOW + 60)
    assert same_message(replace(fifth, first_attempt_at=None), first)


@pytest.mark.parametrize("end", ["released", "paused", "dead", "refused", "late refusal"])
def test_surely_not_delivered(store: SqlStore, ann: tuple[SendId, Recipient], end: str) -> None:
    """A message that surely wasn't delivered is made afresh, for the person as they are then."""
    send, first = ann
    (key,) = keys([first])
    import_ann(store)
    if end == "released":
        store.ledger.write(NOW, releases=[key])
    elif end == "paused":
        store.sends.pause(send, "", NOW)
        store.sends.resume(send, NOW)
    elif end == "dead":
        store.workers.beat(W2, NOW + 50)
        store.ledger.reap(NOW + 50, 20)
    elif end == "refused":
        settle(store, [key], S.DEFERRED, Reply(451))
    else:
        lose(store, first)
        settle(store, [key], S.DEFERRED, Reply(451))
    (second,) = claim(store, send, limit=1, worker=W2, now=NOW + 60)
    assert second.subscriber.first_name == "Zoe"
    import_ann(store, "Eve")
    lose(store, second, NOW + 60)
    store.sends.resolve(send, "resend", NOW + 60)
    (third,) = claim(store, send, limit=1, worker=W2, now=NOW + 60)
    assert third.subscriber == second.subscriber


def test_nothing_is_kept_of_others(store: SqlStore, ann: tuple[SendId, Recipient]) -> None:
    """Whom no message is under way for is changed without a trace; the second change overwrites nothing."""
    import_ann(store, "Zoe")
    import_ann(store, "Eve")
    store.subscribers.upsert([incoming("b", first_name="Bob"), incoming("c", first_name="Cy")], NOW)
    with store.database.read() as connection:
        kept = connection.execute(text("SELECT position, persona FROM recipients ORDER BY position")).all()
    assert [row.position for row in kept if row.persona is not None] == [1]
    assert '"Ann"' in kept[0].persona


def test_removed(store: SqlStore, ann: tuple[SendId, Recipient]) -> None:
    """Nothing of a removed person is kept; whoever is in doubt then stays so, and isn't sent to again."""
    send, first = ann
    lose(store, first)
    import_ann(store)
    store.subscribers.remove("a@example.com", NOW)
    with store.database.read() as connection:
        row = connection.execute(text("SELECT email, persona, subscriber FROM recipients WHERE position = 1")).one()
    assert tuple(row) == ("", None, None)
    import_ann(store)
    assert store.sends.resolve(send, "resend", NOW) == 0
    assert states(store, send)[0] == "in_doubt"
    assert store.sends.resolve(send, "sent", NOW) == 1


LEAVE: dict[str, Callable[[SqlStore], object]] = {
    "unsubscribed": lambda store: store.subscribers.unsubscribe(ident(store, "a"), NOW),
    "suppressed": lambda store: store.suppressions.add("a@example.com", "x", "x", NOW),
    "removed": lambda store: store.subscribers.remove("a@example.com", NOW),
}


@pytest.mark.parametrize("how", LEAVE)
def test_left_before_the_resend(store: SqlStore, ann: tuple[SendId, Recipient], how: str) -> None:
    """Whoever has left isn't sent to again, by nobody's wish, and stays in doubt: they may have got it."""
    send, first = ann
    lose(store, first)
    LEAVE[how](store)
    assert store.sends.resend_lost(NOW + 90, NOW - 1, NOW + 60) == 0
    assert store.sends.resolve(send, "resend", NOW) == 0
    assert states(store, send)[0] == "in_doubt"
    settle(store, dotted(store, send), S.SENT)
    assert store.sends.finish(NOW, resend_since=NOW - 1) == [send], "it waits for nobody"


@pytest.mark.parametrize("how", [*LEAVE, "cancelled", "seen by the claim", "seen by the dot"])
@pytest.mark.parametrize("state", [S.PENDING, S.CLAIMED, S.DEFERRED])
def test_left_before_the_second_dot(store: SqlStore, ann: tuple[SendId, Recipient], how: str, state: S) -> None:
    """A resend that ends before its dot is in doubt again, and not skipped: the first message may have arrived."""
    send, first = ann
    lose(store, first)
    store.sends.resolve(send, "resend", NOW)
    claimed = []
    if state is not S.DEFERRED:
        claimed = keys(claim(store, send, limit=1))
    if state is S.PENDING:
        store.ledger.write(NOW, releases=claimed)
    assert states(store, send)[0] == state
    if how in LEAVE:
        LEAVE[how](store)
    elif how == "cancelled":
        store.sends.cancel(send, NOW)
    else:
        with store.database.write() as connection:  # what one sees that runs just then
            connection.exec_driver_sql("UPDATE subscribers SET status = 'unsubscribed' WHERE email_key < 'b'")
        if state is S.CLAIMED or how == "seen by the dot":
            claimed = claimed if state is S.CLAIMED else keys(claim(store, send, limit=1))
            assert all(key[1] != 1 for key in store.ledger.write(NOW, dots=claimed))
        else:
            claim(store, send)
    assert states(store, send)[0] == "in_doubt"
    assert store.ledger.write(NOW, dots=[key for key in claimed if key[1] == 1]) == set()
    assert store.sends.resend_lost(NOW + 90, NOW - 1, NOW + 60) == 0


def test_resend_expires(store: SqlStore, ann: tuple[SendId, Recipient]) -> None:
    """A resend that is deferred for too long is in doubt again, and not expired."""
    send, first = ann
    lose(store, first)
    settle(store, keys([again(store, send)]), S.DEFERRED, Reply(451))
    assert store.ledger.expire(NOW + 100, 100) == 1
    assert states(store, send)[0] == "in_doubt"


def test_once(store: SqlStore, ann: tuple[SendId, Recipient]) -> None:
    """By itself a row is sent again once, however often it is lost; an operator may do it again."""
    send, first = ann
    lose(store, first)
    assert store.sends.resend_lost(NOW + 60, NOW - 1, NOW) == 1
    assert states(store, send)[0] == "deferred"
    (second,) = claim(store, send, limit=1, now=NOW + 60)
    assert same_message(second, first)
    lose(store, second, NOW + 60)
    assert store.sends.resend_lost(NOW + 200, NOW - 1, NOW + 100) == 0
    third = again(store, send, NOW + 200)
    lose(store, third, NOW + 200)
    assert store.sends.resend_lost(NOW + 400, NOW - 1, NOW + 300) == 0
    assert store.sends.resolve(send, "resend", NOW + 400) == 1


@pytest.mark.parametrize(
    ("since", "until", "moved"), [(NOW - 1, NOW, 1), (NOW, NOW + 9, 0), (NOW - 9, NOW - 1, 0), (NOW - 1, inf, 1)]
)
def test_lost_when(store: SqlStore, ann: tuple[SendId, Recipient], since: float, until: float, moved: int) -> None:
    """Only whoever was lost within the time that is asked for is sent to again."""
    lose(store, ann[1])
    assert store.sends.resend_lost(NOW + 10, since, until) == moved


@pytest.mark.parametrize("how", ["paused", "cancelled"])
def test_resend_needs_a_send_that_goes_on(store: SqlStore, ann: tuple[SendId, Recipient], how: str) -> None:
    """By itself nobody is sent to again in a send that is paused or cancelled."""
    send, first = ann
    lose(store, first)
    store.sends.pause(send, "", NOW) if how == "paused" else store.sends.cancel(send, NOW)
    assert store.sends.resend_lost(NOW + 60, NOW - 1, NOW) == 0
    if how == "cancelled":
        with pytest.raises(SendError):
            store.sends.resolve(send, "resend", NOW)


def test_finished_runs_again(store: SqlStore, ann: tuple[SendId, Recipient]) -> None:
    """A finished send runs again for a resend; one that is asked to wait for it isn't finished over it."""
    send, first = ann
    lose(store, first)
    settle(store, dotted(store, send), S.SENT)
    assert store.sends.finish(NOW, resend_since=NOW - 1) == []
    assert store.sends.finish(NOW, resend_since=NOW) == [send]
    assert store.sends.resend_lost(NOW + 60, NOW - 1, NOW) == 1
    found = store.sends.get(send)
    assert (found.state, found.finished_at) == (SendState.RUNNING, None)
    assert [batch.first for batch in store.ledger.unfinished(NOW + 60, 10)] == [1]
    lose(store, claim(store, send, now=NOW + 60)[0])
    assert store.sends.finish(NOW + 90, resend_since=NOW - 1) == [send]


def test_test_send(store: SqlStore) -> None:
    """A test-send's message, too, is the same the second time; without its persona it can't be."""
    people(store, "a", "b")
    import_ann(store, "Ann")
    for worker in (W1, W2):
        store.workers.register(worker, "host", 1, NOW)
    persona = store.subscribers.find("b@example.com")
    to = [Addressee("a@example.com", None), Addressee("e@example.org", persona), Addressee("x@example.org", None)]
    send = store.sends.create_test(new(kind=SendKind.TEST), to, NOW).id
    first = claim(store, send)
    assert [one.subscriber.first_name for one in first] == ["Ann", "", ""]
    for one in first:
        lose(store, one)
    import_ann(store)
    store.subscribers.remove("b@example.com", NOW)
    assert store.sends.resolve(send, "resend", NOW) == 2
    second = claim(store, send)
    assert [same_message(two, one) for two, one in zip(second, [first[0], first[2]], strict=True)] == [True, True]
    assert second[1].subscriber == Subscriber(id=0, email="x@example.org")
    assert counts(store, send) == {"claimed": 2, "in_doubt": 1}


@pytest.mark.parametrize("policy", ["hold", "resend"])
def test_policy(store: SqlStore, ann: tuple[SendId, Recipient], policy: Any) -> None:
    """``hold`` leaves the in-doubt to the operator; ``resend`` sends to each once more, and then leaves them, too."""
    send, first = ann
    settle(store, dotted(store, send), S.SENT)
    delivery = Delivery(in_doubt=policy, retry_after=60, retry_for=1000)
    lose(store, first)
    settle_overdue(store, delivery, NOW + 5)
    assert states(store, send)[0] == "in_doubt"
    assert store.sends.get(send).state is (SendState.FINISHED if policy == "hold" else SendState.RUNNING)
    settle_overdue(store, delivery, NOW + 60)
    assert states(store, send)[0] == ("in_doubt" if policy == "hold" else "deferred")
    if policy == "resend":
        store.workers.register(W1, "host", 1, NOW + 60)
        lose(store, claim(store, send, now=NOW + 60)[0], NOW + 60)
        for later in (61, 120, 500, 5000):
            settle_overdue(store, delivery, NOW + later)
            assert states(store, send)[0] == "in_doubt"
        assert store.sends.get(send).state is SendState.FINISHED


def test_policy_changed(store: SqlStore, ann: tuple[SendId, Recipient]) -> None:
    """Whoever fell in doubt longer ago than ``retry_for`` gets no old issue because the setting was changed."""
    send, first = ann
    lose(store, first)
    settle_overdue(store, Delivery(in_doubt="resend", retry_after=60, retry_for=1000), NOW + 1000)
    assert states(store, send)[0] == "in_doubt"


def test_import_waits_for_a_claim(postgres_url: str) -> None:
    """An import waits for an uncommitted claim that has read the person, and keeps who they were (PostgreSQL)."""
    store = open_store(postgres_url)
    try:
        people(store, "a")
        import_ann(store, "Ann")
        send = started(store)
        with ThreadPoolExecutor(1) as pool:
            with store.database.write() as connection:
                store.database.lock_shared(connection, Lock.SEND, [send.key])
                connection.execute(text("UPDATE recipients SET state = 'claimed', epoch = 1"))
                importing: Future[Any] = pool.submit(import_ann, store)
                with pytest.raises(TimeoutError):
                    importing.result(0.3)
            importing.result(10)
        with store.database.read() as connection:
            assert '"Ann"' in connection.execute(text("SELECT persona FROM recipients")).scalar_one()
    finally:
        store.close()


def test_import_and_new_send(postgres_url: str) -> None:
    """A send can't be claimed while an import that doesn't know of it is under way (PostgreSQL)."""
    store = open_store(postgres_url)
    try:
        people(store, "a")
        with ThreadPoolExecutor(1) as pool:
            with store.database.write() as connection:
                store.database.lock(connection, Lock.PEOPLE)
                creating: Future[Any] = pool.submit(started, store)
                with pytest.raises(TimeoutError):
                    creating.result(0.3)
            assert creating.result(10).state is SendState.RUNNING
    finally:
        store.close()
