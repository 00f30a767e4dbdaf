"""What is written to the ledger about claims under way: grants of dots, outcomes, claims given back; in groups."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

from mailer.model.ledger import Outcome, RecipientState, Reply
from mailer.service.flight import Flight
from mailer.service.group import Group
from mailer.service.heart import LEASE
from mailer.service.ports import Key, Ledger

log = logging.getLogger(__name__)

GATHER = 0.01
"""Seconds in which dots are gathered for one commit, unless every courier is asking for one before."""


class Writes:
    """One worker process's.

    ``under_way``: what it has claimed, and whose outcome isn't in SQL yet. ``carrying``: how many are on a connection,
    and may ask for their dot; when all of them do, no other is waited for.

    Outcomes are written together with dots: a connection is reused before its last outcome is written, and its next dot
    isn't granted before that. So no more rows are dotted, at any moment, than connections are open.
    """

    def __init__(self, ledger: Ledger, thread: Executor, now: Callable[[], float]) -> None:
        self._ledger, self._now = ledger, now
        self._group: Group[_Dot | _Release | Outcome, bool] = Group(self._write, thread, gather=GATHER)
        self._asking = self.carrying = 0
        self.under_way: dict[Key, Flight] = {}

    def take_on(self, flights: Iterable[Flight]) -> None:
        """These are under way now: each needs one ``settle``."""
        self.under_way |= {flight.key: flight for flight in flights}

    async def granted(self, key: Key) -> bool:
        """Whether the dot may go out now. An answer that is old (we were stopped, and may have been taken for dead
        meanwhile) is asked for again."""
        while True:
            asked_at = self._now()
            answer = self._group.submit(_Dot(key))
            self._asking += 1
            if self._asking >= self.carrying:
                self._group.hurry()
            try:
                if not await answer:
                    return False
            finally:
                self._asking -= 1
            if abs(self._now() - asked_at) < LEASE / 2:
                return True

    def settle(self, flight: Flight, outcome: Outcome | None) -> None:
        """Has the outcome written; None: it hasn't begun, or was refused by the ledger, and the claim is given back."""

        def written(answer: asyncio.Future[bool]) -> None:
            del self.under_way[flight.key]
            flight.claims.one_settled()
            if error := answer.exception():
                log.error("the outcome of %s:%d can't be written", *flight.key[:2], exc_info=error)

        self._group.submit(_Release(flight.key) if outcome is None else outcome).add_done_callback(written)

    def give_back(self, flights: Iterable[Flight]) -> None:
        """Claims whose messages haven't begun to go out."""
        for flight in flights:
            self.settle(flight, None)

    def give_back_strays(self, lost: Iterable[Key]) -> None:
        """Claims of ours in SQL that nothing here works on."""
        why = Reply(0, "", "mailer lost track of it between the dot and its reply")
        for key in lost:  # the first moves a claimed row only, the second a dotted one only
            self._group.submit(_Release(key))
            self._group.submit(Outcome(*key, RecipientState.IN_DOUBT, why))

    async def all_settled(self) -> None:
        """Returns when nothing is under way."""
        while self.under_way:
            await next(iter(self.under_way.values())).claims.settled.wait()

    def _write(self, items: Sequence[_Dot | _Release | Outcome]) -> list[bool]:
        """Whether each was granted; only dots may not be."""
        granted = self._ledger.write(
            self._now(),
            outcomes=[item for item in items if isinstance(item, Outcome)],
            releases=[item.key for item in items if isinstance(item, _Release)],
            dots=[item.key for item in items if isinstance(item, _Dot)],
        )
        return [not isinstance(item, _Dot) or item.key in granted for item in items]


@dataclass(frozen=True, slots=True)
class _Dot:
    key: Key


@dataclass(frozen=True, slots=True)
class _Release:
    key: Key
