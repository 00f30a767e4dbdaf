"""A store with a running send, an SMTP server, and deliverers between them."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import MappingProxyType

import pytest

from mailer.model.compiled import CompiledIssue
from mailer.model.ledger import Recipient, RecipientReport, Send, SendKind, WorkerId
from mailer.model.settings import Relay
from mailer.service.chance import Chance
from mailer.service.deliver import Deliverer
from mailer.service.destinations import Destinations, Limit
from mailer.service.flight import Assemble
from mailer.service.ports import Connection, Incoming, NewSend, Relays
from mailer.service.sharing import Alone
from mailer.smtp.pool import RelayPool
from mailer.store import SqlStore
from mailer.wire.envelope import Envelope
from tests.servers.smtp import SmtpServer

ISSUE = CompiledIssue("a", "A", "en", "", "UTC", "2026-01-01", "a@example.com", "", ("A",), ("A",), ("A",), 1, 1)


def assemble(recipient: Recipient) -> Envelope:
    """A message that is the same for everyone."""
    return Envelope("a@example.com", recipient.email, b"Subject: A\r\n\r\nA\r\n")


@dataclass
class Bench:
    """A store with a running send, an SMTP server, and deliverers between them."""

    store: SqlStore
    server: SmtpServer
    send: Send
    _numbers: itertools.count[int]
    ahead: float = 0.0

    @asynccontextmanager
    async def deliverer(
        self,
        make: Assemble = assemble,
        wrap: Callable[[Relays], Relays] = lambda relays: relays,
        freeze: Callable[[Send], Assemble] | None = None,
        limits: Mapping[str, Limit] = MappingProxyType({}),
        connections: int = 4,
    ) -> AsyncIterator[Deliverer]:
        """``ahead``: seconds by which the deliverer's clock goes before ours."""
        alone = Alone(time.time)
        relay = Relay(host="127.0.0.1", port=self.server.port, security="none", connections=connections)
        deliverer = Deliverer(
            self.store,
            wrap(RelayPool([relay])),
            freeze or (lambda send: make),
            Chance(lambda: time.time() + self.ahead, lambda: 0.5, lambda: WorkerId(f"w{next(self._numbers)}")),
            host="here",
            pid=1,
            retry_after=60.0,
            chunk=64,
            connections=relay.connections,
            destinations=Destinations(limits, alone, alone, size=relay.connections, clock=time.time),
        )
        await deliverer.start()
        try:
            yield deliverer
        finally:
            await deliverer.close()

    def rows(self) -> list[RecipientReport]:
        return list(self.store.sends.recipients(self.send.id, None))

    def states(self) -> dict[str, int]:
        counts = self.store.sends.status(self.send.id, time.time()).counts
        return {state.value: count for state, count in counts.items() if count}


async def becomes(condition: Callable[[], bool]) -> None:
    """Waits until a condition holds, ten seconds at most."""
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.01)
    pytest.fail("it never came true")


class Between:
    """Relays that do something between the body and the compare-and-set."""

    def __init__(self, relays: Relays, then: Callable[[str], None]) -> None:
        self._relays, self._then = relays, then

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        async with self._relays.connection() as connection:
            offer = connection.offer

            async def and_then(envelope: Envelope) -> object:
                refused = await offer(envelope)
                await asyncio.to_thread(self._then, envelope.recipient)
                return refused

            connection.offer = and_then  # type: ignore[method-assign, assignment]
            try:
                yield connection
            finally:
                connection.offer = offer  # type: ignore[method-assign]

    async def reach(self) -> None:
        await self._relays.reach()

    async def close(self) -> None:
        await self._relays.close()


def others(bench: Bench, *addresses: str) -> Send:
    """A second send, to these."""
    bench.store.subscribers.upsert([Incoming(address, address) for address in addresses], 1.0)
    digest = bench.store.issues.put(ISSUE, 1.0)
    chosen = [one.id for one in bench.store.subscribers.each() if one.email in addresses]
    return bench.store.sends.create(NewSend("b", SendKind.ISSUE, digest, 1.0), chosen, time.time())
