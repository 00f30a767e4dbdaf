"""Which destination may have how much of a worker: configured limits, throttles, breakers, and a fair part for each.

A claim's way: ``put``, then ``next`` gives it to whoever has a connection, when its destination may have it; ``end``
says what was answered. Most destinations have no limit and no trouble: their messages never leave the process for this.
What all workers share is exchanged by ``tick``, once a second, and acted upon meanwhile; without Redis each worker goes
by what it knows.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from mailer.delivery.condition import NORMAL, Condition, Heard, Signal, after, is_faded, trying
from mailer.service.ending import end
from mailer.service.lines import Lines
from mailer.service.ports import Pace
from mailer.service.sharing import Demand, Shared, SharedConnections, Sharing

T = TypeVar("T", bound=Hashable)

log = logging.getLogger(__name__)

TICK = 1.0
"""Seconds between two exchanges."""

AHEAD = 10.0
"""Seconds' worth of messages that may be claimed for a destination with a limit: two of the reconciler's rounds, since
nothing else comes back for what had no room."""

AHEAD_EACH = 10
"""Messages that may be claimed for each connection of a limited destination before its pace is known."""

SURELY = 10.0
"""Messages per second that any destination is taken to have had before its first throttle: few messages, or a burst
that has just begun, make no measure. What is too fast is halved again soon."""

WANTED = 5.0
"""Seconds for which connections are wanted after they were last used."""

SHOWN = 5
"""Destinations that are named to people, at most."""

_ACCEPTED = Signal.ACCEPTED


@dataclass(frozen=True, slots=True)
class Limit:
    """What is configured for a destination, for all workers together: messages per second, connections."""

    rate: float | None = None
    connections: int | None = None


class Destinations(Generic[T]):
    """One worker process's view. Belongs to one event loop. ``T`` is what is sent.

    ``size``: the connections that this worker can have. ``limits``: by destination. ``clock``: Unix seconds.
    """

    def __init__(
        self,
        limits: Mapping[str, Limit],
        sharing: Sharing,
        pace: Pace,
        *,
        size: int,
        clock: Callable[[], float],
        relays: SharedConnections | None = None,
    ) -> None:
        self._limits, self._sharing, self._pace, self._relays = limits, sharing, pace, relays
        self._clock, self._offset = clock, 0.0
        self._lines: Lines[T] = Lines(size, clock)
        self._size = size
        self._ready: Callable[[], None] = _nothing
        self._give_back: Callable[[Iterable[T]], None] = _nothing
        self._issuers: dict[str, asyncio.Task[None]] = {}
        self._spent: dict[str, asyncio.Event] = {}
        self._conditions: dict[str, Condition] = {}
        self._heard: dict[str, Heard] = {}
        self._trials: set[str] = set()
        self._granted: Mapping[str, int] = {}
        self._used_at: dict[str, float] = {}
        self._workers, self._generation, self._is_alone = 1, "", True

    def attach(self, ready: Callable[[], None], give_back: Callable[[Iterable[T]], None]) -> None:
        """``ready`` is called when something may go that might not before; ``give_back`` with what may not go soon."""
        self._ready, self._give_back = ready, give_back
        self._restrict()

    # --- a claim's way ------------------------------------------------------------------------------------------------

    def put(self, name: str, item: T, *, first: bool = False) -> None:
        """It waits until its destination may have it; ``first``: before all others."""
        self._lines.put(name, item, first=first)
        if name in self._limits:
            self._used_at[name] = self._clock()
        if name in self._lines.ticketed and name not in self._issuers:
            self._issuers[name] = asyncio.create_task(self._issue(name))

    def next(self) -> tuple[str, T, float] | None:
        """The next that may go now: its destination, itself, and the time for ``end``. None: none may."""
        found = self._lines.next()
        if self._spent and found is not None and found[0] in self._spent:
            self._spent[found[0]].set()
        return found

    def follow(self, leader: str, busy: int) -> T | None:
        """The one that will go when ``leader``'s has ended, on its connection: then ``begin`` or ``put_back`` it.

        None: no more wait than connections are free when so many are ``busy``, or it has a limit.
        """
        if self._lines.waiting <= self._lines.size - busy:
            return None
        found = self._lines.follow(leader)
        return None if found is None else found[1]

    def begin(self, name: str, item: T) -> float | None:
        """Its turn has come: the time for ``end``. None: it has been given back meanwhile, or must wait after all."""
        if name in self._lines.ticketed or name in self._lines.caps:
            self.put_back(name, item)
            return None
        return self._lines.begin(item)

    def put_back(self, name: str, item: T) -> None:
        """It follows nothing, and waits as before, at the head of its line; unless it has been given back."""
        if self._lines.unfollow(item):
            self.put(name, item, first=True)

    def end(self, name: str, started: float, signal: Signal, said: str = "") -> None:
        """What was answered. ``said``: the reply, where it is our fault."""
        if self._lines.leave(name, started):
            self._ready()
        if name in self._conditions or (signal is not _ACCEPTED and signal is not Signal.NOTHING):
            self._hear(name, signal, said)

    def ready(self, most: int) -> int:
        """How many may go now, up to ``most``."""
        return self._lines.ready(most)

    @property
    def has_next(self) -> bool:
        """Whether any may go now. While none may, more can be claimed: of others, see ``room``."""
        return self._lines.has_next

    def take_out_all(self, unwanted: Callable[[T], bool] | None = None) -> list[T]:
        """All that waits, or what of it is unwanted."""
        out = self._lines.take_out_all(unwanted)
        self._wake_issuers()
        return out

    # --- what may be claimed ------------------------------------------------------------------------------------------

    def room(self) -> dict[str, int]:
        """How many more rows of a destination may be claimed; as many as one likes of those that aren't named."""
        now = self.now()
        rooms = {name: self._room(name, now) for name in {*self._limits, *self._conditions}}
        rooms.update(dict.fromkeys(self._lines.full(), 0))
        return rooms

    def closed(self) -> frozenset[str]:
        """Destinations with open breakers: nothing is to be queued for them."""
        now = self.now()
        return frozenset(name for name, condition in self._conditions.items() if condition.is_open(now))

    @property
    def conditions(self) -> Mapping[str, Condition]:
        """All that is known to be wrong with destinations."""
        return self._conditions

    def trouble(self) -> str:
        """Which destinations refuse our mail, and why, for people to read; empty when none does."""
        refusing = sorted(name for name, condition in self._conditions.items() if condition.pause)
        return "; ".join(f"{name} refuses our mail: {self._conditions[name].why}" for name in refusing[:SHOWN]) + (
            f"; and {len(refusing) - SHOWN} more" if len(refusing) > SHOWN else ""
        )

    def now(self) -> float:
        """The time that all workers share, in Unix seconds."""
        return self._clock() + self._offset

    # --- sharing ------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Exchanges once a second, until it is cancelled."""
        while True:
            try:
                await self.tick()
            except Exception:
                log.exception("destinations couldn't be shared, in a way nobody foresaw")
            await asyncio.sleep(TICK)

    async def tick(self) -> None:
        """Tells the others what was heard, and hears what they know."""
        demands = [*self._demands(), *(self._relays.demands() if self._relays else ())]
        shared = await self._sharing.exchange(demands)
        was_alone, self._is_alone = self._is_alone, shared is None
        if shared is None:
            self._go_on_alone()
        else:
            self._grant(shared)
            await self._merge(shared, was_alone)
        if self._relays is not None:
            self._lines.size = self._relays.usable() or self._size
        self._restrict()
        self._give_back(self._lines.look_around())
        self._wake_issuers()
        self._ready()

    async def close(self) -> None:
        """Nothing waits for its turn any more. What waits is to be taken out before."""
        await end(list(self._issuers.values()))

    # ------------------------------------------------------------------------------------------------------------------

    def _condition(self, name: str) -> Condition:
        return self._conditions.get(name, NORMAL)

    def _rate(self, name: str) -> float | None:
        """Messages per second that all workers together may send there; None: as many as one likes."""
        limit = self._limits.get(name)
        return min((rate for rate in (limit and limit.rate, self._condition(name).rate) if rate), default=None)

    def _most(self, name: str, connections: int) -> int:
        """How many of a destination's connections this worker may have."""
        return min(self._granted.get(_slot(name), connections), connections)

    def _room(self, name: str, now: float) -> int:
        condition = self._condition(name)
        if condition.pause:
            return int(trying(condition, now) is not None and name not in self._trials)
        rooms, limit = [], self._limits.get(name)
        if (rate := self._rate(name)) is not None:
            rooms.append(round(rate * AHEAD / self._workers))
        if limit is not None and limit.connections is not None:
            most = self._most(name, limit.connections)
            rooms.append(max(most * AHEAD_EACH, round(self._lines.pace(name) * AHEAD)) if most else 0)
        ahead = max(1, min(rooms, default=AHEAD_EACH * self._size))  # never none: without a claim, no demand
        claimed = self._lines.claimed(name)
        return ahead - claimed if 2 * claimed <= ahead else 0  # a few at a time would keep what is behind them

    def _usual(self, name: str) -> float:
        """Messages per second that go there just now, by all workers."""
        measured = max(self._lines.pace(name) * self._workers, SURELY)
        limit = self._limits.get(name)
        return min(measured, limit.rate) if limit and limit.rate else measured

    async def _try(self, name: str) -> bool:
        """One message for a half-open breaker: that of whoever is the first to say so."""
        condition = self._condition(name)
        trial = trying(condition, self.now())
        if trial is None or name in self._trials:
            return False
        self._trials.add(name)
        is_first = await self._sharing.change(name, condition, trial) or self._is_alone
        if self._condition(name) == condition:
            self._conditions[name] = trial  # somebody else's too: until the next exchange there is no room for another
        if not is_first:
            self._trials.discard(name)
        return is_first

    def _hear(self, name: str, signal: Signal, said: str) -> None:
        tried = name in self._trials
        self._trials.discard(name)
        self._heard[name] = self._heard.get(name, Heard()).and_then(signal, said, tried=tried)
        if tried or signal in (Signal.SLOWER, Signal.REFUSED):
            before = self._condition(name)
            now = after(before, Heard().and_then(signal, said, tried=tried), self._usual(name), self.now())
            self._conditions[name] = now
            self._restrict()
            _say(name, before, now)

    def _restrict(self) -> None:
        """Which destinations need a ticket for each message, and how many connections they may have."""
        rated = {name for name, limit in self._limits.items() if limit.rate}
        self._lines.ticketed = frozenset(rated | self._conditions.keys())
        self._lines.caps = {
            name: self._most(name, limit.connections) for name, limit in self._limits.items() if limit.connections
        }
        for name in self._lines.ticketed:
            if name not in self._issuers and self._lines.claimed(name) > self._lines.busy(name):
                self._issuers[name] = asyncio.create_task(self._issue(name))

    def _wake_issuers(self) -> None:
        """Those whose items have been taken out."""
        for name, spent in self._spent.items():
            if self._lines.claimed(name) == self._lines.busy(name):
                spent.set()

    async def _issue(self, name: str) -> None:
        """Hands out tickets for a destination while anything waits for it: one a turn of its pace, or one at all."""
        spent = self._spent[name] = asyncio.Event()
        try:
            while name in self._lines.ticketed and self._lines.claimed(name) > self._lines.busy(name):
                if self._condition(name).pause:
                    may_try = await self._try(name)
                    self._give_back(self._lines.take_out(name, keep=int(may_try)))
                    if not may_try:
                        return
                elif (rate := self._rate(name)) is not None:
                    await asyncio.sleep(await self._pace.take(_slot(name), rate))
                    if self._condition(name).pause:
                        continue
                spent.clear()
                self._lines.ticket(name)
                self._ready()
                await spent.wait()
        finally:
            del self._issuers[name], self._spent[name]
            if not self._lines.claimed(name):
                self._trials.discard(name)

    # --- the exchange -------------------------------------------------------------------------------------------------

    def _demands(self) -> list[Demand]:
        now, demands = self._clock(), []
        for name, limit in self._limits.items():
            if limit.connections is None:
                continue
            wanted = self._lines.claimed(name) > 0 or now - self._used_at.get(name, -WANTED) < WANTED
            demands.append(Demand(_slot(name), limit.connections, self._lines.busy(name), wanted))
        return demands

    def _grant(self, shared: Shared) -> None:
        self._offset, self._workers = shared.now - self._clock(), max(1, shared.workers)
        self._granted = shared.connections
        if self._relays is not None:
            self._relays.allow(shared.connections)

    def _go_on_alone(self) -> None:
        """Trouble was acted upon when it was heard; what is left is success."""
        now = self.now()
        for name, heard in self._heard.items():
            if heard.accepted and name in self._conditions:
                new = after(self._conditions[name], Heard(accepted=True), self._usual(name), now)
                if is_faded(new, now):
                    del self._conditions[name]
                else:
                    self._conditions[name] = new
        self._heard.clear()

    async def _merge(self, shared: Shared, was_alone: bool) -> None:
        """What the others know holds; what was heard here is added to it. What they can't know is told first."""
        known, heard, self._heard = self._conditions, self._heard, {}
        theirs = dict(shared.conditions)
        if was_alone or self._generation != shared.generation:
            for name in known.keys() - theirs.keys():
                if await self._sharing.change(name, None, known[name]):
                    theirs[name] = known[name]  # what was heard is in it
                    heard.pop(name, None)
        self._generation = shared.generation
        merged: dict[str, Condition] = {}
        for name in theirs.keys() | heard.keys():
            old = theirs.get(name)
            new = after(old or NORMAL, heard.get(name, Heard()), self._usual(name), shared.now)
            kept = None if is_faded(new, shared.now) else new
            if kept != old and not await self._sharing.change(name, old, kept) and name in heard:
                # Somebody was faster: told again next time, with what was heard meanwhile.
                self._heard[name] = heard[name].and_also(self._heard.get(name, Heard()))
                kept = known.get(name)
            if kept is not None:
                merged[name] = kept
        merged.update((name, known[name]) for name in self._heard if name in known)
        self._conditions = merged


def _nothing(*_: object) -> None:
    return


def _slot(name: str) -> str:
    return f"to {name}"


def _say(name: str, before: Condition, now: Condition) -> None:
    if now.pause > before.pause:
        log.warning("%s refuses our mail, nothing goes there for %.0f s: %s", name, now.pause, now.why)
    elif before.pause and not now.pause:
        log.warning("%s takes our mail again", name)
    elif now.rate and (not before.rate or now.rate < before.rate):
        log.info("%s asks for less: at most %.2f messages a second", name, now.rate)
