"""The mails that answer sign-ups: a real store, a real SMTP server that misbehaves, and what is due afterwards."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from mailer.errors import AddressError, CompileError, StoreUnavailable
from mailer.model.people import BOUNCED, COMPLAINED
from mailer.model.settings import Relay
from mailer.service import confirmations as module
from mailer.service.confirmations import Confirmer, Patience, queue_confirmations
from mailer.service.ports import Incoming
from mailer.service.sign_up import CLAIM_SECONDS, LINK_SECONDS, Letter, SignUp, Waiting
from mailer.smtp.pool import RelayPool
from mailer.store import SqlStore
from mailer.store.sign_ups import SqlSignUps
from mailer.wire.envelope import Envelope
from tests.servers.smtp import SmtpServer
from tests.servers.smtp_faults import Fault
from tests.servers.waiting import until

pytest_plugins = ("tests.servers.postgres",)

NOW = 1_900_000_000.0
RETRY_AFTER, RETRY_FOR = 60.0, 3600.0
ANNA = "anna@example.com"


@dataclass
class Bench:
    """A store, an SMTP server, and a confirmer between them, whose clock is ``now``."""

    store: SqlStore
    server: SmtpServer
    now: float = NOW
    retry_for: float = RETRY_FOR
    wrong: Exception | None = None
    queued: list[int] = field(default_factory=list)
    closed: set[str] = field(default_factory=set)

    def ask(self, email: str = ANNA) -> int:
        number = self.store.sign_ups.ask(SignUp(email, email), self.now, 1000)
        assert number is not None
        return number

    def write(self, letter: Letter, waiting: Waiting, now: float) -> Envelope:
        if self.wrong is not None:
            raise self.wrong
        assert now == self.now
        text = f"Subject: {letter} {waiting.number}\r\nMessage-ID: <{waiting.number}@a>\r\n\r\nA\r\n".encode()
        return Envelope("post@example.com", waiting.email, text, not waiting.email.isascii())

    def confirmer(self) -> Confirmer:
        relay = Relay(host="127.0.0.1", port=self.server.port, security="none", connections=2)
        self.pool = RelayPool([relay])
        patience = Patience(RETRY_AFTER, self.retry_for)
        return Confirmer(
            self.store, self.pool, self.write, patience, lambda: self.now, lambda: 0.5, lambda: self.closed
        )

    async def send(self, number: int) -> None:
        try:
            await self.confirmer().send(number)
        finally:
            await self.pool.close()

    def due_in(self, number: int) -> float | None:
        """Seconds until the mail is due; None: it is done with."""
        with self.store.database.read() as connection:
            due = connection.exec_driver_sql(f"SELECT due_at FROM sign_ups WHERE number = {number}").scalar()
        return None if due is None else due - self.now

    def subjects(self) -> list[str]:
        return [message.content.split(b"\r\n")[0].decode() for message in self.server.messages]

    async def enqueue(self, batches: object) -> None:
        raise AssertionError("no batch is queued here")

    async def enqueue_confirmations(self, numbers: list[int]) -> None:
        self.queued += numbers


@pytest.fixture
async def bench(store: SqlStore) -> AsyncIterator[Bench]:
    async with SmtpServer() as server:
        yield Bench(store, server)
        assert server.violations == []


async def test_who_gets_what(bench: Bench) -> None:
    """A link goes to whom nobody knows, who has left, or has bounced; word that all is well to who is subscribed; to
    who has complained, or was suppressed by an operator, nothing at all. Each is done with."""
    names = ("here", "left", "bad", "spam", "op")
    bench.store.subscribers.upsert([Incoming(f"{name}@example.com", f"{name}@example.com") for name in names], NOW)
    left = bench.store.subscribers.find("left@example.com")
    assert left is not None
    bench.store.subscribers.unsubscribe(left.id, NOW)
    for name, reason in (("bad", BOUNCED), ("spam", COMPLAINED), ("op", "added by hand")):
        bench.store.suppressions.add(f"{name}@example.com", reason, "test", NOW)
    numbers = [bench.ask(f"{name}@example.com") for name in ("new", *names)]
    for number in numbers:
        await bench.send(number)
    assert bench.server.recipients == ["new@example.com", "here@example.com", "left@example.com", "bad@example.com"]
    letters = ["confirm 1", "subscribed 2", "confirm 3", "confirm 4"]
    assert bench.subjects() == [f"Subject: {letter}" for letter in letters]
    assert [bench.due_in(number) for number in numbers] == [None] * 6
    assert {one.email for one in bench.store.suppressions.each()} == {f"{n}@example.com" for n in ("bad", "spam", "op")}


async def test_once(bench: Bench) -> None:
    """Sent at the same time by several workers, and again later, a mail goes out once."""
    number = bench.ask()
    confirmer = bench.confirmer()
    await asyncio.gather(*(confirmer.send(number) for _ in range(4)))
    await confirmer.send(number)
    bench.now += CLAIM_SECONDS + 1
    await confirmer.send(number)
    await confirmer.send(4711)
    await bench.pool.close()
    assert bench.server.recipients == [ANNA]


@pytest.mark.parametrize("phase", ["rcpt", "data", "dot"])
async def test_deferred(bench: Bench, phase: str) -> None:
    """A 4xx is tried again with growing pauses, and comes through."""
    bench.server.faults = [Fault(phase, "451 4.7.1 come again", times=2)]  # type: ignore[arg-type]
    number = bench.ask()
    for pause in (60, 120):
        await bench.send(number)
        assert bench.due_in(number) == pause
        await bench.send(number)  # not due yet
        bench.now += pause
    await bench.send(number)
    assert (bench.server.recipients, bench.due_in(number)) == ([ANNA], None)


@pytest.mark.parametrize("retry_for", [RETRY_FOR, 10 * LINK_SECONDS])
async def test_given_up(bench: Bench, retry_for: float) -> None:
    """What is deferred for ``retry_for`` is given up, and what would arrive when its link is worth nothing any more."""
    bench.retry_for = retry_for
    bench.server.faults = [Fault("rcpt", "451 4.7.1 come again")]
    number = bench.ask()
    tries = 0
    while (due := bench.due_in(number)) is not None:
        bench.now += due
        assert bench.now < NOW + min(retry_for, LINK_SECONDS)
        await bench.send(number)
        tries += 1
    assert tries == (6 if retry_for == RETRY_FOR else 173)
    assert bench.server.recipients == []


@pytest.mark.parametrize("phase", ["rcpt", "data", "dot"])
async def test_refused(bench: Bench, phase: str, caplog: pytest.LogCaptureFixture) -> None:
    """A 5xx ends it, suppresses nobody and counts against nobody: who typed the address may be a stranger."""
    bench.server.faults = [Fault(phase, "550 5.1.1 no such user")]  # type: ignore[arg-type]
    number = bench.ask()
    await bench.send(number)
    assert bench.due_in(number) is None
    assert "550 5.1.1 no such user" in caplog.text
    assert ANNA not in caplog.text
    assert list(bench.store.suppressions.each()) == []
    assert bench.store.events.waiting(10) == []
    assert bench.store.events.refusals(10) == []


async def test_closed(bench: Bench) -> None:
    """A mail to a destination whose breaker is open waits, and isn't tried; others go."""
    bench.closed = {"gmx.net"}
    numbers = [bench.ask("anna@web.de"), bench.ask()]
    for number in numbers:
        await bench.send(number)
    assert (bench.server.recipients, bench.due_in(numbers[0])) == ([ANNA], RETRY_AFTER)
    bench.closed.clear()
    bench.now += RETRY_AFTER
    await bench.send(numbers[0])
    assert bench.server.recipients == [ANNA, "anna@web.de"]


async def test_sender_refused(bench: Bench) -> None:
    """A relay that refuses our sender is for an operator to mend: the mail waits."""
    bench.server.faults = [Fault("mail", "550 5.7.1 not you", times=1)]
    number = bench.ask()
    await bench.send(number)
    assert bench.due_in(number) == RETRY_AFTER
    bench.now += RETRY_AFTER
    await bench.send(number)
    assert bench.server.recipients == [ANNA]


@pytest.mark.parametrize("where", ["connect", "dot"])
async def test_lost(bench: Bench, where: str) -> None:
    """A relay that can't be reached, or breaks off, costs no mail; broken off after the dot, it may come twice."""
    bench.server.faults = [Fault(where, drop=True, record=where == "dot", times=1)]  # type: ignore[arg-type]
    number = bench.ask()
    await bench.send(number)
    assert bench.due_in(number) == RETRY_AFTER
    bench.now += RETRY_AFTER
    await bench.send(number)
    assert bench.server.recipients == [ANNA] * (2 if where == "dot" else 1)
    assert bench.due_in(number) is None


async def test_no_reply(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relay that doesn't answer is waited for as long as a job has time, and tried again."""
    monkeypatch.setattr(module, "SEND_SECONDS", 0.2)
    bench.server.faults = [Fault("rcpt", "", times=1)]
    number = bench.ask()
    await bench.send(number)
    assert bench.due_in(number) == RETRY_AFTER
    bench.now += RETRY_AFTER
    await bench.send(number)
    assert bench.server.recipients == [ANNA]


async def test_no_letter(bench: Bench) -> None:
    """An address that can't be written to is done with; a template that can't be drawn can be mended, and is waited
    for."""
    number = bench.ask()
    bench.wrong = CompileError("broken", where="templates/confirmation.mjml:3")
    await bench.send(number)
    assert bench.due_in(number) == RETRY_AFTER
    bench.now += RETRY_AFTER
    bench.wrong = AddressError("no address")
    await bench.send(number)
    assert bench.due_in(number) is None
    assert bench.server.connections == 0


async def test_no_smtputf8(bench: Bench) -> None:
    """An address that the relay can't carry ends it."""
    bench.server.smtputf8 = False
    number = bench.ask("jürgen@example.com")
    await bench.send(number)
    assert (bench.server.recipients, bench.due_in(number)) == ([], None)


@pytest.mark.parametrize("call", ["claim", "settle"])
async def test_database_away(bench: Bench, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """A database that can't be used costs no mail; after the dot, it may come twice."""
    number = bench.ask()

    def away(*_args: object) -> None:
        raise StoreUnavailable("gone")

    with monkeypatch.context() as broken:
        broken.setattr(SqlSignUps, call, away)
        await bench.send(number)
    bench.now += CLAIM_SECONDS
    await bench.send(number)
    assert bench.server.recipients == [ANNA] * (1 if call == "claim" else 2)
    assert bench.due_in(number) is None


async def test_cancelled(bench: Bench) -> None:
    """A job that is cancelled half-way, or dies with its worker, leaves the mail to the next one after a while."""
    bench.server.faults = [Fault("rcpt", "", times=1)]
    number = bench.ask()
    confirmer = bench.confirmer()
    sending = asyncio.create_task(confirmer.send(number))
    reached = functools.partial(until, lambda: any(line.startswith("RCPT") for line in bench.server.commands))
    assert await asyncio.to_thread(reached)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    assert bench.due_in(number) == CLAIM_SECONDS
    bench.now += CLAIM_SECONDS
    await confirmer.send(number)
    await bench.pool.close()
    assert bench.server.recipients == [ANNA]


async def test_reconciler(bench: Bench) -> None:
    """A round queues what is due, the oldest first and not everything at once; it forgets what is older than a week."""
    numbers = [bench.ask(f"p{n}@example.com") for n in range(module.AT_ONCE + 1)]
    await queue_confirmations(bench.store, bench, NOW)
    assert bench.queued == numbers[:-1]
    for number in numbers[:-1]:
        bench.store.sign_ups.settle(number, 1, None)
    bench.queued.clear()
    await queue_confirmations(bench.store, bench, NOW + LINK_SECONDS)
    assert bench.queued == numbers[-1:]
    assert bench.store.sign_ups.due(NOW + 2 * LINK_SECONDS, 10) == []
