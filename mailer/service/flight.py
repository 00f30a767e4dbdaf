"""A claim on its way to a relay, and the claims that were made with it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from mailer.delivery.blame import Phase
from mailer.delivery.condition import Signal, signal_of
from mailer.model.ledger import Recipient, Reply
from mailer.service.ports import Key
from mailer.wire.envelope import Envelope

Assemble = Callable[[Recipient], Envelope]
"""Makes one recipient's message; raises ``MailerError`` when none can be made."""


class Claims:
    """Claims that were made together; ``settled`` when each has its outcome in SQL, ``left`` how many have none."""

    def __init__(self, count: int) -> None:
        self.left, self.settled = count, asyncio.Event()
        if not count:
            self.settled.set()

    def one_settled(self) -> None:
        self.left -= 1
        if not self.left:
            self.settled.set()


class Flight:
    """A claim under way. ``dot_out``: the final dot may have gone out. ``signal``, ``said``: what its answer says of
    its destination. ``announced``: its message, where that was announced. ``following``: the one that was announced
    with this one's dot."""

    __slots__ = (
        "announced",
        "assemble",
        "claim",
        "claims",
        "destination",
        "dot_out",
        "following",
        "key",
        "said",
        "signal",
    )

    def __init__(self, claim: Recipient, assemble: Assemble, claims: Claims) -> None:
        self.claim, self.assemble, self.claims, self.dot_out = claim, assemble, claims, False
        self.key: Key = (claim.send, claim.position, claim.epoch)
        self.destination = claim.destination
        self.signal, self.said = Signal.NOTHING, ""
        self.announced: Envelope | None = None
        self.following: Flight | None = None

    def heard(self, reply: Reply, phase: Phase = "rcpt") -> None:
        """The relay's answer."""
        self.signal = signal_of(reply, phase)
        if self.signal is Signal.REFUSED:
            self.said = f"{reply.code} {reply.status} {reply.text}".replace("  ", " ")
