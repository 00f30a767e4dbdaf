"""Subscribers and suppressions, on SQLite and PostgreSQL."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from mailer.model.ledger import RecipientState as S
from mailer.model.people import SubscriberStatus, Suppression
from mailer.service.ports import Incoming, Leader, Upserted
from mailer.store import SqlStore
from tests.contract.store_cases import NOW, claim, counts, dotted, ident, incoming, keys, people, settle, started

pytest_plugins = ("tests.servers.postgres",)


def changes(store: SqlStore, *rows: Incoming) -> list[str]:
    return [done.change for done in store.subscribers.upsert(rows, NOW)]


def test_upsert_answers(store: SqlStore) -> None:
    """Each row gets its own answer, in order: added, updated where something changed, else unchanged."""
    assert changes(store, incoming("a", first_name="Ann"), incoming("b")) == ["added", "added"]
    again = [incoming("b", first_name="Bob"), incoming("a", first_name="Ann"), incoming("c")]
    assert changes(store, *again) == ["updated", "unchanged", "added"]


def test_upsert_merges_within(store: SqlStore) -> None:
    """A key that comes twice in one call is merged in order, and the first way of writing the address stays."""
    rows = [
        Incoming("Upper@example.com", "upper@example.com", first_name="Ada", attributes={"plan": "free"}),
        Incoming("upper@example.com", "upper@example.com", last_name="Twin", attributes={"city": "Ulm"}),
    ]
    assert changes(store, *rows) == ["added", "updated"]
    found = store.subscribers.find("upper@example.com")
    assert found is not None
    assert (found.email, found.first_name, found.last_name) == ("Upper@example.com", "Ada", "Twin")
    assert found.attributes == {"plan": "free", "city": "Ulm"}
    assert store.subscribers.count() == 1


def test_upsert_none_keeps(store: SqlStore) -> None:
    """None leaves what is there; an empty text and new attributes replace it."""
    store.subscribers.upsert([incoming("a", first_name="Ann", language="de", attributes={"x": "1", "y": "2"})], NOW)
    store.subscribers.upsert([incoming("a", language="", attributes={"y": "3"})], NOW)
    found = store.subscribers.find("a@example.com")
    assert found is not None
    assert (found.first_name, found.language, found.attributes) == ("Ann", "", {"x": "1", "y": "3"})


@pytest.mark.parametrize(
    "value", ["{{ 7*7 }}", "<script>", 'O\'Brien "x" \\', "👩‍👩‍👧‍👦", "مريم", "%s :now $1", "Ä" * 900]
)
def test_values_verbatim(store: SqlStore, value: str) -> None:
    """A value comes back as it went in, whatever it looks like."""
    store.subscribers.upsert([incoming("a", first_name=value, attributes={"x": value})], NOW)
    found = store.subscribers.find("a@example.com")
    assert found is not None
    assert (found.first_name, found.attributes) == (value, {"x": value})


def test_attribute_names(store: SqlStore) -> None:
    """The names of all attributes that ever came are known, each once."""
    store.subscribers.upsert([incoming("a", attributes={"plan": "x", "city": "y"})], NOW)
    store.subscribers.upsert([incoming("b", attributes={"plan": "z"})], NOW)
    assert store.subscribers.attribute_names() == ["city", "plan"]


def test_import_does_not_resubscribe(store: SqlStore) -> None:
    """Who has unsubscribed stays so when imported again, and each of their rows is answered with that."""
    (a,) = people(store, "a")
    assert store.subscribers.unsubscribe(a, NOW)
    rows = [incoming("a", first_name="Ann"), incoming("b"), incoming("a")]
    assert store.subscribers.upsert(rows, NOW) == [
        Upserted("updated", SubscriberStatus.UNSUBSCRIBED),
        Upserted("added", SubscriberStatus.SUBSCRIBED),
        Upserted("unchanged", SubscriberStatus.UNSUBSCRIBED),
    ]
    found = store.subscribers.find("a@example.com")
    assert found is not None
    assert found.status is SubscriberStatus.UNSUBSCRIBED
    assert store.subscribers.count() == 1


def test_unsubscribe_idempotent(store: SqlStore) -> None:
    """Only the first unsubscribe changes something; nobody's id changes nothing."""
    (a,) = people(store, "a")
    assert [store.subscribers.unsubscribe(a, NOW) for _ in range(2)] == [True, False]
    assert store.subscribers.unsubscribe(a + 1000, NOW) is False


def test_each_in_order(store: SqlStore) -> None:
    """Everyone is streamed in the order of ids, across pages."""
    ids = people(store, *(f"p{n}" for n in range(2501)))
    assert [one.id for one in store.subscribers.each()] == ids


def test_each_reachable(store: SqlStore) -> None:
    """``reachable`` leaves out the unsubscribed and the suppressed."""
    a, b, c = people(store, "a", "b", "c")
    store.subscribers.unsubscribe(a, NOW)
    store.suppressions.add("b@example.com", "bounced", "test", NOW)
    assert [one.id for one in store.subscribers.each(reachable=True)] == [c]
    assert [one.id for one in store.subscribers.each()] == [a, b, c]


def test_count_excludes(store: SqlStore) -> None:
    """The unsubscribed and the suppressed don't count."""
    a, *_ = people(store, "a", "b", "c")
    store.subscribers.unsubscribe(a, NOW)
    store.suppressions.add("b@example.com", "bounced", "test", NOW)
    assert store.subscribers.count() == 1


def test_remove_forgets(store: SqlStore) -> None:
    """A removed person's rows keep their state, lose address and link; what waited is skipped."""
    send = started(store, "a", "b").id
    settle(store, dotted(store, send, limit=1), S.SENT)
    assert store.subscribers.remove("a@example.com", NOW) is True
    assert store.subscribers.remove("b@example.com", NOW) is True
    assert store.subscribers.remove("b@example.com", NOW) is False
    assert [(row.email, row.state) for row in store.sends.recipients(send, None)] == [("", S.SENT), ("", S.SKIPPED)]
    assert store.subscribers.find("a@example.com") is None
    assert list(store.subscribers.each()) == []


def test_remove_in_flight(store: SqlStore) -> None:
    """A dot that is out when its person is removed still gets its outcome."""
    send = started(store, "a").id
    claims = dotted(store, send)
    store.subscribers.remove("a@example.com", NOW)
    settle(store, claims, S.SENT)
    assert counts(store, send) == {"sent": 1}


def test_ids_are_not_reused(store: SqlStore) -> None:
    """An id, which old mails carry in their links, is never given to another person."""
    (a,) = people(store, "a")
    store.subscribers.remove("a@example.com", NOW)
    assert people(store, "b") != [a]


def test_a_link_outlives_removal(store: SqlStore) -> None:
    """Who is removed and imported again is whom the links in their old mails name, and leaves by one."""
    (a,) = people(store, "a")
    store.subscribers.remove("a@example.com", NOW)
    assert changes(store, incoming("b"), incoming("a"), incoming("a", first_name="A")) == ["added", "added", "updated"]
    assert ident(store, "a") == a
    assert store.subscribers.unsubscribe(a, NOW) is True
    assert [one.email for one in store.subscribers.each(reachable=True)] == ["b@example.com"]
    people(store, "c")
    assert len({one.id for one in store.subscribers.each()}) == 3


@pytest.mark.parametrize("first", ["unsubscribe", "remove"])
def test_who_left_stays_away_after_removal(store: SqlStore, first: str) -> None:
    """Who unsubscribed, before being removed or after it by an old link, is unsubscribed when imported again."""
    a, b = people(store, "a", "b")
    if first == "unsubscribe":
        store.subscribers.unsubscribe(a, NOW)
    store.subscribers.remove("a@example.com", NOW)
    store.subscribers.remove("b@example.com", NOW)
    if first == "remove":
        store.subscribers.unsubscribe(a, NOW)
    done = store.subscribers.upsert([incoming("a"), incoming("b")], NOW)
    assert [one.status for one in done] == [SubscriberStatus.UNSUBSCRIBED, SubscriberStatus.SUBSCRIBED]
    assert [(one.id, one.status) for one in store.subscribers.each()] == [
        (a, SubscriberStatus.UNSUBSCRIBED),
        (b, SubscriberStatus.SUBSCRIBED),
    ]


def test_removal_keeps_no_address(store: SqlStore) -> None:
    """What is remembered of who was removed is a hash of their address, and that only until they are back."""
    people(store, "a")
    store.subscribers.remove("a@example.com", NOW)
    with store.database.read() as connection:
        (row,) = connection.execute(text("SELECT * FROM removed_subscribers")).all()
    assert "a@example.com" not in str(row)
    assert "example" not in str(row)
    people(store, "a")
    with store.database.read() as connection:
        assert connection.execute(text("SELECT * FROM removed_subscribers")).all() == []


def test_unsubscribe_skips_waiting(store: SqlStore) -> None:
    """What waits or is claimed for someone who unsubscribes is skipped at once."""
    send = started(store, "a", "b").id
    claims = keys(claim(store, send, limit=1))
    store.subscribers.unsubscribe(ident(store, "a"), NOW)
    store.subscribers.unsubscribe(ident(store, "b"), NOW)
    assert counts(store, send) == {"skipped": 2}
    assert store.ledger.write(NOW, dots=claims) == set()


def test_leaders(store: SqlStore) -> None:
    """Leaders are those whose referrals were confirmed in the week, most first, named without showing addresses."""
    a, b, c, *_ = people(store, "anna", "b", "c", "n1", "n2", "n3", "n4")
    store.subscribers.upsert([incoming("anna", first_name="Anna")], NOW)
    refer(store, "n1", b, NOW)
    refer(store, "n2", b, NOW + 5)
    refer(store, "n3", a, NOW)
    refer(store, "n4", c, NOW - 1000)
    assert store.subscribers.leaders(NOW, NOW + 10, 5) == [Leader("b…@example.com", 2), Leader("Anna", 1)]
    assert store.subscribers.leaders(NOW, NOW + 5, 1) == [Leader("Anna", 1)]


def test_referrals_reach_the_claim(store: SqlStore) -> None:
    """A claimed subscriber knows how many they brought since Monday."""
    a, b, *_ = people(store, "a", "b", "n1", "n2")
    refer(store, "n1", a, NOW - 2 * 86400)
    refer(store, "n2", a, NOW - 8 * 86400)
    send = started(store, segment=[a, b]).id
    assert [one.subscriber.referrals_this_week for one in claim(store, send)] == [1, 0]


def test_removed_referrer(store: SqlStore) -> None:
    """Who was brought by a removed person stays."""
    a, _ = people(store, "a", "n1")
    refer(store, "n1", a, NOW)
    store.subscribers.remove("a@example.com", NOW)
    assert store.subscribers.leaders(NOW, NOW + 1, 5) == []
    assert store.subscribers.find("n1@example.com") is not None


def test_suppressions(store: SqlStore) -> None:
    """Adding is idempotent and keeps the first reason; finding, listing and removing go by the address's key."""
    assert store.suppressions.add("a@example.com", "bounced", "webhook", NOW) is True
    assert store.suppressions.add("a@example.com", "soft bounces", "command", NOW + 1) is False
    assert store.suppressions.add("b@example.com", "other", "cli", NOW) is True
    found = store.suppressions.find(["a@example.com", "z@example.com"])
    assert {key: (one.reason, one.source, one.created_at) for key, one in found.items()} == {
        "a@example.com": ("bounced", "webhook", NOW)
    }
    assert [one.email for one in store.suppressions.each()] == ["a@example.com", "b@example.com"]
    assert [store.suppressions.remove("a@example.com") for _ in range(2)] == [True, False]


def test_what_outweighs_a_suppression(store: SqlStore) -> None:
    """A reason that a confirmation lifts gives way to one that only an operator may lift, and any to a complaint."""
    reasons = ("bounced", "by hand", "bounced", "other", "complained", "by hand")
    added = [store.suppressions.add("a@example.com", reason, "", NOW) for reason in reasons]
    assert added == [True, True, False, False, True, False]
    assert [one.reason for one in store.suppressions.each()] == ["complained"]


def test_suppressions_of_one_address(store: SqlStore) -> None:
    """Of an address that comes several times in one call the reason stays that would if they came one by one."""
    rows = [("a", "first"), ("b", "first"), ("c", "complained"), ("d", "bounced")]
    rows += [("a", "second"), ("b", "complained"), ("c", "second"), ("d", "by hand"), ("a", "bounced")]
    assert store.suppressions.add_all([Suppression(key, reason, "test", NOW) for key, reason in rows], NOW) == 4
    reasons = {one.email: one.reason for one in store.suppressions.each()}
    assert reasons == {"a": "first", "b": "complained", "c": "complained", "d": "by hand"}


def test_suppression_outlives_subscriber(store: SqlStore) -> None:
    """A suppressed address gets nothing, even when its subscriber was removed and imported again."""
    people(store, "a", "b")
    store.suppressions.add("a@example.com", "bounced", "test", NOW)
    store.subscribers.remove("a@example.com", NOW)
    people(store, "a")
    send = started(store)
    assert [one.email for one in claim(store, send.id)] == ["b@example.com"]
    assert send.audience == 1


def test_suppression_skips_running(store: SqlStore) -> None:
    """A suppression takes effect on a running send when it returns."""
    send = started(store, "a", "b").id
    claims = keys(claim(store, send))
    store.suppressions.add("a@example.com", "bounced", "test", NOW)
    assert store.ledger.write(NOW, dots=claims) == {claims[1]}
    assert counts(store, send) == {"skipped": 1, "dotted": 1}


def refer(store: SqlStore, name: str, referrer: int, when: float) -> None:
    with store.database.write() as connection:
        connection.execute(
            text("UPDATE subscribers SET referrer_id = :referrer, confirmed_at = :at WHERE email_key = :key"),
            {"referrer": referrer, "at": when, "key": f"{name}@example.com"},
        )
