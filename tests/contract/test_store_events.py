"""The inbox of events and what is done about them, on SQLite and PostgreSQL."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest

from mailer.bounces.event import Event, EventType, Reason
from mailer.errors import StoreError
from mailer.model.ledger import RecipientState as S
from mailer.model.ledger import Reply, SendId, SendKind
from mailer.model.people import SubscriberStatus
from mailer.service.events import act_on_events, decide, replay
from mailer.service.inbox import MAIL, NewEvent, NewEvents, Once, TokenReused
from mailer.service.ports import Addressee
from mailer.store import SqlStore
from mailer.store.events import KEEP_SECONDS, MAX_RAW, TOKEN_SECONDS, dump_event, load_event
from mailer.wire.message_id import make_message_id
from tests.contract.store_cases import NOW, claim, counts, dotted, keys, people, settle, started, states

pytest_plugins = ("tests.servers.postgres",)

SECRET = b"a key of sixteen and more octets"
LATER = NOW + 3600
LIMIT = 3
UNKNOWN_USER = "550 5.1.1 User unknown"
DAY = 86400.0


def message_id(send: str, position: int = 1) -> str:
    return make_message_id(SECRET, SendId(send), position, "example.com")


def bounce(recipient: str = "a@example.com", **more: Any) -> Event:
    fields: dict[str, Any] = {"permanent": True, "event_id": f"id-{recipient}", "timestamp": LATER, **more}
    return Event(EventType.BOUNCED, recipient, **fields)


def soft(number: int, recipient: str = "a@example.com", **more: Any) -> Event:
    return bounce(recipient, **{"permanent": False, "event_id": f"soft-{number}", **more})


def event(kind: EventType, recipient: str = "a@example.com", **more: Any) -> Event:
    return Event(kind, recipient, event_id=f"{kind}-{recipient}-{more}", timestamp=more.pop("timestamp", LATER), **more)


def come(store: SqlStore, *events: Event, provider: str = "sendgrid", now: float = LATER) -> int:
    """They come in and are acted on; gives how many there were."""
    store.events.add(provider, [NewEvent(one) for one in events], now)
    return act(store, now)


def act(store: SqlStore, now: float = LATER) -> int:
    return act_on_events(store.events, SECRET, LIMIT, now)


def suppressed(store: SqlStore) -> dict[str, str]:
    return {one.email: one.reason for one in store.suppressions.each()}


def sent(store: SqlStore, *names: str, slug: str = "kw24") -> SendId:
    """A send that has reached these people."""
    send = started(store, *names, slug=slug).id
    settle(store, dotted(store, send), S.SENT)
    return send


def back(store: SqlStore, send: SendId) -> tuple[int, int, int, int]:
    status = store.sends.status(send, LATER)
    return status.bounced, status.complained, status.unsubscribed, status.blocked


# --- the inbox


def test_stored_once(store: SqlStore) -> None:
    """An event is stored once for its provider and id: within a request, in a later one, and in one that overlaps."""
    one, two = bounce(), bounce("b@example.com")
    assert store.events.add("sendgrid", [NewEvent(one), NewEvent(two), NewEvent(one)], NOW) == 2
    assert store.events.add("sendgrid", [NewEvent(two)], NOW) == 0
    assert store.events.add("postmark", [NewEvent(two)], NOW) == 1
    assert [kept.event.recipient for kept in store.events.waiting(10)] == [
        "a@example.com",
        "b@example.com",
        "b@example.com",
    ]
    assert store.events.backlog() == (3, NOW)


def test_stored_once_at_once(store: SqlStore) -> None:
    """The same events in opposite orders, from several threads at once, are stored once each, and nobody fails."""
    events = [NewEvent(bounce(f"p{n}@example.com")) for n in range(300)]
    stored: list[int] = []

    def add(backwards: bool) -> None:
        stored.append(store.events.add("sendgrid", events[::-1] if backwards else events, NOW))

    threads = [threading.Thread(target=add, args=(n % 2 == 1,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(stored) == 300
    assert len(stored) == 4


def test_stored_whole(store: SqlStore) -> None:
    """An event comes back as it went in, with whatever a source may have written into it: its own words, which may be
    many, when it is to be read again."""
    raw = {"a": "\x00 \ud800 ' \" \\ %s :now 👩", "b": [1.5, None, True]}
    one = Event(
        EventType.BOUNCED,
        "ä@bücher.example",
        None,
        Reason.OTHER,
        "5.0.0",
        "nö 'x' :y",
        "<m@x>",
        'i\'d ", "raw": "x',
        LATER,
        raw,
    )
    store.events.add("ses", [NewEvent(one, SendId("kw24-1"), 7, verified=False)], NOW)
    (kept,) = store.events.waiting(10)
    assert kept.event == replace(one, raw="")
    store.events.act([decide(kept, SECRET)], NOW, 3)
    store.events.replay("", 0, 0, 10)
    (again,) = store.events.waiting(10)
    assert replace(again.event, raw="") == kept.event
    assert again.event.raw == r'{"a": "\u0000 \ud800 ' + r"' \" \\ %s :now \ud83d\udc69" + '", "b": [1.5, null, true]}'
    assert (kept.provider, kept.send, kept.position, kept.verified) == ("ses", "kw24-1", 7, False)
    assert kept.source == 'ses:i\'d ", "raw": "x'


def test_stored_without_id(store: SqlStore) -> None:
    """An event without an id is known by all that it says."""
    events = [NewEvent(bounce(event_id="")), NewEvent(bounce(event_id="")), NewEvent(bounce("b@x.org", event_id=""))]
    assert store.events.add("mail", events, NOW) == 2


def test_raw_bounded() -> None:
    """Of the source's own words a bounded part is kept, and the event is read all the same."""
    text = dump_event(bounce(raw={"x": "y" * 1_000_000}))
    assert len(text) < MAX_RAW + 1000
    assert load_event(text).recipient == "a@example.com"


def test_once(store: SqlStore) -> None:
    """A request with a token is stored once, a retry changes nothing, and a token with another body is refused."""
    once = Once("token", "digest")
    assert store.events.add("mailgun", [NewEvent(bounce())], NOW, once=once) == 1
    assert store.events.add("mailgun", [NewEvent(bounce())], NOW, once=once) == 0
    with pytest.raises(TokenReused):
        store.events.add("mailgun", [NewEvent(bounce("b@example.com"))], NOW, once=Once("token", "other"))
    assert len(store.events.waiting(10)) == 1


def test_several_at_once(store: SqlStore) -> None:
    """What several sources tell is stored in one go: each hears how many of its own events are new, an event that two
    of them tell is the first one's, and each keeps its provider and its time."""
    a, b, c = (NewEvent(bounce(f"{name}@example.com")) for name in "abc")
    store.events.add("sendgrid", [c], NOW)
    told = [
        NewEvents("sendgrid", [a, b], NOW + 1),
        NewEvents("sendgrid", [], NOW + 2),
        NewEvents("sendgrid", [b, c], NOW + 3),
        NewEvents("postmark", [b, b], NOW + 4),
        NewEvents("postmark", [b, a], NOW + 5),
    ]
    assert store.events.add_all(told) == [2, 0, 0, 1, 1]
    assert store.events.add_all(told) == [0] * 5
    assert sorted((one.provider, one.event.recipient, one.received_at) for one in store.events.waiting(10)) == [
        ("postmark", "a@example.com", NOW + 5),
        ("postmark", "b@example.com", NOW + 4),
        ("sendgrid", "a@example.com", NOW + 1),
        ("sendgrid", "b@example.com", NOW + 1),
        ("sendgrid", "c@example.com", NOW),
    ]
    assert store.events.add_all([]) == []


def test_once_among_several(store: SqlStore) -> None:
    """Of requests with tokens that are stored together each one is judged alone: the first with its token is stored, a
    retry isn't, and one with another body is refused and keeps nothing from the others."""

    def told(name: str, token: str, digest: str, provider: str = "mailgun") -> NewEvents:
        return NewEvents(provider, [NewEvent(bounce(f"{name}@example.com"))], NOW, Once(token, digest))

    store.events.add("mailgun", [], NOW, once=Once("old", "d"))
    answers = store.events.add_all(
        [
            told("a", "t", "d"),
            told("a", "t", "d"),
            told("forged", "t", "e"),
            told("b", "u", "d"),
            told("retried", "old", "d"),
            told("forged", "old", "e"),
            told("c", "t", "f", "another"),
            NewEvents("ses", [NewEvent(bounce("d@example.com"))], NOW),
        ]
    )
    assert [one if isinstance(one, int) else type(one) for one in answers] == [
        1, 0, TokenReused, 1, 0, TokenReused, 1, 1,
    ]  # fmt: skip
    assert sorted(one.event.recipient[0] for one in store.events.waiting(10)) == ["a", "b", "c", "d"]
    assert isinstance(store.events.add_all([told("forged", "u", "e")])[0], TokenReused)


def test_all_or_nothing(store: SqlStore) -> None:
    """If one of several can't be stored, none is, and whoever asked can store the others."""
    good = NewEvents("ses", [NewEvent(bounce())], NOW, Once("t", "d"))
    bad = NewEvents("ses", [NewEvent(bounce("b@example.com"))], None)  # type: ignore[arg-type]
    with pytest.raises(StoreError):
        store.events.add_all([good, bad])
    assert store.events.waiting(10) == []
    assert store.events.add_all([good]) == [1]


def test_forget(store: SqlStore) -> None:
    """Old events that were acted on go, a few at a time; those that wait, and tokens that count, stay."""
    store.events.add("ses", [NewEvent(soft(n, f"p{n}@example.com")) for n in range(5)], NOW, once=Once("t", "d"))
    act(store, NOW)
    store.events.add("ses", [NewEvent(bounce("new@example.com"))], NOW)
    assert store.events.forget(NOW + TOKEN_SECONDS - 1, 3) == 0
    assert store.events.forget(NOW + TOKEN_SECONDS + 1, 3) == 1
    old = NOW + KEEP_SECONDS + 1
    assert [store.events.forget(old, 3) for _ in range(4)] == [6, 4, 0, 0]
    assert [kept.event.recipient for kept in store.events.waiting(10)] == ["new@example.com"]


def test_totals(store: SqlStore) -> None:
    """Events acted on are counted by provider, type and reason, and stay counted."""
    come(store, bounce(reason=Reason.BOUNCED), bounce("b@x.org", reason=Reason.BOUNCED), event(EventType.OPENED))
    come(store, bounce("c@x.org", reason=Reason.BOUNCED))
    assert store.events.totals() == {("sendgrid", "bounced", "bounced"): 3, ("sendgrid", "opened", ""): 1}
    assert store.events.backlog() == (0, None)


# --- acting


def test_permanent(store: SqlStore) -> None:
    """A permanent bounce suppresses its address at once, says where it comes from, and is counted for the send."""
    send = sent(store, "a", "b")
    come(store, bounce(diagnostic=UNKNOWN_USER, message_id=message_id(send)))
    (one,) = store.suppressions.each()
    assert (one.email, one.reason, one.source, one.created_at) == (
        "a@example.com",
        "bounced",
        "sendgrid:id-a@example.com",
        LATER,
    )
    assert back(store, send) == (1, 0, 0, 0)
    assert started(store, slug="kw25").audience == 1


def test_twice(store: SqlStore) -> None:
    """An event that is acted on twice, or told again under another id, changes nothing the second time."""
    send = sent(store, "a")
    told = [bounce(message_id=message_id(send)), event(EventType.COMPLAINED, message_id=message_id(send)), soft(1)]
    store.events.add("ses", [NewEvent(one) for one in told], LATER)
    decisions = [decide(kept, SECRET) for kept in store.events.waiting(10)]
    assert store.events.act(decisions, LATER, LIMIT).events == 3
    before = (suppressed(store), back(store, send), store.events.totals())
    again = store.events.act(decisions, LATER + 1, LIMIT)
    assert (again.events, again.suppressed) == (0, 0)
    assert (suppressed(store), back(store, send), store.events.totals()) == before
    come(store, *(replace(one, event_id=f"again {one.event_id}") for one in told))
    assert (suppressed(store), back(store, send)) == before[:2]


def test_complaint(store: SqlStore) -> None:
    """A complaint suppresses for good, and outweighs a bounce that came before; nothing outweighs it."""
    send = sent(store, "a")
    come(store, bounce(message_id=message_id(send)))
    come(store, event(EventType.COMPLAINED, message_id=message_id(send)))
    come(store, bounce(event_id="another"))
    assert suppressed(store) == {"a@example.com": "complained"}
    assert back(store, send) == (1, 1, 0, 0)


def test_unsubscribed(store: SqlStore) -> None:
    """An unsubscribe unsubscribes: by the message's id, or by the address; and is counted once."""
    send = sent(store, "a", "b", "c")
    told = [
        event(EventType.UNSUBSCRIBED, "", message_id=message_id(send)),
        event(EventType.UNSUBSCRIBED, "B@Example.com"),
    ]
    come(store, *told)
    found = [store.subscribers.find(f"{name}@example.com") for name in "abc"]
    assert [one and one.status for one in found] == [
        SubscriberStatus.UNSUBSCRIBED,
        SubscriberStatus.UNSUBSCRIBED,
        SubscriberStatus.SUBSCRIBED,
    ]
    assert suppressed(store) == {}
    assert back(store, send) == (0, 0, 2, 0)


def test_unsubscribe_after_a_return(store: SqlStore) -> None:
    """A provider's word that somebody unsubscribed by an old message holds for who was removed and imported again, and
    is counted for that message; an address that a mail names proves nothing."""
    send = sent(store, "a", "b")
    for name in ("a", "b"):
        store.subscribers.remove(f"{name}@example.com", NOW)
    people(store, "a", "b")
    come(store, event(EventType.UNSUBSCRIBED, message_id=message_id(send)))
    forged = event(EventType.UNSUBSCRIBED, "b@example.com")
    store.events.add(MAIL, [NewEvent(forged, send, 2)], LATER)
    act(store)
    found = [store.subscribers.find(f"{name}@example.com") for name in "ab"]
    assert [one and one.status for one in found] == [SubscriberStatus.UNSUBSCRIBED, SubscriberStatus.SUBSCRIBED]
    assert back(store, send) == (0, 0, 2, 0)


def test_unsubscribe_during(store: SqlStore) -> None:
    """Whoever is suppressed or unsubscribed by an event gets no message of a send that is under way."""
    send = started(store, "a", "b", "c").id
    claims = keys(claim(store, send, limit=2))
    come(store, bounce(), event(EventType.UNSUBSCRIBED, "b@example.com"), bounce("c@example.com"))
    assert store.ledger.write(LATER, dots=claims) == set()
    assert claim(store, send) == []
    assert counts(store, send) == {"skipped": 3}


def test_soft(store: SqlStore) -> None:
    """Temporary failures count once a send, and suppress at the limit."""
    sends = [sent(store, *(["a"] if n == 0 else []), slug=f"kw{n}") for n in range(3)]
    for number, send in enumerate([sends[0], sends[0], sends[1]]):
        come(store, soft(number, message_id=message_id(send)))
        assert suppressed(store) == {}
    come(store, soft(9, message_id=message_id(sends[2])))
    assert suppressed(store) == {"a@example.com": "soft bounces"}


def test_soft_decays(store: SqlStore) -> None:
    """A temporary failure older than ninety days doesn't count."""
    sends = [sent(store, *(["a"] if n == 0 else []), slug=f"kw{n}") for n in range(3)]
    for number, send in enumerate(sends):
        at = NOW + number * 46 * DAY
        come(store, soft(number, message_id=message_id(send), timestamp=at), now=at)
    assert suppressed(store) == {}


def test_soft_cleared(store: SqlStore) -> None:
    """A delivery clears what was counted before it, and not what comes after it."""
    sends = [sent(store, *(["a"] if n == 0 else []), slug=f"kw{n}") for n in range(4)]
    for number in range(2):
        come(store, soft(number, message_id=message_id(sends[number]), timestamp=LATER + number), now=LATER + 9)
    come(store, event(EventType.DELIVERED, timestamp=LATER + 0.5), now=LATER + 9)
    come(store, soft(2, message_id=message_id(sends[2]), timestamp=LATER + 2), now=LATER + 9)
    assert suppressed(store) == {}
    come(store, soft(3, message_id=message_id(sends[3]), timestamp=LATER + 3), now=LATER + 9)
    assert suppressed(store) == {"a@example.com": "soft bounces"}


def test_ours(store: SqlStore) -> None:
    """What is refused for our sake suppresses nobody and is counted, whatever the provider calls it."""
    send = sent(store, "a", "b")
    blocked = bounce(diagnostic="550 5.1.1 blocked using zen.spamhaus.org", message_id=message_id(send))
    store.events.add("sendgrid", [NewEvent(blocked), NewEvent(bounce("b@example.com", reason=Reason.SPAM))], LATER)
    acted = store.events.act([decide(kept, SECRET) for kept in store.events.waiting(9)], LATER, LIMIT)
    assert acted.blocked == {send: 2}
    assert suppressed(store) == {}
    assert back(store, send) == (2, 0, 0, 2)


@pytest.mark.parametrize("kind", [EventType.OPENED, EventType.CLICKED, EventType.DEFERRED, EventType.AUTORESPONDED])
def test_nothing(store: SqlStore, kind: EventType) -> None:
    """What says nothing about the address changes nothing, and doesn't wait for ever."""
    send = sent(store, "a")
    come(store, event(kind, message_id=message_id(send)))
    assert (suppressed(store), back(store, send)) == ({}, (0, 0, 0, 0))
    assert store.events.waiting(10) == []


@pytest.mark.parametrize(
    ("kind", "state"),
    [
        (EventType.DELIVERED, "sent"),
        (EventType.BOUNCED, "failed"),
        (EventType.REJECTED, "failed"),
        (EventType.OPENED, "sent"),
        (EventType.COMPLAINED, "sent"),
        (EventType.DEFERRED, "in_doubt"),
    ],
)
def test_in_doubt(store: SqlStore, kind: EventType, state: str) -> None:
    """A late event settles whom it proves something about, and nobody else who is in doubt."""
    send = started(store, "a", "b").id
    settle(store, dotted(store, send), S.IN_DOUBT, Reply(0))
    come(store, event(kind, message_id=message_id(send)))
    assert states(store, send) == [state, "in_doubt"]


def test_in_doubt_by_address(store: SqlStore) -> None:
    """An event that names only the address proves nothing about a certain message."""
    send = started(store, "a").id
    settle(store, dotted(store, send), S.IN_DOUBT, Reply(0))
    come(store, event(EventType.DELIVERED), bounce())
    assert states(store, send) == ["in_doubt"]
    assert back(store, send)[0] == 1


@pytest.mark.parametrize("state", [S.SENT, S.FAILED])
def test_settled_stays(store: SqlStore, state: S) -> None:
    """What the relay itself has said stays, whatever comes later."""
    send = started(store, "a").id
    settle(store, dotted(store, send), state, Reply(250 if state is S.SENT else 550, "", "x"))
    come(store, bounce(message_id=message_id(send)), event(EventType.DELIVERED, message_id=message_id(send)))
    assert states(store, send) == [state.value]


def test_forged_message_id(store: SqlStore) -> None:
    """A Message-ID that isn't signed with our key names no message: the address counts."""
    send = sent(store, "a", "b")
    forged = make_message_id(b"another key of sixteen octets", send, 2, "example.com")
    come(store, event(EventType.COMPLAINED, message_id=forged))
    assert suppressed(store) == {"a@example.com": "complained"}


def test_message_before_address(store: SqlStore) -> None:
    """A message is the address that it was sent to, whatever other address it was forwarded to and bounced at."""
    send = sent(store, "a")
    come(store, bounce("elsewhere@example.net", message_id=message_id(send)))
    assert suppressed(store) == {"a@example.com": "bounced"}


def test_latest_send(store: SqlStore) -> None:
    """Without a Message-ID it is put down to the latest send that had reached the address then, of the last 30 days."""
    first, second = sent(store, "a", slug="kw24"), sent(store, slug="kw25")
    with store.database.write() as connection:
        connection.exec_driver_sql(f"UPDATE sends SET started_at = {NOW + 7 * DAY} WHERE id = '{second}'")
    come(store, event(EventType.COMPLAINED, timestamp=NOW + DAY), now=NOW + 9 * DAY)
    assert (back(store, first)[1], back(store, second)[1]) == (1, 0)
    come(store, soft(1, timestamp=NOW + 8 * DAY), now=NOW + 9 * DAY)
    come(store, soft(2, timestamp=NOW + 50 * DAY), now=NOW + 50 * DAY)
    assert (back(store, first)[0], back(store, second)[0]) == (0, 1)


def test_removed(store: SqlStore) -> None:
    """Who was removed meanwhile is suppressed by the address that the event names, and stays so when imported again."""
    send = sent(store, "a", "b")
    store.subscribers.remove("a@example.com", NOW)
    come(store, event(EventType.COMPLAINED, "A@Example.COM", message_id=message_id(send)))
    people(store, "a")
    assert suppressed(store) == {"a@example.com": "complained"}
    assert started(store, slug="kw25").audience == 1


def test_nobody(store: SqlStore) -> None:
    """Events about nobody we can name change nothing and are done with."""
    told = [
        event(EventType.COMPLAINED, ""),
        event(EventType.UNSUBSCRIBED, "stranger@example.net"),
        event(EventType.COMPLAINED, "no address at all"),
        bounce("", message_id="<x@y>"),
        event(EventType.COMPLAINED, "", message_id=message_id("kw99-1")),
    ]
    assert come(store, *told) == len(told)
    assert suppressed(store) == {}
    assert store.events.waiting(10) == []


def test_unverified(store: SqlStore) -> None:
    """An event that nobody has verified is kept and changes nothing."""
    send = sent(store, "a")
    told = [bounce(message_id=message_id(send)), event(EventType.UNSUBSCRIBED), event(EventType.COMPLAINED)]
    store.events.add(MAIL, [NewEvent(one, send, 1, verified=False) for one in told], LATER)
    act(store)
    assert (suppressed(store), back(store, send)) == ({}, (0, 0, 0, 0))
    found = store.subscribers.find("a@example.com")
    assert found is not None
    assert found.status is SubscriberStatus.SUBSCRIBED


def test_mail(store: SqlStore) -> None:
    """A verified report by mail is about the message whose return path it came to."""
    send = sent(store, "a", "b")
    told = NewEvent(bounce("", diagnostic=UNKNOWN_USER, status="5.1.1"), send, 2)
    store.events.add(MAIL, [told], LATER)
    act(store)
    assert suppressed(store) == {"b@example.com": "bounced"}


def test_mail_unsure(store: SqlStore) -> None:
    """A report by mail that says failed, and not why, is counted: nobody who knows the words has judged it."""
    send = sent(store, "a")
    store.events.add(MAIL, [NewEvent(bounce("", diagnostic="Delivery has failed"), send, 1)], LATER)
    act(store)
    assert suppressed(store) == {}
    assert back(store, send) == (1, 0, 0, 0)


def test_test_send(store: SqlStore) -> None:
    """A test-send's recipient is suppressed by the address it went to; to unsubscribe by it changes nobody."""
    (a,) = people(store, "a")
    persona = store.subscribers.find("a@example.com")
    new = replace(_new(), kind=SendKind.TEST)
    send = store.sends.create_test(new, [Addressee("ed@example.org", persona)], NOW).id
    store.workers.register("w1", "h", 1, NOW)  # type: ignore[arg-type]
    settle(store, dotted(store, send), S.SENT)
    come(
        store,
        bounce("ed@example.org", message_id=message_id(send)),
        event(EventType.UNSUBSCRIBED, "", message_id=message_id(send)),
    )
    assert suppressed(store) == {"ed@example.org": "bounced"}
    assert store.subscribers.unsubscribe(a, LATER)


def _new() -> Any:
    from tests.contract.store_cases import new

    return new()


# --- what relays refuse in the session


@pytest.mark.parametrize(
    ("reply", "after", "figures"),
    [
        (Reply(550, "5.1.1", "User unknown"), {"a@example.com": "bounced"}, (0, 0, 0, 0)),
        (Reply(552, "5.2.2", "mailbox full"), {}, (0, 0, 0, 0)),
        (Reply(554, "5.7.1", "blocked using zen.spamhaus.org"), {}, (0, 0, 0, 1)),
        (Reply(550, "", "no"), {}, (0, 0, 0, 0)),
        (Reply(0, "", "no message can be made: User unknown"), {}, (0, 0, 0, 1)),
    ],
)
def test_refused(store: SqlStore, reply: Reply, after: dict[str, str], figures: tuple[int, int, int, int]) -> None:
    """A relay's refusal is judged like a bounce, once; the ledger counts it, so it isn't counted as bounced."""
    send = started(store, "a", "b").id
    settle(store, keys(claim(store, send, limit=1)), S.FAILED, reply)
    assert act(store) == 1
    assert (suppressed(store), back(store, send)) == (after, figures)
    assert act(store) == 0


def test_why_a_relay_refused(store: SqlStore) -> None:
    """The totals say of relays' refusals, too, why."""
    send = started(store, "a", "b", "c").id
    for said in ("5.1.1 User unknown", "5.2.2 Mailbox full", "5.7.1 Message rejected as spam"):
        status, _, text = said.partition(" ")
        settle(store, keys(claim(store, send, limit=1)), S.FAILED, Reply(550, status, text))
    act(store)
    assert store.events.totals() == {("relay", "bounced", "bounced"): 2, ("relay", "bounced", "spam"): 1}


def test_refused_full(store: SqlStore) -> None:
    """A full mailbox counts in each send that it fails or expires in, and suppresses at the limit."""
    for number, state in enumerate([S.FAILED, S.EXPIRED, S.FAILED]):
        assert suppressed(store) == {}
        send = started(store, *(["a"] if not number else []), slug=f"kw{number}").id
        if state is S.EXPIRED:
            settle(store, keys(claim(store, send)), S.DEFERRED, Reply(452, "4.2.2", "mailbox full"))
            assert store.ledger.expire(NOW + 9999, 1.0) == 1
        else:
            settle(store, keys(claim(store, send)), state, Reply(552, "5.2.2", "mailbox full"))
        act(store)
    assert suppressed(store) == {"a@example.com": "soft bounces"}


def test_refused_raced(store: SqlStore) -> None:
    """Two that have read the same refusal act on it once."""
    send = started(store, "a").id
    settle(store, keys(claim(store, send)), S.FAILED, Reply(550, "5.1.1", "User unknown"))
    decisions = [decide(kept, SECRET) for kept in store.events.refusals(10)]
    assert [store.events.act(decisions, LATER, LIMIT).events for _ in range(2)] == [1, 0]


# --- unsubscribing on a page


def test_left_by_link(store: SqlStore) -> None:
    """Who leaves is counted for the send whose link they used, else for the latest that reached them; once."""
    first, second = sent(store, "a", "b", slug="kw24"), sent(store, slug="kw25")
    with store.database.write() as connection:
        connection.exec_driver_sql(f"UPDATE sends SET started_at = {NOW + 10} WHERE id = '{second}'")
    a, b = (one.id for one in store.subscribers.each())
    store.subscribers.unsubscribe(a, LATER, send=store.sends.get(first).key)
    store.subscribers.unsubscribe(b, LATER)
    store.subscribers.unsubscribe(b, LATER + 1, send=store.sends.get(first).key)
    come(store, event(EventType.UNSUBSCRIBED, "", message_id=message_id(first)))
    assert (back(store, first)[2], back(store, second)[2]) == (1, 1)


def test_status_stays(store: SqlStore) -> None:
    """A send's figures stay when its people are removed."""
    send = sent(store, "a")
    come(store, bounce(message_id=message_id(send)), event(EventType.UNSUBSCRIBED, "", message_id=message_id(send)))
    store.subscribers.remove("a@example.com", LATER)
    assert back(store, send) == (1, 0, 1, 0)


def test_poison(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """An event that the database doesn't take is left aside, and all others are acted on."""
    from mailer.errors import StoreError
    from mailer.store.events import SqlEvents

    real = SqlEvents.act

    def act_or_fail(self: SqlEvents, decisions: Any, now: float, soft_limit: int) -> Any:
        if any(one.effect != "nothing" and one.kept.event.recipient == "p3@example.com" for one in decisions):
            raise StoreError("no")
        return real(self, decisions, now, soft_limit)

    monkeypatch.setattr(SqlEvents, "act", act_or_fail)
    come(store, *(bounce(f"p{n}@example.com") for n in range(7)))
    assert sorted(suppressed(store)) == [f"p{n}@example.com" for n in (0, 1, 2, 4, 5, 6)]
    assert store.events.waiting(10) == []


# --- once more


def test_replay(store: SqlStore) -> None:
    """Acting once more on everything changes nothing, and no figure counts it twice."""
    send = sent(store, "a", "b", "c", "d")
    come(
        store,
        bounce(message_id=message_id(send)),
        event(EventType.COMPLAINED, "b@example.com"),
        event(EventType.UNSUBSCRIBED, "c@example.com"),
        soft(1, "d@example.com"),
        event(EventType.UNKNOWN),
    )
    before = (suppressed(store), back(store, send), store.events.totals(), counts(store, send))
    assert replay(store.events) == 5
    assert store.events.backlog() == (5, None)
    assert act(store, LATER + 1) == 5
    assert (suppressed(store), back(store, send), store.events.totals(), counts(store, send)) == before
    assert act(store) == 0


def test_replay_some(store: SqlStore) -> None:
    """A replay is of one provider, and of what came since a moment; what waits anyway isn't counted."""
    come(store, bounce(), now=NOW)
    come(store, bounce(), now=LATER, provider="postmark")
    come(store, bounce("b@example.com"), now=LATER)
    store.events.add("sendgrid", [NewEvent(bounce("c@example.com"))], LATER)
    assert replay(store.events, "sendgrid", LATER) == 1
    assert [(one.event.recipient, one.again) for one in store.events.waiting(10)] == [
        ("b@example.com", True),
        ("c@example.com", False),
    ]
    assert replay(store.events, "mailgun") == 0
    assert replay(store.events, "postmark") == 1


def test_replay_many(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A replay goes over any number of events in small transactions, each event once."""
    monkeypatch.setattr("mailer.service.events.REPLAY_AT_ONCE", 3)
    come(store, *(bounce(f"p{n}@example.com") for n in range(10)))
    assert replay(store.events) == 10
    assert len(store.events.waiting(100)) == 10


def test_replay_understood(store: SqlStore) -> None:
    """A word that was unknown when it came, and is known to this version, has its effect on a replay."""
    people(store, "a", "b")
    raw = {"event": "bounce", "type": "bounce", "email": "a@example.com", "reason": "550 5.1.1 User unknown"}
    come(store, Event(EventType.UNKNOWN, "a@example.com", event_id="1", raw=raw))
    ses = {
        "eventType": "Bounce",
        "bounce": {
            "bounceType": "Permanent",
            "bouncedRecipients": [{"emailAddress": "b@example.com"}, {"emailAddress": "c@example.com"}],
        },
    }
    come(store, Event(EventType.UNKNOWN, "b@example.com", event_id="2", raw=ses), provider="ses")
    assert suppressed(store) == {}
    assert replay(store.events) == 2
    act(store)
    assert suppressed(store) == {"a@example.com": "bounced", "b@example.com": "bounced"}


def test_left_and_came_back(store: SqlStore) -> None:
    """Whoever has confirmed since an event said that they left stays."""
    people(store, "a")
    come(store, event(EventType.UNSUBSCRIBED, timestamp=NOW))
    with store.database.write() as connection:
        connection.exec_driver_sql(f"UPDATE subscribers SET status = 'subscribed', confirmed_at = {NOW + 1}")
    assert replay(store.events) == 1
    act(store)
    found = store.subscribers.find("a@example.com")
    assert found is not None
    assert found.status is SubscriberStatus.SUBSCRIBED
