"""Delivery of a batch, and what happens when something breaks.

One recipient is one SMTP transaction, in this order, and the order is the guarantee:

1. *Claim.* Rows are claimed in SQL, with an epoch, and that is committed before a relay hears of them.
2. *Offer.* MAIL, RCPT, DATA and the body go out, without the final dot. Up to here a relay delivers nothing, so
   anything may fail: the claim is given back, or deferred when the relay itself broke off.
3. *Compare-and-set.* ``claimed → dotted``, grouped over all connections into one commit. It is refused when the epoch
   is no longer the row's (we were taken for dead), the send no longer runs, or the person unsubscribed or was
   suppressed. Refused means: the connection is dropped, and with it the message.
4. *Dot.* From here only the relay's reply says what happened. It is awaited for up to ten minutes, in a task of its own
   that the cancellation of a job doesn't reach. No reply: ``in_doubt``, never sent again by itself.
5. *Settle.* The outcome is written, grouped; while the database can't be used, it is kept and tried again.

A relay that can't be reached, or refuses the sender, is nobody's bounce: claims go back and nobody's attempts count;
a refused sender pauses the send, since it would be refused for everybody.

Draining (SIGTERM): nothing is claimed any more; a claim whose body hasn't begun is given back; whatever has begun is
finished. Then the worker retires, and nothing of it is in doubt.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from mailer.delivery.retry import event_of, settle
from mailer.delivery.states import Event
from mailer.errors import MailerError, RelayError
from mailer.model.ledger import Outcome, Recipient, RecipientState, Reply, Send, SendId, SendState, WorkerId
from mailer.service.group import Group, insist
from mailer.service.ports import Connection, DotNotSent, Key, Refused, Relays, Store
from mailer.wire.envelope import Envelope

R = TypeVar("R")

log = logging.getLogger(__name__)

BEAT = 5.0
"""Seconds between two heartbeats."""

LEASE = 20.0
"""Seconds without a heartbeat after which a worker is taken for dead."""

CHUNK = 64
"""Rows claimed at once: what a crash makes others wait a lease for."""

TURN = 20.0
"""Seconds after which a job hands over: short jobs, since arq runs a lost one again only after the longest."""

RELAY_PAUSE = 5.0
"""Seconds a job waits when no relay can be reached, before it gives up its turn."""


@dataclass(frozen=True, slots=True)
class Chance:
    """The world's non-determinism, passed in: ``now`` in Unix seconds, ``jitter`` in 0…1, new worker ids."""

    now: Callable[[], float]
    jitter: Callable[[], float]
    new_worker: Callable[[], WorkerId]


Assemble = Callable[[Recipient], Envelope]
"""Makes one recipient's message; raises ``MailerError`` when none can be made."""


class Deliverer:
    """One worker process's delivery: its heartbeat, its groups, its tasks under way."""

    def __init__(
        self,
        store: Store,
        relays: Relays,
        freeze: Callable[[Send], Assemble],
        chance: Chance,
        *,
        host: str,
        pid: int,
        retry_after: float,
    ) -> None:
        self._store, self._relays, self._freeze, self._chance = store, relays, freeze, chance
        self._host, self._pid, self._retry_after = host, pid, retry_after
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")
        self._dots: Group[Key] = Group(lambda keys: store.ledger.dot(keys, chance.now()), self._thread)
        self._outcomes: Group[Outcome] = Group(self._write_outcomes, self._thread)
        self._releases: Group[Key] = Group(self._write_releases, self._thread)
        self._frozen: dict[SendId, Assemble] = {}
        self._under_way: set[asyncio.Task[None]] = set()
        self._heart: asyncio.Task[None] | None = None
        self._draining = asyncio.Event()
        self.worker = chance.new_worker()

    async def start(self) -> None:
        """Registers the worker; from here its heart beats until ``close``."""
        await self._register()
        self._heart = asyncio.create_task(self._beat())

    async def deliver(self, send_id: SendId, first: int, last: int) -> bool:
        """Delivers what waits in a part of a send. True: its turn is over and work is left; run it again.

        May be cancelled at any moment: what has begun goes on, ``close`` waits for it.
        """
        turn_ends = self._chance.now() + TURN
        while not self._draining.is_set():
            send = await self._db(self._store.sends.get, send_id)
            if send.state is not SendState.RUNNING or not await self._relay_answers():
                return False
            claims: list[Recipient] = await self._db(
                self._store.ledger.claim, send_id, first, last, self.worker, CHUNK, self._chance.now()
            )
            if not claims:
                await self._db(self._store.sends.finish, self._chance.now())
                return False
            await self._work(claims, await self._assembler(send))
            if self._chance.now() > turn_ends:
                return True
        return False

    def drain(self) -> None:
        """No new claims; what hasn't begun is given back."""
        self._draining.set()

    async def close(self) -> None:
        """Drains, waits for all that is under way, and retires the worker. Needs no time limit: the dot has one."""
        self.drain()
        while self._under_way:
            await asyncio.wait(self._under_way)
        if self._heart is not None:
            self._heart.cancel()
            await asyncio.wait([self._heart])
            await self._db(self._store.workers.retire, self.worker, self._chance.now())
        await self._relays.close()
        self._thread.shutdown()

    # --- one recipient ------------------------------------------------------------------------------------------------

    async def _work(self, claims: Sequence[Recipient], assemble: Assemble) -> None:
        tasks = [asyncio.create_task(self._one_surely(claim, assemble)) for claim in claims]
        self._under_way.update(tasks)
        for task in tasks:
            task.add_done_callback(self._under_way.discard)
        await asyncio.wait(tasks)

    async def _one_surely(self, claim: Recipient, assemble: Assemble) -> None:
        """No claim is left behind by a defect of ours: before the dot it is given back, after it, it is in doubt."""
        try:
            await self._one(claim, assemble)
        except Exception:
            log.exception("delivery %s:%d failed in a way nobody foresaw", claim.send, claim.position)
            lost = Reply(0, "", "mailer failed between the dot and its reply; see the worker's log")
            await self._releases.submit(_key(claim))  # acts on a claimed row only
            await self._outcomes.submit(  # acts on a dotted row only
                Outcome(claim.send, claim.position, claim.epoch, RecipientState.IN_DOUBT, lost)
            )

    async def _one(self, claim: Recipient, assemble: Assemble) -> None:
        try:
            envelope = assemble(claim)
        except MailerError as error:
            await self._settle(claim, RecipientState.CLAIMED, Event.REFUSE, Reply(0, "", str(error)))
            return
        begun = False
        try:
            async with self._relays.connection() as connection:
                if not self._draining.is_set():
                    begun = True
                    await self._transact(connection, claim, envelope)
        except RelayError as error:
            if begun:
                await self._settle(claim, RecipientState.CLAIMED, Event.DEFER, Reply(0, "", str(error)))
                return
        if not begun:
            await self._releases.submit(_key(claim))

    async def _transact(self, connection: Connection, claim: Recipient, envelope: Envelope) -> None:
        """From MAIL to the settled outcome. Raises ``RelayError`` only before the compare-and-set."""
        refused = await connection.offer(envelope)
        if refused is not None:
            await self._refused(claim, refused)
            return
        if not await self._dots.submit(_key(claim)):
            connection.drop()
            return
        try:
            reply = await connection.dot()
            event = event_of(reply)
        except DotNotSent as error:
            event, reply = Event.DEFER, Reply(0, "", str(error))
        except RelayError as error:
            event, reply = Event.LOSE, Reply(0, "", str(error))
        await self._settle(claim, RecipientState.DOTTED, event, reply)

    async def _refused(self, claim: Recipient, refused: Refused) -> None:
        event = event_of(refused.reply)
        if refused.phase == "mail" and event is Event.REFUSE:
            reason = f"the relay refuses the sender: {refused.reply.code} {refused.reply.text}"
            log.error("send %s is paused: %s", claim.send, reason)
            await self._db(self._store.sends.pause, claim.send, reason, self._chance.now())
            return
        await self._settle(claim, RecipientState.CLAIMED, event, refused.reply)

    async def _settle(self, claim: Recipient, state: RecipientState, event: Event, reply: Reply) -> None:
        outcome = settle(claim, state, event, reply, self._chance.now(), self._retry_after, self._chance.jitter())
        await self._outcomes.submit(outcome)

    # --- around it ----------------------------------------------------------------------------------------------------

    async def _relay_answers(self) -> bool:
        """Whether a relay can be used, found out before anything is claimed for it."""
        try:
            async with self._relays.connection():
                return True
        except RelayError as error:
            log.warning("no relay can be used, nothing is claimed: %s", error)
        try:
            await asyncio.wait_for(self._draining.wait(), RELAY_PAUSE)
        except TimeoutError:
            return False
        return False

    async def _assembler(self, send: Send) -> Assemble:
        """The frozen message of a send. Those of past sends are let go."""
        if send.id not in self._frozen:
            assemble = await self._db(self._freeze, send)
            self._frozen = {**dict(list(self._frozen.items())[-3:]), send.id: assemble}
        return self._frozen[send.id]

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(BEAT)
            if not await self._db(self._store.workers.beat, self.worker, self._chance.now()):
                log.warning("this worker was taken for dead while it slept; it goes on under a new id")
                self.worker = self._chance.new_worker()
                await self._register()

    async def _register(self) -> None:
        await self._db(self._store.workers.register, self.worker, self._host, self._pid, self._chance.now())

    def _write_outcomes(self, outcomes: Sequence[Outcome]) -> Sequence[Outcome]:
        self._store.ledger.settle(outcomes, self._chance.now())
        return outcomes

    def _write_releases(self, keys: Sequence[Key]) -> Sequence[Key]:
        self._store.ledger.release(keys, self._chance.now())
        return keys

    async def _db(self, call: Callable[..., R], *args: object) -> R:
        return await insist(call, *args, thread=self._thread)


def _key(claim: Recipient) -> Key:
    return (claim.send, claim.position, claim.epoch)
