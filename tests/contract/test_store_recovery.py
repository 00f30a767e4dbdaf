"""What a dead worker leaves behind, and who counts as dead; on both databases."""

from __future__ import annotations

import pytest

from mailer.model.compiled import CompiledIssue
from mailer.model.ledger import Outcome, RecipientState, Reply, Send, SendKind, WorkerId
from mailer.service.ports import Incoming, NewSend
from mailer.store import SqlStore

pytest_plugins = ("tests.servers.postgres",)

ISSUE = CompiledIssue("a", "A", "en", "", "UTC", "2026-01-01", "a@example.com", "", ("A",), ("A",), ("A",), 1, 1)
ONE, TWO = WorkerId("one"), WorkerId("two")


@pytest.fixture
def send(store: SqlStore) -> Send:
    """A running send to six people, and a worker."""
    store.subscribers.upsert([Incoming(f"r{n}@example.com", f"r{n}@example.com") for n in range(6)], 1.0)
    store.workers.register(ONE, "here", 1, 1000.0)
    return store.sends.create(NewSend("a", SendKind.ISSUE, store.issues.put(ISSUE, 1.0), 1.0), None, 1000.0)


def test_held(store: SqlStore, send: Send) -> None:
    """What a worker holds is what it has claimed or dotted, and nothing it has settled."""
    claims = store.ledger.claim(send.id, 1, 4, ONE, 10, 1001.0)
    keys = [(send.id, claim.position, claim.epoch) for claim in claims]
    assert store.ledger.held(ONE) == set(keys)
    assert store.ledger.held(TWO) == set()
    store.ledger.write(1002.0, dots=keys[:2])
    store.ledger.write(1003.0, outcomes=[Outcome(*keys[0], RecipientState.SENT, Reply(250))])
    store.ledger.write(1004.0, releases=keys[3:])
    assert store.ledger.held(ONE) == {keys[1], keys[2]}


def test_suspected_first(store: SqlStore, send: Send) -> None:
    """A worker without a beat is suspected by one call and dead only after the grace; its rows are freed then."""
    store.ledger.claim(send.id, 1, 4, ONE, 10, 1001.0)
    assert store.ledger.reap(1011.0, 10.0, 6.0) == (0, 0)
    assert store.ledger.reap(1016.0, 10.0, 6.0) == (0, 0)
    assert store.ledger.reap(1017.0, 10.0, 6.0) == (4, 0)
    assert store.workers.beat(ONE, 1018.0) is False


def test_beat_clears_suspicion(store: SqlStore, send: Send) -> None:
    """A beat clears the suspicion, even one from a host whose clock is late: it lives."""
    store.ledger.claim(send.id, 1, 4, ONE, 10, 1001.0)
    for late in range(5):
        now = 1050.0 + 5 * late
        assert store.ledger.reap(now, 10.0, 6.0) == (0, 0)
        assert store.workers.beat(ONE, now - 40) is True


def test_register_twice(store: SqlStore, send: Send) -> None:
    """Registering again, after an answer that was lost, changes nothing but the heartbeat."""
    store.workers.register(ONE, "here", 1, 1005.0)
    assert store.workers.alive(1010.0, 6.0) == 1
    store.workers.retire(ONE, 1011.0)
    assert store.workers.alive(1010.0, 6.0) == 0


def test_other_round_after_a_death(store: SqlStore, send: Send) -> None:
    """After a worker's death every waiting batch has another round, so that its job isn't taken for the dead one's."""
    store.ledger.claim(send.id, 1, 3, ONE, 10, 1001.0)
    before = {batch.first: batch.round for batch in store.ledger.unfinished(1002.0, 2)}
    assert set(before) == {3, 5}
    store.ledger.reap(1100.0, 10.0)
    after = {batch.first: batch.round for batch in store.ledger.unfinished(1101.0, 2)}
    assert set(after) == {1, 3, 5}
    assert all(after[first] != before[first] for first in before)
    store.workers.register(TWO, "here", 2, 1102.0)
    store.ledger.claim(send.id, 1, 2, TWO, 10, 1103.0)
    store.ledger.reap(1200.0, 10.0)
    again = {batch.first: batch.round for batch in store.ledger.unfinished(1201.0, 2)}
    assert all(again[first] != after[first] for first in after)


def test_troubles(store: SqlStore, send: Send) -> None:
    """What hinders living workers is told, each trouble once; a beat without it clears it, and the dead are silent."""
    store.workers.register(TWO, "here", 2, 1000.0)
    for worker in (ONE, TWO):
        store.workers.beat(worker, 1005.0, "relay down")
    assert store.workers.troubles(1006.0, 10.0) == ["relay down"]
    store.workers.beat(ONE, 1010.0)
    assert store.workers.troubles(1011.0, 10.0) == ["relay down"]
    assert store.workers.troubles(1018.0, 10.0) == []
