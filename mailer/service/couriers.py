"""Couriers carry claims to a relay, one after another on a connection that is lent to them: steps 2 to 5 of
``mailer.service.deliver``, where it stands why in this order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from mailer.delivery.retry import event_of, settle
from mailer.delivery.states import Event
from mailer.errors import MailerError, RelayError
from mailer.model.ledger import Outcome, Recipient, RecipientState, Reply, SendId
from mailer.service.chance import Chance
from mailer.service.destinations import Destinations
from mailer.service.ending import end
from mailer.service.flight import Flight
from mailer.service.ledger_writes import Writes
from mailer.service.ports import Connection, DotNotSent, Refused, Relays, SessionEnded, Unanswered

log = logging.getLogger(__name__)


class Couriers:
    """One worker process's. There are at most as many couriers as connections.

    ``retry_after``: seconds after a first 4xx. ``pause``: a send that a relay takes from nobody. ``runs``: whether a
    send still does.
    """

    def __init__(
        self,
        relays: Relays,
        destinations: Destinations[Flight],
        writes: Writes,
        chance: Chance,
        connections: int,
        retry_after: float,
        pause: Callable[[SendId, str], Awaitable[None]],
        runs: Callable[[SendId], Awaitable[bool]],
    ) -> None:
        self._relays, self._destinations, self._writes, self._chance = relays, destinations, writes, chance
        self._connections, self._retry_after, self._pause, self._runs = connections, retry_after, pause, runs
        self._couriers: set[asyncio.Task[None]] = set()
        self._draining = False

    def call(self) -> None:
        """One for each connection that could be of use: one that is lent for nothing has cost its relay a turn. Those
        who carry nothing yet have been called already. Draining, what waits is given back instead."""
        if self._draining:
            self._give_back_waiting()
            return
        called = len(self._couriers) - self._writes.carrying
        for _ in range(self._destinations.ready(self._connections - self._writes.carrying) - called):
            courier = asyncio.create_task(self._carry())
            self._couriers.add(courier)
            courier.add_done_callback(self._couriers.discard)

    def drain(self) -> None:
        """What hasn't begun is given back, from now on."""
        self._draining = True
        self._give_back_waiting()

    async def close(self) -> None:
        """Ends the couriers, once none carries anything: they wait for a connection."""
        await end(self._couriers)

    async def _carry(self) -> None:
        """A courier: carries one claim after another, as long as any waits."""
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
                self._give_back_waiting()  # why, ``Deliverer`` finds out before it claims again
            except Exception:
                log.exception("a connection failed in a way nobody foresaw")
                self._give_back_waiting()

    def _next(self, connection: Connection, following: Flight | None) -> tuple[str, Flight, float] | None:
        """What the connection carries next: what was announced, if anything was. None: nothing more."""
        if following is None:
            return self._destinations.next() if connection.again() else None
        name = following.destination
        if connection.again() and not self._draining:
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
        if self._draining:
            self._give_back_waiting()

    def _give_back_waiting(self) -> None:
        self._writes.give_back(self._destinations.take_out_all())

    async def _one(self, connection: Connection, flight: Flight) -> None:
        """From the claim to the outcome. Never raises. The connection is free before the outcome is written; see
        ``Writes`` for why that keeps the bound on what a crash leaves in doubt."""
        self._writes.carrying += 1
        try:
            outcome = await self._transact(connection, flight)
        except Unanswered:
            self._destinations.put(flight.destination, flight, first=True)
            if self._draining:
                self._give_back_waiting()
            return
        except Exception as error:
            connection.drop()
            claim = flight.claim
            log.exception("delivery %s:%d failed in a way nobody foresaw", claim.send, claim.position)
            reply = Reply(0, "", f"mailer failed ({type(error).__name__}); its log says more")
            outcome = self._lost(claim, reply) if flight.dot_out else self._later(claim, reply)
        finally:
            self._writes.carrying -= 1
        self._writes.settle(flight, outcome)

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
        if not await self._writes.granted(flight.key):
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
        following = self._destinations.follow(leader, self._writes.carrying)
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

    async def _give_back_stopped(self, send: SendId) -> None:
        """A dot was refused. If that is so because the send was paused or cancelled, the bodies of all that still waits
        would go out in vain."""
        if not await self._runs(send):
            self._writes.give_back(self._destinations.take_out_all(lambda flight: flight.claim.send == send))

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


def _why_no_sender(reply: Reply) -> str:
    """530: authentication required (RFC 4954 §6); 552: too much for its SIZE limit (RFC 1870); else the address."""
    said = f"{reply.code} {reply.status} {reply.text}".replace("  ", " ")
    match reply.code:
        case 530:
            return f"the relay wants a login ({said}): set username and password in [[relays]], then resume"
        case 552:
            return f"the message is too large for the relay ({said}): shorten the issue, or use another relay"
    return f"the relay refuses the sender ({said}): mend [publication] from or the relay, then resume"
