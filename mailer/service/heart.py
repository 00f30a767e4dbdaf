"""A worker's heart: it is registered in SQL, and beats there as long as it lives; that is the lease of all its claims.

A worker that was taken for dead while it slept goes on under a new id. With each beat it compares what SQL says it
holds with what it works on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Set
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from mailer.model.ledger import WorkerId
from mailer.service.ending import end
from mailer.service.group import insist
from mailer.service.ports import Key, Store

R = TypeVar("R")

log = logging.getLogger(__name__)

BEAT = 5.0
"""Seconds between two heartbeats."""

LEASE = 10.0
"""Seconds without a heartbeat after which a worker is suspected to be dead."""

GRACE = 6.0
"""Seconds more after which it is taken for dead: a living one beats in between. Longer than ``BEAT``."""


class Heart:
    """One worker process's. ``worker`` is its id at present.

    ``now``: Unix seconds; ``trouble``: what to show with the worker, empty when all is well; ``under_way``: the claims
    that it works on; ``lost`` is called with claims that are its in SQL, and that it doesn't know of.
    """

    def __init__(
        self,
        store: Store,
        *,
        now: Callable[[], float],
        new_worker: Callable[[], WorkerId],
        host: str,
        pid: int,
        trouble: Callable[[], str],
        under_way: Callable[[], Set[Key]],
        lost: Callable[[Set[Key]], None],
    ) -> None:
        self._store, self._now, self._new_worker, self._host, self._pid = store, now, new_worker, host, pid
        self._trouble, self._under_way, self._lost = trouble, under_way, lost
        # Of its own: a long transaction for one send must not look like the worker's death.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="heart")
        self._strays: Set[Key] = frozenset()
        self._beating: asyncio.Task[None] | None = None
        self.worker = new_worker()

    async def start(self) -> None:
        """Registers the worker; from here its heart beats until ``stop``."""
        await self._register()
        self._beating = asyncio.create_task(self._beat())

    async def stop(self) -> None:
        """The last beat: the worker retires, and holds nothing any more."""
        if self._beating is not None:
            await end([self._beating])
            await self._db(lambda: self._store.workers.retire(self.worker, self._now()))
        self._thread.shutdown()

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(BEAT)
            try:
                await self._beat_once()
            except Exception:
                log.exception("a heartbeat failed in a way nobody foresaw")

    async def _beat_once(self) -> None:
        beat, trouble = self._store.workers.beat, self._trouble()
        if await self._db(lambda: beat(self.worker, self._now(), trouble)):
            await self._find_strays()
            return
        log.warning("this worker was taken for dead while it slept; it goes on under a new id")
        self.worker = self._new_worker()
        await self._register()

    async def _register(self) -> None:
        register = self._store.workers.register
        await self._db(lambda: register(self.worker, self._host, self._pid, self._now()))

    async def _find_strays(self) -> None:
        """Rows that are ours in SQL, and that nothing here works on, at two beats in a row: the answer to a claim was
        lost. As long as we live nobody else frees them."""
        held = await self._db(lambda: self._store.ledger.held(self.worker))
        strays = held - self._under_way()
        lost, self._strays = strays & self._strays, strays
        if lost:
            log.warning("%d claims whose answer got lost are given back", len(lost))
            self._lost(lost)

    async def _db(self, call: Callable[[], R]) -> R:
        return await insist(call, thread=self._thread)
