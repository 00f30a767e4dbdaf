"""What workers share about destinations and relays' connections: the values, and the port to where they are shared."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from mailer.delivery.condition import Condition


@dataclass(frozen=True, slots=True)
class Demand:
    """A number of connections that all workers may have, how many this worker has, and whether it wants any."""

    name: str
    limit: int
    using: int
    wanted: bool


@dataclass(frozen=True, slots=True)
class Shared:
    """What all workers know. ``now``: the clock they share, in Unix seconds; ``generation`` changes when everything was
    lost; ``connections``: how many this worker may have from now on, by the demand's name."""

    now: float
    generation: str
    workers: int
    conditions: Mapping[str, Condition]
    connections: Mapping[str, int]


class Sharing(Protocol):
    """Where workers share what they know. Never raises."""

    async def exchange(self, demands: Sequence[Demand]) -> Shared | None:
        """Says what this worker uses and wants, and gives what all know. None: nothing can be shared just now."""

    async def change(self, name: str, old: Condition | None, new: Condition | None) -> bool:
        """Replaces a destination's condition if it is still ``old`` (None: nothing is known). False: it isn't."""

    async def close(self) -> None:
        """The worker leaves: what it was granted is free at once. Nothing of it may be open any more."""


class SharedConnections(Protocol):
    """The relays' connections of this worker, as far as all workers share their number."""

    def demands(self) -> Sequence[Demand]: ...
    def allow(self, connections: Mapping[str, int]) -> None:
        """How many this worker may have from now on, by the demand's name."""

    def usable(self) -> int:
        """How many of them could be lent now: those of relays that are only there for others' failure don't count."""


class Alone:
    """``Sharing`` and ``Pace`` of a process that has nobody to share with."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock, self._next = clock, dict[str, float]()

    async def exchange(self, demands: Sequence[Demand]) -> Shared | None:
        return None

    async def change(self, name: str, old: Condition | None, new: Condition | None) -> bool:
        return True

    async def close(self) -> None:
        return

    async def take(self, name: str, per_second: float) -> float:
        """See ``ports.Pace``."""
        now = self._clock()
        place = max(now, self._next.get(name, now))
        self._next[name] = place + 1 / per_second
        return place - now
