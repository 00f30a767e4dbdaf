"""``in_doubt = "resend"`` from end to end: what a relay gets the second time is, byte for byte, the first."""

from __future__ import annotations

import itertools
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from sqlalchemy import text

from mailer.model.compiled import Branch, Choice, CompiledIssue, Escape, Slot
from mailer.model.ledger import RecipientState, Send, SendKind, SendState, WorkerId
from mailer.model.settings import Delivery, Relay
from mailer.service.chance import Chance
from mailer.service.deliver import Deliverer
from mailer.service.flight import Assemble
from mailer.service.ports import Incoming, NewSend
from mailer.service.reconcile import settle_overdue
from mailer.smtp.pool import RelayPool
from mailer.store import SqlStore
from mailer.wire.dkim import DkimKey, dkim_key
from mailer.wire.freeze import SendFacts, freeze
from tests.servers.smtp import SmtpServer
from tests.servers.smtp_faults import Fault

pytest_plugins = ("tests.servers.postgres",)

NAME, PLAN = Slot("subscriber.first_name", Escape.PLAIN), Slot("subscriber.plan", Escape.TEXT)
BROUGHT, LEAVE = Slot("subscriber.referrals_this_week", Escape.PLAIN), Slot("links.unsubscribe", Escape.URL)
PAID = Choice((Branch("subscriber.plan == 'paid'", ("Thanks!\n",)),), ("Pay!\n",))
ISSUE = CompiledIssue(
    "a",
    "A",
    "en",
    "",
    "UTC",
    "2026-01-01",
    "a@example.com",
    "",
    ("For ", NAME),
    (NAME, " brought ", BROUGHT, "\n", PAID),
    (PLAN, PAID, '<a href="', LEAVE, '">leave</a>'),
    1,
    1,
)
RESEND = Delivery(in_doubt="resend", retry_after=0.0)


@pytest.fixture(params=["rsa", "ed25519"])
def key(request: pytest.FixtureRequest) -> DkimKey:
    private: RSAPrivateKey | Ed25519PrivateKey = Ed25519PrivateKey.generate()
    if request.param == "rsa":
        private = generate_private_key(65537, 2048)
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return dkim_key("example.com", "s", pem)


@pytest.fixture
def send(store: SqlStore) -> Send:
    """A running send to Ann, who has brought one, and Bob."""
    ann = Incoming("ann@example.org", "ann@example.org", "Ann", attributes={"plan": "free", "city": "Ulm"})
    bob = Incoming("bob@example.org", "bob@example.org", "Bob")
    store.subscribers.upsert([ann, bob], time.time())
    refer(store)
    new = NewSend("a", SendKind.ISSUE, store.issues.put(ISSUE, 1.0), time.time())
    return store.sends.create(new, None, time.time())


def refer(store: SqlStore) -> None:
    """Ann has brought everyone there is."""
    with store.database.write() as connection:
        connection.execute(text("UPDATE subscribers SET referrer_id = (SELECT min(id) FROM subscribers) WHERE id > 1"))


def change(store: SqlStore) -> None:
    """An import that changes all there is of Ann; and one more is brought by her."""
    eve = {"plan": "paid", "city": "Köln", "new": "1"}
    store.subscribers.upsert(
        [
            Incoming("ann@example.org", "ann@example.org", "Eve", "Doe", "de", "Europe/Berlin", eve),
            Incoming("one.more@example.org", "one.more@example.org"),
        ],
        time.time(),
    )
    refer(store)


@asynccontextmanager
async def worker(store: SqlStore, server: SmtpServer, key: DkimKey, number: int) -> AsyncIterator[Deliverer]:
    """One process's life; the next knows nothing that isn't in the store."""

    def frozen(send: Send) -> Assemble:
        facts = SendFacts(
            send.id, send.key, send.date, send.kind, "L <l.example.com>", "https://example.com", b"s" * 32, dkim=key
        )
        return freeze(store.issues.get(send.artefact), facts).assemble

    deliverer = Deliverer(
        store,
        RelayPool([Relay(host="127.0.0.1", port=server.port, security="none", connections=2)]),
        frozen,
        Chance(time.time, lambda: 0.5, lambda: WorkerId(f"w{number}")),
        host="here",
        pid=1,
        retry_after=60.0,
        chunk=64,
        connections=2,
        resend_within=RESEND.retry_for,
    )
    await deliverer.start()
    try:
        yield deliverer
    finally:
        await deliverer.close()


def states(store: SqlStore, send: Send) -> list[RecipientState]:
    return [row.state for row in store.sends.recipients(send.id, None)]


def read(message: bytes) -> str:
    """The text part, as a reader sees it."""
    parsed = message_from_bytes(message, policy=policy.default)
    assert isinstance(parsed, EmailMessage)
    part = parsed.get_body(("plain",))
    assert part is not None
    return str(part.get_content())


async def test_byte_identical_and_once(store: SqlStore, send: Send, key: DkimKey) -> None:
    """Lost after the dot, changed by an import, sent again: the same bytes, signature and all, and exactly twice; lost
    again, it is the operator's, whose resend is the same, too."""
    numbers = itertools.count()
    async with SmtpServer([Fault("dot", "", to="ann@", drop=True, record=True)]) as server:

        async def round_of_work() -> None:
            async with worker(store, server, key, next(numbers)) as deliverer:
                await deliverer.deliver(send.id, 1, 10)

        def copies() -> list[bytes]:
            return [message.content for message in server.messages if message.recipients == ("ann@example.org",)]

        await round_of_work()
        assert states(store, send) == [RecipientState.IN_DOUBT, RecipientState.SENT]
        assert store.sends.get(send.id).state is SendState.RUNNING, "it waits for the resend"
        change(store)
        settle_overdue(store, RESEND, time.time())
        await round_of_work()
        change(store)
        for _ in range(3):
            settle_overdue(store, RESEND, time.time() + 1)
            await round_of_work()
        assert len(copies()) == 2
        assert states(store, send) == [RecipientState.IN_DOUBT, RecipientState.SENT]
        assert store.sends.get(send.id).state is SendState.FINISHED

        server.faults.clear()
        assert store.sends.resolve(send.id, "resend", time.time()) == 1
        await round_of_work()
        assert states(store, send) == [RecipientState.SENT, RecipientState.SENT]
        assert len(copies()) == 3
        assert len(set(copies())) == 1
        assert len({message.message_id for message in server.messages}) == 2
        assert copies()[0].startswith(b"DKIM-Signature: ")
        assert "Ann brought 1" in read(copies()[0])
        assert server.violations == []


async def test_refused_is_made_afresh(store: SqlStore, send: Send, key: DkimKey) -> None:
    """A message that was refused for now is made afresh: whoever mends their name sees it mended."""
    async with SmtpServer([Fault("dot", "451 4.3.0 later", to="ann@", times=1)]) as server:
        async with worker(store, server, key, 1) as deliverer:
            await deliverer.deliver(send.id, 1, 10)
        assert states(store, send) == [RecipientState.DEFERRED, RecipientState.SENT]
        change(store)
        with store.database.write() as connection:
            connection.execute(text("UPDATE recipients SET next_attempt_at = 1 WHERE state = 'deferred'"))
        async with worker(store, server, key, 2) as deliverer:
            await deliverer.deliver(send.id, 1, 10)
        assert states(store, send) == [RecipientState.SENT, RecipientState.SENT]
        assert "Eve brought 2" in read(server.messages[-1].content)
