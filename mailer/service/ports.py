"""What the use cases need from the edges. The store's methods block; workers call them in a thread.

Every method of the store is one transaction. A database that is locked, full or gone raises ``StoreUnavailable``; the
caller may do the same again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from math import inf
from types import MappingProxyType
from typing import Literal, Protocol

from mailer.delivery.blame import Phase
from mailer.errors import RelayError
from mailer.model.compiled import CompiledIssue
from mailer.model.ledger import (
    Batch,
    Outcome,
    Recipient,
    RecipientReport,
    RecipientState,
    Reply,
    Send,
    SendId,
    SendKind,
    Status,
    WorkerId,
)
from mailer.model.people import Preferences, Subscriber, SubscriberStatus, Suppression
from mailer.service.inbox import ComplaintBook, Events
from mailer.service.sign_up import SignUps
from mailer.wire.envelope import Envelope

Key = tuple[SendId, int, int]
"""A claim: send, position, epoch."""

NO_LIMITS: Mapping[str, int] = MappingProxyType({})
"""Every destination has room."""


# --- store ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Incoming:
    """A subscriber to be put in the store; ``key`` as in ``Address.key``. ``None``: leave what is there."""

    email: str
    key: str
    first_name: str | None = None
    last_name: str | None = None
    language: str | None = None
    timezone: str | None = None
    attributes: dict[str, str] | None = None


Change = Literal["added", "updated", "unchanged"]


@dataclass(frozen=True, slots=True)
class Upserted:
    """What became of a row, and whether its person wants mail, which that doesn't change."""

    change: Change
    status: SubscriberStatus


@dataclass(frozen=True, slots=True)
class Leader:
    """Who brought how many new subscribers in a week; ``name`` is the first name, or the address with its local part
    shortened to its first letter."""

    name: str
    count: int


class Subscribers(Protocol):
    """The people."""

    def upsert(self, rows: Sequence[Incoming], now: float) -> list[Upserted]:
        """One answer a row, in order; a key that comes twice in ``rows`` is merged in order.

        Attributes are merged into those that are there. Nobody is subscribed again by an import: status is kept.
        """

    def find(self, key: str) -> Subscriber | None: ...
    def remove(self, key: str, now: float) -> bool:
        """Deletes the person; ledger rows keep their state, lose address and link; what waits is skipped.

        If the address comes again, links in old mails work, and who had unsubscribed, or does so by one of these links
        meanwhile, is unsubscribed.
        """

    def unsubscribe(self, subscriber: int, now: float, *, send: int | None = None) -> bool:
        """Idempotent; True when it changed something. Effective for running sends when it returns.

        ``send``: the number of the send that is left by (None: it is put down to the latest that reached them).
        """

    def each(self, *, reachable: bool = False) -> Iterator[Subscriber]:
        """Everyone, streamed, in the order of ids; constant memory. ``reachable``: subscribed and not suppressed."""

    def count(self) -> int:
        """How many are subscribed and not suppressed."""

    def attribute_names(self) -> list[str]:
        """Names of all attributes that an import has brought."""

    def leaders(self, since: float, until: float, limit: int) -> list[Leader]: ...


class PreferenceStore(Protocol):
    """What a person may change about themselves, by the subscriber's id."""

    def find(self, subscriber: int) -> Preferences | None:
        """None for whoever isn't there, or has unsubscribed."""

    def save(self, subscriber: int, wanted: Preferences, now: float) -> bool:
        """False, and nothing changes, where ``find`` gives None. Idempotent.

        A send's audience is fixed when it is queued: a pause is heeded by those that are queued later. What is under
        way, or in doubt, stays the message for the person as they were.
        """


class Suppressions(Protocol):
    """Addresses that mail may not go to."""

    def add(self, key: str, reason: str, source: str, now: float) -> bool:
        """See ``add_all``."""

    def add_all(self, rows: Sequence[Suppression], now: float) -> int:
        """Gives how many are new, or suppressed by a complaint for the first time; all others keep their reason.

        ``email`` is the address's key. Effective for running sends when it returns.
        """

    def remove(self, key: str) -> bool: ...
    def find(self, keys: Sequence[str]) -> dict[str, Suppression]: ...
    def each(self) -> Iterator[Suppression]: ...
    def by_reason(self) -> dict[str, int]:
        """How many for each reason."""


class Issues(Protocol):
    """Compiled issues, by digest."""

    def put(self, compiled: CompiledIssue, now: float) -> str:
        """Stores it (once) and gives its digest."""

    def get(self, digest: str) -> CompiledIssue: ...


@dataclass(frozen=True, slots=True)
class NewSend:
    """A send to be written. ``artefact`` is the compiled issue's digest; ``date`` and times in Unix seconds."""

    slug: str
    kind: SendKind
    artefact: str
    date: float
    scheduled_at: float | None = None


@dataclass(frozen=True, slots=True)
class Addressee:
    """Where a test-send goes and for whom it is personalised (None: for the subscriber of that address, or nobody)."""

    email: str
    persona: Subscriber | None


class Sends(Protocol):
    """Sends, and the writing of their ledgers."""

    def create(self, new: NewSend, segment: Iterable[int] | None, now: float, *, remaining: bool = False) -> Send:
        """Writes a send and its ledger: subscribed, unsuppressed people (of ``segment``: ids), each once.

        Whoever is in an earlier issue send of the slug, and not skipped there, is left out, also when that send was
        cancelled. Raises ``SendError`` for an empty audience, and, unless the ``remaining`` are asked for, when the
        slug has an uncancelled issue send. Two calls at once can't both succeed.
        """

    def create_test(self, new: NewSend, recipients: Sequence[Addressee], now: float) -> Send: ...
    def get(self, send: SendId) -> Send:
        """Raises ``SendError`` naming the nearest known id."""

    def all(self) -> list[Send]: ...
    def previous_subscribers(self, slug: str) -> int | None:
        """How many were subscribed, and not suppressed, when the last issue send of another slug was made; None where
        there is none."""

    def remaining(self, slug: str, segment: Iterable[int] | None = None, *, at: float = inf) -> int:
        """How many subscribed, unsuppressed people (of ``segment``: ids) are in no issue send of the slug (or skipped
        in all of those), without those who pause at ``at``; by default nobody's pause counts."""

    def status(self, send: SendId, now: float) -> Status: ...
    def waiting(self, send: SendId) -> tuple[int, int]:
        """Of the pending and deferred: how many would be sent if the send ran now, and how many skipped."""

    def waiting_for(self, send: SendId, destinations: Collection[str]) -> dict[str, int]:
        """How many recipients of these destinations aren't done; destinations without any are left out."""

    def message_at(self, key: int, position: int) -> tuple[SendId, str] | None:
        """The id of the send with this number, and who is at the position (empty: somebody who was removed)."""

    def sent_since(self, moment: float) -> int:
        """How many messages of all sends were taken by relays since then, or may have been, by what the ledger says
        now."""

    def pause(self, send: SendId, reason: str, now: float) -> Send:
        """scheduled|running → paused; the claimed go back to pending. Idempotent."""

    def resume(self, send: SendId, now: float) -> Send:
        """paused → running (or scheduled, when its time is yet to come)."""

    def cancel(self, send: SendId, now: float) -> Send:
        """→ cancelled; what waits or is claimed is skipped. Idempotent."""

    def start_due(self, now: float, freshness: float) -> list[Send]:
        """scheduled → running when due; → paused with a reason when overdue by more than ``freshness`` seconds."""

    def finish(self, now: float, *, resend_since: float = inf) -> list[SendId]:
        """running → finished where nothing is unfinished, and no one is in doubt whom ``resend_lost`` with this
        ``since`` would move now or later."""

    def resend_lost(self, now: float, since: float, until: float) -> int:
        """Has those sent to again who fell in doubt after ``since`` and no later than ``until``, each once; gives how
        many. Of sends that run, and of finished ones: those run again."""

    def resolve(self, send: SendId, how: Literal["resend", "sent"], now: float) -> int:
        """Settles the in-doubt; gives how many. With ``resend`` a finished send runs again, and those who have
        unsubscribed, are suppressed or were removed stay in doubt: the first message may have arrived.

        Each gets the very message that they got, or didn't get, before, whatever has been imported since.
        """

    def recipients(self, send: SendId, state: RecipientState | None) -> Iterator[RecipientReport]:
        """Streamed in the order of positions."""


class Ledger(Protocol):
    """The protocol's transactions (DESIGN §7)."""

    def claim(
        self,
        send: SendId,
        first: int,
        last: int,
        worker: WorkerId,
        limit: int,
        now: float,
        room: Mapping[str, int] = NO_LIMITS,
    ) -> list[Recipient]:
        """Claims up to ``limit`` waiting rows (deferred: due ones) of a running send for a worker that is alive.

        ``room``: how many rows at most of the destinations that it names. None at all are claimed only when there is
        none left that may be.

        Those unsubscribed, suppressed or removed become skipped (in doubt, where it would have been a resend). Nothing
        for a send that doesn't run.
        """

    def write(
        self, now: float, *, outcomes: Sequence[Outcome] = (), releases: Sequence[Key] = (), dots: Sequence[Key] = ()
    ) -> set[Key]:
        """What has happened to a group of claims, in one commit; gives those of ``dots`` that may get their dot.

        ``outcomes`` are recorded, each only if the epoch is still the row's and the move is legal. ``releases`` move
        claimed → pending, where the epoch is still the row's. ``dots`` is the compare-and-set claimed → dotted: granted
        only while the epoch is the row's, the send runs, and the recipient is neither unsubscribed nor suppressed. A
        row refused for a pause goes back to pending, for the others to skipped (a resend: to in_doubt).

        May be called again with the same when the answer to a commit was lost: nothing is recorded twice, and a row
        dotted with that very epoch is granted again.
        """

    def held(self, worker: WorkerId) -> set[Key]:
        """What a worker has claimed or dotted and not settled, as SQL knows it."""

    def reap(self, now: float, lease: float, grace: float = 0.0) -> tuple[int, int]:
        """Of dead workers: claimed → pending, dotted → in_doubt; gives both counts.

        Dead is a worker not heard of for ``lease`` seconds, and still not ``grace`` seconds after a call that noticed
        it. Its id is dead from then on: its ``beat`` gives False. Batches of running sends get another round.
        """

    def expire(self, now: float, retry_for: float) -> int:
        """deferred → expired (a resend: in_doubt), ``retry_for`` seconds after the first attempt."""

    def unfinished(self, now: float, batch_size: int, leave_out: Collection[str] = ()) -> list[Batch]:
        """Batches with waiting rows (deferred: due ones) of running sends; rows of the destinations in ``leave_out``
        don't count."""


class Workers(Protocol):
    """Which worker processes live: a heartbeat is the lease of all that its worker has claimed."""

    def register(self, worker: WorkerId, host: str, pid: int, now: float) -> None: ...
    def beat(self, worker: WorkerId, now: float, trouble: str = "") -> bool:
        """``trouble``: what hinders it just now, for people to read. False: it was taken for dead; it must go on under
        a new id."""

    def retire(self, worker: WorkerId, now: float) -> None: ...
    def alive(self, now: float, lease: float) -> int: ...
    def troubles(self, now: float, lease: float) -> list[str]:
        """What hinders the workers that live, each once."""


class Store(Protocol):
    """The store's parts."""

    @property
    def subscribers(self) -> Subscribers: ...
    @property
    def preferences(self) -> PreferenceStore: ...
    @property
    def sign_ups(self) -> SignUps: ...
    @property
    def suppressions(self) -> Suppressions: ...
    @property
    def events(self) -> Events: ...
    @property
    def complaints(self) -> ComplaintBook: ...
    @property
    def issues(self) -> Issues: ...
    @property
    def sends(self) -> Sends: ...
    @property
    def ledger(self) -> Ledger: ...
    @property
    def workers(self) -> Workers: ...


# --- queue ------------------------------------------------------------------------------------------------------------


class Queue(Protocol):
    """Wakes workers. What it loses, the reconciler queues again."""

    async def enqueue(self, batches: Sequence[Batch]) -> None:
        """Queues each batch; one that is queued or under way already is left as it is. Raises ``QueueError``."""

    async def enqueue_confirmations(self, numbers: Sequence[int]) -> None:
        """Likewise the mails that answer sign-ups, by their numbers."""


class Pace(Protocol):
    """Rates shared by all workers."""

    async def take(self, name: str, per_second: float) -> float:
        """Takes the next place in line under ``name``; gives the seconds to wait before using it."""


# --- relays -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Refused:
    """A relay's answer before the dot. ``phase``: the command that was refused; ``local`` when none was sent."""

    phase: Literal["mail", "rcpt", "data", "local"]
    reply: Reply


class SessionEnded(RelayError):
    """The relay closed the session with 421, which is ``reply``. It blames nobody. ``phase``: the command that it
    answered; ``mail`` where no recipient had been named, or it answered none."""

    def __init__(self, reply: Reply, where: str, phase: Phase = "mail") -> None:
        said = f"421 {reply.status} {reply.text}".replace("  ", " ")
        super().__init__(f"the relay closes the session: {said}", where=where)
        self.reply, self.phase = reply, phase


class DotNotSent(RelayError):
    """The connection was known to be closed before the dot could be written: nothing was delivered."""


class Unanswered(RelayError):
    """A session that had carried messages ended before it answered MAIL for this one: another may carry it at once."""


class Connection(Protocol):
    """One SMTP session, one recipient a transaction."""

    @property
    def where(self) -> str:
        """Which relay it leads to, as errors name it."""

    @property
    def offered(self) -> int:
        """How many messages it has been given to carry."""

    async def offer(self, envelope: Envelope) -> Refused | None:
        """MAIL, RCPT, DATA and the body without its final dot. None: all is out, and the dot may follow.

        After ``Refused`` the connection can be used again. Raises ``Unanswered``, and any other ``RelayError`` when the
        connection is lost or says 421: nothing was delivered.
        """

    @property
    def may_announce(self) -> bool:
        """Whether a message may be announced; only while another one waits for its dot."""

    def announce(self, envelope: Envelope) -> bool:
        """Has MAIL, RCPT and DATA for this message go out together with the dot of the one before, which saves half of
        the round trips. It must be the next one to be offered, or the connection be dropped. False: it can't be done.
        """

    async def dot(self) -> Reply:
        """The final dot and its reply, within ten minutes.

        Raises ``DotNotSent`` when it surely didn't go out, any other ``RelayError`` when no reply was seen: in doubt.
        """

    def again(self) -> bool:
        """Whether it may carry another message before it is given back; the one that was announced, if one was."""

    def drop(self) -> None:
        """Closes it without a dot: the relay delivers nothing."""


class Relays(Protocol):
    """The pool of connections to all relays."""

    def connection(self) -> AbstractAsyncContextManager[Connection]:
        """Lends a connection, reused where one is free; waits for a place. Raises ``RelayError`` when no relay can be
        reached. One that was dropped, or lent when an exception passes, is discarded."""

    async def reach(self) -> None:
        """Returns when a relay can be reached, connecting to one if need be; else raises ``RelayError``."""

    async def close(self) -> None: ...
