"""Ending tasks for certain."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

AGAIN = 1.0
"""Seconds after which a task that hasn't ended is cancelled once more."""


async def end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancels tasks, and again, until all have ended; what they raise is theirs.

    Once isn't enough: a library may take a cancellation that comes together with its own time limit for that limit
    (redis-py does, at a moment that is rare), and a task that goes on after an error then never ends.
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        done, pending = await asyncio.wait(pending, timeout=AGAIN)
        for task in done:
            if not task.cancelled():
                task.exception()  # seen: nobody else asks
