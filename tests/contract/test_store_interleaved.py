"""Any order of the ledger's transactions, against a small model: Hypothesis plays workers and operators."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from mailer.delivery.states import MOVES, UNFINISHED, WAITING, Event, move
from mailer.model.ledger import RecipientState as S
from mailer.model.ledger import Reply, SendId, SendState, WorkerId
from mailer.service.ports import Key
from mailer.store import open_store
from tests.contract.store_cases import new, outcome, people

PEOPLE = 6
RETRY_FOR, LEASE = 500.0, 20.0
OUTCOMES = (S.SENT, S.DEFERRED, S.FAILED, S.IN_DOUBT, S.SKIPPED, S.PENDING)
REPLIES = {S.SENT: Reply(250), S.DEFERRED: Reply(451), S.FAILED: Reply(550)}


@dataclass
class Row:
    """What the model knows of a recipient."""

    state: S = S.PENDING
    epoch: int = 0
    worker: str = ""
    due: float = 0.0
    first: float | None = None
    gone: bool = False


class LedgerMachine(RuleBasedStateMachine):
    """One send, two workers; claims are kept after they ended, so that zombies use them again."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.store = open_store(f"sqlite:///{self.folder}/mailer.db", create=True)
        raw = self.store.database.engine.raw_connection()
        raw.cursor().execute("PRAGMA synchronous=OFF")  # the file needn't survive the machine
        raw.close()
        self.now, self.state = 1000.0, SendState.RUNNING
        self.ids = people(self.store, *"abcdef")
        self.send: SendId = self.store.sends.create(new(), None, self.now).id
        self.rows = [Row() for _ in range(PEOPLE)]
        self.workers: dict[str, float] = {}
        self.claims: list[Key] = []
        for worker in ("w1", "w2"):
            self.store.workers.register(WorkerId(worker), "host", 1, self.now)
            self.workers[worker] = self.now

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()
            shutil.rmtree(self.folder)

    def go(self, row: Row, event: Event) -> None:
        row.state = move(row.state, event)
        if row.state is not S.CLAIMED and row.state is not S.DOTTED:
            row.worker = ""

    def chosen(self, picks: list[int]) -> set[Key]:
        """Some of all claims there ever were, counted from the last."""
        return {self.claims[-1 - pick % len(self.claims)] for pick in picks if self.claims}

    @rule(seconds=st.sampled_from([1.0, 15.0, 61.0, 400.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(worker=st.sampled_from(["w1", "w2"]))
    def beat(self, worker: str) -> None:
        alive = self.store.workers.beat(WorkerId(worker), self.now)
        assert alive == (worker in self.workers)
        if not alive:
            self.store.workers.register(WorkerId(worker), "host", 1, self.now)
        self.workers[worker] = self.now

    def claimable(self, worker: str, limit: int) -> list[int]:
        """Rows that a claim gets; those before them of people who left become skipped."""
        if worker not in self.workers or self.state is not SendState.RUNNING:
            return []
        while True:
            due = [n for n, row in enumerate(self.rows) if row.state in WAITING and row.due <= self.now][:limit]
            gone = [n for n in due if self.rows[n].gone]
            for number in gone:
                self.go(self.rows[number], Event.SKIP)
            if len(gone) < len(due) or not gone:
                return [n for n in due if n not in gone]

    @rule(worker=st.sampled_from(["w1", "w2"]), limit=st.integers(1, PEOPLE))
    def claim(self, worker: str, limit: int) -> None:
        found = self.store.ledger.claim(self.send, 1, PEOPLE, WorkerId(worker), limit, self.now)
        assert [one.position - 1 for one in found] == self.claimable(worker, limit)
        for one in found:
            row = self.rows[one.position - 1]
            self.go(row, Event.CLAIM)
            row.epoch, row.worker = row.epoch + 1, worker
            assert one.epoch == row.epoch
            self.claims.append((one.send, one.position, one.epoch))

    @rule(worker=st.sampled_from(["w1", "w2"]), limit=st.integers(1, 3))
    def claim_and_dot(self, worker: str, limit: int) -> None:
        held = len(self.claims)
        self.claim(worker, limit)
        self.dot(list(range(len(self.claims) - held)))

    @rule(picks=st.lists(st.integers(0, 12), min_size=1, max_size=5))
    def dot(self, picks: list[int]) -> None:
        chosen = self.chosen(picks)
        granted = self.store.ledger.write(self.now, dots=sorted(chosen))
        for key in chosen:
            row = self.rows[key[1] - 1]
            mine = row.epoch == key[2]
            may = mine and row.state is S.CLAIMED and self.state is SendState.RUNNING and not row.gone
            assert (key in granted) == (may or (mine and row.state is S.DOTTED))
            if may:
                self.go(row, Event.DOT)

    @rule(picks=st.lists(st.integers(0, 12), min_size=1, max_size=5), to=st.sampled_from(OUTCOMES))
    def settle(self, picks: list[int], to: S) -> None:
        chosen = sorted(self.chosen(picks))
        due = self.now + 60 if to is S.DEFERRED else None
        reply = REPLIES.get(to, Reply(0))
        self.store.ledger.write(self.now, outcomes=[outcome(key, to, reply, due) for key in chosen])
        for _, position, epoch in chosen:
            row = self.rows[position - 1]
            event = next((event for event, end in MOVES[row.state].items() if end is to), None)
            if row.epoch == epoch and event is not None:
                if row.state is S.DOTTED or (row.state is S.CLAIMED and reply.code):
                    row.first = self.now if row.first is None else row.first
                self.go(row, event)
                row.due = due or 0.0

    @rule()
    def reap(self) -> None:
        late = {worker for worker, at in self.workers.items() if at < self.now - LEASE}
        lost = [row for row in self.rows if row.worker in late]
        free = sum(row.state is S.CLAIMED for row in lost)
        assert self.store.ledger.reap(self.now, LEASE) == (free, len(lost) - free)
        for row in lost:
            if row.state is S.DOTTED and row.first is None:
                row.first = self.now
            self.go(row, Event.RELEASE if row.state is S.CLAIMED else Event.LOSE)
        for worker in late:
            del self.workers[worker]

    @rule(worker=st.sampled_from(["w1", "w2"]))
    def retire(self, worker: str) -> None:
        self.store.workers.retire(WorkerId(worker), self.now)
        for row in self.rows:
            if row.worker == worker:
                if row.state is S.DOTTED and row.first is None:
                    row.first = self.now
                self.go(row, Event.RELEASE if row.state is S.CLAIMED else Event.LOSE)
        self.workers.pop(worker, None)

    @rule()
    def expire(self) -> None:
        old = [
            r for r in self.rows if r.state is S.DEFERRED and r.first is not None and r.first + RETRY_FOR <= self.now
        ]
        assert self.store.ledger.expire(self.now, RETRY_FOR) == len(old)
        for row in old:
            self.go(row, Event.EXPIRE)

    @rule()
    def pause_or_resume(self) -> None:
        if self.state is SendState.RUNNING:
            self.store.sends.pause(self.send, "", self.now)
            self.state = SendState.PAUSED
            for row in self.rows:
                if row.state is S.CLAIMED:
                    self.go(row, Event.RELEASE)
        elif self.state is SendState.PAUSED:
            self.store.sends.resume(self.send, self.now)
            self.state = SendState.RUNNING

    @rule(number=st.integers(0, 1), how=st.sampled_from(["unsubscribe", "suppress"]))
    def leave(self, number: int, how: str) -> None:
        if how == "unsubscribe":
            self.store.subscribers.unsubscribe(self.ids[number], self.now)
        else:
            self.store.suppressions.add(f"{'abcdef'[number]}@example.com", "x", "x", self.now)
        row = self.rows[number]
        row.gone = True
        # One that is in doubt, or in flight and deferred later, is skipped when it would be claimed.
        if row.state in (S.PENDING, S.CLAIMED, S.DEFERRED):
            self.go(row, Event.SKIP)

    @rule(how=st.sampled_from(["resend", "sent"]))
    def resolve(self, how: str) -> None:
        again = how == "resend"
        settled = self.store.sends.resolve(self.send, "resend" if again else "sent", self.now)
        assert settled == sum(row.state is S.IN_DOUBT for row in self.rows)
        for row in self.rows:
            if row.state is S.IN_DOUBT:
                self.go(row, Event.RESEND if again else Event.ACCEPT)
                if again:
                    row.epoch, row.due, row.first = row.epoch + 1, self.now, None
        if again and settled and self.state is SendState.FINISHED:
            self.state = SendState.RUNNING

    @rule()
    def finish(self) -> None:
        left = any(row.state in UNFINISHED for row in self.rows)
        done = self.state is SendState.RUNNING and not left
        assert self.store.sends.finish(self.now) == ([self.send] if done else [])
        if done:
            self.state = SendState.FINISHED
        elif self.state is SendState.FINISHED and left:  # deferred by a reply that came late
            self.state = SendState.RUNNING

    @invariant()
    def the_store_agrees(self) -> None:
        if not hasattr(self, "store"):
            return
        assert [row.state for row in self.store.sends.recipients(self.send, None)] == [row.state for row in self.rows]
        status = self.store.sends.status(self.send, self.now)
        assert (status.send.state, sum(status.counts.values())) == (self.state, PEOPLE)


class TestLedger(LedgerMachine.TestCase):
    """The store and the model agree after every step, whatever the order."""

    settings = settings(
        max_examples=40, stateful_step_count=50, deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
