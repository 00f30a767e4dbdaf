"""Counts for the log: the first of a kind is told at once, those that follow together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

EVERY = 10.0
"""Seconds in which what comes is told in one line."""


class Tally:
    """``tell`` gets a name, how many times it came since it was told last, and the sum of what came.

    For use within one event loop.
    """

    def __init__(self, tell: Callable[[str, int, int], None], every: float = EVERY) -> None:
        self._tell, self._every = tell, every
        self._counts: dict[str, tuple[int, int]] = {}

    def add(self, name: str, amount: int) -> None:
        """It came once more, with so much."""
        found = self._counts.get(name)
        if found is None:
            self._tell(name, 1, amount)
            self._start(name)
        else:
            self._counts[name] = found[0] + 1, found[1] + amount

    def close(self) -> None:
        """Tells what hasn't been told. Nothing may come any more."""
        for name, (times, amount) in self._counts.items():
            if times:
                self._tell(name, times, amount)
        self._counts.clear()

    def _start(self, name: str) -> None:
        self._counts[name] = 0, 0
        asyncio.get_running_loop().call_later(self._every, self._end, name)

    def _end(self, name: str) -> None:
        times, amount = self._counts.pop(name, (0, 0))
        if times:
            self._tell(name, times, amount)
            self._start(name)
