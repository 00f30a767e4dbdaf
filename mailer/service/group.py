"""Group commit: what many coroutines want written goes out in one transaction.

While one transaction runs in the thread, further requests gather; the next transaction takes them all. A transaction
that fails with ``StoreError`` is run again, with growing pauses, until it succeeds: callers wait, nothing is dropped.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Executor
from itertools import chain, repeat
from typing import Generic, TypeVar

from mailer.errors import StoreError

T = TypeVar("T")

log = logging.getLogger(__name__)

PAUSES = (0.2, 0.5, 1.0, 2.0, 5.0)
"""Seconds between tries while the database can't be used; the last one repeats."""


class Group(Generic[T]):
    """Writes items in groups by ``write``, which gives those of them that were granted."""

    def __init__(self, write: Callable[[Sequence[T]], Collection[T]], thread: Executor, limit: int = 500) -> None:
        self._write, self._thread, self._limit = write, thread, limit
        self._waiting: list[tuple[T, asyncio.Future[bool]]] = []
        self._writer: asyncio.Task[None] | None = None

    async def submit(self, item: T) -> bool:
        """Waits until the item is written; True when it was granted."""
        written: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, written))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write_all())
        return await written

    async def _write_all(self) -> None:
        while self._waiting:
            group, self._waiting = self._waiting[: self._limit], self._waiting[self._limit :]
            try:
                granted = await insist(self._write, [item for item, _ in group], thread=self._thread)
            except Exception as error:
                for _, written in group:
                    if not written.done():
                        written.set_exception(error)
                continue
            for item, written in group:
                if not written.done():
                    written.set_result(item in granted)


R = TypeVar("R")


async def insist(call: Callable[..., R], *args: object, thread: Executor) -> R:
    """Runs a store call in the thread until it succeeds; only ``StoreError`` is tried again."""
    loop = asyncio.get_running_loop()
    for pause in chain(PAUSES, repeat(PAUSES[-1])):
        try:
            return await loop.run_in_executor(thread, call, *args)
        except StoreError as error:
            log.warning("the database can't be used, trying again in %.1f s: %s", pause, error)
            await asyncio.sleep(pause)
    raise AssertionError("the pauses never end")
