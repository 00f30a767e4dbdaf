"""What several tests of delivery stand on."""

from __future__ import annotations

import itertools
import time
from collections.abc import AsyncIterator

import pytest

from mailer.model.ledger import SendKind
from mailer.service import deliver as module
from mailer.service import group
from mailer.service.ports import Incoming, NewSend
from mailer.store import SqlStore
from tests.edge.delivery import ISSUE, Bench
from tests.servers.smtp import SmtpServer


@pytest.fixture
async def bench(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    """Ten recipients, ``r0@example.com`` to ``r9@example.com``."""
    monkeypatch.setattr(module, "RELAY_PAUSE", 0.01)
    monkeypatch.setattr(group, "PAUSES", (0.01,))
    people = [Incoming(f"r{n}@example.com", f"r{n}@example.com") for n in range(10)]
    store.subscribers.upsert(people, 1.0)
    digest = store.issues.put(ISSUE, 1.0)
    send = store.sends.create(NewSend("a", SendKind.ISSUE, digest, 1.0), None, time.time())
    async with SmtpServer() as server:
        yield Bench(store, server, send, itertools.count())
