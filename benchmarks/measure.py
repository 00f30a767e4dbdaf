"""From two runs of different size to the cost of a message: what both spend once cancels out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median_low


@dataclass(frozen=True, slots=True)
class Sample:
    """One run. ``cpu`` in seconds, by part; ``received`` is what the sink read in bytes, ``sink_cpu`` what it spent."""

    messages: int
    seconds: float
    cpu: Mapping[str, float]
    sink_cpu: float
    received: int


@dataclass(frozen=True, slots=True)
class Cost:
    """What one more message costs. ``cpu`` in milliseconds, by part; ``rate`` in messages a second; ``size`` in bytes.

    ``messages``: by how many the two runs differ. ``rate`` 0: not known, the smaller run took longer than the larger.
    """

    messages: int
    cpu: Mapping[str, float]
    rate: float
    sink_cpu: float
    size: float

    @property
    def total(self) -> float:
        """CPU milliseconds a message, all parts together."""
        return sum(self.cpu.values())


def difference(small: Sample, large: Sample) -> Cost:
    """The large run less the small one, a message."""
    more = large.messages - small.messages
    longer = large.seconds - small.seconds
    return Cost(
        more,
        {part: (seconds - small.cpu[part]) / more * 1000 for part, seconds in large.cpu.items()},
        more / longer if longer > 0 else 0.0,
        (large.sink_cpu - small.sink_cpu) / more * 1000,
        (large.received - small.received) / more,
    )


def middle(costs: list[Cost]) -> Cost:
    """Of several measurements, the one whose CPU is the median."""
    chosen = median_low(cost.total for cost in costs)
    return next(cost for cost in costs if cost.total == chosen)
