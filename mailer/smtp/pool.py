"""The connections to all relays: lent, reused, replaced, and never more of them than allowed.

Relays with the lowest ``priority`` number are used while one of them can be reached, then the next. Among those of one
priority messages are divided by ``weight``: each has its turn (start-time fair queueing), and one that has no free
connection is passed over. So is one with a ``rate`` until its next message may go: nobody waits for it while another
is free. Its connections are lent for one message at a time, others for ``HOLD`` seconds.

``allow`` says how many connections of the relay's number are this worker's. When no new connection to a relay can be
made, or it closes one before it has carried a message, no other is tried for a pause that grows from one second to a
minute; connections to it that are still open go on being used. Whoever waits for a place is served in order of arrival.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from mailer.errors import MailerError, RelayError
from mailer.model.settings import Relay
from mailer.service.ending import end
from mailer.service.relay_pace import RelayPace
from mailer.service.sharing import Demand
from mailer.service.warm_up import Rest
from mailer.smtp.connect import connect, place, tls_context
from mailer.smtp.connection import SmtpConnection, Timeouts
from mailer.smtp.lane import ANNOUNCE_AGAIN, Lane

log = logging.getLogger(__name__)

HOLD = 1.0
"""Seconds for which a borrower may go on with a connection; then whoever waits for one, or a better relay, has its
turn."""

IDLE = 30.0
"""Seconds after which a connection that nobody needed is closed."""

PATIENCE = 3.0
"""Seconds that ``reach`` waits while other workers have all connections."""

UNUSED = 5.0
"""Seconds that a message which was asked for is kept for whoever comes next: longer would let two go at once."""

ASK_AGAIN = 5.0
"""Seconds that a relay rests of which nobody can tell when its next message may go."""

Grant = tuple[Lane, SmtpConnection | None]
"""A place with a relay: a connection that is open, or the right to open one."""


@dataclass(frozen=True, slots=True, eq=False)
class _Waiter:
    """``only_looks``: has nothing to send, so that no relay's pace matters."""

    granted: asyncio.Future[Grant]
    only_looks: bool


class RelayPool:
    """Connections to ``relays``; implements ``mailer.service.ports.Relays``. Belongs to one event loop."""

    def __init__(
        self,
        relays: Sequence[Relay],
        timeouts: Timeouts | None = None,
        *,
        idle: float = IDLE,
        pace: RelayPace | None = None,
    ) -> None:
        self._pace = pace or RelayPace()
        self._lanes = [
            Lane(relay, is_paced=self._pace.holds(place(relay)))
            for relay in sorted(relays, key=lambda relay: relay.priority)
        ]
        self._timeouts, self._idle = timeouts or Timeouts(), idle
        self._waiters: deque[_Waiter] = deque()
        self._asking: set[asyncio.Task[None]] = set()
        self._closing: set[asyncio.Task[None]] = set()
        self._reaper: asyncio.TimerHandle | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._closed = False

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[SmtpConnection]:
        """Lends a connection; see the port. Raises ``RelayError`` when no relay can be reached right now."""
        lane, connection = await self._borrow()
        offered, begun = connection.offered, _now()
        connection.lend(
            begun + (0.0 if lane.is_paced else HOLD),
            lane.relay.messages_per_connection,
            may_announce=begun >= lane.announce_from,
        )
        try:
            yield connection
        except BaseException:
            connection.drop()
            raise
        finally:
            if connection.offered == offered:
                self._unused(lane)
            elif connection.usable:
                lane.carried(begun, is_new=not offered)
            elif (why := connection.turned_away) is not None:
                lane.failed(why, begun, _now())
            if connection.unanswered:
                lane.announce_from = _now() + ANNOUNCE_AGAIN
            self._take_back(lane, connection)

    async def reach(self) -> None:
        """See the port. Also raises ``RelayError`` when other workers have all connections."""
        try:
            async with asyncio.timeout(None if any(lane.allowed for lane in self._lanes) else PATIENCE):
                self._take_back(*await self._borrow(only_looks=True))
        except TimeoutError:
            raise RelayError("other workers have all connections that the relay's connections = … allows") from None

    def demands(self) -> list[Demand]:
        """How many connections each relay has, wants, and may have over all workers: see ``service.sharing``."""
        now, reachable = _now(), self._reachable() if self._waiters else []
        return [
            Demand(place(lane.relay), lane.relay.connections, lane.open, lane.wanted(now) or lane in reachable)
            for lane in self._lanes
        ]

    def allow(self, connections: Mapping[str, int]) -> None:
        """How many connections this worker may have from now on, by ``Connection.where``. Those too many are closed as
        they come back."""
        for lane in self._lanes:
            lane.allowed = connections.get(place(lane.relay), lane.allowed)
            while lane.idle and lane.open > lane.allowed:
                self._discard(lane, lane.idle.pop(0)[0])
        self._serve()

    def usable(self) -> int:
        """How many connections this worker could have now, to the relays of the priority that is in use."""
        return sum(lane.allowed for lane in self._reachable())

    def rest(self, where: str, seconds: float, why: str) -> None:
        """Doesn't use a relay for so long; ``where`` as in ``Connection.where``."""
        for lane in self._lanes:
            if place(lane.relay) == where:
                lane.rest(RelayError(why, where=where), _now() + seconds)
                while lane.idle:
                    self._discard(lane, lane.idle.pop(0)[0])
        self._serve()

    async def close(self) -> None:
        """Closes all that is idle and waits for it; what is lent is closed when it comes back."""
        self._closed = True
        for timer in (self._reaper, self._alarm):
            if timer is not None:
                timer.cancel()
        self._fail_waiters()
        for lane in self._lanes:
            while lane.idle:
                self._discard(lane, lane.idle.pop()[0])
        await end(self._asking)
        while self._closing:
            await asyncio.wait(self._closing)

    # --- lending ------------------------------------------------------------------------------------------------------

    async def _borrow(self, *, only_looks: bool = False) -> tuple[Lane, SmtpConnection]:
        again = False
        while True:
            lane, connection = await self._turn(again, only_looks)
            if connection is not None:
                return lane, connection
            begun = _now()
            try:
                made = await self._connect(lane)
            except MailerError as error:
                self._not_opened(lane, only_looks)
                lane.failed(error, begun, _now())
            except BaseException:
                self._not_opened(lane, only_looks)
                self._serve()
                raise
            else:
                lane.connecting -= 1
                self._serve()
                return lane, made
            self._serve()
            again = True

    async def _connect(self, lane: Lane) -> SmtpConnection:
        if lane.context is None and lane.relay.security != "none":
            lane.context = await asyncio.to_thread(tls_context, lane.relay)
        return await connect(lane.relay, self._timeouts, lane.context)

    async def _turn(self, again: bool, only_looks: bool) -> Grant:
        """A place. Whoever had one that came to nothing, or only looks, goes before those who wait."""
        first = again or only_looks
        if self._closed or not self._reachable():
            raise self._unreachable()
        if (first or not self._waiters) and (grant := self._grant(only_looks)):
            return grant
        if not self._reachable():
            raise self._unreachable()
        waiter = _Waiter(asyncio.get_running_loop().create_future(), only_looks)
        looking = sum(other.only_looks for other in self._waiters)  # those are before all others
        self._waiters.insert(looking if first else len(self._waiters), waiter)
        self._set_alarm()
        try:
            return await waiter.granted
        except asyncio.CancelledError:
            granted = waiter.granted
            if granted.done() and not granted.cancelled() and granted.exception() is None:
                self._give_up(*granted.result(), only_looks)
            raise
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    def _grant(self, only_looks: bool) -> Grant | None:
        now, found_dead = _now(), False
        for lane in self._reachable():
            if not (lane.idle or lane.may_open(now)):
                continue
            if lane.is_paced and not only_looks and not self._may_have(lane, now):
                if lane.next_at is None:
                    return None  # known in a moment: to pass it over would take its part from it
                continue
            while lane.idle:
                connection, _ = lane.idle.pop()
                if connection.usable:
                    self._take_turn(lane, now, only_looks)
                    return lane, connection
                self._discard(lane, connection)
                found_dead = True
            if lane.may_open(now):
                self._take_turn(lane, now, only_looks)
                lane.open += 1
                lane.connecting += 1
                return lane, None
        return self._grant(only_looks) if found_dead else None

    def _take_turn(self, lane: Lane, now: float, only_looks: bool) -> None:
        """Time that a relay didn't use is no credit."""
        lane.used_at = now
        if only_looks:
            return
        self._due = max(self._due, lane.due)
        lane.due = self._due + 1 / lane.relay.weight
        lane.next_at = None

    def _reachable(self) -> list[Lane]:
        """The relays of the best priority that has any within reach, the one whose turn it is first.

        A relay that is on trial after a failure counts only where there is no other.
        """
        now = _now()
        lanes = [lane for lane in self._lanes if lane.ready(now)] or [lane for lane in self._lanes if lane.connecting]
        best = [lane for lane in lanes if lane.relay.priority == lanes[0].relay.priority]
        return best if len(best) < 2 else sorted(best, key=lambda lane: max(lane.due, self._due))

    def _serve(self) -> None:
        """Gives whoever waits what there is, in order; when no relay is within reach, an error."""
        while self._waiters:
            if self._closed or not self._reachable():
                self._fail_waiters()
                return
            if self._waiters[0].granted.done():
                self._waiters.popleft()
                continue
            grant = self._grant(self._waiters[0].only_looks)
            if grant is None:
                self._set_alarm()
                return
            self._waiters.popleft().granted.set_result(grant)

    # --- pace ---------------------------------------------------------------------------------------------------------

    def _may_have(self, lane: Lane, now: float) -> bool:
        """Whether a paced relay may have a message now; where that isn't known, it is asked for."""
        where = place(lane.relay)
        if lane.next_at is not None and now - lane.next_at > UNUSED:
            lane.next_at = None
            self._pace.give_back(where)
        if lane.next_at is not None:
            return now >= lane.next_at
        if not lane.asking:
            lane.asking = True
            task = asyncio.get_running_loop().create_task(self._ask(lane, where))
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)
        return False

    async def _ask(self, lane: Lane, where: str) -> None:
        try:
            answer = await self._pace.take(where)
        except Exception:
            log.exception("nobody can tell when %s may have a message, for a reason that nobody foresaw", where)
            answer = Rest(ASK_AGAIN, "nobody can tell when it may have its next message; the worker's log says more")
        finally:
            lane.asking = False
        if isinstance(answer, Rest):
            self.rest(where, answer.seconds, answer.why)
            return
        self._keep(lane, _now() + answer)
        self._serve()

    def _keep(self, lane: Lane, next_at: float) -> None:
        """A message that was asked for and may go then; it is one too many if there is one already."""
        if lane.next_at is None:
            lane.next_at = next_at
        else:
            self._pace.give_back(place(lane.relay))

    def _unused(self, lane: Lane, only_looks: bool = False) -> None:
        """The message for which a place was granted didn't go."""
        if lane.is_paced and not only_looks:
            self._keep(lane, _now())

    # --- taking back --------------------------------------------------------------------------------------------------

    def _take_back(self, lane: Lane, connection: SmtpConnection) -> None:
        worn_out = not connection.usable or connection.offered >= lane.relay.messages_per_connection
        if self._closed or worn_out or lane.open > lane.allowed or _now() < lane.rest_until:
            self._discard(lane, connection)
        else:
            lane.idle.append((connection, _now()))
            if self._reaper is None:
                self._reaper = asyncio.get_running_loop().call_later(self._idle, self._reap)
        self._serve()

    def _give_up(self, lane: Lane, connection: SmtpConnection | None, only_looks: bool) -> None:
        """A place was granted to somebody who had just stopped waiting."""
        if connection is None:
            self._not_opened(lane, only_looks)
            self._serve()
        else:
            self._unused(lane, only_looks)
            self._take_back(lane, connection)

    def _not_opened(self, lane: Lane, only_looks: bool) -> None:
        self._unused(lane, only_looks)
        lane.open -= 1
        lane.connecting -= 1

    def _discard(self, lane: Lane, connection: SmtpConnection) -> None:
        lane.open -= 1
        task = asyncio.get_running_loop().create_task(connection.quit())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def _reap(self) -> None:
        self._reaper = None
        now = _now()
        for lane in self._lanes:
            while lane.idle and lane.idle[0][1] <= now - self._idle:
                self._discard(lane, lane.idle.pop(0)[0])
        oldest = min((lane.idle[0][1] for lane in self._lanes if lane.idle), default=None)
        if oldest is not None:
            self._reaper = asyncio.get_running_loop().call_later(oldest + self._idle - now, self._reap)

    def _set_alarm(self) -> None:
        """Looks again when the first pause is over, or a paced relay's time has come, though nothing has come back."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        now = _now()
        times = [max(lane.retry_at, lane.rest_until) for lane in self._lanes]
        times += [lane.next_at for lane in self._lanes if lane.next_at is not None]
        if times := [time for time in times if time > now]:
            self._alarm = asyncio.get_running_loop().call_at(min(times), self._serve)

    # --- when nothing can be reached ----------------------------------------------------------------------------------

    def _fail_waiters(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.granted.done():
                waiter.granted.set_exception(self._unreachable())

    def _unreachable(self) -> RelayError:
        if self._closed:
            return RelayError("the connections to the relays are closed")
        now = _now()
        errors = [error for lane in self._lanes if (error := lane.trouble(now)) is not None]
        if not errors:
            return RelayError("no relay is configured", todo="Add a [[relays]] section to mailer.toml.")
        more = f" (and {len(errors) - 1} more can't be reached)" if len(errors) > 1 else ""
        return RelayError(errors[0].what + more, where=errors[0].where, todo=errors[0].todo)


def _now() -> float:
    return asyncio.get_running_loop().time()
