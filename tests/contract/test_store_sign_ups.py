"""Requests to be subscribed, their mails and their confirmation, on both databases."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

import pytest
from sqlalchemy import text

from mailer.errors import SendError
from mailer.model.ledger import WorkerId
from mailer.model.people import BOUNCED, COMPLAINED, SOFT_BOUNCES, Preferences, SubscriberStatus
from mailer.service.sign_up import (
    CLAIM_SECONDS,
    LINK_SECONDS,
    MAILS,
    PAUSE_SECONDS,
    Confirmed,
    SignUp,
    SignUpsExhausted,
)
from mailer.store import SqlStore
from tests.contract.store_cases import NOW, claim, dotted, ident, new, people, started, states

pytest_plugins = ("tests.servers.postgres",)

MANY = 1000
LATER = NOW + 60


def sign_up(name: str = "anna", **more: object) -> SignUp:
    return SignUp(f"{name}@example.com", f"{name}@example.com", **more)  # type: ignore[arg-type]


def asked(store: SqlStore, name: str = "anna", at: float = NOW, **more: object) -> int:
    number = store.sign_ups.ask(sign_up(name, **more), at, MANY)
    assert number is not None
    return number


def confirm(store: SqlStore, number: int, at: float = LATER, asked_at: float = NOW) -> Confirmed:
    return store.sign_ups.confirm(number, int(asked_at), at)


def subscribe(store: SqlStore, name: str = "anna", **more: object) -> int:
    """By asking and confirming; gives the subscriber's id."""
    assert confirm(store, asked(store, name, **more)) is Confirmed.SUBSCRIBED
    return ident(store, name)


def status(store: SqlStore, name: str = "anna") -> SubscriberStatus | None:
    found = store.subscribers.find(f"{name}@example.com")
    return None if found is None else found.status


def reasons(store: SqlStore) -> dict[str, str]:
    return {one.email: one.reason for one in store.suppressions.each()}


def audience(store: SqlStore, slug: str) -> list[str]:
    """Who would get a send now."""
    try:
        send = store.sends.create(new(slug), None, LATER)
    except SendError:
        return []
    return [row.email for row in store.sends.recipients(send.id, None)]


def test_back_after_removal(store: SqlStore) -> None:
    """Who had left, was removed and signs up again is subscribed, and their old mails' links are theirs again."""
    number = subscribe(store)
    store.subscribers.unsubscribe(number, NOW)
    store.subscribers.remove("anna@example.com", NOW)
    again = NOW + 2 * PAUSE_SECONDS
    assert confirm(store, asked(store, at=again), again + 1, again) is Confirmed.SUBSCRIBED
    assert (ident(store, "anna"), status(store)) == (number, SubscriberStatus.SUBSCRIBED)
    assert store.subscribers.unsubscribe(number, NOW) is True


# --- asking -----------------------------------------------------------------------------------------------------------


def test_asking_changes_nobody(store: SqlStore) -> None:
    """A request that nobody confirms makes no subscriber, changes none, and lifts no suppression."""
    people(store, "berta")
    store.subscribers.unsubscribe(ident(store, "berta"), NOW)
    store.suppressions.add("cleo@example.com", BOUNCED, "test", NOW)
    for name in ("anna", "berta", "cleo"):
        asked(store, name, first_name="Mallory")
    assert status(store, "anna") is None
    assert status(store, "berta") is SubscriberStatus.UNSUBSCRIBED
    assert reasons(store) == {"cleo@example.com": BOUNCED}
    assert audience(store, "kw24") == []


def test_one_mail_an_hour(store: SqlStore) -> None:
    """An address, however its key is written by others, is asked for once an hour and three times a week."""
    times = [NOW + n * PAUSE_SECONDS for n in range(MAILS)]
    assert store.sign_ups.ask(sign_up(), NOW, MANY) is not None
    assert store.sign_ups.ask(sign_up(), NOW + PAUSE_SECONDS - 1, MANY) is None
    assert store.sign_ups.ask(sign_up("berta"), NOW + 1, MANY) is not None
    assert all(store.sign_ups.ask(sign_up(), at, MANY) is not None for at in times[1:])
    assert store.sign_ups.ask(sign_up(), times[-1] + 2 * PAUSE_SECONDS, MANY) is None
    assert store.sign_ups.ask(sign_up(), NOW + LINK_SECONDS + 1, MANY) is not None


def test_many_at_once(store: SqlStore) -> None:
    """Requests for one address that come at the same moment cause one mail."""
    found: list[int | None] = []
    rounds = 20
    barrier = threading.Barrier(6)

    def ask() -> None:
        for n in range(rounds):
            barrier.wait()
            found.append(store.sign_ups.ask(sign_up(f"p{n}"), NOW, MANY))

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6 * rounds
    assert sum(number is not None for number in found) == rounds


def test_a_days_mails(store: SqlStore) -> None:
    """When a day's mails are used up, nobody's request is taken, known or not; a day later it is."""
    for n in range(3):
        assert store.sign_ups.ask(sign_up(f"p{n}"), NOW + n, 3) is not None
    for name in ("p0", "anna"):
        with pytest.raises(SignUpsExhausted):
            store.sign_ups.ask(sign_up(name), NOW + 10, 3)
    assert store.sign_ups.ask(sign_up(), NOW + 86_400, 3) is not None


def test_what_a_stranger_types(store: SqlStore) -> None:
    """A NUL, a lone surrogate and a text without end reach no database."""
    number = asked(store, first_name="A\0\ud800" + "x" * 5000)
    assert confirm(store, number) is Confirmed.SUBSCRIBED
    found = store.subscribers.find("anna@example.com")
    assert found is not None
    assert found.first_name == "A ?" + "x" * 997


# --- the mail ---------------------------------------------------------------------------------------------------------


def test_claiming(store: SqlStore) -> None:
    """A mail is due at once, and one worker's at a time; whoever dies with it leaves it to the next after a while."""
    number = asked(store)
    assert store.sign_ups.due(NOW - 1, 10) == []
    assert store.sign_ups.due(NOW, 10) == [number]
    claimed = store.sign_ups.claim(number, NOW)
    assert claimed is not None
    assert (claimed.number, claimed.email, claimed.asked_at, claimed.attempts) == (number, "anna@example.com", NOW, 0)
    assert store.sign_ups.claim(number, NOW + 1) is None
    assert store.sign_ups.due(NOW + 1, 10) == []
    assert store.sign_ups.due(NOW + CLAIM_SECONDS, 10) == [number]
    assert store.sign_ups.claim(number, NOW + CLAIM_SECONDS) is not None


def test_settling(store: SqlStore) -> None:
    """A mail that has to wait is due when it was told to be, with its tries counted; one that is done never again."""
    first, second = asked(store), asked(store, "berta")
    assert store.sign_ups.due(NOW, 1) == [first]
    store.sign_ups.settle(first, 1, NOW + 300)
    assert store.sign_ups.due(NOW + 299, 10) == [second]
    assert store.sign_ups.claim(first, NOW + 299) is None
    again = store.sign_ups.claim(first, NOW + 300)
    assert again is not None
    assert again.attempts == 1
    store.sign_ups.settle(first, 2, None)
    assert store.sign_ups.due(NOW + LINK_SECONDS, 10) == [second]
    assert store.sign_ups.claim(4711, NOW) is None


@pytest.mark.parametrize("reason", [None, BOUNCED, SOFT_BOUNCES, COMPLAINED, "added by hand"])
@pytest.mark.parametrize("known", [None, SubscriberStatus.SUBSCRIBED, SubscriberStatus.UNSUBSCRIBED])
def test_who_it_is(store: SqlStore, reason: str | None, known: SubscriberStatus | None) -> None:
    """Whoever claims a mail learns whose address it is now, and why mail may not go there."""
    number = asked(store)
    if known is not None:
        people(store, "anna")
    if known is SubscriberStatus.UNSUBSCRIBED:
        store.subscribers.unsubscribe(ident(store, "anna"), NOW)
    if reason is not None:
        store.suppressions.add("anna@example.com", reason, "test", NOW)
    claimed = store.sign_ups.claim(number, NOW)
    assert claimed is not None
    assert (claimed.status, claimed.suppression) == (known, reason)


# --- confirming -------------------------------------------------------------------------------------------------------


def test_new(store: SqlStore) -> None:
    """Confirming makes a subscriber with the name that was given, who is in the next send's audience."""
    subscribe(store, first_name="Anna")
    found = store.subscribers.find("anna@example.com")
    assert found is not None
    assert (found.email, found.first_name, found.status) == ("anna@example.com", "Anna", SubscriberStatus.SUBSCRIBED)
    assert audience(store, "kw24") == ["anna@example.com"]


def test_back_again(store: SqlStore) -> None:
    """Whoever had left is subscribed again, keeps what is known of them, and has no pause from before."""
    people(store, "anna")
    store.preferences.save(ident(store, "anna"), Preferences("Anna", "Alt", "de", NOW + 1e7), NOW)
    store.subscribers.unsubscribe(ident(store, "anna"), NOW)
    subscribe(store, first_name="Mallory")
    found = store.preferences.find(ident(store, "anna"))
    assert found == Preferences("Anna", "Alt", "de", None)
    assert audience(store, "kw24") == ["anna@example.com"]


def test_name_for_the_nameless(store: SqlStore) -> None:
    """A name is filled in where there was none; a message in doubt is made for the person as they were before."""
    send = started(store, "anna")
    key = dotted(store, send.id)[0]
    store.ledger.reap(NOW + 100, 10)
    store.ledger.reap(NOW + 200, 10)
    assert states(store, send.id) == ["in_doubt"]
    store.suppressions.add("anna@example.com", BOUNCED, "test", NOW)
    subscribe(store, first_name="Anna")
    assert store.sends.resolve(send.id, "resend", LATER) == 1
    worker = WorkerId("w9")
    store.workers.register(worker, "host", 1, LATER)
    claimed = claim(store, send.id, worker=worker, now=LATER)
    assert [one.subscriber.first_name for one in claimed] == [""]
    assert claimed[0].epoch > key[2]
    found = store.subscribers.find("anna@example.com")
    assert found is not None
    assert found.first_name == "Anna"


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("reason", [BOUNCED, SOFT_BOUNCES])
def test_after_a_bounce(store: SqlStore, reason: str, known: bool) -> None:
    """Confirming lifts a suppression by bounces, and forgets those that were counted; they are in the next audience."""
    if known:
        people(store, "anna")
    store.suppressions.add("anna@example.com", reason, "test", NOW)
    with store.database.write() as connection:
        connection.execute(text("INSERT INTO soft_bounces VALUES ('anna@example.com', 1, 1.0)"))
    assert audience(store, "kw24") == []
    subscribe(store)
    assert reasons(store) == {}
    assert audience(store, "kw25") == ["anna@example.com"]
    with store.database.read() as connection:
        assert connection.execute(text("SELECT count(*) FROM soft_bounces")).scalar() == 0


@pytest.mark.parametrize("reason", [COMPLAINED, "added by hand", "imported"])
def test_barred(store: SqlStore, reason: str) -> None:
    """A complaint, or a suppression by an operator, is never lifted by confirming, even if it came after the mail; the
    link still works once the operator has lifted it."""
    number = asked(store)
    store.suppressions.add("anna@example.com", reason, "test", NOW + 1)
    assert confirm(store, number) is Confirmed.BARRED
    assert (status(store), reasons(store)) == (None, {"anna@example.com": reason})
    assert audience(store, "kw24") == []
    store.suppressions.remove("anna@example.com")
    assert confirm(store, number) is Confirmed.SUBSCRIBED
    assert audience(store, "kw25") == ["anna@example.com"]


def test_repeated(store: SqlStore) -> None:
    """A second confirmation gives the same answer and changes nothing; all requests for an address are used up by one,
    and the mail of another isn't sent any more."""
    first, second = asked(store), asked(store, at=NOW + PAUSE_SECONDS)
    assert confirm(store, first) is Confirmed.SUBSCRIBED
    before = store.subscribers.find("anna@example.com")
    assert confirm(store, first, LATER + 1000) is Confirmed.SUBSCRIBED
    assert confirm(store, second, LATER + 4000, NOW + PAUSE_SECONDS) is Confirmed.SUBSCRIBED
    assert store.subscribers.find("anna@example.com") == before
    assert store.sign_ups.due(NOW + LINK_SECONDS - 1, 10) == []
    store.sign_ups.settle(second, 1, NOW + 1)  # by a worker that had it meanwhile
    assert store.sign_ups.due(NOW + LINK_SECONDS - 1, 10) == []


def test_used_up(store: SqlStore) -> None:
    """Whoever leaves after confirming, or whose address bounces, isn't brought back by the old link, nor by another one
    of that time."""
    first, second = asked(store), asked(store, at=NOW + PAUSE_SECONDS)
    assert confirm(store, first, NOW + 2 * PAUSE_SECONDS) is Confirmed.SUBSCRIBED
    store.subscribers.unsubscribe(ident(store, "anna"), NOW + 3 * PAUSE_SECONDS)
    for number, at in ((first, NOW), (second, NOW + PAUSE_SECONDS)):
        assert confirm(store, number, NOW + 4 * PAUSE_SECONDS, at) is Confirmed.GONE
    assert status(store) is SubscriberStatus.UNSUBSCRIBED

    other = asked(store, "berta")
    assert confirm(store, other) is Confirmed.SUBSCRIBED
    store.suppressions.add("berta@example.com", BOUNCED, "test", LATER)
    assert confirm(store, other, LATER + 1) is Confirmed.GONE
    assert reasons(store) == {"berta@example.com": BOUNCED}


def test_at_once(store: SqlStore) -> None:
    """The button pressed many times at the same moment makes one subscriber, and each gets the same answer."""
    number = asked(store)
    found: list[Confirmed] = []
    barrier = threading.Barrier(6)

    def press() -> None:
        barrier.wait()
        found.append(confirm(store, number))

    threads = [threading.Thread(target=press) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [Confirmed.SUBSCRIBED] * 6
    assert store.subscribers.count() == 1


def test_too_late(store: SqlStore) -> None:
    """A link works for a week to the second, then the request is deleted with all it says."""
    number = asked(store)
    asked(store, "berta", at=NOW + 1)
    assert confirm(store, number, NOW + LINK_SECONDS) is Confirmed.GONE
    assert store.sign_ups.forget(NOW + LINK_SECONDS - 1) == 0
    assert store.sign_ups.forget(NOW + LINK_SECONDS) == 1
    assert store.sign_ups.forget(NOW + LINK_SECONDS) == 0
    with store.database.read() as connection:
        assert list(connection.execute(text("SELECT email FROM sign_ups")).scalars()) == ["berta@example.com"]


def test_another_request(store: SqlStore) -> None:
    """A number fits only together with the second in which it was asked, and is never given to another request."""
    number = asked(store)
    assert confirm(store, number, asked_at=NOW - 1) is Confirmed.GONE
    assert confirm(store, number + 1) is Confirmed.GONE
    store.sign_ups.forget(NOW + LINK_SECONDS)
    assert asked(store, "berta", at=NOW) > number


def test_removed(store: SqlStore) -> None:
    """Removing somebody forgets what was asked for them: an old link brings nobody back."""
    people(store, "anna")
    number, other = asked(store), asked(store, "berta")
    assert store.subscribers.remove("anna@example.com", LATER)
    assert store.sign_ups.due(LATER, 10) == [other]
    assert confirm(store, number, LATER + 1) is Confirmed.GONE
    assert status(store) is None
    assert confirm(store, other, LATER + 1) is Confirmed.SUBSCRIBED


# --- who recommended it -----------------------------------------------------------------------------------------------


def brought(store: SqlStore) -> dict[str, int]:
    day = datetime.fromtimestamp(NOW, UTC).timestamp()
    return {one.name: one.count for one in store.subscribers.leaders(day - 86_400, day + 86_400, 10)}


def test_referrer(store: SqlStore) -> None:
    """A new subscriber counts for whoever recommended it, when they confirm and not before."""
    (referrer,) = people(store, "ref")
    number = asked(store, referrer=referrer)
    assert brought(store) == {}
    assert confirm(store, number) is Confirmed.SUBSCRIBED
    assert brought(store) == {"r…@example.com": 1}


def test_no_referrer(store: SqlStore) -> None:
    """Someone who isn't there, or was removed meanwhile, is only not credited."""
    (referrer,) = people(store, "ref")
    number = asked(store, referrer=referrer)
    store.subscribers.remove("ref@example.com", NOW)
    assert confirm(store, number) is Confirmed.SUBSCRIBED
    subscribe(store, "berta", referrer=4711)
    assert brought(store) == {}


def test_coming_back_counts_for_nobody(store: SqlStore) -> None:
    """Leaving and coming back brings nobody credit, neither anew nor once more."""
    (referrer,) = people(store, "ref")
    anna = subscribe(store, referrer=referrer)
    store.subscribers.unsubscribe(anna, LATER)
    number = asked(store, at=NOW + 2 * PAUSE_SECONDS, referrer=referrer)
    assert confirm(store, number, NOW + 2 * PAUSE_SECONDS, NOW + 2 * PAUSE_SECONDS) is Confirmed.SUBSCRIBED
    assert brought(store) == {}
