"""What overlaps: threads and processes on one database, SQLite and PostgreSQL.

Each case is run several times, with the contenders begun at once: the claim must hold whichever of them comes first.
"""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, text

from mailer.bounces.event import Event, EventType
from mailer.errors import SendError
from mailer.model.ledger import RecipientState as S
from mailer.model.ledger import SendState, WorkerId
from mailer.model.people import SubscriberStatus
from mailer.service.events import act_on_events
from mailer.service.inbox import NewEvent
from mailer.service.ports import Key
from mailer.store import SqlStore, migrate, open_store
from mailer.store.database import Lock
from mailer.wire.message_id import make_message_id
from tests.contract.store_cases import NOW, W1, claim, counts, dotted, ident, keys, new, people, settle, started, states
from tests.servers.postgres import PostgresServer
from tests.servers.waiting import until

pytest_plugins = ("tests.servers.postgres",)

ROUNDS = 6
SECRET = b"a key of sixteen and more octets"


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """Runs the calls in threads that begin together; gives what each returned or raised."""
    barrier = threading.Barrier(len(calls))

    def run(call: Callable[[], Any]) -> Any:
        barrier.wait(10)
        try:
            return call()
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result() for future in [pool.submit(run, call) for call in calls]]


def dots_until(
    store: SqlStore, claims: list[Key], stop: Callable[[], object], size: int = 4
) -> tuple[set[Key], set[Key]]:
    """Asks for dots, a group at a time, while another thread calls ``stop``.

    Gives those granted by calls that began before ``stop`` had returned, and those by calls that began after.
    """
    stopped = threading.Event()
    before: set[Key] = set()
    after: set[Key] = set()

    def dotting() -> None:
        for start in range(0, len(claims), size):
            late = stopped.is_set()
            (after if late else before).update(store.ledger.write(NOW, dots=claims[start : start + size]))

    def stopping() -> None:
        time.sleep(0.01)
        stop()
        stopped.set()

    assert at_once(dotting, stopping) == [None, None]
    return before, after


@pytest.mark.parametrize("how", ["pause", "cancel"])
def test_stop_is_exact(store: SqlStore, how: str) -> None:
    """After pause or cancel has returned no dot is granted, and what it didn't stop was granted before."""
    people(store, *(f"p{n}" for n in range(80)))
    for number in range(ROUNDS):
        send = started(store, slug=f"kw{number}").id
        claims = keys(claim(store, send))
        stop = (
            (lambda s=send: store.sends.pause(s, "", NOW))
            if how == "pause"
            else (lambda s=send: store.sends.cancel(s, NOW))
        )
        before, after = dots_until(store, claims, stop)
        assert after == set()
        left = {"pending" if how == "pause" else "skipped": 80 - len(before), "dotted": len(before)}
        assert counts(store, send) == {state: count for state, count in left.items() if count}


@pytest.mark.parametrize("how", ["unsubscribe", "suppress", "remove"])
def test_leaving_is_exact(store: SqlStore, how: str) -> None:
    """After an unsubscribe, a suppression or a removal has returned, that person gets no dot."""
    send = started(store, *(f"p{n}" for n in range(40 * ROUNDS))).id
    for number in range(ROUNDS):
        claims = keys(claim(store, send, limit=40))
        last = claims[-1]
        name = f"p{last[1] - 1}"
        stop: dict[str, Callable[[], object]] = {
            "unsubscribe": lambda n=name: store.subscribers.unsubscribe(ident(store, n), NOW),
            "suppress": lambda n=name: store.suppressions.add(f"{n}@example.com", "x", "x", NOW),
            "remove": lambda n=name: store.subscribers.remove(f"{n}@example.com", NOW),
        }
        before, after = dots_until(store, claims, stop[how])
        assert last not in after, number
        assert states(store, send)[last[1] - 1] == ("dotted" if last in before else "skipped")


@pytest.mark.parametrize("beside", ["remove", "import"])
def test_leaving_beside_removal_lasts(store: SqlStore, beside: str) -> None:
    """Who unsubscribes while being removed, or while an import brings them back, is unsubscribed after the import."""
    for number in range(4 * ROUNDS):
        name = f"p{number}"
        (one,) = people(store, name)
        if beside == "import":
            store.subscribers.remove(f"{name}@example.com", NOW)
        other = {
            "remove": lambda n=name: store.subscribers.remove(f"{n}@example.com", NOW),
            "import": lambda n=name: people(store, n) and None,
        }[beside]
        answers = at_once(lambda n=one: store.subscribers.unsubscribe(n, NOW), other)
        assert not any(isinstance(answer, Exception) for answer in answers), answers
        assert people(store, name) == [one]
        found = store.subscribers.find(f"{name}@example.com")
        assert found is not None
        assert found.status is SubscriberStatus.UNSUBSCRIBED, number


def test_leaving_beside_a_return_lasts(postgres_url: str) -> None:
    """An import that brings somebody back right after their unsubscribe found nobody loses it no more (PostgreSQL)."""
    store, other = open_store(postgres_url), open_store(postgres_url)
    try:
        (one,) = people(store, "a")
        store.subscribers.remove("a@example.com", NOW)
        back: list[int] = []

        @event.listens_for(store.database.engine, "after_execute")
        def bring_back(_: Any, clause: Any, *__: Any) -> None:
            if not back and "status = 'unsubscribed'" in str(clause):
                back.append(0)
                back[0] = people(other, "a")[0]

        assert store.subscribers.unsubscribe(one, NOW) is True
        assert back == [one]
        found = other.subscribers.find("a@example.com")
        assert found is not None
        assert found.status is SubscriberStatus.UNSUBSCRIBED
    finally:
        store.close()
        other.close()


def test_pause_waits_for_a_dot(postgres_url: str) -> None:
    """A pause doesn't return while a dot of its send is being committed (PostgreSQL: the send's lock)."""
    store = open_store(postgres_url)
    try:
        send = started(store, "a")
        with ThreadPoolExecutor(1) as pool:
            with store.database.write() as connection:
                store.database.lock_shared(connection, Lock.SEND, [send.key])
                pausing: Future[Any] = pool.submit(store.sends.pause, send.id, "", NOW)
                time.sleep(0.3)
                assert not pausing.done()
            assert pausing.result(10).state is SendState.PAUSED
    finally:
        store.close()


def test_dot_takes_the_lock_that_pause_takes(postgres_url: str) -> None:
    """A dot waits while its send is being paused, and is then refused (PostgreSQL)."""
    store = open_store(postgres_url)
    try:
        send = started(store, "a")
        claims = keys(claim(store, send.id))
        with ThreadPoolExecutor(1) as pool:
            with store.database.write() as connection:
                store.database.lock(connection, Lock.SEND, [send.key])
                connection.execute(text("UPDATE sends SET state = 'paused'"))
                dotting: Future[Any] = pool.submit(store.ledger.write, NOW, dots=claims)
                time.sleep(0.3)
                assert not dotting.done()
            assert dotting.result(10) == set()
        assert counts(store, send.id) == {"pending": 1}
    finally:
        store.close()


def test_unsubscribe_waits_for_a_dot(postgres_url: str) -> None:
    """An unsubscribe doesn't return while a dot that couldn't see it is being committed (PostgreSQL: the row)."""
    store = open_store(postgres_url)
    try:
        send = started(store, "a").id
        claim(store, send)
        with ThreadPoolExecutor(1) as pool:
            with store.database.write() as connection:
                connection.execute(text("UPDATE recipients SET state = 'dotted'"))
                leaving: Future[Any] = pool.submit(store.subscribers.unsubscribe, ident(store, "a"), NOW)
                time.sleep(0.3)
                assert not leaving.done()
            assert leaving.result(10) is True
        assert counts(store, send) == {"dotted": 1}
    finally:
        store.close()


HELD = "SELECT 1 FROM recipients WHERE send = :send AND position = 2 FOR UPDATE"

LEAVING: dict[str, Callable[[SqlStore], object]] = {
    "unsubscribe": lambda store: store.subscribers.unsubscribe(ident(store, "a"), NOW),
    "suppress": lambda store: store.suppressions.add("a@example.com", "x", "x", NOW),
    "remove": lambda store: store.subscribers.remove("a@example.com", NOW),
}


def waiting(store: SqlStore) -> int:
    """How many transactions wait for a lock (PostgreSQL)."""
    asked = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with store.database.read() as connection:
        return int(connection.execute(text(asked)).scalar_one())


def meet(store: SqlStore, send: int, group: Callable[[], Any], leaving: Callable[[], Any]) -> tuple[Any, Any]:
    """What both give when ``group`` holds the message of ``a`` in this send and waits for that of ``b``, and somebody
    ends the mail of ``a``, before it goes on to the message of ``a`` in the other send."""
    with ThreadPoolExecutor(2) as pool:
        with store.database.write() as connection:
            connection.execute(text(HELD), {"send": send})
            first: Future[Any] = pool.submit(group)
            assert until(lambda: waiting(store) == 1)
            second: Future[Any] = pool.submit(leaving)
            assert until(lambda: waiting(store) == 2)
        return first.result(30), second.result(30)


def test_removal_while_events_are_acted_on(postgres_url: str) -> None:
    """Removing a person while events settle their messages: neither waits for the other for ever, and both have their
    effect (PostgreSQL: an index gives a person's rows in the order in which they changed last)."""
    store = open_store(postgres_url)
    try:
        people(store, "a", "b")
        one, two = (started(store, slug=slug) for slug in ("kw1", "kw2"))
        for send in (two, one):
            settle(store, dotted(store, send.id), S.IN_DOUBT)
        ids = [make_message_id(SECRET, send.id, n, "example.com") for send, n in ((one, 1), (one, 2), (two, 1))]
        told = [Event(EventType.DELIVERED, "", message_id=name, event_id=name, timestamp=NOW) for name in ids]
        store.events.add("sendgrid", [NewEvent(event) for event in told], NOW)
        answers = meet(
            store, one.key, lambda: act_on_events(store.events, SECRET, 3, NOW), lambda: LEAVING["remove"](store)
        )
        assert answers == (3, True)
        assert [states(store, send.id) for send in (one, two)] == [["sent", "sent"], ["sent", "in_doubt"]]
        assert store.subscribers.find("a@example.com") is None
    finally:
        store.close()


@pytest.mark.parametrize("how", LEAVING)
def test_leaving_while_two_sends_dot(postgres_url: str, how: str) -> None:
    """Whoever leaves while a worker asks for the dots of two messages to them waits for both, and it gets both."""
    store = open_store(postgres_url)
    try:
        people(store, "a", "b")
        one, two = (started(store, slug=slug) for slug in ("kw1", "kw2"))
        second = keys(claim(store, two.id))
        first = keys(claim(store, one.id))
        dots = [*first, second[0]]
        answers = meet(store, one.key, lambda: store.ledger.write(NOW, dots=dots), lambda: LEAVING[how](store))
        assert answers == (set(dots), True)
        assert [states(store, send.id) for send in (one, two)] == [["dotted", "dotted"], ["dotted", "claimed"]]
    finally:
        store.close()


def test_claims_never_share(store_url: str) -> None:
    """Two workers with stores of their own never hold the same row, and together they hold all."""
    one, two = open_store(store_url), open_store(store_url)
    try:
        send = started(one, *(f"p{n}" for n in range(300))).id

        def work(store: SqlStore, worker: str) -> list[int]:
            mine: list[int] = []
            while rows := claim(store, send, limit=7, worker=WorkerId(worker)):
                mine += [row.position for row in rows]
            return mine

        found = at_once(lambda: work(one, "w1"), lambda: work(two, "w2"))
        assert sorted(found[0] + found[1]) == list(range(1, 301))
    finally:
        one.close()
        two.close()


def test_zombie_dots(store: SqlStore) -> None:
    """A worker that wakes while it is taken for dead: each row is given to one, or is in doubt; none to two."""
    people(store, *(f"p{n}" for n in range(60)))
    for number in range(ROUNDS):
        zombie = WorkerId(f"z{number}")
        store.workers.register(zombie, "host", 1, NOW - 100)
        send = started(store, slug=f"kw{number}").id
        claims = keys(claim(store, send, worker=zombie))
        calls = [lambda c=claims[i : i + 6]: store.ledger.write(NOW, dots=c) for i in range(0, 60, 6)]
        answers = at_once(*calls, lambda: store.ledger.reap(NOW, 20))
        assert not [answer for answer in answers if isinstance(answer, Exception)], answers
        granted = set().union(*answers[:-1])
        store.ledger.reap(NOW, 20)
        after = counts(store, send)
        assert after.get("in_doubt", 0) == len(granted)
        again = dotted(store, send)
        assert {position for _, position, _ in again}.isdisjoint(position for _, position, _ in granted)
        assert len(again) + len(granted) == 60
        settle(store, again, S.SENT)


def test_create_at_once(store_url: str) -> None:
    """Of several who send the same issue at once one succeeds; the others are told."""
    stores = [open_store(store_url) for _ in range(3)]
    try:
        people(stores[0], *(f"p{n}" for n in range(50)))
        for number in range(ROUNDS):
            answers = at_once(*(lambda s=s, n=number: s.sends.create(new(f"kw{n}"), None, NOW) for s in stores))
            failed = [answer for answer in answers if isinstance(answer, Exception)]
            assert len(failed) == 2
            assert all(isinstance(error, SendError) and "was sent already" in str(error) for error in failed)
    finally:
        for store in stores:
            store.close()


def test_import_at_once(store_url: str) -> None:
    """Two imports of the same people at once add each once."""
    one, two = open_store(store_url), open_store(store_url)
    try:
        names = [f"p{n}" for n in range(300)]
        for answer in at_once(lambda: people(one, *names), lambda: people(two, *names)):
            assert not isinstance(answer, Exception), answer
        assert one.subscribers.count() == 300
    finally:
        one.close()
        two.close()


def test_status_adds_up_under_way(store: SqlStore) -> None:
    """The counts add up at every moment of a send that is being worked on and steered."""
    send = started(store, *(f"p{n}" for n in range(200))).id
    done = threading.Event()

    def work() -> None:
        try:
            while rows := claim(store, send, limit=9):
                settle(store, list(store.ledger.write(NOW, dots=keys(rows))), S.SENT)
        finally:
            done.set()

    def watch() -> int:
        looks = 0
        while not done.is_set():
            counts(store, send)
            looks += 1
        return looks

    _, looks = at_once(work, watch)
    assert looks > 0
    assert counts(store, send) == {"sent": 200}


def test_finish_and_resend(store: SqlStore) -> None:
    """A send whose in-doubt are being sent again isn't finished over them."""
    people(store, "a")
    for number in range(ROUNDS):
        send = started(store, slug=f"kw{number}").id
        settle(store, dotted(store, send), S.IN_DOUBT)
        at_once(lambda: store.sends.finish(NOW), lambda s=send: store.sends.resolve(s, "resend", NOW))
        assert store.sends.get(send).state is SendState.RUNNING
        settle(store, dotted(store, send), S.SENT)
        store.sends.finish(NOW)


def _migrate(url: str, begin: Any, answers: Any) -> None:
    begin.wait(30)
    try:
        answers.put(migrate(url))
    except Exception as error:
        answers.put(repr(error))


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_migrate_at_once(kind: str, tmp_path: Path, postgres: PostgresServer) -> None:
    """Two processes that migrate the same empty database at once: one does it, the other finds it done."""
    url = f"sqlite:///{tmp_path}/new.db" if kind == "sqlite" else postgres.fresh("template1")
    context = multiprocessing.get_context("spawn")
    begin, answers = context.Event(), context.Queue()
    both = [context.Process(target=_migrate, args=(url, begin, answers)) for _ in range(2)]
    for process in both:
        process.start()
    time.sleep(1)
    begin.set()
    found = sorted(answers.get(timeout=60) for _ in both)
    for process in both:
        process.join(30)
    assert found == [("", "0003"), ("0003", "0003")]
    store = open_store(url)
    assert started(store, "a").audience == 1
    assert claim(store, store.sends.all()[0].id, worker=W1)
    store.close()
    if kind == "postgresql":
        postgres.drop(url)
