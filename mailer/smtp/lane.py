"""One relay's connections as the pool counts them, and how long the relay is left alone after a failure."""

from __future__ import annotations

import ssl

from mailer.errors import MailerError
from mailer.model.settings import Relay
from mailer.smtp.connection import SmtpConnection

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0


class Lane:
    """``open`` counts the connections that are lent, idle or being made; ``connecting`` those being made.

    ``idle`` holds connections with the time since when nobody has needed them, the longest idle first.
    """

    def __init__(self, relay: Relay) -> None:
        self.relay = relay
        self.idle: list[tuple[SmtpConnection, float]] = []
        self.open = 0
        self.connecting = 0
        self.pause = 0.0
        self.retry_at = 0.0
        self.error: MailerError | None = None
        self.context: ssl.SSLContext | None = None

    @property
    def load(self) -> float:
        """Share of the allowed connections that is lent."""
        return (self.open - len(self.idle)) / self.relay.connections

    def may_open(self, now: float) -> bool:
        """Whether a new connection may be tried. After a failure: only when the pause is over, and one at a time."""
        if self.open >= self.relay.connections or now < self.retry_at:
            return False
        return not (self.pause and self.connecting)

    def ready(self, now: float) -> bool:
        """Whether something is open, or may be opened without waiting for another's trial."""
        return self.open > self.connecting or (now >= self.retry_at and not (self.pause and self.connecting))

    def failed(self, error: MailerError, begun: float, now: float) -> None:
        """A connection that was begun at ``begun`` couldn't be made. Those begun together are one failure."""
        self.error = error
        if begun >= self.retry_at:
            self.pause = min(max(self.pause * 2, FIRST_PAUSE), LONGEST_PAUSE)
            self.retry_at = now + self.pause

    def succeeded(self) -> None:
        """A connection was made."""
        self.pause = 0.0
        self.error = None
