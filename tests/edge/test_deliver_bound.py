"""What one crash may leave in doubt: never more recipients than connections are open."""

from __future__ import annotations

import time
from typing import Any

import pytest

from mailer.model.compiled import CompiledIssue
from mailer.model.ledger import Recipient, RecipientState, SendKind, WorkerId
from mailer.model.settings import Relay
from mailer.service.chance import Chance
from mailer.service.deliver import Deliverer
from mailer.service.ports import Incoming, Key, NewSend
from mailer.smtp.pool import RelayPool
from mailer.store import SqlStore
from mailer.store.ledger import SqlLedger
from mailer.wire.envelope import Envelope
from tests.servers.smtp import SmtpServer

pytest_plugins = ("tests.servers.postgres",)

ISSUE = CompiledIssue("a", "A", "en", "", "UTC", "2026-01-01", "a@example.com", "", ("A",), ("A",), ("A",), 1, 1)
PEOPLE, CONNECTIONS = 60, 3


def assemble(recipient: Recipient) -> Envelope:
    return Envelope("a@example.com", recipient.email, b"Subject: A\r\n\r\nA\r\n")


async def test_no_more_dotted_than_connections(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """After every commit there are at most as many dots without an outcome as connections; a relay may get no more
    messages than dots were granted before."""
    store.subscribers.upsert([Incoming(f"r{n}@example.com", f"r{n}@example.com") for n in range(PEOPLE)], 1.0)
    send = store.sends.create(NewSend("a", SendKind.ISSUE, store.issues.put(ISSUE, 1.0), 1.0), None, time.time())
    real, dotted, granted = SqlLedger.write, list[int](), set[Key]()

    def write(self: SqlLedger, now: float, **what: Any) -> set[Key]:
        answer = real(self, now, **what)
        dotted.append(store.sends.status(send.id, now).counts[RecipientState.DOTTED])
        granted.update(answer)
        assert server.accepted <= len(granted)
        return answer

    monkeypatch.setattr(SqlLedger, "write", write)
    async with SmtpServer() as server:
        relay = Relay(host="127.0.0.1", port=server.port, security="none", connections=CONNECTIONS)
        deliverer = Deliverer(
            store,
            RelayPool([relay]),
            lambda send: assemble,
            Chance(time.time, lambda: 0.5, lambda: WorkerId("w")),
            host="here",
            pid=1,
            retry_after=60.0,
            chunk=64,
            connections=CONNECTIONS,
        )
        await deliverer.start()
        try:
            await deliverer.deliver(send.id, 1, PEOPLE)
        finally:
            await deliverer.close()
    assert store.sends.status(send.id, time.time()).counts[RecipientState.SENT] == PEOPLE
    assert 0 < max(dotted) <= CONNECTIONS
