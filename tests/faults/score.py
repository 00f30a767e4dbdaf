"""What a soak has done so far, counted by many threads, and how it is shown."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any


class Score:
    """``goal``: kills after which it is enough."""

    def __init__(self, goal: int) -> None:
        self._goal = goal
        self._lock = threading.Lock()
        self.kills: Counter[str] = Counter()
        self.disturbances: Counter[str] = Counter()
        self.totals: Counter[str] = Counter()
        self.most_in_doubt = 0
        self.breaches: list[str] = []

    @property
    def over(self) -> bool:
        """Enough kills, or something to look at."""
        return sum(self.kills.values()) >= self._goal or bool(self.breaches)

    def killed(self, what: str, in_hand: int = 0) -> None:
        """``what``: a point's name, or what was killed from outside. ``in_hand``: the dots that it leaves in doubt."""
        with self._lock:
            self.kills[what] += 1
            self.totals["dots_in_hands_of_the_killed"] += in_hand
            self.most_in_doubt = max(self.most_in_doubt, in_hand)

    def disturbed(self, what: str) -> None:
        """Something that kills nobody."""
        with self._lock:
            self.disturbances[what] += 1

    def add(self, **counts: int) -> None:
        """Adds to the totals."""
        with self._lock:
            self.totals.update(counts)

    def breach(self, what: str) -> None:
        """A promise was broken."""
        with self._lock:
            self.breaches.append(what)

    def as_json(self) -> dict[str, Any]:
        """Everything, for a machine."""
        counted = ("sends", "recipients", "sent", "in_doubt", "dots_in_hands_of_the_killed", "twice", "lost", "samples")
        return {
            "kills": sum(self.kills.values()),
            **{name: self.totals[name] for name in counted},
            "most_in_doubt_of_one_kill": self.most_in_doubt,
            "breaches": self.breaches,
            "kills_by_point": dict(sorted(self.kills.items())),
            "disturbances": dict(sorted(self.disturbances.items())),
        }

    def table(self) -> str:
        """Everything, for a person."""
        found = self.as_json()
        parts = [(name, found[name]) for name in found if isinstance(found[name], int)]
        parts += [(f"killed: {name}", count) for name, count in found["kills_by_point"].items()]
        parts += [(f"beside: {name}", count) for name, count in found["disturbances"].items()]
        return "\n".join([*(f"{name:<44} {count:>8,}" for name, count in parts), *self.breaches])
