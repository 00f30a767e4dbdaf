"""What a send's ledger has to do, without SQL: the model that ``test_store_interleaved`` holds against the store.

It follows the table of moves and the promises in ``mailer/service/deliver.py``, and keeps beside them what a judge
outside would know: which dots were granted, and why a second one was.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from mailer.delivery.states import MOVES, UNFINISHED, WAITING, Event, move
from mailer.model.ledger import RecipientState as S
from mailer.model.ledger import SendState

Claim = tuple[int, int]
"""A row's number, from 0, and the claim's epoch."""

NOT_OUTCOMES = (Event.CLAIM, Event.DOT, Event.WITHDRAW)


@dataclass
class Row:
    """A recipient. ``due``: when it is tried again; ``first``: its first attempt; ``lost_at``: when it fell in doubt.

    ``name`` is the person's as it is now, ``made_for`` as the last message says it.
    """

    state: S = S.PENDING
    epoch: int = 0
    worker: str = ""
    attempts: int = 0
    due: float = 0.0
    first: float | None = None
    lost_at: float = 0.0
    resends: int = 0
    gone: bool = False
    name: str = ""
    made_for: str = ""
    dots: list[int] = field(default_factory=list)
    may_dot: bool = True

    def go(self, event: Event, now: float) -> None:
        """Moves it. Raises ``IllegalMove``."""
        self.state = move(self.state, event)
        if self.state is not S.CLAIMED and self.state is not S.DOTTED:
            self.worker = ""
        if self.state is S.IN_DOUBT:
            self.lost_at = now
        if self.state is S.DEFERRED:
            self.may_dot = True

    def end(self, event: Event, now: float) -> None:
        """Skipped or expired; a resend is in doubt again instead."""
        self.go(Event.WITHDRAW if self.resends else event, now)

    def tried(self, now: float) -> None:
        self.attempts += 1
        self.first = now if self.first is None else self.first

    def granted(self, epoch: int) -> None:
        """A dot goes out. Nobody gets a second one that wasn't refused the first, or asked for by ``resend``."""
        if epoch in self.dots:  # asked again, as the answer was lost: it is the same dot
            return
        assert self.may_dot, f"a second dot, although the first may have arrived: {self}"
        self.dots.append(epoch)
        self.may_dot = False


@dataclass
class Model:
    """One send."""

    rows: list[Row]
    state: SendState = SendState.RUNNING

    def mine(self, claim: Claim) -> Row | None:
        """The row of a claim, as long as the claim holds."""
        row = self.rows[claim[0]]
        return row if row.epoch == claim[1] else None

    def claim(self, worker: str, limit: int, now: float) -> list[int]:
        """The rows that a living worker gets; those before them of people who left become skipped."""
        if self.state is not SendState.RUNNING:
            return []
        while True:
            due = [n for n, row in enumerate(self.rows) if row.state in WAITING and row.due <= now][:limit]
            gone = [n for n in due if self.rows[n].gone]
            for number in gone:
                self.rows[number].end(Event.SKIP, now)
            if len(gone) < len(due) or not gone:
                break
        got = [n for n in due if n not in gone]
        for row in (self.rows[n] for n in got):
            row.go(Event.CLAIM, now)
            row.epoch, row.worker, row.due = row.epoch + 1, worker, 0.0
            if not row.resends:
                row.made_for = row.name
        return got

    def dot(self, claims: Iterable[Claim], now: float) -> set[Claim]:
        """The compare-and-set: what is granted. A claim that is refused ends."""
        granted = set()
        for claim in claims:
            row = self.mine(claim)
            if row is None:
                continue
            if row.state is S.CLAIMED:
                if self.state is SendState.RUNNING and not row.gone:
                    row.go(Event.DOT, now)
                elif row.gone:
                    row.end(Event.SKIP, now)
                else:
                    row.go(Event.RELEASE, now)
            if row.state is S.DOTTED:
                granted.add(claim)
        return granted

    def release(self, claims: Iterable[Claim], now: float) -> None:
        for row in map(self.mine, claims):
            if row is not None and row.state is S.CLAIMED:
                row.go(Event.RELEASE, now)

    def settle(self, claim: Claim, to: S, due: float, from_relay: bool, now: float) -> None:
        """An outcome: recorded where the claim holds and the move is legal."""
        row = self.mine(claim)
        if row is None:
            return
        ways = [event for event, end in MOVES[row.state].items() if end is to and event not in NOT_OUTCOMES]
        if not ways:
            return
        if row.state is S.DOTTED or (row.state is S.CLAIMED and (from_relay or to is S.DEFERRED)):
            row.tried(now)
        row.go(ways[0], now)
        row.due = due if to is S.DEFERRED else 0.0

    def free(self, workers: Iterable[str], now: float) -> tuple[int, int]:
        """What dead workers held: how many were claimed, how many dotted."""
        lost = [row for row in self.rows if row.worker and row.worker in set(workers)]
        claimed = sum(row.state is S.CLAIMED for row in lost)
        for row in lost:
            if row.state is S.DOTTED:
                row.tried(now)
            row.go(Event.RELEASE if row.state is S.CLAIMED else Event.LOSE, now)
        return claimed, len(lost) - claimed

    def expire(self, retry_for: float, now: float) -> int:
        old = [r for r in self.rows if r.state is S.DEFERRED and r.first is not None and r.first + retry_for <= now]
        for row in old:
            row.end(Event.EXPIRE, now)
        return len(old)

    def stop(self, state: SendState, now: float) -> None:
        """Paused or cancelled."""
        self.state = state
        for row in self.rows:
            if state is SendState.CANCELLED and row.state in (S.PENDING, S.CLAIMED, S.DEFERRED):
                row.end(Event.SKIP, now)
            elif row.state is S.CLAIMED:
                row.go(Event.RELEASE, now)

    def leave(self, number: int, removed: bool, now: float) -> None:
        """One that is in doubt, or in flight and deferred later, ends when it would be claimed."""
        row = self.rows[number]
        row.gone = True
        active = self.state in (SendState.RUNNING, SendState.PAUSED)
        if row.state in (S.PENDING, S.CLAIMED, S.DEFERRED) and (active or removed):
            row.end(Event.SKIP, now)

    def lost(self, since: float, until: float) -> list[Row]:
        """Whom ``in_doubt = "resend"`` sends to again."""
        return [
            row
            for row in self.rows
            if row.state is S.IN_DOUBT and not row.gone and not row.resends and since < row.lost_at <= until
        ]

    def resend(self, rows: Iterable[Row], now: float) -> int:
        count = 0
        for row in rows:
            row.go(Event.RESEND, now)
            row.epoch, row.resends, row.due, row.first = row.epoch + 1, row.resends + 1, now, None
            count += 1
        if count and self.state is SendState.FINISHED:
            self.state = SendState.RUNNING
        return count

    def accept(self, now: float) -> int:
        """The operator knows that the in-doubt have arrived."""
        rows = [row for row in self.rows if row.state is S.IN_DOUBT]
        for row in rows:
            row.go(Event.ACCEPT, now)
        return len(rows)

    def finish(self, resend_since: float, now: float) -> bool:
        """Whether it is finished by that."""
        left = any(row.state in UNFINISHED for row in self.rows)
        if self.state is SendState.RUNNING and not left and not self.lost(resend_since, float("inf")):
            self.state = SendState.FINISHED
            return True
        if self.state is SendState.FINISHED and left:  # deferred by a reply that came late
            self.state = SendState.RUNNING
        elif self.state is SendState.CANCELLED:
            self.stop(SendState.CANCELLED, now)
        return False
