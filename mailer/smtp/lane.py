"""One relay's connections as the pool counts them, its turn among others, and how long it is left alone."""

from __future__ import annotations

import ssl

from mailer.errors import MailerError, RelayError
from mailer.model.settings import Relay
from mailer.smtp.connection import SmtpConnection

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0

ANNOUNCE_AGAIN = 600.0
"""Seconds for which no message is announced to a relay that closed a session on one."""

WANTED = 5.0
"""Seconds for which connections are wanted after they were last used."""


class Lane:
    """``open`` counts the connections that are lent, idle or being made; ``connecting`` those being made.

    ``idle`` holds connections with the time since when nobody has needed them, the longest idle first. ``allowed``: how
    many connections this worker may have; all workers share their number. ``due`` grows with each message, the slower
    the greater the relay's weight: the lowest is next. ``is_paced``: each message is to be asked for, and ``next_at``
    is when the next one may go (None: not asked yet, or ``asking``). ``announce_from``: since when messages may be
    announced to it.
    """

    def __init__(self, relay: Relay, *, is_paced: bool = False) -> None:
        self.relay, self.is_paced = relay, is_paced
        self.next_at: float | None = None
        self.asking = False
        self.idle: list[tuple[SmtpConnection, float]] = []
        self.allowed = relay.connections
        self.due = 0.0
        self.used_at = float("-inf")
        self.rest_until = 0.0
        self.announce_from = float("-inf")
        self.open = 0
        self.connecting = 0
        self.pause = 0.0
        self.retry_at = 0.0
        self.error: MailerError | None = None
        self.why_rest: RelayError | None = None
        self.context: ssl.SSLContext | None = None

    def rest(self, error: RelayError, until: float) -> None:
        """Isn't to be used until then, although it works."""
        self.why_rest, self.rest_until = error, until

    def trouble(self, now: float) -> MailerError | None:
        """Why it isn't used; None when nothing is known against it."""
        return self.why_rest if now < self.rest_until else self.error

    def wanted(self, now: float) -> bool:
        """Whether its connections are in use, or were a moment ago."""
        return self.open > len(self.idle) or now - self.used_at < WANTED

    def may_open(self, now: float) -> bool:
        """Whether a new connection may be tried. After a failure: only when the pause is over, and one at a time."""
        if self.open >= self.allowed or now < max(self.retry_at, self.rest_until):
            return False
        return not (self.pause and self.connecting)

    def ready(self, now: float) -> bool:
        """Whether something is open, or may be opened without waiting for another's trial."""
        if now < self.rest_until:
            return False
        return self.open > self.connecting or (now >= self.retry_at and not (self.pause and self.connecting))

    def failed(self, error: MailerError, begun: float, now: float) -> None:
        """A connection that was begun at ``begun`` couldn't be made, or carried nothing. Those begun together are one
        failure."""
        self.error = error
        if begun >= self.retry_at:
            self.pause = min(max(self.pause * 2, FIRST_PAUSE), LONGEST_PAUSE)
            self.retry_at = now + self.pause

    def carried(self, begun: float, *, is_new: bool) -> None:
        """A connection that was lent at ``begun`` has carried messages. If they were its first, and nothing has failed
        since, the relay works again."""
        if is_new and begun >= self.retry_at:
            self.pause = 0.0
            self.error = None
