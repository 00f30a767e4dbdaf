"""What waits to be sent, in a line for each destination, and whose turn it is.

Destinations take turns. One that answers slowly (a tarpit) holds each connection for long, and would soon hold them
all. So while others are there, a destination that has just shown to be quick may have three quarters of the
connections, any other one a quarter; and when slow ones hold half of all, one each. Whoever is alone may have all
when it has shown to be quick, else all but a quarter, once there have been no others for a while: so whoever comes next
finds a connection.

On top of that a destination may have a ``cap``, and may need a ``ticket`` for each item. For most there is neither, and
an item's way costs about two microseconds.

Whoever has an item under way may choose the one that will ``follow`` on its connection. That waits on, for a moment.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Hashable, Mapping
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)

WINDOW = 10.0
"""Seconds over which a destination's pace is measured; what was quick stays so for one more."""

QUICK = 1.0
"""Seconds that a transaction may take and still be quick; three times the mean, where that is more."""

LONG = 10.0
"""Seconds: in that mean no transaction counts for more, so that slow destinations don't spoil it."""

PATIENCE = 10.0
"""Seconds that a line may stand still; then what waits in it is given back. (A ticket may take longer.)"""

FOLLOW = 5.0
"""Seconds that an item may wait for the one that it follows; then it is given back."""

_ALL = 1 << 30


class _Line(Generic[T]):
    """A destination's items. ``busy``: under way (``since``: the sum of their times). ``queued``: it is one of those
    that take turns. ``still_since``: none could go since then (0: the last one asked for could)."""

    __slots__ = ("busy", "items", "queued", "since", "still_since", "tickets")

    def __init__(self) -> None:
        self.items: deque[T] = deque()
        self.busy, self.since, self.tickets = 0, 0.0, 0
        self.queued, self.still_since = False, 0.0


class Lines(Generic[T]):
    """``size``: the connections there are. ``caps``: how many of a destination may be under way. ``ticketed``: the
    destinations of which each item needs a ticket. All three may be changed. ``clock``: seconds."""

    def __init__(self, size: int, clock: Callable[[], float]) -> None:
        self.size, self._clock = size, clock
        self.caps: Mapping[str, int] = {}
        self.ticketed: frozenset[str] = frozenset()
        self.waiting = 0
        self._small = max(1, size // 4)
        self._lines: dict[str, _Line[T]] = {}
        self._turns: deque[str] = deque()
        self._following: dict[T, tuple[str, float]] = {}
        self._quick: defaultdict[str, int] = defaultdict(int)
        self._quick_before: Mapping[str, int] = {}
        self._window_began = clock()
        self._took, self._ended, self._quick_enough = 0.0, 0, QUICK

    def put(self, name: str, item: T, *, first: bool = False) -> None:
        """Joins its destination's line; ``first``: at its head, and the line is next."""
        line = self._lines.get(name)
        if line is None:
            line = self._lines[name] = _Line()
        self.waiting += 1
        if first:
            line.items.appendleft(item)
            if line.queued:
                self._turns.remove(name)
            line.queued = True
            self._turns.appendleft(name)
            return
        line.items.append(item)
        if not line.queued and len(line.items) == 1:
            line.queued = True
            self._turns.append(name)

    def next(self) -> tuple[str, T, float] | None:
        """The next item that may go, its destination and the time; each needs one ``leave``. None: none may now."""
        found = self._take()
        if found is None:
            return None
        name, line, item = found
        now = self._clock()
        line.busy += 1
        line.since += now
        return name, item, now

    def follow(self) -> tuple[str, T] | None:
        """The next item, and its destination, for whoever is busy with another; then ``begin`` or ``unfollow``.

        None: there is none, or it is one of a destination with a limit, whose moment can't be known now.
        """
        found = self._take(unlimited=True)
        if found is None:
            return None
        name, _, item = found
        self._following[item] = name, self._clock()
        return name, item

    def unfollow(self, item: T) -> bool:
        """It follows nothing any more; who called has it. False: it has been given back."""
        return self._following.pop(item, None) is not None

    def begin(self, item: T) -> float | None:
        """What it followed has left, and its turn has come: the time for ``leave``. None: it has been given back."""
        found = self._following.pop(item, None)
        if found is None:
            return None
        line = self._lines.get(found[0])
        if line is None:
            line = self._lines[found[0]] = _Line()
        now = self._clock()
        line.busy += 1
        line.since += now
        return now

    def leave(self, name: str, started: float) -> bool:
        """An item's transaction has ended. ``started``: the time that ``next`` gave. True: its destination has just
        shown to be quick, and more of what waits may go than before."""
        line = self._lines[name]
        line.busy -= 1
        line.since -= started
        took = self._clock() - started
        is_news = False
        if took <= self._quick_enough:
            is_news = name not in self._quick and name not in self._quick_before and bool(line.items)
            self._quick[name] += 1
        self._took += took if took < LONG else LONG
        self._ended += 1
        if line.items:
            self._queue(name, line)
        elif not line.busy:
            self._drop(name)
        return is_news

    def ticket(self, name: str) -> None:
        """One more item of this destination may go."""
        line = self._lines.get(name)
        if line is not None and line.items:
            line.tickets += 1
            self._queue(name, line)

    def tickets(self, name: str) -> int:
        """How many tickets are unused."""
        line = self._lines.get(name)
        return line.tickets if line else 0

    def take_out(self, name: str, keep: int = 0) -> list[T]:
        """What waits for a destination, but for the first ``keep``."""
        line = self._lines.get(name)
        if line is None:
            return []
        return self._taken_out(name, line, [line.items.pop() for _ in range(len(line.items) - keep)])

    def take_out_all(self, unwanted: Callable[[T], bool] | None = None) -> list[T]:
        """All that waits, or what of it is unwanted."""
        out = []
        for name, line in list(self._lines.items()):
            found = [item for item in line.items if unwanted is None or unwanted(item)]
            if found:
                line.items = deque(item for item in line.items if unwanted is not None and not unwanted(item))
                out += self._taken_out(name, line, found)
        return out

    def look_around(self) -> list[T]:
        """To be called about once a second: who is slow, and whose turn may have come. Gives what waited in lines that
        stood still for too long, and what has been following for too long."""
        now = self._clock()
        if now - self._window_began >= WINDOW:
            self._quick_before, self._quick = self._quick, defaultdict(int)
            self._window_began = now
            self._took, self._ended = 0.0, 0
        elif self._ended:
            self._quick_enough = max(QUICK, 3 * self._took / self._ended)
        slow = sum(line.busy for line in self._lines.values() if self._is_slow(line))
        self._small = 1 if 2 * slow >= self.size else max(1, self.size // 4)
        out = [item for item, (_, since) in self._following.items() if now - since >= FOLLOW]
        for item in out:
            del self._following[item]
        for name, line in list(self._lines.items()):
            if not line.items or (name in self.ticketed and not line.tickets):
                continue
            if self._may_go(name, line):
                self._queue(name, line)
            elif not line.still_since:
                line.still_since = now
            elif now - line.still_since >= PATIENCE:
                out += self.take_out(name)
        return out

    def claimed(self, name: str) -> int:
        """How many of a destination wait or are under way."""
        line, following = self._lines.get(name), sum(of == name for of, _ in self._following.values())
        return following + (line.busy + len(line.items) if line else 0)

    def busy(self, name: str) -> int:
        """How many of a destination are under way."""
        line = self._lines.get(name)
        return line.busy if line else 0

    def full(self) -> list[str]:
        """Destinations that can't have any more just now: what waits (not only for a ticket) has stood still for a
        moment, or what is under way takes long."""
        return [
            name
            for name, line in self._lines.items()
            if (line.items and (line.tickets or name not in self.ticketed) and self._stands(line))
            or (line.busy >= self._small and self._is_slow(line))
        ]

    @property
    def has_next(self) -> bool:
        """Whether it is of use to ask for the next."""
        return self.ready(1) > 0

    def ready(self, most: int) -> int:
        """For how many it is of use to ask, up to ``most``; there may be fewer in the end, and not more."""
        found = 0
        for name in self._turns:
            line = self._lines.get(name)
            if line is None or not line.items or not self._may_go(name, line):
                continue
            counts = [len(line.items), self._most(name, line) - line.busy]
            if name in self.ticketed:
                counts.append(line.tickets)
            found += min(counts)
            if found >= most:
                return most
        return found

    def pace(self, name: str) -> float:
        """Messages per second that went there lately; those that took long don't count."""
        quick = self._quick.get(name, 0) + self._quick_before.get(name, 0)
        seconds = self._clock() - self._window_began + (WINDOW if self._quick_before else 0.0)
        return quick / max(seconds, 1.0)

    # ------------------------------------------------------------------------------------------------------------------

    def _take(self, *, unlimited: bool = False) -> tuple[str, _Line[T], T] | None:
        """Takes the next item that may go out of its line. ``unlimited``: none, if its destination has a limit."""
        turns = self._turns
        while turns:
            name = turns.popleft()
            line = self._lines.get(name)
            if line is None:
                continue
            if not line.items:
                line.queued = False
                continue
            limited = name in self.caps or name in self.ticketed
            if limited and unlimited:
                turns.appendleft(name)
                return None
            if limited or line.busy >= self._small:
                if not self._may_go(name, line):
                    line.queued, line.still_since = False, line.still_since or self._clock()
                    continue
                line.tickets -= line.tickets > 0
            item = line.items.popleft()
            line.still_since = 0.0
            self.waiting -= 1
            if line.items:
                turns.append(name)
            else:
                line.queued = False
            return name, line, item
        return None

    def _may_go(self, name: str, line: _Line[T]) -> bool:
        return (name not in self.ticketed or line.tickets > 0) and line.busy < self._most(name, line)

    def _most(self, name: str, line: _Line[T]) -> int:
        """How many of a destination may be under way now."""
        return min(self._part(name, line), self.caps.get(name, _ALL))

    def _part(self, name: str, line: _Line[T]) -> int:
        """The same, but for its cap. (The connections themselves are counted elsewhere.)"""
        was_quick = name in self._quick or name in self._quick_before
        is_quick = was_quick and not self._is_slow(line)
        if len(self._lines) > 1:
            return max(self._small, self.size * 3 // 4) if is_quick else self._small
        if is_quick:
            return _ALL
        had_others = len(self._quick.keys() | self._quick_before.keys()) > was_quick
        return self._small if had_others else max(self._small, self.size - max(1, self.size // 4))

    def _stands(self, line: _Line[T]) -> bool:
        return line.still_since > 0 and self._clock() - line.still_since >= QUICK

    def _is_slow(self, line: _Line[T]) -> bool:
        return line.busy > 0 and self._clock() - line.since / line.busy > self._quick_enough

    def _taken_out(self, name: str, line: _Line[T], items: list[T]) -> list[T]:
        self.waiting -= len(items)
        if not line.items:
            if line.queued:  # else ``has_next`` would promise what ``next`` can't keep
                line.queued = False
                self._turns.remove(name)
            if not line.busy:
                self._drop(name)
        return items

    def _queue(self, name: str, line: _Line[T]) -> None:
        if not line.queued:
            line.queued = True
            self._turns.append(name)

    def _drop(self, name: str) -> None:
        del self._lines[name]
        if len(self._lines) == 1:  # it may have all connections now
            name, line = next(iter(self._lines.items()))
            if line.items:
                self._queue(name, line)
