"""Deliveries outlive the jobs that ask for them.

arq's jobs must be short: a job whose worker dies is given out again only after the longest job may have ended. The
delivery of a batch is as slow as the relay, and a cancelled one would leave its messages to nobody. So a job waits for
a delivery for a while and then says "again"; the delivery goes on, and the next job for the same batch joins it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from mailer.errors import MailerError
from mailer.model.ledger import SendId

log = logging.getLogger(__name__)

PATIENCE = 25.0
"""Seconds a job waits: a bit more than a turn of ``mailer.service.deliver``, so that few jobs end before their turn."""

Deliver = Callable[[SendId, int, int], Awaitable[bool]]


class Turns:
    """The deliveries under way in this process, at most ``at_once``. To be made inside the event loop."""

    def __init__(self, deliver: Deliver, at_once: int, patience: float = PATIENCE) -> None:
        self._deliver, self._at_once, self._patience = deliver, at_once, patience
        self._running: dict[tuple[SendId, int], asyncio.Task[bool]] = {}
        self._leaving: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def take(self, send: SendId, first: int, last: int) -> bool:
        """Delivers what waits from ``first`` to ``last``, or joins the delivery that does. True: run the job again."""
        deadline = asyncio.get_running_loop().time() + self._patience
        key = (send, first)
        while key not in self._running and len(self._running) >= self._at_once:
            if not await self._any_done(deadline, *self._running.values()):
                return True
        if self._leaving.done():
            return True
        if key not in self._running:
            task = asyncio.create_task(self._one(send, first, last))
            self._running[key] = task
            task.add_done_callback(lambda _: self._running.pop(key))
        task = self._running[key]
        return not await self._any_done(deadline, task) or task.result()

    def drain(self) -> None:
        """Every job that waits ends now and asks to be run again; none begins. Deliveries go on."""
        if not self._leaving.done():
            self._leaving.set_result(None)

    async def finished(self) -> None:
        """Returns when no delivery is under way."""
        while self._running:
            await asyncio.wait(self._running.values())

    async def _any_done(self, deadline: float, *tasks: asyncio.Task[bool]) -> bool:
        """Waits for the first of them. False: the time is up, or the worker leaves, before one is done."""
        left = deadline - asyncio.get_running_loop().time()
        either: set[asyncio.Future[Any]] = {*tasks, self._leaving}
        await asyncio.wait(either, timeout=max(left, 0), return_when=asyncio.FIRST_COMPLETED)
        return any(task.done() for task in tasks)

    async def _one(self, send: SendId, first: int, last: int) -> bool:
        """Nobody may be waiting any more when it fails, so it is logged here; the reconciler finds the work again."""
        try:
            return await self._deliver(send, first, last)
        except MailerError as error:
            log.warning("send %s, recipients %d to %d: %s", send, first, last, error)
        except Exception:
            log.exception("send %s, recipients %d to %d failed in a way nobody foresaw", send, first, last)
        return False
