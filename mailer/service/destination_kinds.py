"""What destinations have shown lately: that they answer quickly, or slowly, or nothing yet."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping

WINDOW = 10.0
"""Seconds over which a destination's pace is measured; what was quick stays so for one more."""

PROMPT = 1.0
"""Seconds that a transaction may take and still be quick; three times the mean, where that is more."""

LONG = 2.0
"""Seconds: in that mean no transaction counts for more, so that tarpits don't pass for quick where they are many."""

QUICK, UNKNOWN, SLOW = range(3)
"""The kinds: what a destination has shown."""


class Kinds:
    """``clock``: seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._quick: defaultdict[str, int] = defaultdict(int)
        self._quick_before: Mapping[str, int] = {}
        self._slow: set[str] = set()
        self._slow_before: set[str] = set()
        self._began = clock()
        self._took, self._ended, self._prompt = 0.0, 0, PROMPT

    def took(self, name: str, seconds: float) -> None:
        """A transaction has ended, after so long."""
        if seconds <= self._prompt:
            self._quick[name] += 1
        else:
            self._slow.add(name)
        self._took += seconds if seconds < LONG else LONG
        self._ended += 1

    def look_around(self) -> None:
        """To be called about once a second: what counts as quick now, and what is long past."""
        now = self._clock()
        if now - self._began >= WINDOW:
            self._quick_before, self._quick = self._quick, defaultdict(int)
            self._slow_before, self._slow = self._slow, set()
            self._began = now
            self._took, self._ended = 0.0, 0
        elif self._ended:
            self._prompt = max(PROMPT, 3 * self._took / self._ended)

    def of(self, name: str) -> int:
        """What it has shown."""
        if name in self._quick or name in self._quick_before:
            return QUICK
        return SLOW if name in self._slow or name in self._slow_before else UNKNOWN

    def is_slow(self, seconds: float) -> bool:
        """Whether a transaction that takes so long is."""
        return seconds > self._prompt

    def others_are_quick(self, name: str) -> bool:
        """Whether any other destination was quick lately."""
        quick, before = self._quick, self._quick_before
        return len(quick) > (name in quick) or len(before) > (name in before)

    def pace(self, name: str) -> float:
        """Messages per second that went there lately; those that took long don't count."""
        quick = self._quick.get(name, 0) + self._quick_before.get(name, 0)
        seconds = self._clock() - self._began + (WINDOW if self._quick_before else 0.0)
        return quick / max(seconds, 1.0)
