"""The values of a send and of its ledger: who, in which state, and what the relay said.

Times are Unix seconds (float) everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NewType

from mailer.model.people import Subscriber

SendId = NewType("SendId", str)
"""What people call a send: the issue's slug and a number, ``kw24-1``; ``kw24-test-3`` for a test-send."""

WorkerId = NewType("WorkerId", str)
"""One life of one worker process; never used again."""


class RecipientState(StrEnum):
    """State of one recipient of one send. ``mailer.delivery.states`` holds the moves."""

    PENDING = "pending"  # not begun
    CLAIMED = "claimed"  # a worker has it; no dot has gone out
    DOTTED = "dotted"  # the final dot may have gone out; the reply isn't recorded
    SENT = "sent"  # the relay took it
    DEFERRED = "deferred"  # the relay said 4xx; tried again at next_attempt_at
    FAILED = "failed"  # the relay said 5xx, or no message could be made
    SKIPPED = "skipped"  # unsubscribed, suppressed or cancelled before the dot
    IN_DOUBT = "in_doubt"  # the dot may have gone out, the reply was never seen
    EXPIRED = "expired"  # deferred for longer than delivery.retry_for


class SendState(StrEnum):
    """State of a send. One that waits for a person (held, or stopped by an alarm) is ``PAUSED`` with a reason."""

    SCHEDULED = "scheduled"
    RUNNING = "running"
    PAUSED = "paused"
    FINISHED = "finished"
    CANCELLED = "cancelled"


class SendKind(StrEnum):
    """A test-send is recorded like any other and stands outside every statistic."""

    ISSUE = "issue"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class Reply:
    """An SMTP reply: ``code`` (RFC 5321), ``status`` (RFC 3463, may be empty), ``text`` in one line.

    ``code`` 0: no relay said this, we did (no message could be made, the person had unsubscribed …).
    """

    code: int
    status: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class Recipient:
    """A row of the ledger that a worker holds: the claim. ``epoch`` counts the claims of the row so far.

    ``position`` runs from 1 within the send. ``attempts`` counts the tries before this one; ``first_attempt_at`` is
    None before the first. ``subscriber`` is whom the message is personalised for, ``email`` where it goes: the two
    differ in a test-send with a persona. ``destination``: see ``mailer.delivery.destination``.
    """

    send: SendId
    position: int
    epoch: int
    email: str
    attempts: int
    first_attempt_at: float | None
    subscriber: Subscriber
    destination: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a claim: the row moves to ``state`` if its epoch is still the claim's."""

    send: SendId
    position: int
    epoch: int
    state: RecipientState
    reply: Reply
    next_attempt_at: float | None = None


@dataclass(frozen=True, slots=True)
class Send:
    """A send. ``key`` is its number in the store; ``reason`` says why it is paused (else empty).

    ``date`` is what the ``Date`` header of every message says, so that a message sent again is the same message.
    ``persona`` names who a test-send is personalised for (empty: each recipient's own row, or nobody's).
    """

    id: SendId
    key: int
    slug: str
    kind: SendKind
    state: SendState
    artefact: str
    audience: int
    date: float
    scheduled_at: float | None
    started_at: float | None
    finished_at: float | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Batch:
    """Unfinished work of a send: the ledger's rows ``first`` to ``last``, both included.

    ``round`` differs whenever rows may have come back to it, and so does the id of its job: it is made of the number of
    workers that died while the send ran, and of the greatest epoch of the rows that wait.
    """

    send: SendId
    first: int
    last: int
    round: str


@dataclass(frozen=True, slots=True)
class Status:
    """A send in figures, read in one transaction: ``sum(counts.values()) == send.audience``.

    ``bounced``: recipients whose message the relay took and somebody gave up later; ``blocked``: those, and those
    refused in the session, for our sake (policy, content, reputation) and no fault of theirs.
    """

    send: Send
    counts: Mapping[RecipientState, int]
    bounced: int
    complained: int
    unsubscribed: int
    rate_per_second: float
    next_attempt_at: float | None
    blocked: int = 0


@dataclass(frozen=True, slots=True)
class RecipientReport:
    """A line of ``mailer recipients``."""

    email: str
    state: RecipientState
    attempts: int
    code: int | None
    reply: str
    position: int
    updated_at: float
