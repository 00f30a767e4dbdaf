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
   connection carries the next body meanwhile, but no further dot: see ``Deliverer._write``.

A relay that can't be reached, or refuses the sender, is nobody's bounce: claims go back and nobody's attempts count;
a refused sender pauses the send, since it would be refused for everybody.

Draining (SIGTERM): nothing is claimed any more; a claim whose body hasn't begun is given back; whatever has begun is
finished. Then the worker retires, and nothing of it is in doubt.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import inf
from typing import TypeVar

from mailer.delivery.retry import event_of, settle
from mailer.delivery.states import Event
from mailer.errors import MailerError, RelayError
from mailer.model.ledger import Outcome, Recipient, RecipientState, Reply, Send, SendId, SendKind, SendState, WorkerId
from mailer.service.destinations import Destinations
from mailer.service.ending import end
from mailer.service.flight import Assemble, Claims, Flight
from mailer.service.group import Group, insist
from mailer.service.heart import LEASE, Heart
from mailer.service.ports import Connection, DotNotSent, Key, Refused, Relays, SessionEnded, Store, Unanswered
from mailer.service.sharing import Alone

R = TypeVar("R")

log = logging.getLogger(__name__)

GATHER = 0.01
"""Seconds in which dots are gathered for one commit, unless every courier is asking for one before."""

TURN = 20.0
"""Seconds after which a job hands over: short jobs, since arq runs a lost one again only after the longest."""

LOOK = 1.0
"""Seconds after which a delivery looks whether more can be claimed, though some of what it has isn't settled."""

RELAY_PAUSE = 5.0
"""Seconds a job waits when no relay can be reached, before it gives up its turn."""


@dataclass(frozen=True, slots=True)
class Chance:
    """The world's non-determinism, passed in: ``now`` in Unix seconds, ``jitter`` in 0…1, new worker ids."""

    now: Callable[[], float]
    jitter: Callable[[], float]
    new_worker: Callable[[], WorkerId]


class Deliverer:
    """One worker process's delivery: its heart, its groups, its tasks under way."""

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
        self._retry_after, self._chunk = retry_after, chunk
        self._connections, self._resend_within = connections, resend_within
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")
        self._writes: Group[_Dot | _Release | Outcome, bool] = Group(self._write, self._thread, gather=GATHER)
        self._carrying = self._asking = 0
        self._frozen: dict[SendId, Assemble] = {}
        self._under_way: dict[Key, Flight] = {}
        if destinations is None:
            alone = Alone(chance.now)
            destinations = Destinations({}, alone, alone, size=connections, clock=chance.now)
        self._destinations = destinations
        self._sharing: asyncio.Task[None] | None = None
        self._couriers: set[asyncio.Task[None]] = set()
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
            under_way=self._under_way.keys,
            lost=self._give_back_strays,
        )

    @property
    def worker(self) -> WorkerId:
        """Its id at present: see ``Heart``."""
        return self._heart.worker

    async def start(self) -> None:
        """Registers the worker; from here its heart beats until ``close``."""
        await self._heart.start()
        self._destinations.attach(self._call_couriers, self._give_back)
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
        self._give_back_waiting()

    async def close(self) -> None:
        """Drains, waits for all that is under way, and retires the worker. Needs no time limit: the dot has one.

        Does nothing the second time.
        """
        if self._closed:
            return
        self._closed = True
        self.drain()
        while self._under_way:
            await next(iter(self._under_way.values())).claims.settled.wait()
        await end(self._couriers)  # none carries anything: they wait for a connection
        if self._sharing is not None:
            await end([self._sharing])
        await self._destinations.close()
        await self._heart.stop()
        await self._relays.close()
        self._thread.shutdown()

    # --- one recipient ------------------------------------------------------------------------------------------------

    async def _work(self, send: Send, claims: Sequence[Recipient], assemble: Assemble, room: Mapping[str, int]) -> None:
        """Hands claims to the couriers; returns when all are settled whose destination has no limit: the others go at
        its pace, and nobody waits for them. Where there are only others, it waits a moment: a destination that is quick
        is asked for more at once, and not when the reconciler comes round. A test-send goes before what else waits."""
        limited = sum(claim.destination in room for claim in claims) if room else 0
        group, others = Claims(len(claims) - limited), Claims(limited)
        flights = [Flight(claim, assemble, others if claim.destination in room else group) for claim in claims]
        self._under_way |= {flight.key: flight for flight in flights}
        is_test = send.kind is SendKind.TEST
        for flight in reversed(flights) if is_test else flights:
            self._destinations.put(flight.destination, flight, first=is_test)
        self._call_couriers()
        if self._draining.is_set():
            self._give_back_waiting()
        awaited = others if limited == len(claims) else group
        while not awaited.settled.is_set():
            try:
                await asyncio.wait_for(awaited.settled.wait(), LOOK)
            except TimeoutError:
                if awaited is others or not self._destinations.has_next:
                    return  # what is left waits for its destination, or for a slow answer; others needn't

    def _call_couriers(self) -> None:
        """One for each connection that could be of use: one that is lent for nothing has cost its relay a turn. Those
        who carry nothing yet have been called already."""
        called = len(self._couriers) - self._carrying
        for _ in range(self._destinations.ready(self._connections - self._carrying) - called):
            courier = asyncio.create_task(self._carry())
            self._couriers.add(courier)
            courier.add_done_callback(self._couriers.discard)

    async def _carry(self) -> None:
        """A courier: carries one claim after another, as long as any waits. There are as many as connections."""
        while self._destinations.has_next:
            try:
                async with self._relays.connection() as connection:
                    found = self._destinations.next()
                    while found is not None:
                        name, flight, started = found
                        await self._one(connection, flight)
                        self._destinations.end(name, started, flight.signal, flight.said)
                        found = self._next(connection, flight.following)
            except RelayError:
                self._give_back_waiting()  # why, ``_relay_answers`` finds out
            except Exception:
                log.exception("a connection failed in a way nobody foresaw")
                self._give_back_waiting()

    def _next(self, connection: Connection, following: Flight | None) -> tuple[str, Flight, float] | None:
        """What the connection carries next: what was announced, if anything was. None: nothing more."""
        if following is None:
            return self._destinations.next() if connection.again() else None
        name = following.destination
        if connection.again() and not self._draining.is_set():
            if (started := self._destinations.begin(name, following)) is not None:
                return name, following, started
        else:
            self._put_back(following)
        connection.drop()  # the relay waits for a body that won't come
        return None

    def _put_back(self, flight: Flight) -> None:
        """It follows nothing, and waits again, unless it has been given back."""
        flight.announced = None
        self._destinations.put_back(flight.destination, flight)
        if self._draining.is_set():
            self._give_back_waiting()

    def _give_back_waiting(self) -> None:
        self._give_back(self._destinations.take_out_all())

    def _give_back(self, flights: Iterable[Flight]) -> None:
        for flight in flights:
            self._settle(flight, None)

    async def _one(self, connection: Connection, flight: Flight) -> None:
        """From the claim to the outcome. Never raises. The connection is free before the outcome is written; see
        ``_write`` for why that keeps the bound on what a crash leaves in doubt."""
        self._carrying += 1
        try:
            outcome = await self._transact(connection, flight)
        except Unanswered:
            self._destinations.put(flight.destination, flight, first=True)
            if self._draining.is_set():
                self._give_back_waiting()
            return
        except Exception as error:
            connection.drop()
            claim = flight.claim
            log.exception("delivery %s:%d failed in a way nobody foresaw", claim.send, claim.position)
            reply = Reply(0, "", f"mailer failed ({type(error).__name__}); its log says more")
            outcome = self._lost(claim, reply) if flight.dot_out else self._later(claim, reply)
        finally:
            self._carrying -= 1
        self._settle(flight, outcome)

    def _settle(self, flight: Flight, outcome: Outcome | None) -> None:
        """Has the outcome written; None: it hasn't begun, or was refused by the ledger, and the claim is given back."""

        def written(answer: asyncio.Future[bool]) -> None:
            del self._under_way[flight.key]
            flight.claims.one_settled()
            if error := answer.exception():
                log.error("the outcome of %s:%d can't be written", *flight.key[:2], exc_info=error)

        self._writes.submit(_Release(flight.key) if outcome is None else outcome).add_done_callback(written)

    async def _transact(self, connection: Connection, flight: Flight) -> Outcome | None:
        claim = flight.claim
        try:
            message, flight.announced = flight.announced or flight.assemble(claim), None
            refused = await connection.offer(message)
        except Unanswered:
            raise
        except SessionEnded as error:
            flight.heard(error.reply, error.phase)
            return self._later(claim, Reply(0, "", str(error)))
        except RelayError as error:
            return self._later(claim, Reply(0, "", str(error)))
        except MailerError as error:
            return self._outcome(claim, RecipientState.CLAIMED, Event.REFUSE, Reply(0, "", str(error)))
        if refused is not None:
            flight.heard(refused.reply, refused.phase)
            return await self._refused(claim, refused)
        flight.following = self._announce(connection, flight.destination)
        if not await self._granted(flight.key):
            connection.drop()
            await self._give_back_stopped(claim.send)
            return None
        flight.dot_out = True
        try:
            reply = await connection.dot()
        except DotNotSent as error:
            return self._outcome(claim, RecipientState.DOTTED, Event.DEFER, Reply(0, "", str(error)))
        except RelayError as error:
            return self._lost(claim, Reply(0, "", str(error)))
        flight.heard(reply, "dot")
        return self._outcome(claim, RecipientState.DOTTED, event_of(reply), reply)

    def _announce(self, connection: Connection, leader: str) -> Flight | None:
        """Whose commands go out with the next dot, which is ``leader``'s. Nobody's, when there are enough connections
        for all that waits."""
        if not connection.may_announce:
            return None
        following = self._destinations.follow(leader, self._carrying)
        if following is None:
            return None
        try:
            following.announced = following.assemble(following.claim)
            if connection.announce(following.announced):
                return following
        except Exception as error:  # it happens again when its turn comes, and is dealt with there
            log.debug("no message could be announced: %s", error)
        self._put_back(following)
        return None

    async def _granted(self, key: Key) -> bool:
        """Whether the dot may go out now. An answer that is old (we were stopped, and may have been taken for dead
        meanwhile) is asked for again."""
        while True:
            asked_at = self._chance.now()
            answer = self._writes.submit(_Dot(key))
            self._asking += 1
            if self._asking >= self._carrying:
                self._writes.hurry()
            try:
                if not await answer:
                    return False
            finally:
                self._asking -= 1
            if abs(self._chance.now() - asked_at) < LEASE / 2:
                return True

    async def _give_back_stopped(self, send: SendId) -> None:
        """A dot was refused. If that is so because the send was paused or cancelled, the bodies of all that still waits
        would go out in vain."""
        if (await self._db(lambda: self._store.sends.get(send))).state is not SendState.RUNNING:
            self._give_back(self._destinations.take_out_all(lambda flight: flight.claim.send == send))

    async def _refused(self, claim: Recipient, refused: Refused) -> Outcome | None:
        event = event_of(refused.reply)
        if refused.phase == "mail" and event is Event.REFUSE:
            await self._pause(claim.send, _why_no_sender(refused.reply))
            return None
        return self._outcome(claim, RecipientState.CLAIMED, event, refused.reply)

    def _later(self, claim: Recipient, reply: Reply) -> Outcome:
        return self._outcome(claim, RecipientState.CLAIMED, Event.DEFER, reply)

    def _lost(self, claim: Recipient, reply: Reply) -> Outcome:
        return self._outcome(claim, RecipientState.DOTTED, Event.LOSE, reply)

    def _outcome(self, claim: Recipient, state: RecipientState, event: Event, reply: Reply) -> Outcome:
        return settle(claim, state, event, reply, self._chance.now(), self._retry_after, self._chance.jitter())

    def _write(self, items: Sequence[_Dot | _Release | Outcome]) -> list[bool]:
        """Whether each was granted; only dots may not be. Outcomes together with dots: a connection is reused before
        its last outcome is written, and its next dot isn't granted before that. So no more rows are dotted, at any
        moment, than connections are open."""
        granted = self._store.ledger.write(
            self._chance.now(),
            outcomes=[item for item in items if isinstance(item, Outcome)],
            releases=[item.key for item in items if isinstance(item, _Release)],
            dots=[item.key for item in items if isinstance(item, _Dot)],
        )
        return [not isinstance(item, _Dot) or item.key in granted for item in items]

    # --- around it ----------------------------------------------------------------------------------------------------

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

    def _give_back_strays(self, lost: Iterable[Key]) -> None:
        why = Reply(0, "", "mailer lost track of it between the dot and its reply")
        for key in lost:  # the first moves a claimed row only, the second a dotted one only
            self._writes.submit(_Release(key))
            self._writes.submit(Outcome(*key, RecipientState.IN_DOUBT, why))

    async def _db(self, call: Callable[[], R]) -> R:
        return await insist(call, thread=self._thread)


@dataclass(frozen=True, slots=True)
class _Dot:
    key: Key


@dataclass(frozen=True, slots=True)
class _Release:
    key: Key


def _why_no_sender(reply: Reply) -> str:
    """530: authentication required (RFC 4954 §6); 552: too much for its SIZE limit (RFC 1870); else the address."""
    said = f"{reply.code} {reply.status} {reply.text}".replace("  ", " ")
    match reply.code:
        case 530:
            return f"the relay wants a login ({said}): set username and password in [[relays]], then resume"
        case 552:
            return f"the message is too large for the relay ({said}): shorten the issue, or use another relay"
    return f"the relay refuses the sender ({said}): mend [publication] from or the relay, then resume"
