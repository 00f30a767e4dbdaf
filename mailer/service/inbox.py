"""The inbox of events: what came back from providers and mailboxes, kept until it is acted on, and what acting needs.

An event is stored before its source hears that it was taken, once for each (provider, event id), and acted on later by
a worker. Acting on the same event twice changes nothing the second time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from mailer.bounces.event import Event
from mailer.errors import MailerError
from mailer.model.ledger import RecipientState, SendId, SendState
from mailer.service.effects import Effect

MAIL, RELAY = "mail", "relay"
"""Providers' names for reports that came by mail, and for what our own relays said in the SMTP session (the ledger
holds that, no inbox does)."""


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event to be kept.

    ``send`` and ``position``: whose message it is about, where its way here proves that (a signed return path).
    ``verified``: whether it is proven who says so; an event that isn't is kept, and changes nothing.
    """

    event: Event
    send: SendId | None = None
    position: int | None = None
    verified: bool = True


@dataclass(frozen=True, slots=True)
class KeptEvent:
    """An event of the inbox that waits. ``key`` is its number; 0: a relay's refusal, see ``Events.refusals``.

    ``again``: it was acted on before, and is to be read and acted on once more.
    """

    key: int
    provider: str
    event: Event
    received_at: float
    send: SendId | None = None
    position: int | None = None
    verified: bool = True
    again: bool = False

    @property
    def source(self) -> str:
        """As a suppression names it."""
        return f"{self.provider}:{self.event.event_id}"


@dataclass(frozen=True, slots=True)
class Once:
    """A request that is taken once. ``digest`` is its body's: a retry has the same, a forgery doesn't."""

    token: str
    digest: str


class TokenReused(MailerError):
    """A token came before, with another body."""


@dataclass(frozen=True, slots=True)
class NewEvents:
    """What one source tells at once. ``at``: when it came, Unix seconds; ``once``: see ``Events.add``."""

    provider: str
    events: Sequence[NewEvent]
    at: float
    once: Once | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be done about an event.

    ``settles``: what it proves for a message that is in doubt. ``message``: the send and position it names, proven;
    ``address``: the key of the address it names, or empty. ``at``: when it happened, Unix seconds. ``counted``: as what
    its recipient is counted for the send.
    """

    kept: KeptEvent
    effect: Effect
    settles: RecipientState | None
    message: tuple[SendId, int] | None
    address: str
    at: float
    counted: frozenset[str]


@dataclass(frozen=True, slots=True)
class Acted:
    """What a group of decisions came to. ``blocked``: messages refused for our sake, by send."""

    events: int = 0
    suppressed: int = 0
    unsubscribed: int = 0
    settled: int = 0
    blocked: Mapping[SendId, int] = field(default_factory=dict)


class Events(Protocol):
    """The inbox, in the store."""

    def add(self, provider: str, events: Sequence[NewEvent], now: float, *, once: Once | None = None) -> int:
        """Stores them in one transaction, each (provider, event id) once; gives how many are new.

        With ``once`` nothing is stored the second time. Raises ``TokenReused``.
        """

    def add_all(self, told: Sequence[NewEvents]) -> list[int | TokenReused]:
        """The same for what several sources tell, in one transaction; gives for each how many of its events are new,
        or why none of them is stored. An event that several tell is the first one's."""

    def waiting(self, limit: int) -> list[KeptEvent]:
        """Those not acted on, oldest first. Only of those that are to be read again ``raw`` is there, as JSON text."""

    def refusals(self, limit: int) -> list[KeptEvent]:
        """What relays refused for good (or for too long) and nobody has looked at, as events."""

    def act(self, decisions: Sequence[Decision], now: float, soft_limit: int) -> Acted:
        """Does what was decided and marks it as done, in one transaction. What is done already is left out."""

    def forget(self, now: float, limit: int) -> int:
        """Deletes up to ``limit`` old events that were acted on, and what else is too old to count; gives how many."""

    def replay(self, provider: str, since: float, after: int, limit: int) -> tuple[int, int | None]:
        """Lets those of a provider (empty: of any) that came since then wait again, if they were acted on.

        Looks at ``limit`` events with keys above ``after``; gives how many wait again, and the last key it looked at,
        None where there are no more.
        """

    def backlog(self) -> tuple[int, float | None]:
        """How many wait, and since when the oldest of those that were never acted on does."""

    def totals(self) -> dict[tuple[str, str, str], int]:
        """Events acted on since the database was made, by (provider, type, reason or empty); relays' refusals are
        ``("relay", "bounced", …)``."""


@dataclass(frozen=True, slots=True)
class Complaints:
    """A send with complaints that nobody has weighed. ``noted_rate``: the rate at which something was done last."""

    send: SendId
    state: SendState
    complaints: int
    sent: int
    noted_rate: float


class ComplaintBook(Protocol):
    """What is known of sends' complaints, in the store."""

    def unweighed(self) -> list[Complaints]:
        """Issue sends with more complaints than were weighed."""

    def weighed(self, send: SendId, complaints: int, noted_rate: float, reason: str) -> None:
        """These complaints were weighed; ``reason`` is shown with a send that has no other."""
