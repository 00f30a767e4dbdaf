"""How many of a relay's connections a destination may have, and all of a kind together.

A destination that answers slowly (a tarpit) holds each connection for long, and several would soon hold them all. A
quick one may have all connections, or three quarters while others are there. An unknown one gets a single one, until it
has shown what it is. A slow one gets a quarter, and the slow together half; where no other has been quick for a while,
they, or an unknown one that is alone, may have all but a quarter. And those that haven't shown to be quick never have
the last eighth, nor the last connection of three or more, however many they are: it stays for whoever is quick. The
slow leave one more to the unknown.
"""

from __future__ import annotations

from collections.abc import Sequence

from mailer.service.destination_kinds import QUICK, SLOW, UNKNOWN

ALL = 1 << 30
"""As many as one likes."""


class Shares:
    """Of ``size`` connections. ``quarter``: so many any quick destination may have, whatever else there is."""

    __slots__ = ("_beside_quick", "_slow_alone", "_three_quarters", "_unproven", "quarter", "size")

    def __init__(self, size: int) -> None:
        kept = int(size > 2)
        self.size = size
        self.quarter, self._three_quarters = max(1, size // 4), max(1, size * 3 // 4)
        self._unproven = max(1, size - max(size // 8, kept))
        self._slow_alone = max(1, size - max(size // 4, kept + 1))
        self._beside_quick = max(1, size - max(size // 2, kept + 1))

    def part(self, kind: int, *, is_alone: bool, others_are_quick: bool) -> int:
        """How many a destination of this kind may have. ``is_alone``: there is no other. (The connections themselves
        are counted elsewhere.)"""
        if kind == QUICK:
            return ALL if is_alone else self._three_quarters
        if kind == UNKNOWN and not is_alone:
            return 1
        if others_are_quick:
            return self.quarter if kind == SLOW else 1
        return self._slow_alone

    def room(self, kind: int, held: Sequence[int], *, others_are_quick: bool) -> int:
        """How many more all of a kind that isn't quick may have, where each kind holds so many."""
        room = self._unproven - held[SLOW] - held[UNKNOWN]
        if kind == UNKNOWN:
            return room
        return min(room, (self._beside_quick if others_are_quick else self._slow_alone) - held[SLOW])
