"""Delivery of a batch, and what happens when something breaks.

One recipient is one SMTP transaction, in this order, and the order is the guarantee:

1. *Claim.* Rows are claimed in SQL, with an epoch, and that is committed before a relay hears of them.
2. *Offer.* MAIL, RCPT, DATA and the body go out, without the final dot. Up to here a relay delivers nothing, so
   anything may fail: the claim is given back, or deferred when the relay itself broke off. (It goes on another
   connection when one that had carried others broke off before it said anything about this one.)
3. *Compare-and-set.* ``claimed → dotted``, grouped over all connections into one commit. It is refused when the epoch
   is no longer the row's (we were taken for dead), the send no longer runs, or the person unsubscribed or was
   suppressed. Refused means: the connection is dropped, and with it the message.
4. *Dot*, and in the same write MAIL, RCPT and DATA of the message that follows on the connection, where the relay is
   quick to answer. From here only the relay's reply says what happened. It is awaited for up to ten minutes, in a task
   of its own that the cancellation of a job doesn't reach. No reply: ``in_doubt``, not sent again by itself (once, with
   ``in_doubt = "resend"``; see ``mailer/store/resend.py``).
5. *Settle.* The outcome is written, grouped; while the database can't be used, it is kept and tried again. The
   connection carries the next body meanwhile, but no further dot: see ``mailer/service/ledger_writes.py``.

A relay that can't be reached, or refuses the sender, is nobody's bounce: claims go back and nobody's attempts count;
a refused sender pauses the send, since it would be refused for everybody.

Draining (SIGTERM): nothing is claimed any more; a claim whose body hasn't begun is given back; whatever has begun is
finished. Then the worker retires, and nothing of it is in doubt.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import inf
from typing import TypeVar

from mailer.errors import MailerError, RelayError
from mailer.model.ledger import Recipient, Send, SendId, SendKind, SendState, WorkerId
from mailer.service.chance import Chance
from mailer.service.couriers import Couriers
from mailer.service.destinations import Destinations
from mailer.service.ending import end
from mailer.service.flight import Assemble, Claims, Flight
from mailer.service.group import insist
from mailer.service.heart import Heart
from mailer.service.ledger_writes import Writes
from mailer.service.ports import Relays, Store
from mailer.service.sharing import Alone

R = TypeVar("R")

log = logging.getLogger(__name__)

TURN = 20.0
"""Seconds after which a job hands over: short jobs, since arq runs a lost one again only after the longest."""

LOOK = 1.0
"""Seconds after which a delivery looks whether more can be claimed, though some of what it has isn't settled."""

RELAY_PAUSE = 5.0
"""Seconds a job waits when no relay can be reached, before it gives up its turn."""


class Deliverer:
    """One worker process's delivery: its heart, its couriers, and what they carry."""

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
        chunk: int,
        connections: int,
        resend_within: float | None = None,
        destinations: Destinations[Flight] | None = None,
    ) -> None:
        """``retry_after``: seconds after a first 4xx. ``chunk``: rows claimed at once. ``connections``: how many the
        relays allow together. ``resend_within``: a send isn't finished while someone fell in doubt less than so many
        seconds ago and is to be sent to again (None: nobody is)."""
        self._store, self._relays, self._freeze, self._chance = store, relays, freeze, chance
        self._chunk, self._resend_within = chunk, resend_within
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")
        self._writes = Writes(store.ledger, self._thread, chance.now)
        self._frozen: dict[SendId, Assemble] = {}
        if destinations is None:
            alone = Alone(chance.now)
            destinations = Destinations({}, alone, alone, size=connections, clock=chance.now)
        self._destinations = destinations
        self._sharing: asyncio.Task[None] | None = None
        self._couriers = Couriers(
            relays, destinations, self._writes, chance, connections, retry_after, pause=self._pause, runs=self._runs
        )
        self._trouble = ""
        self._draining = asyncio.Event()
        self._closed = False
        self._heart = Heart(
            store,
            now=chance.now,
            new_worker=chance.new_worker,
            host=host,
            pid=pid,
            trouble=lambda: self._trouble or self._destinations.trouble(),
            under_way=self._writes.under_way.keys,
            lost=self._writes.give_back_strays,
        )

    @property
    def worker(self) -> WorkerId:
        """Its id at present: see ``Heart``."""
        return self._heart.worker

    async def start(self) -> None:
        """Registers the worker; from here its heart beats until ``close``."""
        await self._heart.start()
        self._destinations.attach(self._couriers.call, self._writes.give_back)
        await self._destinations.tick()
        self._sharing = asyncio.create_task(self._destinations.run())

    async def deliver(self, send_id: SendId, first: int, last: int) -> bool:
        """Delivers what waits in a part of a send. True: its turn is over and work is left; run it again.

        May be cancelled at any moment: what has begun goes on, ``close`` waits for it.
        """
        turn_ends = self._chance.now() + TURN
        while not self._draining.is_set():
            send = await self._db(lambda: self._store.sends.get(send_id))
            if send.state is not SendState.RUNNING or not await self._relay_answers():
                return False
            assemble = await self._assembler(send)
            if assemble is None:
                return False
            claims, room = await self._claim(send_id, first, last)
            if not claims:
                await self._db(self._finish)
                return False
            await self._work(send, claims, assemble, room)
            if self._chance.now() > turn_ends:
                return True
        return False

    async def _claim(self, send: SendId, first: int, last: int) -> tuple[list[Recipient], Mapping[str, int]]:
        """As many as their destinations have room for. What is left waits for the reconciler, who knows of the room."""
        room = self._destinations.room()
        claim, chunk, now = self._store.ledger.claim, self._chunk, self._chance.now
        return await self._db(lambda: claim(send, first, last, self.worker, chunk, now(), room)), room

    def _finish(self) -> None:
        now = self._chance.now()
        self._store.sends.finish(now, resend_since=inf if self._resend_within is None else now - self._resend_within)

    def drain(self) -> None:
        """No new claims; what hasn't begun is given back."""
        self._draining.set()
        self._couriers.drain()

    async def close(self) -> None:
        """Drains, waits for all that is under way, and retires the worker. Needs no time limit: the dot has one.

        Does nothing the second time.
        """
        if self._closed:
            return
        self._closed = True
        self.drain()
        await self._writes.all_settled()
        await self._couriers.close()
        if self._sharing is not None:
            await end([self._sharing])
        await self._destinations.close()
        await self._heart.stop()
        await self._relays.close()
        self._thread.shutdown()

    async def _work(self, send: Send, claims: Sequence[Recipient], assemble: Assemble, room: Mapping[str, int]) -> None:
        """Hands claims to the couriers; returns when all are settled whose destination has no limit: the others go at
        its pace, and nobody waits for them. Where there are only others, it waits a moment: a destination that is quick
        is asked for more at once, and not when the reconciler comes round. A test-send goes before what else waits."""
        limited = sum(claim.destination in room for claim in claims) if room else 0
        group, others = Claims(len(claims) - limited), Claims(limited)
        flights = [Flight(claim, assemble, others if claim.destination in room else group) for claim in claims]
        self._writes.take_on(flights)
        is_test = send.kind is SendKind.TEST
        for flight in reversed(flights) if is_test else flights:
            self._destinations.put(flight.destination, flight, first=is_test)
        self._couriers.call()
        awaited = others if limited == len(claims) else group
        while not awaited.settled.is_set():
            try:
                await asyncio.wait_for(awaited.settled.wait(), LOOK)
            except TimeoutError:
                if awaited is others or not self._destinations.has_next:
                    return  # what is left waits for its destination, or for a slow answer; others needn't

    async def _relay_answers(self) -> bool:
        """Whether a relay can be used, found out before anything is claimed for it."""
        try:
            await self._relays.reach()
        except RelayError as error:
            if self._trouble != str(error):
                log.warning("no relay can be used, nothing is claimed: %s", error)
            self._trouble = str(error)
        else:
            if self._trouble:
                log.warning("a relay can be used again")
            self._trouble = ""
            return True
        try:
            await asyncio.wait_for(self._draining.wait(), RELAY_PAUSE)
        except TimeoutError:
            return False
        return False

    async def _assembler(self, send: Send) -> Assemble | None:
        """The frozen message of a send; those of past sends are let go. None: there is none, and the send is paused."""
        if send.id not in self._frozen:
            try:
                assemble = await self._db(lambda: self._freeze(send))
            except MailerError as error:
                await self._pause(send.id, f"no message can be made: {error}")
                return None
            self._frozen = {**dict(list(self._frozen.items())[-3:]), send.id: assemble}
        return self._frozen[send.id]

    async def _pause(self, send: SendId, reason: str) -> None:
        log.error("send %s is paused: %s", send, reason)
        await self._db(lambda: self._store.sends.pause(send, reason, self._chance.now()))

    async def _runs(self, send: SendId) -> bool:
        return (await self._db(lambda: self._store.sends.get(send))).state is SendState.RUNNING

    async def _db(self, call: Callable[[], R]) -> R:
        return await insist(call, thread=self._thread)
