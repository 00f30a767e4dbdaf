"""Delivery where a message is announced with the dot of the one before it on its connection."""

from __future__ import annotations

import asyncio
import time

import pytest

from mailer.errors import MailerError
from mailer.model.ledger import Recipient, RecipientState, Send
from mailer.service import lines
from mailer.wire.envelope import Envelope
from tests.edge.delivery import Bench, assemble, becomes, others
from tests.servers.smtp_faults import Fault

pytest_plugins = ("tests.servers.postgres",)

PEOPLE = 40


def many(bench: Bench) -> Send:
    """A send to so many people, of seven destinations."""
    return others(bench, *(f"p{n}@{n % 7}.example" for n in range(PEOPLE)))


def counts(bench: Bench, send: Send) -> dict[str, int]:
    found = bench.store.sends.status(send.id, time.time()).counts
    return {state.value: count for state, count in found.items() if count}


async def test_one_round_trip(bench: Bench) -> None:
    """Most messages are announced; each arrives once, on no more connections than before."""
    send = many(bench)
    async with bench.deliverer() as deliverer:
        await deliverer.deliver(send.id, 1, PEOPLE)
    assert counts(bench, send) == {"sent": PEOPLE}
    assert sorted(bench.server.recipients) == sorted(f"p{n}@{n % 7}.example" for n in range(PEOPLE))
    assert bench.server.commands.count("RSET") >= PEOPLE // 2
    assert bench.server.connections <= 4
    assert bench.server.violations == []


@pytest.mark.parametrize(
    "fault",
    [
        Fault("rset", "421 4.3.2 enough for one session", drop=True),
        Fault("rset", drop=True),
        Fault("reply", drop=True),
        Fault("rset", "502 5.5.1 what is that"),
    ],
    ids=["421", "lost", "closed after the dot", "no RSET"],
)
async def test_relay_that_takes_one_a_session(bench: Bench, fault: Fault) -> None:
    """Who was announced on a session that ended then is at once carried by another one, and it counts as no try."""
    bench.server.faults.append(fault)
    send = many(bench)
    async with bench.deliverer() as deliverer:
        await deliverer.deliver(send.id, 1, PEOPLE)
    assert counts(bench, send) == {"sent": PEOPLE}
    assert bench.server.accepted == PEOPLE
    assert {row.attempts for row in bench.store.sends.recipients(send.id, None)} == {1}


async def test_cannot_be_made(bench: Bench) -> None:
    """One for whom no message can be made fails when its turn comes; whoever it would have followed isn't touched."""

    def refuse(recipient: Recipient) -> Envelope:
        if recipient.email.startswith(("p9@", "p23@")):
            raise MailerError("this name breaks everything")
        return assemble(recipient)

    send = many(bench)
    async with bench.deliverer(refuse) as deliverer:
        await deliverer.deliver(send.id, 1, PEOPLE)
    assert counts(bench, send) == {"sent": PEOPLE - 2, "failed": 2}
    failed = [row for row in bench.store.sends.recipients(send.id, None) if row.state is RecipientState.FAILED]
    assert {row.reply for row in failed} == {"this name breaks everything"}


async def test_drain(bench: Bench) -> None:
    """Draining sends no dot for whoever was announced: the claim is given back."""
    bench.server.faults += [Fault("dot", times=4), Fault("dot", delay=2.0)]
    send = many(bench)
    async with bench.deliverer() as deliverer:
        job = asyncio.create_task(deliverer.deliver(send.id, 1, PEOPLE))
        await becomes(lambda: (counts(bench, send).get("sent"), counts(bench, send).get("dotted")) == (4, 4))
        job.cancel()
        await deliverer.close()
        assert counts(bench, send) == {"sent": 8, "pending": PEOPLE - 8}
        assert bench.server.accepted == 8


async def test_behind_a_slow_one(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who was announced behind a dot that isn't answered for long is carried by another connection meanwhile."""
    monkeypatch.setattr(lines, "FOLLOW", 0.3)
    send = many(bench)
    bench.server.faults.append(Fault("dot", to="p11@", delay=20.0))
    async with bench.deliverer() as deliverer:

        async def go_on() -> None:
            while True:  # as the reconciler has it: what is given back may be so after a turn has ended
                await deliverer.deliver(send.id, 1, PEOPLE)
                await asyncio.sleep(0.05)

        job = asyncio.create_task(go_on())
        await becomes(lambda: counts(bench, send).get("sent") == PEOPLE - 1)
        assert counts(bench, send) == {"sent": PEOPLE - 1, "dotted": 1}
        job.cancel()
        bench.server.faults.clear()
        for session in list(bench.server.sessions):
            session.drop()
    assert counts(bench, send) == {"sent": PEOPLE - 1, "in_doubt": 1}
    assert len(set(bench.server.recipients)) == bench.server.accepted == PEOPLE - 1


async def test_stopped_meanwhile(bench: Bench) -> None:
    """Who was announced when the send was paused gets no dot, and none of the others is in doubt."""
    send = many(bench)
    bench.server.faults += [Fault("dot", times=6), Fault("dot", delay=0.4)]
    async with bench.deliverer() as deliverer:
        job = asyncio.create_task(deliverer.deliver(send.id, 1, PEOPLE))
        await becomes(lambda: bench.server.accepted >= 6 and counts(bench, send).get("dotted") == 4)
        bench.store.sends.pause(send.id, "by hand", time.time())
        now = counts(bench, send)
        dotted = now["sent"] + now.get("dotted", 0)
        await job
        await becomes(lambda: counts(bench, send) == {"sent": dotted, "pending": PEOPLE - dotted})
        assert bench.server.accepted == dotted
