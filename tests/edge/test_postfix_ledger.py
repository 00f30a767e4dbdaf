"""Delivery through a real Postfix: what it says about each recipient stands in the ledger."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pytest

from mailer.model.compiled import CompiledIssue, Escape, Slot
from mailer.model.ledger import RecipientReport, RecipientState, Send, SendKind, SendState, WorkerId
from mailer.model.settings import Relay
from mailer.service.chance import Chance
from mailer.service.deliver import Deliverer
from mailer.service.flight import Assemble
from mailer.service.ports import Incoming, NewSend
from mailer.smtp.pool import RelayPool
from mailer.store import SqlStore, open_store
from mailer.wire.freeze import SendFacts, freeze
from tests.servers.postfix import PostfixServer

pytest_plugins = ("tests.servers.postgres", "tests.servers.postfix")

ISSUE = CompiledIssue(
    "a",
    "A",
    "en",
    "",
    "UTC",
    "2026-01-01",
    "a@garten.example",
    "",
    ("A",),
    ("For ", Slot("subscriber.email", Escape.PLAIN)),
    ("<p>",),
    1,
    1,
)
REFUSED = "<{}>: Recipient address rejected: "
REPLIES = {
    "unlisted@example.com": ("failed", 550, f"5.1.1 {REFUSED}User unknown in virtual mailbox table"),
    "gone@example.com": ("failed", 550, f"5.1.1 {REFUSED}nobody of that name here any more"),
    "full@example.com": ("deferred", 450, f"4.2.0 {REFUSED}the mailbox is full"),
    "spam@example.com": ("failed", 554, f"5.7.1 {REFUSED}we don't like it"),
    "anna@elsewhere.test": ("failed", 554, "5.7.1 <{}>: Relay access denied"),
}
"""State, code and words of whom Postfix refuses."""


@dataclass
class Office:
    """A store, and deliveries from it through one Postfix. ``ahead``: seconds by which their clock goes before ours."""

    store: SqlStore
    postfix: PostfixServer
    connections: int = 4
    ahead: float = 0.0

    def send_to(self, emails: Sequence[str]) -> Send:
        """A send that runs."""
        self.store.subscribers.upsert([Incoming(email, email) for email in emails], 1.0)
        digest = self.store.issues.put(ISSUE, 1.0)
        return self.store.sends.create(NewSend("a", SendKind.ISSUE, digest, 1.0), None, time.time())

    async def deliver(self, send: Send) -> None:
        """All that is due; ends with the worker."""
        relay = Relay(host="127.0.0.1", port=self.postfix.port, security="none", connections=self.connections)
        numbers = itertools.count()
        chance = Chance(
            lambda: time.time() + self.ahead, lambda: 0.5, lambda: WorkerId(f"w{self.ahead}-{next(numbers)}")
        )
        deliverer = Deliverer(
            self.store,
            RelayPool([relay]),
            self._freeze,
            chance,
            host="here",
            pid=1,
            retry_after=60.0,
            chunk=64,
            connections=relay.connections,
        )
        await deliverer.start()
        try:
            await deliverer.deliver(send.id, 1, send.audience)
        finally:
            await deliverer.close()

    def _freeze(self, send: Send) -> Assemble:
        facts = SendFacts(send.id, send.key, send.date, send.kind, "", "https://garten.example", b"s" * 32)
        return freeze(self.store.issues.get(send.artefact), facts).assemble

    def rows(self, send: Send) -> dict[str, RecipientReport]:
        return {row.email: row for row in self.store.sends.recipients(send.id, None)}


@pytest.fixture
def office(sqlite_url: str, postfix: PostfixServer) -> Iterator[Office]:
    store = open_store(sqlite_url)
    yield Office(store, postfix)
    store.close()


@pytest.mark.parametrize("email", REPLIES)
async def test_refused(office: Office, email: str) -> None:
    """Whom Postfix refuses stands in the ledger with its code, enhanced status and words; the others get their mail."""
    office.connections = 1
    readers = [f"leser{n}@example.com" for n in range(20)]
    send = office.send_to([*readers[:5], email, *readers[5:]])
    await office.deliver(send)
    state, code, reply = REPLIES[email]
    row = office.rows(send)[email]
    assert (row.state.value, row.code, row.reply, row.attempts) == (state, code, reply.format(email), 1)
    if code == 554:  # our fault: their destination is left alone for a minute, the relay's words are for all of it
        office.ahead += 70.0
        await office.deliver(send)
    rows = office.rows(send)
    del rows[email]
    assert {row.state for row in rows.values()} == {RecipientState.SENT}
    assert office.store.sends.get(send.id).state in (SendState.RUNNING, SendState.FINISHED)
    assert Counter(one.recipient for one in office.postfix.wait_arrived(20)) == Counter(readers)


async def test_closing(office: Office) -> None:
    """A recipient for whom Postfix closes the session with 421 is tried again later; its words are kept, and everybody
    else gets their mail."""
    readers = [f"leser{n}@example.com" for n in range(20)]
    send = office.send_to([*readers[:5], "closing@example.com", *readers[5:]])
    await office.deliver(send)
    rows = office.rows(send)
    row = rows.pop("closing@example.com")
    assert row.state is RecipientState.DEFERRED
    assert f"421 4.3.2 {REFUSED}this server goes to bed".format(row.email) in f"{row.code} {row.reply}"
    while any(row.state is RecipientState.PENDING for row in rows.values()):  # it has asked for less
        await office.deliver(send)
        rows = {email: row for email, row in office.rows(send).items() if email != "closing@example.com"}
    assert {row.state for row in rows.values()} == {RecipientState.SENT}
    assert Counter(one.recipient for one in office.postfix.wait_arrived(20)) == Counter(readers)


async def test_too_many_errors(office: Office) -> None:
    """So many wrong recipients that Postfix hangs up again and again: each of them fails for its own reason, and each
    of the others gets their mail once."""
    wrong, readers = [f"unlisted{n}@example.com" for n in range(100)], [f"leser{n}@example.com" for n in range(50)]
    send = office.send_to([*wrong[:50], *readers, *wrong[50:]])
    for _ in range(10):
        await office.deliver(send)
        if office.store.sends.get(send.id).state is SendState.FINISHED:
            break
        office.ahead += 3600.0  # whoever was next when it hung up is tried again later
    rows = office.rows(send)
    words = f"5.1.1 {REFUSED}User unknown in virtual mailbox table"
    assert [(rows[email].code, rows[email].reply) for email in wrong] == [(550, words.format(email)) for email in wrong]
    assert Counter(row.state.value for row in rows.values()) == {"failed": 100, "sent": 50}
    assert "too many errors after" in office.postfix.log()
    assert Counter(one.recipient for one in office.postfix.wait_arrived(50)) == Counter(readers)


async def test_without_smtputf8(sqlite_url: str, ascii_postfix: PostfixServer) -> None:
    """An address that only an internationalised relay can carry fails with the reason when Postfix is none; one whose
    domain alone isn't ASCII gets its mail."""
    store = open_store(sqlite_url)
    office = Office(store, ascii_postfix)
    send = office.send_to(["jürgen@müller.example", "info@müller.example", "erika@example.com"])
    await office.deliver(send)
    rows = office.rows(send)
    refused = rows["jürgen@müller.example"]
    assert (refused.state, refused.code) == (RecipientState.FAILED, None)
    assert "SMTPUTF8" in refused.reply
    assert sorted(one.recipient for one in ascii_postfix.wait_arrived(2)) == [
        "erika@example.com",
        "info@xn--mller-kva.example",
    ]
    assert Counter(row.state.value for row in rows.values()) == {"failed": 1, "sent": 2}
    store.close()
