"""Any order of the ledger's transactions, against a model: Hypothesis plays workers, relays, operators and readers.

The rules are aimed: between a claim and its dot anything may come, old claims are used again (a zombie's), every write
may be made twice (its answer was lost), and replies come late. What is drawn never depends on what the store answers,
and the runs in ``make test`` are always the same ones. More of them: ``MAILER_SOAK_EXAMPLES=5000`` plays as many,
others each time, and prints how to repeat one that fails.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from math import inf

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from sqlalchemy import text

from mailer.delivery.states import UNFINISHED
from mailer.errors import SendError
from mailer.model.ledger import RecipientState as S
from mailer.model.ledger import Reply, SendState, WorkerId
from mailer.service.ports import Key
from mailer.store import SqlStore, open_store
from tests.contract.ledger_model import Claim, Model, Row
from tests.contract.store_cases import incoming, new, outcome

pytest_plugins = ("tests.servers.postgres",)

PEOPLE = 4
RETRY_FOR, LEASE, GRACE = 500.0, 20.0, 6.0
REPLIES = {S.SENT: Reply(250), S.DEFERRED: Reply(451), S.FAILED: Reply(550), S.IN_DOUBT: Reply(0)}
WEEKS = itertools.count(1)
TABLES = ("recipients", "sends", "workers", "subscribers", "removed_subscribers", "suppressions")

slots = st.integers(0, 1)
limits = st.sampled_from([PEOPLE, 1, 2])
picks = st.lists(st.integers(0, 7), min_size=1, max_size=4, unique=True)
outcomes = st.sampled_from([S.DEFERRED, S.IN_DOUBT, S.DEFERRED, S.IN_DOUBT, S.SENT, S.FAILED])
resends = st.sampled_from(["no", "by itself", "by the operator"])
thens = st.sampled_from(["dot", "settle", "both"])
numbers = st.integers(0, PEOPLE - 1)
leaving = st.sampled_from(["unsubscribe", "suppress", "remove"])
twice = st.booleans()
HALVES = ("half a pause", "half an unsubscribe", "half a suppression")
events = st.sampled_from(
    [
        *HALVES,
        *["die"] * 4,
        "pause",
        "pause and resume",
        "import",
        "unsubscribe",
        "suppress",
        "remove",
        "cancel",
        *HALVES,
    ]
)
seldom = st.sampled_from([False] * 9 + [True])


class LedgerMachine(RuleBasedStateMachine):
    """One send to four people, two workers at a time; claims are kept after they ended, so that zombies use them."""

    def __init__(self, store: SqlStore) -> None:
        super().__init__()
        self.store, self.now, self.versions = store, 1000.0, itertools.count()
        with store.database.write() as connection:
            for table in TABLES:
                connection.execute(text(f"DELETE FROM {table}"))
        self.names = "abcd"
        store.subscribers.upsert([incoming(name) for name in self.names], self.now)
        self.ids = [found.id for name in self.names if (found := store.subscribers.find(f"{name}@example.com"))]
        self.send = store.sends.create(new(f"kw{next(WEEKS)}"), None, self.now)
        self.model = Model([Row() for _ in range(PEOPLE)])
        self.beats: dict[str, float] = {}
        self.suspected: dict[str, float] = {}
        self.lives = itertools.count(1)
        self.workers = [self.born(), self.born()]
        self.claims: list[Claim] = []

    def teardown(self) -> None:
        if sys.exc_info()[0] is None:
            self.all_ends_well()

    # --- workers

    def born(self) -> str:
        worker = f"w{next(self.lives)}"
        self.store.workers.register(WorkerId(worker), "host", 1, self.now)
        self.beats[worker] = self.now
        return worker

    @rule(slot=slots)
    def beat(self, slot: int) -> None:
        """A worker that was taken for dead is told so, and goes on under a new id."""
        worker = self.workers[slot]
        alive = self.store.workers.beat(WorkerId(worker), self.now)
        assert alive == (worker in self.beats), "a dead worker's heartbeat was accepted"
        if alive:
            self.beats[worker] = self.now
            self.suspected.pop(worker, None)
        else:
            self.workers[slot] = self.born()

    @rule(seconds=st.sampled_from([1.0, 15.0, 61.0, 400.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def reap(self) -> None:
        for worker, at in self.beats.items():
            if at < self.now - LEASE:
                self.suspected.setdefault(worker, self.now)
        dead = [
            worker
            for worker, at in self.suspected.items()
            if at <= self.now - GRACE and self.beats[worker] < self.now - LEASE
        ]
        freed = self.store.ledger.reap(self.now, LEASE, GRACE)
        assert freed == self.model.free(dead, self.now)
        for worker in dead:
            del self.beats[worker], self.suspected[worker]

    @rule(slot=slots)
    def die(self, slot: int) -> None:
        """It is silent for long enough, while the other one lives. What it claimed it still has in hand."""
        for seconds in (LEASE + 1, GRACE + 1):
            self.now += seconds
            self.beat(1 - slot)
            self.reap()

    @rule(slot=slots)
    def retire(self, slot: int) -> None:
        worker = self.workers[slot]
        self.store.workers.retire(WorkerId(worker), self.now)
        if worker in self.beats:
            self.model.free([worker], self.now)
            del self.beats[worker]
            self.suspected.pop(worker, None)

    # --- one claim after another

    @rule(slot=slots, limit=limits)
    def claim(self, slot: int, limit: int) -> None:
        self.claimed(slot, limit)

    def claimed(self, slot: int, limit: int) -> list[Claim]:
        worker = self.workers[slot]
        found = self.store.ledger.claim(self.send.id, 1, PEOPLE, WorkerId(worker), limit, self.now)
        wanted = self.model.claim(worker, limit, self.now) if worker in self.beats else []
        assert [(one.position - 1, one.epoch) for one in found] == [(n, self.model.rows[n].epoch) for n in wanted]
        for one in found:
            row = self.model.rows[one.position - 1]
            assert one.subscriber.first_name == row.made_for, f"not the message of the last dot: {row}"
        claimed = [(one.position - 1, one.epoch) for one in found]
        self.claims += claimed
        return claimed

    def chosen(self, which: Sequence[int]) -> list[Claim]:
        """Some of all claims there ever were, counted from the last."""
        return sorted({self.claims[-1 - pick % len(self.claims)] for pick in which if self.claims})

    def key(self, claim: Claim) -> Key:
        return (self.send.id, claim[0] + 1, claim[1])

    def written(
        self,
        *,
        to: S = S.SENT,
        settled: Sequence[Claim] = (),
        released: Sequence[Claim] = (),
        dots: Sequence[Claim] = (),
        again: bool = False,
    ) -> None:
        """A group's write; ``again``: its answer was lost, and it is made once more."""
        due, reply = self.now + 60, REPLIES[to]
        for _ in range(1 + again):
            granted = self.store.ledger.write(
                self.now,
                outcomes=[outcome(self.key(one), to, reply, due if to is S.DEFERRED else None) for one in settled],
                releases=[self.key(one) for one in released],
                dots=[self.key(one) for one in dots],
            )
            for one in settled:
                self.model.settle(one, to, due, reply.code > 0, self.now)
            self.model.release(released, self.now)
            wanted = self.model.dot(dots, self.now)
            for _, position, epoch in sorted(granted):
                self.model.rows[position - 1].granted(epoch)
            assert granted == {self.key(one) for one in wanted}

    @rule(which=picks, again=twice)
    def dot(self, which: list[int], again: bool) -> None:
        self.written(dots=self.chosen(which), again=again)

    @rule(which=picks, to=outcomes, again=twice)
    def settle(self, which: list[int], to: S, again: bool) -> None:
        self.written(to=to, settled=self.chosen(which), again=again)

    @rule(which=picks, again=twice)
    def release(self, which: list[int], again: bool) -> None:
        self.written(released=self.chosen(which), again=again)

    @rule(ended=picks, to=outcomes, given_back=picks, next_ones=picks, again=twice)
    def group(self, ended: list[int], to: S, given_back: list[int], next_ones: list[int], again: bool) -> None:
        """Outcomes, claims that are given back, and dots, in one commit."""
        released = [one for one in self.chosen(given_back) if one not in self.chosen(ended)]
        self.written(to=to, settled=self.chosen(ended), released=released, dots=self.chosen(next_ones), again=again)

    # --- aimed

    @rule(slot=slots, limit=limits, to=outcomes, again=twice)
    def deliver(self, slot: int, limit: int, to: S, again: bool) -> None:
        """What a worker does when nothing comes between."""
        self.ready(slot)
        claimed = self.claimed(slot, limit)
        self.written(dots=claimed, again=again)
        self.written(to=to, settled=claimed, again=again)

    @rule(slot=slots, limit=limits, dies=st.booleans(), again=twice, resend=resends)
    def lose(self, slot: int, limit: int, dies: bool, again: bool, resend: str) -> None:
        """Dots whose replies are never seen, and perhaps a resend."""
        self.ready(slot)
        claimed = self.claimed(slot, limit)
        self.written(dots=claimed, again=again)
        if dies:
            self.die(slot)
        else:
            self.written(to=S.IN_DOUBT, settled=claimed, again=again)
        if resend == "by itself":
            self.resend_lost(0.0)
        elif resend == "by the operator":
            self.resolve("resend")

    @rule(
        slot=slots, limit=limits, what=events, number=numbers, other=st.booleans(), then=thens, to=outcomes, sure=seldom
    )
    def between_claim_and_dot(
        self, slot: int, limit: int, what: str, number: int, other: bool, then: str, to: S, sure: bool
    ) -> None:
        """Something comes between; perhaps another worker claims, too. Then the first goes on as if nothing were."""
        self.ready(slot)
        claimed = self.claimed(slot, limit)
        if claimed:
            number = claimed[number % len(claimed)][0]
        match what:
            case "die":
                self.die(slot)
            case "pause" | "pause and resume":
                self.pause()
                if what != "pause":
                    self.resume()
            case "import":
                self.import_again(number)
            case "half a pause":
                self.half_a_pause()
            case "half an unsubscribe" | "half a suppression":
                self.half_leave(number, what)
            case "cancel":
                self.cancel(sure)
            case _:
                self.leave(number, what)
        others = self.claimed(1 - slot, PEOPLE) if other else []
        if then != "settle":
            self.written(dots=claimed)
        if then != "dot":
            self.written(to=to, settled=claimed)
        self.written(dots=others)

    def ready(self, slot: int) -> None:
        """The send runs, the worker lives, and what is deferred is due."""
        self.resume()
        self.now += 61
        self.beat(slot)

    @rule(to=outcomes)
    def late_replies(self, to: S) -> None:
        """Replies come to a worker that was taken for dead."""
        self.written(
            to=to, settled=[(n, row.epoch) for n, row in enumerate(self.model.rows) if row.state is S.IN_DOUBT]
        )

    # --- operators, readers, the reconciler

    @rule()
    def pause(self) -> None:
        if self.model.state is SendState.RUNNING:
            self.store.sends.pause(self.send.id, "", self.now)
            self.model.stop(SendState.PAUSED, self.now)

    @rule()
    def resume(self) -> None:
        if self.model.state is SendState.PAUSED:
            self.store.sends.resume(self.send.id, self.now)
            self.model.state = SendState.RUNNING

    @rule(sure=seldom)
    def cancel(self, sure: bool) -> None:
        if sure and self.model.state in (SendState.RUNNING, SendState.PAUSED):
            self.store.sends.cancel(self.send.id, self.now)
            self.model.stop(SendState.CANCELLED, self.now)

    @rule(number=numbers, how=leaving)
    def leave(self, number: int, how: str) -> None:
        address = f"{self.names[number]}@example.com"
        if how == "unsubscribe":
            self.store.subscribers.unsubscribe(self.ids[number], self.now)
        elif how == "suppress":
            self.store.suppressions.add(address, "x", "x", self.now)
        else:
            self.store.subscribers.remove(address, self.now)
        if how == "remove" or not self.removed(number):
            self.model.leave(number, how == "remove", self.now)

    def removed(self, number: int) -> bool:
        found = self.store.subscribers.find(f"{self.names[number]}@example.com")
        return found is None or found.id != self.ids[number]

    def half_leave(self, number: int, how: str) -> None:
        """The first of the two transactions: what a dot sees that runs between them."""
        if self.removed(number):
            return
        sql = "UPDATE subscribers SET status = 'unsubscribed' WHERE email_key = :key"
        if how == "half a suppression":
            sql = "INSERT INTO suppressions VALUES (:key, 'x', 'x', 0) ON CONFLICT DO NOTHING"
        with self.store.database.write() as connection:
            connection.execute(text(sql), {"key": f"{self.names[number]}@example.com"})
        self.model.rows[number].gone = True

    def half_a_pause(self) -> None:
        """The send doesn't run, and what is claimed hasn't been given back."""
        if self.model.state is SendState.RUNNING:
            with self.store.database.write() as connection:
                connection.execute(text("UPDATE sends SET state = 'paused'"))
            self.model.state = SendState.PAUSED

    @rule(number=numbers)
    def import_again(self, number: int) -> None:
        """With another name. Whoever was removed is somebody new."""
        name = f"version {next(self.versions)}"
        self.store.subscribers.upsert([incoming(self.names[number], first_name=name)], self.now)
        self.model.rows[number].name = name

    @rule(how=st.sampled_from(["resend", "resend", "sent"]))
    def resolve(self, how: str) -> None:
        if how == "sent":
            assert self.store.sends.resolve(self.send.id, "sent", self.now) == self.model.accept(self.now)
        elif self.model.state is SendState.CANCELLED:
            with pytest.raises(SendError):
                self.store.sends.resolve(self.send.id, "resend", self.now)
        else:
            doubted = [row for row in self.model.rows if row.state is S.IN_DOUBT and not row.gone]
            moved = self.store.sends.resolve(self.send.id, "resend", self.now)
            assert moved == self.model.resend(doubted, self.now)

    @rule(age=st.sampled_from([0.0, 30.0]))
    def resend_lost(self, age: float) -> None:
        """``in_doubt = "resend"``."""
        since, until = self.now - RETRY_FOR, self.now - age
        moved = self.store.sends.resend_lost(self.now, since, until)
        lost = self.model.lost(since, until)
        goes_on = self.model.state in (SendState.RUNNING, SendState.FINISHED)
        assert moved == (self.model.resend(lost, self.now) if goes_on else 0)

    @rule()
    def expire(self) -> None:
        assert self.store.ledger.expire(self.now, RETRY_FOR) == self.model.expire(RETRY_FOR, self.now)

    @rule(waits=st.booleans())
    def finish(self, waits: bool) -> None:
        since = self.now - RETRY_FOR if waits else inf
        finished = self.store.sends.finish(self.now, resend_since=since)
        assert finished == ([self.send.id] if self.model.finish(since, self.now) else [])

    # --- what holds after each step, and at the end

    @invariant()
    def the_store_agrees(self) -> None:
        sql = """SELECT r.state, r.epoch, r.attempts, r.resends, r.worker IS NOT NULL, e.state
            FROM recipients r JOIN sends e ON e.key = r.send ORDER BY r.position"""
        with self.store.database.read() as connection:
            found = [(*row[:4], bool(row[4]), row[5]) for row in connection.execute(text(sql))]
        rows, state = self.model.rows, self.model.state
        assert found == [(r.state, r.epoch, r.attempts, r.resends, bool(r.worker), state) for r in rows]

    def all_ends_well(self) -> None:
        """From wherever the steps led: the send can be brought to its end, nobody is lost, and the figures add up."""
        self.resume()
        for slot in range(2):
            self.die(slot)
        self.workers = [self.born(), self.born()]
        for _ in range(2 * PEOPLE):
            if self.model.state is SendState.RUNNING and any(row.state in UNFINISHED for row in self.model.rows):
                self.now += 1000.0
                self.beat(0)
                self.deliver(0, PEOPLE, S.SENT, False)
            self.finish(False)
        assert self.model.state in (SendState.FINISHED, SendState.CANCELLED)
        self.the_store_agrees()
        status = self.store.sends.status(self.send.id, self.now)
        assert sum(status.counts.values()) == status.send.audience == PEOPLE
        for row in self.model.rows:
            assert row.state not in UNFINISHED
            assert row.state is not S.SENT or row.dots, f"sent, without a dot: {row}"
            reason = row.gone or self.model.state is SendState.CANCELLED
            assert row.state is not S.SKIPPED or reason, f"skipped for nothing: {row}"
            assert row.state is not S.SKIPPED or (row.may_dot and not row.resends), f"skipped, but may have it: {row}"


@pytest.fixture
def sqlite_store(sqlite_url: str) -> Iterator[SqlStore]:
    store = open_store(sqlite_url)
    raw = store.database.engine.raw_connection()
    raw.cursor().execute("PRAGMA synchronous=OFF")  # the file needn't survive the machine
    raw.close()
    yield store
    store.close()


@pytest.fixture
def postgres_store(postgres_url: str) -> Iterator[SqlStore]:
    store = open_store(postgres_url)
    yield store
    store.close()


def examples(usual: int) -> settings:
    soak = int(os.environ.get("MAILER_SOAK_EXAMPLES", "0"))
    return settings(
        max_examples=soak or usual,
        stateful_step_count=25,
        derandomize=not soak,
        database=None,
        print_blob=True,
        phases=(Phase.generate,) if os.environ.get("MAILER_NO_SHRINK") else (Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )


def test_any_order_on_sqlite(sqlite_store: SqlStore) -> None:
    """The store and the model agree after every step, whatever the order, on SQLite."""
    run_state_machine_as_test(partial(LedgerMachine, sqlite_store), settings=examples(200))


def test_any_order_on_postgresql(postgres_store: SqlStore) -> None:
    """The store and the model agree after every step, whatever the order, on PostgreSQL."""
    run_state_machine_as_test(partial(LedgerMachine, postgres_store), settings=examples(20))
