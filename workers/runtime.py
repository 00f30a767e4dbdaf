"""One worker process's life: what it is made of, from its start to the last dot."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from mailer.errors import MailerError
from mailer.model.ledger import SendId
from workers.turns import Turns

log = logging.getLogger(__name__)

TOO_SOON = 1.0
"""Seconds: after a machine slept, arq makes up for every round it missed; one is enough."""


class Delivery(Protocol):
    """``mailer.service.deliver.Deliverer``, as far as a worker knows it."""

    async def start(self) -> None: ...
    async def deliver(self, send_id: SendId, first: int, last: int, /) -> bool: ...
    def drain(self) -> None: ...
    async def close(self) -> None: ...


class Runtime:
    """The parts of a worker that live as long as its process, whatever becomes of Redis. Made inside the event loop.

    ``reconcile`` is one round of the reconciler, ``confirm`` sends the mail that answers a sign-up, ``close_last`` is
    what is to be closed when nothing is under way.
    """

    def __init__(
        self,
        delivery: Delivery,
        reconcile: Callable[[], Awaitable[None]],
        confirm: Callable[[int], Awaitable[None]],
        *,
        at_once: int,
        close_last: Sequence[Callable[[], Awaitable[None]]] = (),
    ) -> None:
        self._delivery, self._reconcile, self._confirm = delivery, reconcile, confirm
        self._close_last, self._draining = close_last, False
        self._turns = Turns(delivery.deliver, at_once)
        self._reconciled_at = float("-inf")
        self._closing: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """From here the worker is known to the store, and its heart beats."""
        await self._delivery.start()

    async def turn(self, send: SendId, first: int, last: int) -> bool:
        """A job: see ``Turns.take``."""
        return await self._turns.take(send, first, last)

    async def confirm(self, number: int) -> None:
        """A job: sends a mail, unless the worker is leaving; then it stays due."""
        if not self._draining:
            await self._confirm(number)

    async def reconcile(self) -> None:
        """A round of the reconciler. One that fails is logged; the next comes in seconds."""
        if time.monotonic() - self._reconciled_at < TOO_SOON:
            return
        try:
            await self._reconcile()
        except MailerError as error:
            log.warning("the reconciler will try again: %s", error)
        self._reconciled_at = time.monotonic()

    def drain(self) -> None:
        """No new claims; what hasn't begun is given back."""
        self._draining = True
        self._delivery.drain()
        self._turns.drain()

    async def close(self) -> None:
        """Drains, waits for every dot in flight, says goodbye to the store. May be called repeatedly."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        self.drain()
        await self._turns.finished()
        await self._delivery.close()
        for close in self._close_last:
            await close()
