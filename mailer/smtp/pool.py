"""The connections to all relays: lent, reused, replaced, and never more of them than allowed.

Relays with the lowest ``priority`` number are used while one of them can be reached, then the next. Among those of one
priority messages are divided by ``weight``: each has its turn (start-time fair queueing), and one that has no free
connection is passed over. ``allow`` says how many connections of the relay's number are this worker's. When no new
connection to a relay can be made it is left alone for a pause that grows from one second to a minute; connections to it
that are still open go on being used. Whoever waits for a place is served in order of arrival.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from mailer.errors import MailerError, RelayError
from mailer.model.settings import Relay
from mailer.service.sharing import Demand
from mailer.smtp.connect import connect, place, tls_context
from mailer.smtp.connection import SmtpConnection, Timeouts
from mailer.smtp.lane import Lane

HOLD = 1.0
"""Seconds for which a borrower may go on with a connection; then whoever waits for one, or a better relay, has its
turn."""

IDLE = 30.0
"""Seconds after which a connection that nobody needed is closed."""

PATIENCE = 3.0
"""Seconds that ``reach`` waits while other workers have all connections."""

Grant = tuple[Lane, SmtpConnection | None]
"""A place with a relay: a connection that is open, or the right to open one."""


class RelayPool:
    """Connections to ``relays``; implements ``mailer.service.ports.Relays``. Belongs to one event loop."""

    def __init__(
        self, relays: Sequence[Relay], timeouts: Timeouts | None = None, *, idle: float = IDLE, hold: float = HOLD
    ) -> None:
        self._lanes = [Lane(relay) for relay in sorted(relays, key=lambda relay: relay.priority)]
        self._timeouts, self._idle, self._hold = timeouts or Timeouts(), idle, hold
        self._waiters: deque[asyncio.Future[Grant]] = deque()
        self._closing: set[asyncio.Task[None]] = set()
        self._reaper: asyncio.TimerHandle | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._closed = False

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[SmtpConnection]:
        """Lends a connection; see the port. Raises ``RelayError`` when no relay can be reached right now."""
        lane, connection = await self._borrow()
        connection.lend(_now() + self._hold, lane.relay.messages_per_connection)
        try:
            yield connection
        except BaseException:
            connection.drop()
            raise
        finally:
            self._take_back(lane, connection)

    async def reach(self) -> None:
        """See the port. Also raises ``RelayError`` when other workers have all connections."""
        try:
            async with asyncio.timeout(None if any(lane.allowed for lane in self._lanes) else PATIENCE):
                async with self.connection():
                    return
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
        while self._closing:
            await asyncio.wait(self._closing)

    # --- lending ------------------------------------------------------------------------------------------------------

    async def _borrow(self) -> tuple[Lane, SmtpConnection]:
        again = False
        while True:
            lane, connection = await self._turn(again)
            if connection is not None:
                return lane, connection
            begun = _now()
            try:
                made = await self._connect(lane)
            except MailerError as error:
                self._not_opened(lane)
                lane.failed(error, begun, _now())
            except BaseException:
                self._not_opened(lane)
                self._serve()
                raise
            else:
                lane.connecting -= 1
                lane.succeeded()
                self._serve()
                return lane, made
            self._serve()
            again = True

    async def _connect(self, lane: Lane) -> SmtpConnection:
        if lane.context is None and lane.relay.security != "none":
            lane.context = await asyncio.to_thread(tls_context, lane.relay)
        return await connect(lane.relay, self._timeouts, lane.context)

    async def _turn(self, again: bool) -> Grant:
        """A place. Whoever had one that came to nothing goes before those who wait."""
        if self._closed or not self._reachable():
            raise self._unreachable()
        if (again or not self._waiters) and (grant := self._grant()):
            return grant
        if not self._reachable():
            raise self._unreachable()
        waiter: asyncio.Future[Grant] = asyncio.get_running_loop().create_future()
        if again:
            self._waiters.appendleft(waiter)
        else:
            self._waiters.append(waiter)
        self._set_alarm()
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._give_up(*waiter.result())
            raise
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    def _grant(self) -> Grant | None:
        now, found_dead = _now(), False
        for lane in self._reachable():
            while lane.idle:
                connection, _ = lane.idle.pop()
                if connection.usable:
                    self._take_turn(lane, now)
                    return lane, connection
                self._discard(lane, connection)
                found_dead = True
            if lane.may_open(now):
                self._take_turn(lane, now)
                lane.open += 1
                lane.connecting += 1
                return lane, None
        return self._grant() if found_dead else None

    def _take_turn(self, lane: Lane, now: float) -> None:
        """Time that a relay didn't use is no credit."""
        self._due = max(self._due, lane.due)
        lane.due = self._due + 1 / lane.relay.weight
        lane.used_at = now

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
            if self._waiters[0].done():
                self._waiters.popleft()
                continue
            grant = self._grant()
            if grant is None:
                self._set_alarm()
                return
            self._waiters.popleft().set_result(grant)

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

    def _give_up(self, lane: Lane, connection: SmtpConnection | None) -> None:
        """A place was granted to somebody who had just stopped waiting."""
        if connection is None:
            self._not_opened(lane)
            self._serve()
        else:
            self._take_back(lane, connection)

    def _not_opened(self, lane: Lane) -> None:
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
        """Looks again when the first pause is over: a relay may be tried then, though nothing has come back."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        now = _now()
        pauses = [until for lane in self._lanes if (until := max(lane.retry_at, lane.rest_until)) > now]
        if pauses:
            self._alarm = asyncio.get_running_loop().call_at(min(pauses), self._serve)

    # --- when nothing can be reached ----------------------------------------------------------------------------------

    def _fail_waiters(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_exception(self._unreachable())

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
