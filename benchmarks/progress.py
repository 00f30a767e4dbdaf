"""How far a measurement is, on stderr."""

from __future__ import annotations

import sys
import time

EVERY = 10.0
"""Seconds between two lines."""


class Progress:
    """Says what is measured, and, while it takes long, how far it is."""

    def __init__(self) -> None:
        self._what, self._began, self._said_at = "", 0.0, 0.0

    def begin(self, what: str) -> None:
        """The next measurement."""
        self._what, self._began = what, time.monotonic()
        self._said_at = self._began
        print(f"… {what}", file=sys.stderr, flush=True)

    def at(self, done: float) -> None:
        """To be called as often as you like, with about how many messages are sent; 0 where that isn't known."""
        now = time.monotonic()
        if now - self._said_at > EVERY:
            self._said_at = now
            how_far = f", {done:,.0f} sent" if done else ""
            print(f"  {self._what}: {now - self._began:.0f} s{how_far}", file=sys.stderr, flush=True)
