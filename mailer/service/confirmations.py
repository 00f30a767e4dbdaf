"""Sends the mails that answer sign-ups: one job a mail, through the same relays as everything else.

A mail that a relay defers, or that can't be handed over, is tried again with growing pauses, as deliveries are, for
``retry_for`` seconds and no longer than its link works. So is one whose destination refuses our mail just now: it
isn't even tried. One that is refused is done with, and suppresses nobody: it
says more about whoever typed the address than about the address.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass

from mailer.delivery.destination import destination
from mailer.delivery.retry import event_of, wait
from mailer.delivery.states import Event
from mailer.errors import AddressError, MailerError, StoreError
from mailer.model.ledger import Reply
from mailer.service.ports import Queue, Refused, Relays, Store
from mailer.service.sign_up import LINK_SECONDS, Letter, Waiting, letter_for
from mailer.wire.envelope import Envelope

log = logging.getLogger(__name__)

SEND_SECONDS = 30.0
"""How long a mail may take from the connection to the relay's reply: less than a job may."""

AT_ONCE = 100
"""Mails that one round of the reconciler queues."""

Write = Callable[[Letter, Waiting, float], Envelope]
"""Makes a letter to somebody who asked, at a moment (Unix seconds). Raises ``MailerError`` when none can be made."""


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds after a first 4xx, and after which a mail is given up: ``delivery.retry_after`` and ``retry_for``."""

    retry_after: float
    retry_for: float


class Confirmer:
    """Sends mails one by one. ``now`` gives Unix seconds, ``jitter`` 0…1, ``closed`` destinations that refuse us."""

    def __init__(
        self,
        store: Store,
        relays: Relays,
        write: Write,
        patience: Patience,
        now: Callable[[], float],
        jitter: Callable[[], float],
        closed: Callable[[], Collection[str]],
    ) -> None:
        self._store, self._relays, self._write = store, relays, write
        self._patience, self._now, self._jitter, self._closed = patience, now, jitter, closed

    async def send(self, number: int) -> None:
        """Sends the mail with this number if it is due. Never raises: what isn't done is due again later."""
        try:
            waiting = await asyncio.to_thread(self._store.sign_ups.claim, number, self._now())
            if waiting is not None:
                again = await self._deliver(waiting)
                await asyncio.to_thread(self._store.sign_ups.settle, number, waiting.attempts + 1, again)
        except StoreError as error:
            log.warning("confirmation mail %d is tried again later: %s", number, error)

    async def _deliver(self, waiting: Waiting) -> float | None:
        """When it is to be tried again; None: it is done with."""
        letter = letter_for(waiting.status, waiting.suppression)
        if letter is None:
            return None
        event, said = await self._try(letter, waiting)
        if event is Event.ACCEPT:
            return None
        again = self._now() + wait(waiting.attempts + 1, self._patience.retry_after, self._jitter())
        given_up = event is Event.REFUSE or again > waiting.asked_at + min(self._patience.retry_for, LINK_SECONDS)
        log.warning("confirmation mail %d %s: %s", waiting.number, "is given up" if given_up else "has to wait", said)
        return None if given_up else again

    async def _try(self, letter: Letter, waiting: Waiting) -> tuple[Event, str]:
        name = destination(waiting.email)
        if name in self._closed():
            return Event.DEFER, f"{name} refuses our mail just now"
        try:
            envelope = await asyncio.to_thread(self._write, letter, waiting, self._now())
            async with asyncio.timeout(SEND_SECONDS):
                return await self._hand_over(envelope)
        except TimeoutError:
            return Event.DEFER, f"no reply within {SEND_SECONDS:.0f} s"
        except AddressError as error:
            return Event.REFUSE, str(error)
        except MailerError as error:  # the relay's, or a template's: both can be mended
            return Event.DEFER, str(error)

    async def _hand_over(self, envelope: Envelope) -> tuple[Event, str]:
        async with self._relays.connection() as connection:
            refused = await connection.offer(envelope)
            reply = await connection.dot() if refused is None else refused.reply
        return _meaning(reply, refused), f"{reply.code or ''} {reply.status} {reply.text}".strip()


async def queue_confirmations(store: Store, queue: Queue, now: float) -> None:
    """A round: queues what is due, and forgets what is old. Raises ``StoreError``, ``QueueError``."""
    await queue.enqueue_confirmations(await asyncio.to_thread(store.sign_ups.due, now, AT_ONCE))
    await asyncio.to_thread(store.sign_ups.forget, now)


def _meaning(reply: Reply, refused: Refused | None) -> Event:
    event = event_of(reply)
    # Refused at MAIL, it is our sender that the relay doesn't take: an operator can mend that.
    return Event.DEFER if event is Event.REFUSE and refused is not None and refused.phase == "mail" else event
