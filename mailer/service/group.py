"""Group commit: what many coroutines want written goes out in one transaction.

While one transaction runs in the thread, further requests gather; the next transaction takes them all. Where one fails
with ``StoreUnavailable``, either it is run again, with growing pauses, until it succeeds (callers wait, nothing is
dropped), or its callers hear of it at once: that is for those who are asked again by somebody else.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from itertools import chain, repeat
from typing import Generic, TypeVar

from mailer.errors import StoreUnavailable

T = TypeVar("T")
R = TypeVar("R")

log = logging.getLogger(__name__)

PAUSES = (0.2, 0.5, 1.0, 2.0, 5.0)
"""Seconds between tries while the database can't be used; the last one repeats."""


class Group(Generic[T, R]):
    """Writes items in groups of up to ``limit`` by ``write``, which gives an answer to each, in their order.

    A group is written when ``gather`` seconds have passed since its first item came, or at ``hurry``. ``expecting``:
    callers ask again when they are answered. So a group is complete when it has as many items as were under way at the
    end of the last write, or so many; and it isn't waited for longer than half of what that write took, which is what
    is to be saved. ``insisting``: ``StoreUnavailable`` is no answer, the group is written again until it succeeds.
    """

    def __init__(
        self,
        write: Callable[[Sequence[T]], Sequence[R]],
        thread: Executor,
        limit: int = 500,
        gather: float = 0.0,
        *,
        expecting: int = 0,
        insisting: bool = True,
    ) -> None:
        self._write, self._thread, self._limit, self._gather = write, thread, limit, gather
        self._expecting, self._insisting = expecting, insisting
        self._expected, self._took = 1, 0.0
        self._waiting: list[tuple[T, asyncio.Future[R]]] = []
        self._writer: asyncio.Task[None] | None = None
        self._full: asyncio.Future[None] | None = None

    def submit(self, item: T) -> asyncio.Future[R]:
        """Done when the item is written, with the answer to it."""
        loop = asyncio.get_running_loop()
        written: asyncio.Future[R] = loop.create_future()
        self._waiting.append((item, written))
        if self._writer is None or self._writer.done():
            self._full = loop.create_future()
            self._writer = asyncio.create_task(self._write_all())
        if self._expecting and len(self._waiting) >= self._expected:
            self.hurry()
        return written

    def hurry(self) -> None:
        """No more items are to be expected for now: a group that is being gathered is written."""
        if self._full is not None and not self._full.done():
            self._full.set_result(None)

    async def _write_all(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            if self._full is not None:
                timer = loop.call_later(self._patience(), self.hurry)
                await self._full
                timer.cancel()
            group, self._waiting = self._waiting[: self._limit], self._waiting[self._limit :]
            self._full = None  # whoever comes during the write waits for the next group, and can't hurry it
            began = loop.time()
            await self._write_group(group)
            self._took, self._expected = loop.time() - began, min(len(group) + len(self._waiting), self._expecting)
            self._full = loop.create_future()

    def _patience(self) -> float:
        if not self._expecting:
            return self._gather
        return min(self._gather, self._took / 2) if len(self._waiting) < self._expected else 0.0

    async def _write_group(self, group: Sequence[tuple[T, asyncio.Future[R]]]) -> None:
        def write() -> Sequence[R]:
            return self._write([item for item, _ in group])

        try:
            if self._insisting:
                answers = await insist(write, thread=self._thread)
            else:
                answers = await asyncio.get_running_loop().run_in_executor(self._thread, write)
        except Exception as error:
            if len(group) > 1 and not isinstance(error, StoreUnavailable):
                for one in group:  # one of them is at fault: the others are written without it
                    await self._write_group([one])
                return
            for _, written in group:
                if not written.done():
                    written.set_exception(error)
            return
        for (_, written), answer in zip(group, answers, strict=True):
            if not written.done():
                written.set_result(answer)


async def insist(call: Callable[[], R], *, thread: Executor) -> R:
    """Runs a store call in the thread until it succeeds; only ``StoreUnavailable`` is tried again."""
    loop = asyncio.get_running_loop()
    for pause in chain(PAUSES, repeat(PAUSES[-1])):
        try:
            return await loop.run_in_executor(thread, call)
        except StoreUnavailable as error:
            log.warning("the database can't be used, trying again in %.1f s: %s", pause, error)
            await asyncio.sleep(pause)
    raise AssertionError("the pauses never end")
