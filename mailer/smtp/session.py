"""The bytes of one SMTP session: replies in the order they came, and flow control. Takes a transport over."""

from __future__ import annotations

import asyncio
from collections import deque

from mailer.delivery.blame import Phase
from mailer.errors import RelayError
from mailer.model.ledger import Reply
from mailer.service.ports import SessionEnded
from mailer.wire.replies import ProtocolError, ReplyParser

LOOK = 5.0
"""Seconds after which, at the latest, somebody looks whether a wait has lasted too long."""


class NoAnswer(RelayError):
    """The relay kept silent for longer than a phase may take."""


class Session(asyncio.Protocol):
    """Given to a connected transport with ``set_protocol``. One task at a time may wait.

    Whatever ends the session is kept in ``broken`` and raised by every later wait.
    """

    def __init__(self, transport: asyncio.Transport, where: str) -> None:
        self._transport, self._where = transport, where
        self._parser = ReplyParser()
        self._replies: deque[Reply] = deque()
        self._expected = 0
        self._wanted = 0
        self._waiter: asyncio.Future[None] | None = None
        self._deadline = 0.0
        self._complaint = ""
        self._timer: asyncio.TimerHandle | None = None
        self._paused = False
        self._loop = asyncio.get_running_loop()
        self.closed = asyncio.Event()
        self.broken: RelayError | None = None

    # --- what the connection calls ------------------------------------------------------------------------------------

    def send(self, data: bytes, replies: int) -> None:
        """Writes bytes that ``replies`` replies will answer. Raises ``RelayError`` when the session has ended."""
        self.check()
        self._expected += replies
        self._transport.write(data)

    def check(self) -> None:
        """Raises ``RelayError`` when the session has ended: nothing that is written now would leave."""
        if self.broken is None and self._transport.is_closing():
            self._end(RelayError("the connection was lost", where=self._where))
        if self.broken is not None:
            raise self.broken

    async def reply(self, timeout: float, waiting_for: str) -> Reply:  # noqa: ASYNC109
        """The next reply, within ``timeout`` seconds. Raises ``RelayError``."""
        while not self._replies:
            self._wanted = 1
            await self._wait(timeout, f"didn't answer {waiting_for} within {timeout:g} seconds")
        return self._replies.popleft()

    async def gather(self, count: int, seconds: float) -> None:
        """Waits until ``count`` replies are there: one wake-up for a group of commands. Comes back without them when
        the session has ended, or after ``seconds``; ``reply`` then says what is missing."""
        until = self._loop.time() + seconds
        while len(self._replies) < count and self.broken is None and self._loop.time() < until:
            self._wanted = count
            await self._wait(seconds, "")

    async def drain(self, timeout: float) -> None:  # noqa: ASYNC109
        """Waits until the relay has taken most of what was written; ``timeout`` seconds at most."""
        while self._paused:
            await self._wait(timeout, f"took nothing of the message for {timeout:g} seconds")

    @property
    def alive(self) -> bool:
        """Whether nothing has ended it yet."""
        return self.broken is None and not self._transport.is_closing()

    @property
    def quiet(self) -> bool:
        """Whether it lives and all that was asked has been answered."""
        return self.alive and not self._expected and not self._replies

    def ended(self, reply: Reply, phase: Phase) -> SessionEnded:
        """Why it has ended: with this 421, which answered the command of a phase."""
        self.broken = SessionEnded(reply, self._where, phase)
        return self.broken

    def abort(self, reason: str) -> None:
        """Closes it at once; what is still unsent is thrown away."""
        if self.broken is None:
            self.broken = RelayError(reason, where=self._where)
        self._transport.abort()

    # --- what the transport calls -------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self.broken is not None:
            return
        try:
            replies = self._parser.feed(data)
            for reply in replies:
                if reply.code == 421:
                    self._end(SessionEnded(reply, self._where))
                self._expected -= 1
                self._replies.append(reply)
                if self._expected < 0:
                    raise ProtocolError(f"the relay spoke unasked: {reply.code} {reply.text}")
        except ProtocolError as error:
            self._end(ProtocolError(error.what, where=self._where))
            self._transport.abort()
        if len(self._replies) >= self._wanted:
            self._wake()

    def eof_received(self) -> None:
        self._end(RelayError("the relay closed the connection", where=self._where))

    def connection_lost(self, exc: Exception | None) -> None:
        reason = f": {exc}" if exc else ""
        self._end(RelayError(f"the connection was lost{reason}", where=self._where))
        if self._timer is not None:
            self._timer.cancel()
        self.closed.set()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._wake()

    # ------------------------------------------------------------------------------------------------------------------

    def _end(self, error: RelayError) -> None:
        if self.broken is None:
            self.broken = error
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _wait(self, timeout: float, complaint: str) -> None:  # noqa: ASYNC109
        """Until something has happened. ``complaint``: what to say of a relay that let the time run out; without one,
        that isn't held against it."""
        self.check()
        now = self._loop.time()
        self._deadline, self._complaint = now + timeout, complaint
        # One timer looks after many waits: setting one for each costs more than all else in here.
        if self._timer is None or self._timer.when() > self._deadline:
            self._set_timer(now)
        waiter = self._waiter = self._loop.create_future()
        try:
            await waiter
        finally:
            self._waiter = None

    def _set_timer(self, now: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(min(self._deadline, now + LOOK), self._look)

    def _look(self) -> None:
        self._timer = None
        if self._waiter is None or self.broken is not None:
            return
        now = self._loop.time()
        if now < self._deadline:
            self._set_timer(now)
            return
        if not self._complaint:
            self._wake()
            return
        self._end(NoAnswer(f"the relay {self._complaint}", where=self._where))
        self._transport.abort()
