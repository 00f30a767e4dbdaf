"""Keeps relays that are being warmed up under their day's ceiling (``mailer.delivery.warm_up``), over all workers.

Each worker takes a block of messages at a time, so that few of them cost a round trip. A worker that dies takes the
rest of its block with it: the day sends a few less. While nobody can count, such a relay rests.

A count that was lost begins anew with what the ledger says was sent today, by whichever relay, and with all that
workers may still have in hand: a block each, and a message on each connection. The day sends a few less then, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Protocol

from mailer.delivery.warm_up import ceiling, day_began, day_ends
from mailer.errors import StoreUnavailable

BLOCKS = 50
"""Into how many blocks a day's ceiling is divided, at least."""

LARGEST = 100
"""Messages in a block, at most."""

ASK_AGAIN = 5.0
"""Seconds that a relay rests while nobody can count."""


class Books(Protocol):
    """What is known without the count."""

    async def sent_since(self, moment: float) -> int:
        """How many messages relays have taken, or may have taken, since then."""

    async def workers(self) -> int:
        """How many workers live."""


class Quota(Protocol):
    """Where a day's messages are counted. Raises ``OSError`` while it can't be reached."""

    async def take(self, name: str, day: float, ceiling: int, wanted: int) -> int | None:
        """Takes up to ``wanted`` of what is left of a day's ceiling. None: nobody knows how many were sent."""

    async def begin(self, name: str, day: float, used: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Ramp:
    """``first`` messages on the day ``since``; each further day ``growth`` times as many. ``connections``: how many the
    relay has, over all workers."""

    first: int
    growth: float
    since: date
    connections: int


@dataclass(frozen=True, slots=True)
class Rest:
    """A relay may not be used for ``seconds``; ``why``, for people."""

    seconds: float
    why: str


@dataclass(slots=True)
class _Block:
    left: int = 0
    day: float = 0.0


class WarmUp:
    """One worker process's part. ``clock``: Unix seconds. ``ramps``: by relay."""

    def __init__(
        self,
        ramps: Mapping[str, Ramp],
        quota: Quota,
        books: Books,
        clock: Callable[[], float],
    ) -> None:
        self._ramps, self._quota, self._books, self._clock = ramps, quota, books, clock
        self._blocks = {name: _Block() for name in ramps}
        self._in_turn = asyncio.Lock()

    def holds(self, relay: str) -> bool:
        """Whether the relay is being warmed up."""
        return relay in self._ramps

    async def one(self, relay: str) -> Rest | None:
        """Takes one message from the relay's day. A ``Rest``: there is none left, or nobody can tell."""
        block = self._blocks.get(relay)
        if block is None:
            return None
        now = self._clock()
        if block.left > 0 and block.day == day_began(now):
            block.left -= 1
            return None
        async with self._in_turn:
            return await self._next(relay, block, now)

    def give_back(self, relay: str) -> None:
        """The last one that was taken wasn't used."""
        block = self._blocks.get(relay)
        if block is not None and block.day == day_began(self._clock()):
            block.left += 1

    async def _next(self, relay: str, block: _Block, now: float) -> Rest | None:
        ramp, day = self._ramps[relay], day_began(now)
        if block.left <= 0 or block.day != day:
            most = ceiling(ramp.first, ramp.growth, ramp.since, now)
            size = min(LARGEST, most // BLOCKS + 1)
            try:
                given = await self._quota.take(relay, day, most, size)
                if given is None:
                    await self._quota.begin(relay, day, await self._used(ramp, day, size))
                    given = await self._quota.take(relay, day, most, size) or 0
            except (OSError, StoreUnavailable) as error:
                return Rest(ASK_AGAIN, str(error))
            if not given:
                return Rest(
                    day_ends(now) - now, f"{relay} is being warmed up: no more than {most} messages today (UTC)"
                )
            block.left, block.day = given, day
        block.left -= 1
        return None

    async def _used(self, ramp: Ramp, day: float, size: int) -> int:
        """What a count begins with that isn't there. On a day on which nothing was sent it wasn't lost."""
        sent = await self._books.sent_since(day)
        return sent + size * await self._books.workers() + ramp.connections if sent else 0
