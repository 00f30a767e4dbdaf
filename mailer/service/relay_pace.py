"""When a relay may have its next message: its ``rate`` and its ``warm_up``, over all workers.

Whoever lends connections asks for one message at a time, ahead of it, and leaves the relay alone until its time has
come: see ``mailer.smtp.pool``.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from mailer.service.ports import Pace
from mailer.service.warm_up import Rest, WarmUp

NO_RATES: Mapping[str, float] = MappingProxyType({})


class RelayPace:
    """``rates``: messages per second, of the relays that have a rate, by ``Connection.where``. Without ``pace`` and
    ``warm_up`` no relay is paced."""

    def __init__(
        self, pace: Pace | None = None, rates: Mapping[str, float] = NO_RATES, warm_up: WarmUp | None = None
    ) -> None:
        self._pace, self._rates, self._warm_up = pace, rates, warm_up

    def holds(self, where: str) -> bool:
        """Whether a relay's messages are to be asked for at all."""
        return where in self._rates or (self._warm_up is not None and self._warm_up.holds(where))

    async def take(self, where: str) -> float | Rest:
        """Takes the relay's next message; gives the seconds until it may go. A ``Rest``: none may, it isn't taken."""
        if self._warm_up is not None and (rest := await self._warm_up.one(where)) is not None:
            return rest
        if self._pace is None or (rate := self._rates.get(where)) is None:
            return 0.0
        return await self._pace.take(where, rate)

    def give_back(self, where: str) -> None:
        """A message that was taken won't be sent: the relay's day has it again. (Its place in line is lost.)"""
        if self._warm_up is not None:
            self._warm_up.give_back(where)
