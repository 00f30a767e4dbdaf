"""Delivery of a batch: a real store, a real SMTP server that misbehaves, and what the ledger says afterwards."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from mailer.errors import MailerError, StoreUnavailable
from mailer.model.ledger import Recipient, RecipientState, Send, SendState, WorkerId
from mailer.service import heart
from mailer.service.destinations import Limit
from mailer.service.flight import Assemble
from mailer.service.ports import Connection, Key, Relays
from mailer.store.ledger import SqlLedger
from mailer.store.workers import SqlWorkers
from mailer.wire.envelope import Envelope
from tests.edge.delivery import Bench, Between, assemble, becomes, others
from tests.servers.smtp_faults import Fault

pytest_plugins = ("tests.servers.postgres",)


async def test_all_sent(bench: Bench) -> None:
    """Everyone is sent to once, and the send is finished."""
    async with bench.deliverer() as deliverer:
        assert await deliverer.deliver(bench.send.id, 1, 10) is False
    assert bench.states() == {"sent": 10}
    assert sorted(bench.server.recipients) == [f"r{n}@example.com" for n in range(10)]
    assert bench.store.sends.get(bench.send.id).state is SendState.FINISHED
    assert bench.server.violations == []


@pytest.mark.parametrize(
    ("fault", "state", "code"),
    [
        (Fault("rcpt", "550 5.1.1 unknown", to="r3@"), RecipientState.FAILED, 550),
        (Fault("rcpt", "450 4.2.1 later", to="r3@"), RecipientState.DEFERRED, 450),
        (Fault("dot", "554 5.6.0 no", to="r3@"), RecipientState.FAILED, 554),
        (Fault("dot", "451 4.3.0 later", to="r3@"), RecipientState.DEFERRED, 451),
        (Fault("rcpt", "421 4.3.2 closing", to="r3@", drop=True), RecipientState.DEFERRED, None),
        (Fault("dot", "", to="r3@", drop=True, record=True), RecipientState.IN_DOUBT, None),
        (Fault("dot", "", to="r3@", drop=True), RecipientState.IN_DOUBT, None),
        (Fault("dot", b"\xff\xfe what\r\n", to="r3@"), RecipientState.IN_DOUBT, None),
    ],
    ids=["rcpt-5xx", "rcpt-4xx", "dot-5xx", "dot-4xx", "421", "lost-taken", "lost-not-taken", "garbage"],
)
async def test_one_goes_wrong(bench: Bench, fault: Fault, state: RecipientState, code: int | None) -> None:
    """What goes wrong with one recipient is recorded of that one, and the other nine get their mail."""
    bench.server.faults.append(fault)
    async with bench.deliverer() as deliverer:
        await deliverer.deliver(bench.send.id, 1, 10)
        await becomes(lambda: bench.states() == {"sent": 9, state.value: 1})
    row = next(row for row in bench.rows() if row.email == "r3@example.com")
    assert (row.state, row.code) == (state, code)


async def test_no_message_can_be_made(bench: Bench) -> None:
    """A recipient for whom no message can be made fails with the reason, without a word to the relay."""

    def refuse(recipient: Recipient) -> Envelope:
        if recipient.email.startswith("r3@"):
            raise MailerError("this name breaks everything")
        return assemble(recipient)

    async with bench.deliverer(refuse) as deliverer:
        await deliverer.deliver(bench.send.id, 1, 10)
    row = next(row for row in bench.rows() if row.email == "r3@example.com")
    assert (row.state, row.reply, row.attempts) == (RecipientState.FAILED, "this name breaks everything", 0)
    assert bench.states() == {"sent": 9, "failed": 1}


async def test_sender_refused(bench: Bench) -> None:
    """A relay that refuses the sender pauses the send and says why; nobody has failed."""
    bench.server.faults.append(Fault("mail", "553 5.7.1 not your address"))
    async with bench.deliverer() as deliverer:
        await deliverer.deliver(bench.send.id, 1, 10)
    send = bench.store.sends.get(bench.send.id)
    assert send.state is SendState.PAUSED
    assert "refuses the sender (553 5.7.1 not your address)" in send.reason
    assert bench.states() == {"pending": 10}


async def test_relay_is_down(bench: Bench) -> None:
    """While no relay can be reached nothing is claimed, and nobody's attempts count."""
    await bench.server.stop()
    async with bench.deliverer() as deliverer:
        assert await deliverer.deliver(bench.send.id, 1, 10) is False
    assert bench.states() == {"pending": 10}
    assert all(row.attempts == 0 for row in bench.rows())
    await bench.server.start()


async def test_unsubscribed_before_the_dot(bench: Bench) -> None:
    """Whoever unsubscribes after the body has gone out, but before the dot, gets no mail."""

    def leave(recipient: str) -> None:
        if recipient.startswith("r3@"):
            found = bench.store.subscribers.find("r3@example.com")
            assert found is not None
            bench.store.subscribers.unsubscribe(found.id, time.time())

    async with bench.deliverer(wrap=lambda relays: Between(relays, leave)) as deliverer:
        await deliverer.deliver(bench.send.id, 1, 10)
    assert "r3@example.com" not in bench.server.recipients
    assert bench.server.broken_off == 1
    assert bench.states() == {"sent": 9, "skipped": 1}


async def test_paused_before_the_dot(bench: Bench) -> None:
    """Once pause has returned no dot goes out; after resume the same people get their mail once."""
    paused: list[int] = []

    def pause(recipient: str) -> None:
        if not paused:
            bench.store.sends.pause(bench.send.id, "by hand", time.time())
            paused.append(bench.server.accepted)

    async with bench.deliverer(wrap=lambda relays: Between(relays, pause)) as deliverer:
        await deliverer.deliver(bench.send.id, 1, 10)
        sent = bench.states().get("sent", 0)
        assert sent == bench.server.accepted
        assert bench.states() == {"pending": 10 - sent} | ({"sent": sent} if sent else {})
        bench.store.sends.resume(bench.send.id, time.time())
        await deliverer.deliver(bench.send.id, 1, 10)
    assert bench.states() == {"sent": 10}
    assert len(bench.server.recipients) == len(set(bench.server.recipients)) == 10


@pytest.mark.parametrize("how", ["pause", "cancel"])
async def test_stopped_send_goes_out_to_nobody(bench: Bench, how: str) -> None:
    """When a send is paused or cancelled, no more bodies go out in vain than were under way; other sends go on."""
    send = others(bench, *(f"p{n}@{n % 7}.example" for n in range(60)))
    stopped: list[int] = []

    def stop(recipient: str) -> None:
        if recipient.startswith("p") and not stopped:
            if how == "pause":
                bench.store.sends.pause(send.id, "by hand", time.time())
            else:
                bench.store.sends.cancel(send.id, time.time())
            stopped.append(bench.server.commands.count("DATA"))

    async with bench.deliverer(wrap=lambda relays: Between(relays, stop)) as deliverer:
        await asyncio.gather(deliverer.deliver(send.id, 1, 60), deliverer.deliver(bench.send.id, 1, 10))
        assert bench.states() == {"sent": 10}
        offered = bench.server.commands.count("DATA") - bench.server.accepted
        assert 1 <= offered <= 4
        left = "pending" if how == "pause" else "skipped"
        assert bench.store.sends.status(send.id, time.time()).counts[RecipientState(left)] >= 60 - stopped[0]


async def test_taken_for_dead(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker whose lease ran out while it slept sends no dot, and goes on under a new id."""
    monkeypatch.setattr(heart, "BEAT", 0.05)
    reaped: list[tuple[int, int]] = []

    def sleep(recipient: str) -> None:
        if not reaped:
            reaped.append(bench.store.ledger.reap(time.time() + 100, 20.0))

    async with bench.deliverer(wrap=lambda relays: Between(relays, sleep)) as deliverer:
        first = deliverer.worker
        await deliverer.deliver(bench.send.id, 1, 10)
        await becomes(lambda: deliverer.worker != first)
        await deliverer.deliver(bench.send.id, 1, 10)
    assert sum(freed for freed, _ in reaped) > 0
    assert bench.states() == {"sent": 10}
    assert len(bench.server.recipients) == len(set(bench.server.recipients)) == 10


async def test_drain(bench: Bench) -> None:
    """Draining finishes what has begun, gives the rest back, and leaves nobody in doubt."""
    bench.server.faults += [Fault("dot", times=1), Fault("dot", delay=0.5)]
    async with bench.deliverer() as deliverer:
        job = asyncio.create_task(deliverer.deliver(bench.send.id, 1, 10))
        await becomes(lambda: bench.states().get("dotted") == 4)
        job.cancel()
        await deliverer.close()
        assert bench.states() == {"sent": 5, "pending": 5}
        assert bench.server.accepted == 5


async def test_cancelled_job(bench: Bench) -> None:
    """Cancelling the job in the middle costs nobody anything: what has begun goes on."""
    bench.server.faults.append(Fault("dot", delay=0.05))
    async with bench.deliverer() as deliverer:
        job = asyncio.create_task(deliverer.deliver(bench.send.id, 1, 10))
        await becomes(lambda: bench.server.accepted > 0)
        job.cancel()
        await becomes(lambda: bench.states() == {"sent": 10})
    assert len(bench.server.recipients) == 10


@pytest.mark.parametrize("step", ["claim", "write"])
async def test_database_away(bench: Bench, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """While the database refuses a step, the worker waits and goes on; nobody is lost and nobody gets it twice."""
    ledger = type(bench.store.ledger)
    real, refusals = getattr(ledger, step), itertools.count()

    def sometimes(self: object, *arguments: object, **named: object) -> object:
        if next(refusals) % 3 < 2:
            raise StoreUnavailable("the disk is full")
        return real(self, *arguments, **named)

    monkeypatch.setattr(ledger, step, sometimes)
    async with bench.deliverer() as deliverer:
        await deliverer.deliver(bench.send.id, 1, 10)
    assert bench.states() == {"sent": 10}
    assert len(bench.server.recipients) == 10
    assert next(refusals) > 3


@pytest.mark.parametrize(("step", "which"), [("claim", 0), ("write", 0), ("write", 1), ("write", 2)])
async def test_answer_lost(bench: Bench, monkeypatch: pytest.MonkeyPatch, step: str, which: int) -> None:
    """A commit whose answer was lost harms nobody: it is asked for again, or what it claimed goes back by itself."""
    monkeypatch.setattr(heart, "BEAT", 0.05)
    ledger = type(bench.store.ledger)
    real, answers = getattr(ledger, step), itertools.count()

    def lose(self: object, *arguments: object, **named: object) -> object:
        answer = real(self, *arguments, **named)
        if next(answers) == which:
            raise StoreUnavailable("the connection was lost during COMMIT")
        return answer

    monkeypatch.setattr(ledger, step, lose)
    async with bench.deliverer() as deliverer:
        await deliverer.deliver(bench.send.id, 1, 10)
        await becomes(lambda: "claimed" not in bench.states())
        await deliverer.deliver(bench.send.id, 1, 10)
    assert bench.states() == {"sent": 10}
    assert len(bench.server.recipients) == len(set(bench.server.recipients)) == 10


async def test_defect(bench: Bench) -> None:
    """A defect of ours before the dot is tried later, with the reason; nobody else notices."""
    defects = itertools.count()

    def fail(recipient: Recipient) -> Envelope:
        if not next(defects):
            raise ZeroDivisionError
        return assemble(recipient)

    async with bench.deliverer(fail) as deliverer:
        await deliverer.deliver(bench.send.id, 1, 10)
    assert bench.states() == {"sent": 9, "deferred": 1}
    row = next(row for row in bench.rows() if row.state is RecipientState.DEFERRED)
    assert (row.attempts, row.reply) == (1, "mailer failed (ZeroDivisionError); its log says more")


async def test_no_message_for_anybody(bench: Bench) -> None:
    """An issue of which no message can be made pauses the send with the reason, and claims nobody."""

    def broken(send: Send) -> Assemble:
        raise MailerError("[publication] base_url is no URL")

    async with bench.deliverer(freeze=broken) as deliverer:
        assert await deliverer.deliver(bench.send.id, 1, 10) is False
    assert bench.states() == {"pending": 10}
    assert "base_url is no URL" in bench.store.sends.get(bench.send.id).reason


async def test_stopped_with_a_dot_in_hand(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that was stopped between the grant and the dot, for longer than its lease, sends no dot."""
    ledger, slept = type(bench.store.ledger), itertools.count()
    real = ledger.write

    def granted_then_stopped(self: SqlLedger, now: float, *, dots: Sequence[Key], **others: Sequence[Any]) -> set[Key]:
        granted = real(self, now, dots=dots, **others)
        if dots and not next(slept):
            bench.ahead += 100.0
            assert self.reap(time.time() + 100, 20.0)[1] == len(granted) > 0
        return granted

    monkeypatch.setattr(ledger, "write", granted_then_stopped)
    async with bench.deliverer() as deliverer:
        await deliverer.deliver(bench.send.id, 1, 10)
    doubted = bench.states()["in_doubt"]
    assert doubted > 0
    assert bench.server.accepted == bench.states().get("sent", 0)
    assert bench.server.broken_off >= doubted


async def test_late_reply(bench: Bench) -> None:
    """A 4xx that comes for someone in doubt, after the send has finished, is tried again: nobody is lost."""
    bench.server.pipelining = False  # else another one might be announced behind it
    bench.server.faults.append(Fault("dot", "451 4.3.0 later", to="r3@", delay=0.5))
    async with bench.deliverer() as deliverer:
        job = asyncio.create_task(deliverer.deliver(bench.send.id, 1, 10))
        await becomes(lambda: bench.states() == {"sent": 9, "dotted": 1})
        bench.store.ledger.reap(time.time() + 100, 20.0)
        assert bench.store.sends.finish(time.time()) == [bench.send.id]
        await job
        assert bench.states() == {"sent": 9, "deferred": 1}
        bench.store.sends.finish(time.time())
        assert bench.store.sends.get(bench.send.id).state is SendState.RUNNING
        assert len(bench.store.ledger.unfinished(time.time() + 1000, 10)) == 1


async def test_relay_that_always_breaks_off(bench: Bench) -> None:
    """A relay that breaks off before the dot costs its recipient a try, so that the waits grow and end."""
    bench.server.faults.append(Fault("rcpt", "421 4.3.2 closing", to="r3@", drop=True))
    async with bench.deliverer() as deliverer:
        await deliverer.deliver(bench.send.id, 1, 10)
    row = next(row for row in bench.rows() if row.email == "r3@example.com")
    assert (row.state, row.attempts) == (RecipientState.DEFERRED, 1)
    assert bench.store.ledger.expire(time.time() + 100, 50.0) == 1


@pytest.mark.parametrize(
    ("fault", "slowed"),
    [
        (Fault("rcpt", "421 4.7.0 too much, later", to="r3@", drop=True), {"example.com"}),
        (Fault("dot", "421 4.7.0 too much, later", to="r3@", drop=True), {"example.com"}),
        (Fault("rcpt", "421 4.3.2 shutting down", to="r3@", drop=True), set()),
        (Fault("mail", "421 4.7.0 too many messages", times=1, drop=True), set()),
    ],
    ids=["rcpt", "dot", "of itself", "before a recipient was named"],
)
async def test_whom_421_slows(bench: Bench, fault: Fault, slowed: set[str]) -> None:
    """421 slows the destination down for whose recipient it was said, unless the relay says it of itself; either way
    one is tried again later and the others get their mail."""
    bench.server.faults.append(replace(fault))  # it is used up
    async with bench.deliverer() as deliverer:
        delivery = asyncio.create_task(deliverer.deliver(bench.send.id, 1, 10))
        await becomes(lambda: "deferred" in bench.states())
        assert deliverer._destinations.conditions.keys() == slowed
        await becomes(lambda: bench.states() == {"sent": 9, "deferred": 1})
        delivery.cancel()


async def test_heart_goes_on(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that goes wrong in a heartbeat stops the heart."""
    monkeypatch.setattr(heart, "BEAT", 0.01)
    workers, beats = type(bench.store.workers), itertools.count()
    real = workers.beat

    def fail(self: SqlWorkers, worker: WorkerId, now: float) -> bool:
        if next(beats) < 2:
            raise ZeroDivisionError
        return real(self, worker, now)

    monkeypatch.setattr(workers, "beat", fail)
    async with bench.deliverer():
        await becomes(lambda: next(beats) > 5)


async def test_tarpit(bench: Bench) -> None:
    """A destination that takes for ever over each message doesn't keep the others from theirs."""
    slow, quick = [f"s{n}@slow.example" for n in range(20)], [f"q{n}@{n % 7}.example" for n in range(40)]
    send = others(bench, *(one for pair in itertools.zip_longest(slow, quick) for one in pair if one))
    bench.server.faults.append(Fault("rcpt", to="@slow.example", delay=6.0))
    began = time.monotonic()
    async with bench.deliverer() as deliverer:
        delivery = asyncio.create_task(deliverer.deliver(send.id, 1, 60))
        await becomes(lambda: set(quick) <= set(bench.server.recipients))
        assert time.monotonic() - began < 3
        delivery.cancel()


@pytest.mark.parametrize("come", ["mixed", "after the tarpits"])
async def test_tarpits_together(bench: Bench, come: str) -> None:
    """Five destinations that take for ever over each message don't keep the others from theirs, whoever comes first."""
    slow = [f"s{n}@slow{n % 5}.example" for n in range(50)]
    quick = [f"q{n}@{n % 7}.example" for n in range(50)]
    send = others(bench, *(itertools.chain(*zip(slow, quick, strict=True)) if come == "mixed" else slow + quick))
    bench.server.faults.append(Fault("dot", to="@slow", delay=20.0))
    async with bench.deliverer(connections=8) as deliverer:

        async def go_on() -> None:
            while True:  # as the reconciler has it
                await deliverer.deliver(send.id, 1, 100)
                await asyncio.sleep(0.1)

        def counts() -> Mapping[RecipientState, int]:
            return bench.store.sends.status(send.id, time.time()).counts

        delivery = asyncio.create_task(go_on())
        await becomes(lambda: set(quick) <= set(bench.server.recipients))
        assert set(bench.server.recipients) == set(quick)  # none of the tarpits has answered
        await becomes(lambda: counts()[RecipientState.SENT] == len(quick))
        assert 0 < counts()[RecipientState.DOTTED] < 8
        delivery.cancel()
        bench.server.faults.clear()
        for session in list(bench.server.sessions):
            session.drop()


async def test_tarpit_is_all_that_is_left(bench: Bench) -> None:
    """A tarpit that has had all connections to itself doesn't keep the next send waiting."""
    bench.server.faults.append(Fault("rcpt", to="@example.com", delay=6.0))
    send = others(bench, *(f"q{n}@{n % 7}.example" for n in range(40)))
    async with bench.deliverer() as deliverer:
        tarpit = asyncio.create_task(deliverer.deliver(bench.send.id, 1, 10))
        await becomes(lambda: sum(command.startswith("RCPT") for command in bench.server.commands) >= 2)
        began = time.monotonic()
        await asyncio.wait_for(deliverer.deliver(send.id, 1, 40), 5)
        assert time.monotonic() - began < 3
        assert bench.states() == {"claimed": 10}
        tarpit.cancel()


@pytest.mark.parametrize("limit", [Limit(connections=1), Limit(rate=500.0)])
async def test_quick_but_limited(bench: Bench, limit: Limit) -> None:
    """A destination with a limit that answers at once gets its messages in a turn or two, however few are claimed at a
    time."""
    send = others(bench, *(f"l{n}@limited.example" for n in range(100)))
    async with bench.deliverer(limits={"limited.example": limit}) as deliverer:
        for _ in range(3):  # a machine that stalls for a second may end a turn before all have been sent
            await asyncio.wait_for(deliverer.deliver(send.id, 1, 100), 10)
    assert bench.store.sends.status(send.id, time.time()).counts[RecipientState.SENT] == 100


async def test_no_connection_for_nothing(bench: Bench) -> None:
    """Of a destination that may have one message at a time, each costs one connection, whatever else is free."""
    lent = 0

    class Counting(Between):
        @asynccontextmanager
        async def connection(self) -> AsyncIterator[Connection]:
            nonlocal lent
            lent += 1
            await asyncio.sleep(0.001)  # as where a relay's pace is asked for
            async with self._relays.connection() as connection:
                yield connection

    def wrap(relays: Relays) -> Relays:
        return Counting(relays, lambda _: None)

    send = others(bench, *(f"l{n}@limited.example" for n in range(20)))
    limits = {"limited.example": Limit(rate=100.0)}
    async with bench.deliverer(limits=limits, wrap=wrap) as deliverer:
        async with asyncio.timeout(10):
            while len(bench.server.recipients) < 20:  # a turn ends early on a machine that is busy
                await deliverer.deliver(send.id, 1, 100)
    assert len(bench.server.recipients) == 20
    assert lent <= 25


async def test_breaker(bench: Bench) -> None:
    """A policy rejection costs as many as were under way; the rest of that destination waits, the others get theirs."""
    bad, good = [f"b{n}@bad.example" for n in range(30)], [f"g{n}@{n % 7}.example" for n in range(30)]
    send = others(bench, *(one for pair in zip(bad, good, strict=True) for one in pair))
    bench.server.faults.append(Fault("rcpt", "550 5.7.1 Blocked for policy reasons", to="@bad.example"))
    async with bench.deliverer() as deliverer:
        await asyncio.wait_for(deliverer.deliver(send.id, 1, 60), 40)
    rows = list(bench.store.sends.recipients(send.id, None))
    states = {state: {row.email for row in rows if row.state == state} for state in ("sent", "failed", "pending")}
    assert states["sent"] == set(good)
    assert 1 <= len(states["failed"]) <= 4
    assert states["failed"] | states["pending"] == set(bad)
