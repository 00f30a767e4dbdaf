"""What waits to be sent, in a line for each destination, and whose turn it is.

Destinations take turns, and how many connections one may have depends on what it has shown lately: see
``mailer.service.connection_shares``. On top of that a destination may have a ``cap``, and may need a ``ticket`` for
each item. For most there is neither, and an item's way costs some microseconds.

Whoever has an item under way may choose the one that will ``follow`` on its connection. That waits on, for a moment.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Mapping
from typing import Generic, TypeVar

from mailer.service.connection_shares import ALL, Shares
from mailer.service.destination_kinds import PROMPT, QUICK, SLOW, UNKNOWN, Kinds

T = TypeVar("T", bound=Hashable)

PATIENCE = 10.0
"""Seconds that a line may stand still; then what waits in it is given back. (A ticket may take longer.)"""

FOLLOW = 5.0
"""Seconds that an item may wait for the one that it follows; then it is given back."""


class _Line(Generic[T]):
    """A destination's items. ``busy``: under way (``since``: the sum of their times); ``following``: promised a
    connection of their own, ``taking_over``: that of one of unknown kind. ``kind``: what it has shown. ``queue``: where
    it waits, with those that take turns or for room for its kind (None: nowhere). ``still_since``: none could go since
    then (0: the last one asked for could)."""

    __slots__ = ("busy", "following", "items", "kind", "queue", "since", "still_since", "taking_over", "tickets")

    def __init__(self, kind: int) -> None:
        self.items: deque[T] = deque()
        self.busy, self.following, self.taking_over, self.since, self.tickets = 0, 0, 0, 0.0, 0
        self.kind, self.still_since = kind, 0.0
        self.queue: deque[str] | None = None


class Lines(Generic[T]):
    """``size``: the connections there are. ``caps``: how many of a destination may be under way. ``ticketed``: the
    destinations of which each item needs a ticket. All three may be changed. ``clock``: seconds."""

    def __init__(self, size: int, clock: Callable[[], float]) -> None:
        self._shares, self._clock, self._kinds = Shares(size), clock, Kinds(clock)
        self.caps: Mapping[str, int] = {}
        self.ticketed: frozenset[str] = frozenset()
        self.waiting = 0
        self._lines: dict[str, _Line[T]] = {}
        self._turns: deque[str] = deque()
        self._held = [0, 0, 0]
        self._without_room: tuple[deque[str], ...] = (deque(), deque(), deque())
        self._following: dict[T, tuple[str, float, bool]] = {}

    @property
    def size(self) -> int:
        return self._shares.size

    @size.setter
    def size(self, size: int) -> None:
        self._shares = Shares(size)

    def put(self, name: str, item: T, *, first: bool = False) -> None:
        """Joins its destination's line; ``first``: at its head, and the line is next."""
        line = self._lines.get(name)
        if line is None:
            line = self._lines[name] = _Line(self._kinds.of(name))
        self.waiting += 1
        if first:
            line.items.appendleft(item)
            if line.queue is not None:
                line.queue.remove(name)
            line.queue = self._turns
            self._turns.appendleft(name)
            return
        line.items.append(item)
        if line.queue is None and len(line.items) == 1:
            line.queue = self._turns
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
        self._held[line.kind] += 1
        return name, item, now

    def follow(self, leader: str) -> tuple[str, T] | None:
        """The next item, and its destination, for whoever is busy with one of ``leader``'s; then ``begin`` or
        ``unfollow``.

        None: there is none, or it is one of a destination with a limit, whose moment can't be known now.
        """
        ahead = self._lines.get(leader)
        found = self._take(ahead, follows=True)
        if found is None:
            return None
        name, line, item = found
        takes_over = _takes_over(line, ahead)
        if takes_over:
            line.taking_over += 1
        else:
            line.following += 1
            self._held[line.kind] += 1
        self._following[item] = name, self._clock(), takes_over
        return name, item

    def unfollow(self, item: T) -> bool:
        """It follows nothing any more; who called has it. False: it has been given back."""
        found = self._end_following(item)
        if found is None:
            return False
        name, line, takes_over = found
        if not takes_over:
            self._release(line.kind)
        self._drop_if_empty(name, line)
        return True

    def begin(self, item: T) -> float | None:
        """What it followed has left, and its turn has come: the time for ``leave``. None: it has been given back."""
        found = self._end_following(item)
        if found is None:
            return None
        _, line, takes_over = found
        if takes_over:
            self._held[line.kind] += 1
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
        was = line.kind
        self._kinds.took(name, self._clock() - started)
        self._release(was)
        if was != QUICK:
            self._look_at(name, line)
        if line.items:
            self._queue(name, line)
        else:
            self._drop_if_empty(name, line)
        return was != QUICK and line.kind == QUICK and (bool(line.items) or line.busy > 0)

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
        self._kinds.look_around()
        out = [item for item, (_, since, _) in self._following.items() if now - since >= FOLLOW]
        for item in out:
            self.unfollow(item)
        for name, line in list(self._lines.items()):
            self._look_at(name, line)
        self._wake(len(self._lines))
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
        line, following = self._lines.get(name), sum(of == name for of, *_ in self._following.values())
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
            or (
                line.kind == SLOW
                and line.busy > 0
                and not (line.busy < self._part(name, line) and self._has_room(name, line))
            )
        ]

    @property
    def has_next(self) -> bool:
        """Whether it is of use to ask for the next."""
        return self.ready(1) > 0

    def ready(self, most: int) -> int:
        """For how many it is of use to ask, up to ``most``; there may be fewer in the end, and not more."""
        found, given = 0, [0, 0, 0]
        for name in self._turns:
            line = self._lines.get(name)
            if line is None or not line.items or not self._may_go(name, line):
                continue
            counts = [len(line.items), self._most(name, line) - line.busy]
            if name in self.ticketed:
                counts.append(line.tickets)
            if line.kind != QUICK:
                counts.append(max(0, self._room(name, UNKNOWN) - given[UNKNOWN] - given[SLOW]))
                counts.append(max(0, self._room(name, line.kind) - given[line.kind]))
            count = min(counts)
            given[line.kind] += count
            found += count
            if found >= most:
                return most
        return found

    def pace(self, name: str) -> float:
        """Messages per second that went there lately; those that took long don't count."""
        return self._kinds.pace(name)

    # ------------------------------------------------------------------------------------------------------------------

    def _take(self, leader: _Line[T] | None = None, *, follows: bool = False) -> tuple[str, _Line[T], T] | None:
        """Takes the next item that may go out of its line. To follow: none, if its destination has a limit."""
        turns = self._turns
        while turns:
            name = turns.popleft()
            line = self._lines.get(name)
            if line is None:
                continue
            if not line.items:
                line.queue = None
                continue
            limited = name in self.caps or name in self.ticketed
            if limited and follows:
                turns.appendleft(name)
                return None
            if limited or line.kind != QUICK or line.busy >= self._shares.quarter:
                self._look_at(name, line)
                has_part = self._has_part(name, line)
                if not (has_part and (_takes_over(line, leader) or self._has_room(name, line))):
                    line.queue, line.still_since = None, line.still_since or self._clock()
                    if has_part:
                        line.queue = self._without_room[line.kind]
                        line.queue.append(name)
                    continue
                line.tickets -= line.tickets > 0
            item = line.items.popleft()
            line.still_since = 0.0
            self.waiting -= 1
            if line.items:
                turns.append(name)
            else:
                line.queue = None
            return name, line, item
        return None

    def _end_following(self, item: T) -> tuple[str, _Line[T], bool] | None:
        """Its destination and line, and whether it takes over a connection. None: it has been given back."""
        found = self._following.pop(item, None)
        if found is None:
            return None
        name, _, takes_over = found
        line = self._lines[name]
        if takes_over:
            line.taking_over -= 1
        else:
            line.following -= 1
        return name, line, takes_over

    def _may_go(self, name: str, line: _Line[T]) -> bool:
        return self._has_part(name, line) and self._has_room(name, line)

    def _has_room(self, name: str, line: _Line[T]) -> bool:
        return line.kind == QUICK or self._room(name, line.kind) > 0

    def _has_part(self, name: str, line: _Line[T]) -> bool:
        """Whether it may have one more, if there is room for its kind."""
        held = line.busy if line.kind == QUICK else line.busy + line.following + line.taking_over
        return (name not in self.ticketed or line.tickets > 0) and held < self._most(name, line)

    def _most(self, name: str, line: _Line[T]) -> int:
        """How many of a destination may be under way now."""
        return min(self._part(name, line), self.caps.get(name, ALL))

    def _part(self, name: str, line: _Line[T]) -> int:
        """The same, but for its cap."""
        kind, is_alone = line.kind, len(self._lines) == 1
        others_are_quick = (kind == SLOW or is_alone) and self._kinds.others_are_quick(name)  # else nobody asks
        return self._shares.part(kind, is_alone=is_alone, others_are_quick=others_are_quick)

    def _room(self, name: str, kind: int) -> int:
        """How many more may be under way, or follow, to this destination and all others of its kind: not the quick."""
        others_are_quick = kind == SLOW and self._kinds.others_are_quick(name)
        return self._shares.room(kind, self._held, others_are_quick=others_are_quick)

    def _look_at(self, name: str, line: _Line[T]) -> None:
        """What it is now."""
        kind, was = SLOW if line.busy and self._is_slow(line) else self._kinds.of(name), line.kind
        if kind == was:
            return
        line.kind = kind
        held = line.busy + line.following
        self._held[kind] += held
        self._held[was] -= held
        if was == SLOW or kind == QUICK:
            self._wake(held)

    def _release(self, kind: int) -> None:
        """A connection fewer is held for this kind."""
        self._held[kind] -= 1
        if kind != QUICK:
            self._wake(1)

    def _wake(self, count: int) -> None:
        """So many of each kind that wait for room may try. (Whoever is overlooked, ``look_around`` finds.)"""
        for waiting in self._without_room:
            left = count
            while left and waiting:
                left -= 1
                name = waiting.popleft()
                self._lines[name].queue = self._turns
                self._turns.append(name)

    def _stands(self, line: _Line[T]) -> bool:
        return line.still_since > 0 and self._clock() - line.still_since >= PROMPT

    def _is_slow(self, line: _Line[T]) -> bool:
        return self._kinds.is_slow(self._clock() - line.since / line.busy)

    def _taken_out(self, name: str, line: _Line[T], items: list[T]) -> list[T]:
        self.waiting -= len(items)
        if not line.items:
            if line.queue is not None:  # else ``has_next`` would promise what ``next`` can't keep
                line.queue.remove(name)
                line.queue = None
            self._drop_if_empty(name, line)
        return items

    def _queue(self, name: str, line: _Line[T]) -> None:
        if line.queue is None:
            line.queue = self._turns
            self._turns.append(name)

    def _drop_if_empty(self, name: str, line: _Line[T]) -> None:
        if line.items or line.busy or line.following or line.taking_over:
            return
        del self._lines[name]
        if len(self._lines) == 1:  # it may have all connections now
            name, line = next(iter(self._lines.items()))
            if line.items:
                self._queue(name, line)


def _takes_over(line: _Line[T], leader: _Line[T] | None) -> bool:
    """Whether what follows needs no room of its own: one of unknown kind takes over from another."""
    return leader is not None and leader.kind == line.kind == UNKNOWN
